//! A real Git server on loopback: `git http-backend` behind a small HTTP server that counts and misbehaves.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use skiff_harness::git_server::{Fault, GitServer, Repository};
//!
//! let server = GitServer::start()?;
//! let mut shop = Repository::create(&server, "shop")?;
//! let first = shop.write("web.yaml", "kind: Deployment\n").commit("Add the shop")?;
//! server.behave(Fault::status(503));
//! # Ok(())
//! # }
//! ```

mod access;
mod cgi;
pub(crate) mod environment;
mod fault;
mod repository;
mod traffic;

use std::collections::HashMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode, request};
use tempfile::TempDir;

use crate::background::Background;
use crate::certs::Authority;

pub use access::Access;
pub use fault::Fault;
pub use repository::{ObjectFormat, Repository};
pub use traffic::{Count, Request, RequestKind};

/// Where and how a server listens.
pub struct Options<'a> {
    /// An address of 127.0.0.0/8.
    pub address: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Speaks HTTPS with a certificate of this authority.
    pub authority: Option<&'a Authority>,
    /// Lets in only clients with a certificate of this one; with `authority`.
    pub clients: Option<&'a Authority>,
    /// The folder of the repositories; a temporary one if there is none.
    pub root: Option<PathBuf>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        let address = IpAddr::V4(Ipv4Addr::new(127, 79, 0, 1));
        Self { address, port: 0, authority: None, clients: None, root: None }
    }
}

/// Which of Git's protocols the server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// All of them, as the client asks.
    #[default]
    Newest,
    /// The one from before `ls-refs`: the advertisement lists every reference.
    Old,
}

/// A running server; it ends when it is dropped.
pub struct GitServer {
    base: String,
    root: PathBuf,
    shared: Arc<Shared>,
    _background: Background,
    _temporary: Option<TempDir>,
}

#[derive(Default)]
struct Shared {
    root: PathBuf,
    traffic: traffic::Traffic,
    manners: Mutex<Manners>,
}

/// What can be changed while the server runs.
#[derive(Clone, Default)]
struct Manners {
    access: Access,
    protocol: Protocol,
    everywhere: Fault,
    particular: HashMap<RequestKind, Fault>,
}

impl GitServer {
    /// Starts a server for anyone on 127.79.0.1, plain HTTP, on a free port.
    pub fn start() -> Result<Self> {
        Self::start_with(Options::default())
    }

    /// Starts a server.
    pub fn start_with(options: Options<'_>) -> Result<Self> {
        let Options { address, port, authority, clients, root } = options;
        let temporary = match root {
            Some(_) => None,
            None => Some(
                TempDir::with_prefix("skiff-git-").context("failed to create the repositories' folder")?,
            ),
        };
        let root = root
            .or_else(|| temporary.as_ref().map(|folder| folder.path().to_owned()))
            .context("the repositories' folder is given or temporary")?;
        let background = Background::start("git-server")?;
        let (listener, bound) = background.listen(SocketAddr::new(address, port))?;
        let shared = Arc::new(Shared { root: root.clone(), ..Shared::default() });
        let router = Router::new().fallback(serve).with_state(shared.clone());
        let scheme = match authority {
            None => {
                background.spawn(async { finished(axum::serve(listener, router).await) });
                "http"
            }
            Some(authority) => {
                let config = crate::tls::config(authority, clients, address)?;
                background.spawn(async move {
                    let listener = crate::tls::TlsListener::start(listener, bound, config);
                    finished(axum::serve(listener, router).await);
                });
                "https"
            }
        };
        Ok(Self {
            base: format!("{scheme}://{bound}"),
            root,
            shared,
            _background: background,
            _temporary: temporary,
        })
    }

    /// Returns the server's own address, as in `http://127.79.0.1:40123`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns the address of a repository.
    pub fn url(&self, repository: &str) -> String {
        format!("{}/{repository}", self.base)
    }

    /// Returns the folder of the bare repositories.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Treats every request like this from now on; requests under way are not touched.
    pub fn behave(&self, fault: Fault) {
        self.change(|manners| {
            manners.everywhere = fault;
            manners.particular.clear();
        });
    }

    /// Treats requests of one kind like this from now on.
    pub fn behave_on(&self, kind: RequestKind, fault: Fault) {
        self.change(|manners| {
            manners.particular.insert(kind, fault);
        });
    }

    /// Lets only these in from now on.
    pub fn demand(&self, access: Access) {
        self.change(|manners| manners.access = access);
    }

    /// Speaks only this from now on.
    pub fn speak(&self, protocol: Protocol) {
        self.change(|manners| manners.protocol = protocol);
    }

    /// Returns what requests of one kind moved so far.
    pub fn count(&self, kind: RequestKind) -> Count {
        self.shared.traffic.count(kind)
    }

    /// Returns every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.traffic.requests()
    }

    fn change(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.shared.manners.lock().expect("no code panics while it holds the manners"));
    }
}

/// A server ends with its runtime; an error before that shows in its clients.
fn finished(_ended: std::io::Result<()>) {}

async fn serve(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    let (mut head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return plain(StatusCode::BAD_REQUEST, "the request's body broke off");
    };
    let kind = classify(&head, &body);
    let meter = shared.traffic.begin(record(kind, &head), body.len() as u64);
    let manners = shared.manners.lock().expect("no code panics while it holds the manners").clone();
    if manners.protocol == Protocol::Old {
        head.headers.remove("git-protocol");
    }
    let fault = manners.particular.get(&kind).unwrap_or(&manners.everywhere).clone();
    let response = match refuse(&fault, &head).await {
        Some(refusal) => refusal,
        None if !manners.access.admits(&head.headers) => manners.access.challenge(),
        None => answer(&shared, head, body, fault, meter.clone()).await,
    };
    meter.answered(response.status().as_u16());
    response
}

/// Does what a fault wants before Git is asked.
async fn refuse(fault: &Fault, head: &request::Parts) -> Option<Response> {
    match fault {
        Fault::Delay(wait) => {
            tokio::time::sleep(*wait).await;
            None
        }
        Fault::Hang => std::future::pending().await,
        Fault::Status { code, retry_after } => {
            let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = plain(status, "refused by the test");
            if let Some(wait) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
            }
            Some(response)
        }
        Fault::Redirect { to } => {
            let mut response = plain(StatusCode::TEMPORARY_REDIRECT, "moved by the test");
            let location = HeaderValue::try_from(format!("{to}{}", head.uri)).ok()?;
            response.headers_mut().insert(LOCATION, location);
            Some(response)
        }
        Fault::None
        | Fault::Stall { .. }
        | Fault::Drip { .. }
        | Fault::Cut { .. }
        | Fault::Truncate { .. } => None,
    }
}

async fn answer(
    shared: &Shared,
    head: request::Parts,
    body: Bytes,
    fault: Fault,
    meter: traffic::Meter,
) -> Response {
    let call = cgi::Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    };
    let cgi::Answer { status, mut headers, body } = match cgi::run(&shared.root, call).await {
        Ok(answer) => answer,
        Err(error) => return plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
    };
    // A fault may send less than was announced.
    headers.remove(CONTENT_LENGTH);
    let mut response = Response::new(Body::from_stream(fault::shape(body, fault, meter)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn plain(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
}

fn record(kind: RequestKind, head: &request::Parts) -> Request {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Request {
        kind,
        path: head.uri.path().to_owned(),
        authorization: header(AUTHORIZATION.as_str()),
        protocol: header("git-protocol"),
        status: 0,
    }
}

fn classify(head: &request::Parts, body: &[u8]) -> RequestKind {
    let path = head.uri.path();
    if path.ends_with("/git-receive-pack") || head.uri.query() == Some("service=git-receive-pack") {
        RequestKind::Push
    } else if head.method == Method::GET && path.ends_with("/info/refs") {
        RequestKind::Advertisement
    } else if !path.ends_with("/git-upload-pack") {
        RequestKind::Other
    } else if opening(head, body).windows(15).any(|part| part == b"command=ls-refs") {
        RequestKind::Listing
    } else {
        RequestKind::Fetch
    }
}

/// Returns the first bytes of a body, which name the command; Git compresses bodies from 1 KiB on.
fn opening(head: &request::Parts, body: &[u8]) -> Vec<u8> {
    let mut opening = Vec::with_capacity(64);
    let compressed =
        head.headers.get(CONTENT_ENCODING).is_some_and(|value| value.as_bytes().ends_with(b"gzip"));
    // A body that is not what it says fails in Git, which reports it better.
    let _read = match compressed {
        true => GzDecoder::new(body).take(64).read_to_end(&mut opening),
        false => body.take(64).read_to_end(&mut opening),
    };
    opening
}
