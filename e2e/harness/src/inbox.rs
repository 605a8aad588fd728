//! A server that takes whatever is posted to it, and remembers it: where notifications are sent to.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::background::Background;

/// Bytes of a request that are kept.
const LONGEST: usize = 1 << 20;

/// How long anything may take on a machine that builds meanwhile.
const DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running server; it ends when it is dropped.
pub struct Inbox {
    address: SocketAddr,
    shared: Arc<Mutex<Shelf>>,
    _background: Background,
}

#[derive(Default)]
struct Shelf {
    received: Vec<Received>,
    /// How the next requests are answered; after them as the last one said.
    answers: VecDeque<Answer>,
    standing: Answer,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// With its query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Default for Answer {
    fn default() -> Self {
        Self { status: 200, headers: Vec::new(), body: String::new() }
    }
}

impl Received {
    /// Returns a header's text, empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the body as JSON, `null` where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Inbox {
    /// Starts one that answers 200 to everything.
    pub fn start() -> Result<Self> {
        let shared: Arc<Mutex<Shelf>> = Arc::default();
        let background = Background::start("inbox")?;
        let (listener, address) =
            background.listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 79, 0, 5)), 0))?;
        let router = Router::new().fallback(take).with_state(shared.clone());
        background.spawn(async move {
            // It ends with its runtime; an error before that shows in its clients.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, _background: background })
    }

    /// Returns the server's address, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers so from now on.
    pub fn answer(&self, status: u16, body: &str) {
        self.shelf().standing = Answer { status, headers: Vec::new(), body: body.to_owned() };
    }

    /// Answers the next request so, after those that have been said before.
    pub fn answer_once(&self, answer: Answer) {
        self.shelf().answers.push_back(answer);
    }

    /// Returns everything that was received so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shelf().received.clone()
    }

    /// Waits until there are so many requests, and returns all.
    pub async fn wait_for(&self, count: usize) -> Result<Vec<Received>> {
        let begun = Instant::now();
        loop {
            let received = self.received();
            if received.len() >= count {
                return Ok(received);
            }
            if begun.elapsed() > DEADLINE {
                bail!("gave up waiting for {count} requests; there are {}: {received:#?}", received.len());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shared.lock().expect("no code panics while it holds the shelf")
    }
}

async fn take(State(shared): State<Arc<Mutex<Shelf>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LONGEST).await.unwrap_or_default();
    let path = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let received = Received { method: parts.method.to_string(), path, headers: parts.headers, body };
    let answer = {
        let mut shelf = shared.lock().expect("no code panics while it holds the shelf");
        shelf.received.push(received);
        shelf.answers.pop_front().unwrap_or_else(|| shelf.standing.clone())
    };
    let mut response = Response::builder()
        .status(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap_or_default()
}
