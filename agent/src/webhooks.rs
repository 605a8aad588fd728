//! Webhooks: a Git server says that something was pushed, and the agent asks the repository at once.
//!
//! Before the first stage of the pipeline, and no part of it: nothing of what a webhook says is believed but the names of
//! repositories, and these only wake their polls. Off unless `webhooks.listen` is set. What is not signed by a configured
//! secret is refused before it is read as anything.

mod payload;
mod replay;
mod verify;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use skiff_shared::news::Allowance;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config;
use crate::telemetry::chain;

use replay::Replays;

/// Bytes of a body. A larger one is of a push that the next poll finds.
const LONGEST: usize = 2 << 20;

/// Bodies that are read at once.
const AT_ONCE: usize = 4;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Refusals that are told in the log at once, and how far apart the others are.
const TOLD: u32 = 5;
const TOLD_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// Who sends webhooks: each has its path and its way to sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sender {
    Github,
    Gitlab,
    /// Forgejo too.
    Gitea,
    /// Anybody who signs as Standard Webhooks has it.
    Generic,
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("failed to listen on {address}: set webhooks.listen to an address and port that are free")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("failed to serve webhooks")]
    Serve { source: std::io::Error },
}

/// What is done with the addresses of repositories that something was pushed to; returns how many sources that are.
pub type Wake = Arc<dyn Fn(&[String]) -> usize + Send + Sync>;

/// The receiver of webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    config: Arc<config::Webhooks>,
    wake: Wake,
    replays: Arc<Mutex<Replays>>,
    complaints: Arc<Mutex<Allowance>>,
    reading: Arc<Semaphore>,
}

/// An answer that is no success.
type Refused = (StatusCode, &'static str);

impl Webhooks {
    pub fn new(config: config::Webhooks, wake: Wake) -> Self {
        Self {
            config: Arc::new(config),
            wake,
            replays: Arc::default(),
            complaints: Arc::new(Mutex::new(Allowance::new(TOLD, TOLD_EVERY))),
            reading: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    async fn take(&self, sender: Sender, headers: &HeaderMap, body: Body) -> Result<String, Refused> {
        let secrets = verify::Secrets::read(&self.config, sender).map_err(|error| {
            self.complain(sender, &chain(&error));
            (StatusCode::INTERNAL_SERVER_ERROR, "the agent cannot read its secret")
        })?;
        let secrets = secrets.ok_or((StatusCode::NOT_FOUND, "webhooks of this sender are not configured"))?;
        let _permit = self
            .reading
            .try_acquire()
            .map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "too many webhooks at once"))?;
        let body = read(headers, body).await?;
        let now = Timestamp::now();
        let proof = verify::verify(sender, &secrets, headers, &body, now).map_err(|refusal| {
            self.complain(sender, &refusal.to_string());
            (StatusCode::UNAUTHORIZED, refusal.word())
        })?;
        if !lock(&self.replays).is_new(proof, now) {
            return Ok("this was here before".to_owned());
        }
        let is_form =
            headers.get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"application/x-www"));
        if is_form {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "choose the content type application/json"));
        }
        let Ok(event) = serde_json::from_slice(&body) else {
            return Err((StatusCode::BAD_REQUEST, "the body is not JSON"));
        };
        if !payload::is_push(sender, headers, &event) {
            return Ok("nothing was pushed".to_owned());
        }
        let repositories = payload::repositories(sender, &event);
        let count = (self.wake)(&repositories);
        tracing::info!(?sender, ?repositories, sources = count, "a webhook asks for a poll");
        Ok(format!("sources that are asked: {count}"))
    }

    fn complain(&self, sender: Sender, why: &str) {
        if lock(&self.complaints).take(Timestamp::now()) {
            tracing::warn!(?sender, why, "a webhook is refused");
        }
    }
}

/// Opens the port, so that an address in use is found out before anything else is started.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, WebhookError> {
    TcpListener::bind(address).await.map_err(|source| WebhookError::Listen { address, source })
}

/// Serves until `end` resolves. Who is being answered then is left.
pub async fn serve(
    listener: TcpListener,
    webhooks: Webhooks,
    end: impl Future<Output = ()> + Send,
) -> Result<(), WebhookError> {
    let router = Router::new().route("/{sender}", post(answer)).with_state(webhooks);
    tokio::select! {
        served = async { axum::serve(listener, router).await } => {
            served.map_err(|source| WebhookError::Serve { source })
        }
        () = end => Ok(()),
    }
}

async fn answer(
    State(webhooks): State<Webhooks>,
    Path(sender): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> (StatusCode, String) {
    let sender = match sender.as_str() {
        "github" => Sender::Github,
        "gitlab" => Sender::Gitlab,
        "gitea" | "forgejo" => Sender::Gitea,
        "generic" => Sender::Generic,
        _ => return (StatusCode::NOT_FOUND, "no such sender\n".to_owned()),
    };
    match webhooks.take(sender, &headers, body).await {
        Ok(said) => (StatusCode::OK, format!("{said}\n")),
        Err((status, said)) => (status, format!("{said}\n")),
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refused> {
    const TOO_LARGE: Refused = (StatusCode::PAYLOAD_TOO_LARGE, "more than 2 MiB");
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > LONGEST) {
        return Err(TOO_LARGE);
    }
    match tokio::time::timeout(PATIENCE, to_bytes(body, LONGEST)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(TOO_LARGE),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not come")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
