//! A telemetry backend in the test's own process: takes OTLP over HTTP, keeps everything, answers questions.

mod decode;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::background::Background;

/// Attributes of a span, a point, a record or a resource.
pub type Attributes = BTreeMap<String, Value>;

/// A span as it was received; ids are lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace_id: String,
    pub span_id: String,
    pub parent_id: Option<String>,
    pub name: String,
    /// As in the protocol: `internal`, `server`, `client`, `producer`, `consumer`.
    pub kind: String,
    pub start: Timestamp,
    pub end: Timestamp,
    pub attributes: Attributes,
    pub events: Vec<Event>,
    pub links: Vec<Link>,
    pub status: Status,
    pub resource: Attributes,
    pub scope: String,
}

/// How a span ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    #[default]
    Unset,
    Ok,
    Error(String),
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub time: Timestamp,
    pub attributes: Attributes,
}

/// A span's pointer to another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub trace_id: String,
    pub span_id: String,
    pub attributes: Attributes,
}

/// One measurement of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub metric: String,
    pub unit: String,
    pub attributes: Attributes,
    pub time: Timestamp,
    pub value: Measured,
    pub resource: Attributes,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    Gauge(f64),
    /// A counter, or an up-down counter if it is not monotonic.
    Sum {
        value: f64,
        monotonic: bool,
    },
    Histogram {
        count: u64,
        sum: f64,
        bounds: Vec<f64>,
        counts: Vec<u64>,
    },
}

/// One log record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub time: Timestamp,
    pub severity: String,
    pub body: Value,
    pub attributes: Attributes,
    pub trace_id: Option<String>,
    pub span_id: Option<String>,
    pub resource: Attributes,
    pub scope: String,
}

/// How the backend treats what it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Takes it.
    #[default]
    None,
    /// Accepts the connection and never answers.
    Hang,
    /// Refuses it, keeping nothing.
    Status { code: u16, retry_after: Option<Duration> },
}

/// A message that was taken, unpacked, and the path that it was sent to.
#[derive(Clone, Debug)]
pub struct Taken {
    pub path: String,
    pub body: Vec<u8>,
}

/// Everything that was received so far.
#[derive(Clone, Debug, Default)]
struct Received {
    spans: Vec<Span>,
    points: Vec<Point>,
    records: Vec<Record>,
    requests: u64,
}

/// A running backend; it ends when it is dropped.
pub struct OtlpReceiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _background: Background,
}

struct Shared {
    received: watch::Sender<Received>,
    fault: watch::Sender<Fault>,
    /// Whoever wants a copy of what is taken.
    copies: Mutex<Vec<mpsc::UnboundedSender<Taken>>>,
}

impl OtlpReceiver {
    /// Starts a backend on 127.81.0.1 and a free port.
    pub fn start() -> Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::new(127, 81, 0, 1), 0)))
    }

    /// Starts a backend on `address`; port 0 takes a free one.
    pub fn start_on(address: SocketAddr) -> Result<Self> {
        let background = Background::start("otlp")?;
        let (listener, address) = background.listen(address)?;
        let shared = Arc::new(Shared {
            received: watch::Sender::new(Received::default()),
            fault: watch::Sender::new(Fault::None),
            copies: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .route("/v1/logs", post(logs))
            .with_state(shared.clone());
        background.spawn(async move {
            // The server ends with its runtime; an error before that shows in its clients.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, _background: background })
    }

    /// Returns the value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Treats every request like this from now on.
    pub fn behave(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    /// Returns a copy of every message that is taken from now on.
    pub fn copies(&self) -> mpsc::UnboundedReceiver<Taken> {
        let (sender, receiver) = mpsc::unbounded_channel();
        lock(&self.shared.copies).push(sender);
        receiver
    }

    /// Returns all spans, in the order of arrival.
    pub fn spans(&self) -> Vec<Span> {
        self.shared.received.borrow().spans.clone()
    }

    /// Returns all measurements, in the order of arrival.
    pub fn points(&self) -> Vec<Point> {
        self.shared.received.borrow().points.clone()
    }

    /// Returns the newest measurement of each series of `metric`.
    pub fn newest(&self, metric: &str) -> Vec<Point> {
        let received = self.shared.received.borrow();
        let mut newest: Vec<Point> = Vec::new();
        for point in received.points.iter().filter(|point| point.metric == metric) {
            let same =
                |known: &Point| known.attributes == point.attributes && known.resource == point.resource;
            match newest.iter_mut().find(|known| same(known)) {
                Some(known) => point.clone_into(known),
                None => newest.push(point.clone()),
            }
        }
        newest
    }

    /// Returns all log records, in the order of arrival.
    pub fn records(&self) -> Vec<Record> {
        self.shared.received.borrow().records.clone()
    }

    /// Returns how many requests came, refused ones included.
    pub fn requests(&self) -> u64 {
        self.shared.received.borrow().requests
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.shared.received.send_replace(Received::default());
    }

    /// Waits until `condition` holds for all spans; returns them, or an error that lists what came instead.
    pub async fn wait_for(
        &self,
        condition: impl Fn(&[Span]) -> bool,
        deadline: Duration,
    ) -> Result<Vec<Span>> {
        if self.wait(|received| condition(&received.spans), deadline).await {
            return Ok(self.spans());
        }
        let names: Vec<String> = self.spans().into_iter().map(|span| span.name).collect();
        bail!(
            "the awaited spans did not come within {deadline:?}; {} came: {}",
            names.len(),
            names.join(", ")
        )
    }

    /// Waits until `condition` holds for all measurements.
    pub async fn wait_for_points(
        &self,
        condition: impl Fn(&[Point]) -> bool,
        deadline: Duration,
    ) -> Result<Vec<Point>> {
        if self.wait(|received| condition(&received.points), deadline).await {
            return Ok(self.points());
        }
        bail!("the awaited measurements did not come within {deadline:?}; {} came", self.points().len())
    }

    /// Waits until `condition` holds for all log records.
    pub async fn wait_for_records(
        &self,
        condition: impl Fn(&[Record]) -> bool,
        deadline: Duration,
    ) -> Result<Vec<Record>> {
        if self.wait(|received| condition(&received.records), deadline).await {
            return Ok(self.records());
        }
        bail!("the awaited log records did not come within {deadline:?}; {} came", self.records().len())
    }

    /// Waits until this many requests came, refused and unanswered ones included.
    pub async fn wait_for_requests(&self, requests: u64, deadline: Duration) -> Result<()> {
        if self.wait(|received| received.requests >= requests, deadline).await {
            return Ok(());
        }
        bail!("{requests} requests did not come within {deadline:?}; {} came", self.requests())
    }

    async fn wait(&self, condition: impl Fn(&Received) -> bool, deadline: Duration) -> bool {
        let mut received = self.shared.received.subscribe();
        let met = received.wait_for(condition);
        tokio::time::timeout(deadline, met).await.is_ok_and(|met| met.is_ok())
    }
}

async fn traces(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    take(&shared, request, |received, body| {
        received.spans.extend(decode::spans(body)?);
        Ok(())
    })
    .await
}

async fn metrics(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    take(&shared, request, |received, body| {
        received.points.extend(decode::points(body)?);
        Ok(())
    })
    .await
}

async fn logs(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    take(&shared, request, |received, body| {
        received.records.extend(decode::records(body)?);
        Ok(())
    })
    .await
}

type Keep = fn(&mut Received, &[u8]) -> Result<()>;

async fn take(shared: &Shared, request: Request, keep: Keep) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return answer(StatusCode::BAD_REQUEST, "the request's body broke off");
    };
    shared.received.send_modify(|received| received.requests += 1);
    let fault = shared.fault.borrow().clone();
    match fault {
        Fault::None => {}
        Fault::Hang => std::future::pending().await,
        Fault::Status { code, retry_after } => return refusal(code, retry_after),
    }
    let mut kept = Ok(());
    let body = match unpack(&head.headers, body.to_vec()) {
        Ok(body) => body,
        Err(error) => return answer(StatusCode::BAD_REQUEST, &format!("{error:#}")),
    };
    shared.received.send_modify(|received| kept = keep(received, &body));
    let taken = Taken { path: head.uri.path().to_owned(), body };
    lock(&shared.copies).retain(|copy| copy.send(taken.clone()).is_ok());
    match kept {
        // An empty message is the protocol's full success.
        Ok(()) => answer(StatusCode::OK, ""),
        Err(error) => answer(StatusCode::BAD_REQUEST, &format!("{error:#}")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refusal(code: u16, retry_after: Option<Duration>) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answer(status, "");
    if let Some(wait) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    response
}

fn unpack(headers: &HeaderMap, body: Vec<u8>) -> Result<Vec<u8>> {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if kind != b"application/x-protobuf" {
        bail!("only application/x-protobuf is read, not {:?}", String::from_utf8_lossy(kind));
    }
    if headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding != "gzip") {
        return Ok(body);
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(body.as_slice()).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

fn answer(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    response
}
