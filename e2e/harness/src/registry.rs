//! A registry of charts on loopback: the part of the OCI distribution specification that a pull needs, with its token
//! authentication.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, LINK, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::background::Background;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const ARCHIVE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// A running registry; it ends when it is dropped.
pub struct Registry {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _background: Background,
}

#[derive(Default)]
struct Shared {
    base: String,
    /// Who gets a token, as basic authentication; everybody is let in without one if nobody is named.
    demanded: Option<String>,
    /// Tokens that were given out, the last one of which counts.
    given: usize,
    page: Option<usize>,
    /// Where archives are, if not here.
    redirect: Option<String>,
    /// By repository and tag, and by digest.
    manifests: BTreeMap<(String, String), Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
    asked: Vec<String>,
}

impl Registry {
    /// Starts an empty registry for anyone on 127.79.0.5.
    pub fn start() -> Result<Self> {
        let background = Background::start("registry")?;
        let (listener, address) =
            background.listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 79, 0, 5)), 0))?;
        let shared = Arc::new(Mutex::new(Shared { base: format!("http://{address}"), ..Shared::default() }));
        let router = Router::new().fallback(serve).with_state(shared.clone());
        background.spawn(async {
            // A server ends with its runtime; an error before that shows in its clients.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, _background: background })
    }

    /// Returns the address of a folder of charts, `oci://127.79.0.5:40123/charts`.
    #[must_use]
    pub fn url(&self, folder: &str) -> String {
        format!("oci://{}/{folder}", self.address)
    }

    /// Pushes an archive as `helm push` does, under a tag of `charts/web`; returns its digest.
    pub fn push(&self, repository: &str, tag: &str, archive: Vec<u8>) -> String {
        self.push_as(repository, tag, archive, ARCHIVE)
    }

    /// Pushes something of another type.
    pub fn push_as(&self, repository: &str, tag: &str, archive: Vec<u8>, media_type: &str) -> String {
        let digest = digest(&archive);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self::digest(b"{}"), "size": 2},
            "layers": [{"mediaType": media_type, "digest": digest, "size": archive.len()}],
        });
        let mut shared = self.lock();
        shared.blobs.insert(digest.clone(), archive);
        shared.manifests.insert((repository.to_owned(), tag.to_owned()), manifest.to_string().into_bytes());
        digest
    }

    /// Changes what is kept under a digest.
    pub fn tamper(&self, digest: &str, archive: Vec<u8>) {
        self.lock().blobs.insert(digest.to_owned(), archive);
    }

    /// Lets in only who brings a token, which only this user gets.
    pub fn demand(&self, username: &str, password: &str) {
        let encoded = STANDARD.encode(format!("{username}:{password}"));
        self.lock().demanded = Some(format!("Basic {encoded}"));
    }

    /// Refuses the tokens that were given out so far.
    pub fn revoke(&self) {
        self.lock().given += 1;
    }

    /// Lists at most so many tags at once from now on.
    pub fn page(&self, tags: usize) {
        self.lock().page = Some(tags);
    }

    /// Sends who asks for an archive to another server.
    pub fn redirect_archives_to(&self, other: &Self) {
        self.lock().redirect = Some(format!("http://{}", other.address));
    }

    /// Returns method-less lines of the requests so far, `/v2/charts/web/manifests/1.0.0 200`.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().expect("no code panics while it holds the registry")
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

async fn serve(State(shared): State<Arc<Mutex<Shared>>>, request: axum::extract::Request) -> Response {
    let mut shared = lock(&shared);
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let response = shared.answer(&path, &query, authorization);
    let status = response.status().as_u16();
    shared.asked.push(format!("{path} {status}"));
    response
}

impl Shared {
    fn answer(&mut self, path: &str, query: &str, authorization: Option<&str>) -> Response {
        if path == "/token" {
            if self.demanded.as_deref() != authorization {
                return plain(StatusCode::UNAUTHORIZED, "text/plain", Vec::new());
            }
            self.given += 1;
            let body = json!({"token": self.token(), "expires_in": 300}).to_string();
            return plain(StatusCode::OK, "application/json", body.into_bytes());
        }
        let expected = format!("Bearer {}", self.token());
        if self.demanded.is_some() && authorization != Some(expected.as_str()) {
            let challenge = format!("Bearer realm=\"{}/token\",service=\"lab\"", self.base);
            let response = plain(StatusCode::UNAUTHORIZED, "text/plain", Vec::new());
            return with(response, WWW_AUTHENTICATE, challenge);
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return missing() };
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return self.tags(repository, query);
        }
        if let Some((repository, tag)) = rest.split_once("/manifests/") {
            let manifest = self.manifests.get(&(repository.to_owned(), tag.to_owned()));
            let Some(manifest) = manifest else { return missing() };
            let response = plain(StatusCode::OK, MANIFEST, manifest.clone());
            return with(response, HeaderName::from_static("docker-content-digest"), digest(manifest));
        }
        if let Some(base) = &self.redirect {
            let response = plain(StatusCode::TEMPORARY_REDIRECT, "text/plain", Vec::new());
            return with(response, LOCATION, format!("{base}{path}"));
        }
        let blob = rest.split_once("/blobs/").and_then(|(_, digest)| self.blobs.get(digest));
        blob.map_or_else(missing, |blob| plain(StatusCode::OK, "application/octet-stream", blob.clone()))
    }

    fn token(&self) -> String {
        format!("token-{:08}", self.given)
    }

    fn tags(&self, repository: &str, query: &str) -> Response {
        let mut tags: Vec<&str> = self
            .manifests
            .keys()
            .filter(|(known, _)| known == repository)
            .map(|(_, tag)| tag.as_str())
            .collect();
        if tags.is_empty() {
            return missing();
        }
        let last = query.split('&').find_map(|part| part.strip_prefix("last="));
        tags.retain(|tag| last.is_none_or(|last| *tag > last));
        let more = self.page.filter(|page| tags.len() > *page);
        tags.truncate(more.unwrap_or(tags.len()));
        let body = json!({"name": repository, "tags": tags}).to_string();
        let response = plain(StatusCode::OK, "application/json", body.into_bytes());
        match (more, tags.last()) {
            (Some(_), Some(last)) => {
                let next = format!("</v2/{repository}/tags/list?last={last}>; rel=\"next\"");
                with(response, LINK, next)
            }
            _ => response,
        }
    }
}

fn missing() -> Response {
    plain(StatusCode::NOT_FOUND, "application/json", b"{\"errors\":[{\"code\":\"UNKNOWN\"}]}".to_vec())
}

fn plain(status: StatusCode, media_type: &str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    with(response, CONTENT_TYPE, media_type.to_owned())
}

fn with(mut response: Response, name: HeaderName, value: String) -> Response {
    response.headers_mut().extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
    response
}
