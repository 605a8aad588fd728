//! The agent's own HTTP endpoint: `/livez`, `/readyz` and `/metrics`.
//!
//! For the kubelet and for scrapers; nothing of it is needed for syncing, and nothing can be changed
//! through it. What it shows is told by the tasks ([`Heartbeats`], [`Readiness`]) and by telemetry.

mod heartbeat;
mod readiness;

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::telemetry::{Telemetry, chain};

pub use heartbeat::{Heartbeat, Heartbeats};
pub use readiness::Readiness;

/// How long answers under way may take once the end has come.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("failed to listen on {address}: set http.listen to an address and port that are free")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("failed to serve HTTP")]
    Serve { source: std::io::Error },
}

/// What the endpoint shows.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub telemetry: Telemetry,
    pub heartbeats: Heartbeats,
    pub readiness: Readiness,
}

/// Opens the port, so that an address in use is found out before anything else is started.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(address).await.map_err(|source| HttpError::Listen { address, source })
}

/// Serves until `end` resolves. Answers under way get a second; a client that does not read them is left.
pub async fn serve(
    listener: TcpListener,
    endpoint: Endpoint,
    end: impl Future<Output = ()> + Send + 'static,
) -> Result<(), HttpError> {
    let (ending, ended) = tokio::sync::oneshot::channel();
    let server = axum::serve(listener, router(endpoint)).with_graceful_shutdown(async move {
        end.await;
        // The receiver is gone only if the server failed.
        let _unheard = ending.send(());
    });
    let overdue = async {
        match ended.await {
            Ok(()) => tokio::time::sleep(CLOSE_WITHIN).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = server => served.map_err(|source| HttpError::Serve { source }),
        () = overdue => Ok(()),
    }
}

fn router(endpoint: Endpoint) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(endpoint)
}

/// 200 while every task beats in time; else 503 and the names of those that do not.
async fn livez(State(endpoint): State<Endpoint>) -> Response {
    let late = endpoint.heartbeats.late(Instant::now());
    let status = if late.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let lines = if late.is_empty() { vec!["ok".to_owned()] } else { late };
    (status, text(&lines)).into_response()
}

/// 200 once it is known how everything stands, well or not; else 503. Lists what is known and what is not.
async fn readyz(State(endpoint): State<Endpoint>) -> Response {
    let (is_ready, lines) = endpoint.readiness.read();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text(&lines)).into_response()
}

async fn metrics(State(endpoint): State<Endpoint>) -> Response {
    // Collecting the series of a large fleet takes milliseconds that the drivers shall not wait for.
    let collected = tokio::task::spawn_blocking(move || endpoint.telemetry.prometheus()).await;
    match collected.expect("collecting metrics does not panic") {
        Ok(metrics) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, text(&[chain(&error)])).into_response(),
    }
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}
