//! What containers of the lab write: three lines at once, and one more every fifth of a second for ever.
//!
//! The API server asks for logs where a node says that its kubelet listens, over TLS, and checks no certificate unless it
//! is told to: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver (`--kubelet-*`).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::routing::get;
use bytes::Bytes;
use futures::stream::{self, Stream};
use jiff::Timestamp;

use crate::background::Background;
use crate::certs::Authority;
use crate::tls;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 79, 0, 7));

/// Lines that a container has written when it is looked at first.
const FIRST: usize = 3;

const BETWEEN_LINES: Duration = Duration::from_millis(200);

/// When the log of a container begins: namespace, pod and container.
type Beginnings = Arc<Mutex<HashMap<[String; 3], Timestamp>>>;

/// Serves the logs of all containers; returns where.
pub(super) fn serve(background: &Background) -> anyhow::Result<SocketAddr> {
    let config = tls::config(&Authority::new("kubelets of the lab")?, None, ADDRESS)?;
    let (listener, bound) = background.listen(SocketAddr::new(ADDRESS, 0))?;
    let beginnings = Beginnings::default();
    let router = Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(answer))
        .with_state(beginnings);
    background.spawn(async move {
        let listener = tls::TlsListener::start(listener, bound, config);
        // A server ends with its runtime; an error before that shows in its clients.
        let _ended = axum::serve(listener, router).await;
    });
    Ok(bound)
}

async fn answer(
    State(beginnings): State<Beginnings>,
    Path([namespace, pod, container]): Path<[String; 3]>,
    RawQuery(query): RawQuery,
) -> Body {
    let asked = Asked::parse(query.as_deref().unwrap_or_default());
    if asked.previous {
        return Body::from(format!("{pod}/{container} wrote this before it was restarted\n"));
    }
    let writer = format!("{pod}/{container}");
    let mut beginnings = beginnings.lock().unwrap_or_else(PoisonError::into_inner);
    let began = *beginnings.entry([namespace, pod, container]).or_insert_with(Timestamp::now);
    Body::from_stream(Log { writer, began }.told(asked))
}

/// What is wanted of a log, by the names of `PodLogOptions`.
#[derive(Clone, Copy, Default)]
struct Asked {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail: Option<usize>,
    since: Option<Timestamp>,
}

impl Asked {
    fn parse(query: &str) -> Self {
        let mut asked = Self::default();
        for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
            match name {
                "follow" => asked.follow = value == "true",
                "previous" => asked.previous = value == "true",
                "timestamps" => asked.timestamps = value == "true",
                "tailLines" => asked.tail = value.parse().ok(),
                "sinceTime" => asked.since = value.replace("%3A", ":").parse().ok(),
                _ => {}
            }
        }
        asked
    }
}

/// The log of one container: a function of the time.
struct Log {
    writer: String,
    began: Timestamp,
}

impl Log {
    /// Lines that have been written by now.
    fn written(&self) -> usize {
        let passed = Timestamp::now().duration_since(self.began).as_millis() / 200;
        FIRST + usize::try_from(passed).unwrap_or_default()
    }

    fn time(&self, line: usize) -> Timestamp {
        let later = BETWEEN_LINES * u32::try_from(line.saturating_sub(FIRST)).unwrap_or(u32::MAX);
        // The first lines are a nanosecond apart: each has a time of its own.
        self.began + later + Duration::from_nanos(line.min(FIRST) as u64)
    }

    fn told(self, asked: Asked) -> impl Stream<Item = std::io::Result<Bytes>> {
        let written = if asked.follow { self.written() } else { FIRST };
        let first = written.saturating_sub(asked.tail.unwrap_or(written));
        stream::unfold((self, first), move |(log, line)| async move {
            if line >= written && !asked.follow {
                return None;
            }
            while line >= log.written() {
                tokio::time::sleep(BETWEEN_LINES).await;
            }
            let time = log.time(line);
            let stamp = if asked.timestamps { format!("{time:.9} ") } else { String::new() };
            let old = asked.since.is_some_and(|since| time < since);
            let text = if old { String::new() } else { format!("{stamp}{} line {}\n", log.writer, line + 1) };
            Some((Ok(Bytes::from(text)), (log, line + 1)))
        })
    }
}

/// Returns what the status of a node says of where its kubelet listens.
pub(super) fn status(bound: SocketAddr) -> serde_json::Value {
    serde_json::json!({
        "addresses": [{ "type": "InternalIP", "address": bound.ip().to_string() }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": bound.port() } },
    })
}
