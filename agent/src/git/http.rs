//! HTTP for gix. One [`Transfer`] is the budget of one operation: its deadline, its bytes, its end by the agent's
//! shutdown; whatever reads or waits does so through it, so that no server can hold an operation longer than allowed.
//!
//! It follows redirects of the first request only, as Git does, and takes no credentials to another host.

mod wire;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Certificate, Client, Request, Response, Url};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::source::{Limits, Login, Secrets};

pub(super) use wire::Wire;

/// How often the first request may be sent elsewhere.
const REDIRECTS: usize = 5;
const CONNECT: Duration = Duration::from_secs(10);

/// What one operation may still take, and what has ended it.
pub(super) struct Transfer {
    runtime: Handle,
    cancel: CancellationToken,
    deadline: Instant,
    limits: Limits,
    origin: Url,
    authorization: Option<HeaderValue>,
    authorities: Option<Vec<Certificate>>,
    secrets: Secrets,
    /// TLS needs its roots read and parsed, which plain HTTP can do without.
    plain: OnceLock<Client>,
    secure: OnceLock<Client>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    received: u64,
    failure: Option<Failure>,
}

/// Why HTTP ended an operation. gix passes errors through as text, so the first one is kept here.
#[derive(Debug)]
pub(super) enum Failure {
    Unreachable(reqwest::Error),
    Interrupted(reqwest::Error),
    Status { status: StatusCode, retry_after: Option<Duration> },
    Redirect { to: String, problem: &'static str },
    Deadline,
    TooLarge,
    Cancelled,
}

impl Transfer {
    pub(super) fn begin(
        runtime: Handle,
        cancel: CancellationToken,
        origin: Url,
        login: Login,
        limits: Limits,
    ) -> Arc<Self> {
        let Login { authorization, authorities, secrets } = login;
        Arc::new(Self {
            deadline: Instant::now() + limits.deadline,
            runtime,
            cancel,
            limits,
            origin,
            authorization,
            authorities,
            secrets,
            plain: OnceLock::new(),
            secure: OnceLock::new(),
            progress: Mutex::default(),
        })
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.authorization.is_some()
    }

    pub(super) fn received(&self) -> u64 {
        self.progress().received
    }

    /// Returns, once, what ended the operation, if it was HTTP.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.progress().failure.take()
    }

    /// Calls `interrupt` when the operation has to end, for work that does not read; until the guard is dropped.
    pub(super) fn watch(&self, interrupt: impl FnOnce() + Send + 'static) -> Watch {
        let (cancel, deadline) = (self.cancel.clone(), self.deadline);
        Watch(self.runtime.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
            interrupt();
        }))
    }

    /// Says whether time or shutdown have ended the operation; records it if so.
    pub(super) fn expired(&self) -> bool {
        let failure = match () {
            () if self.cancel.is_cancelled() => Failure::Cancelled,
            () if Instant::now() >= self.deadline => Failure::Deadline,
            () => return false,
        };
        let _recorded = self.fail(failure);
        true
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("no code panics while it holds the progress")
    }

    /// Records the failure unless there is an earlier one.
    fn fail(&self, failure: Failure) -> io::Error {
        self.progress().failure.get_or_insert(failure);
        io::Error::other("HTTP has failed")
    }

    /// Waits for `work` as long as the operation may last.
    fn wait<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> io::Result<T> {
        let done = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => Err(Failure::Cancelled),
                done = tokio::time::timeout_at(self.deadline, work) => done.unwrap_or(Err(Failure::Deadline)),
            }
        });
        done.map_err(|failure| self.fail(failure))
    }

    fn client(&self, url: &Url) -> Result<&Client, Failure> {
        let authorities = self.authorities.as_ref();
        let cell = if url.scheme() == "https" { &self.secure } else { &self.plain };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT);
        let builder = match (url.scheme(), authorities) {
            ("https", Some(authorities)) => builder.tls_certs_only(authorities.iter().cloned()),
            ("https", None) => builder,
            // Credentials in the clear are for this machine alone, so for no proxy either.
            _ if self.has_credentials() => builder.tls_certs_only([]).no_proxy(),
            _ => builder.tls_certs_only([]),
        };
        let client = builder.build().map_err(Failure::Unreachable)?;
        Ok(cell.get_or_init(|| client))
    }

    /// Sends a request, with credentials if it goes to where they belong.
    async fn send(&self, mut request: Request) -> Result<Response, Failure> {
        if let Some(authorization) = &self.authorization
            && same_host(request.url(), &self.origin)
        {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let client = self.client(request.url())?;
        client.execute(request).await.map_err(|error| Failure::Unreachable(error.without_url()))
    }

    /// Sends the first request of a conversation.
    async fn get(&self, url: Url, headers: HeaderMap) -> Result<Response, Failure> {
        let mut url = url;
        for _ in 0..=REDIRECTS {
            let mut request = Request::new(http::Method::GET, url.clone());
            *request.headers_mut() = headers.clone();
            let response = self.send(request).await?;
            if !response.status().is_redirection() {
                return accept(response);
            }
            url = target(&response, &url)?;
        }
        Err(Failure::Redirect { to: printable(&url), problem: "too many of them" })
    }

    async fn post(&self, url: Url, headers: HeaderMap, body: Vec<u8>) -> Result<Response, Failure> {
        let mut request = Request::new(http::Method::POST, url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        let response = self.send(request).await?;
        match response.status().is_redirection() {
            false => accept(response),
            true => {
                let to = location(&response, &url).map_or_else(String::new, |url| printable(&url));
                Err(Failure::Redirect { to, problem: "it came after the first request" })
            }
        }
    }

    /// Returns the next bytes of an answer; none at its end.
    async fn chunk(&self, response: &mut Response) -> Result<Bytes, Failure> {
        let chunk = loop {
            match response.chunk().await.map_err(|error| Failure::Interrupted(error.without_url()))? {
                Some(chunk) if chunk.is_empty() => {}
                chunk => break chunk.unwrap_or_default(),
            }
        };
        let mut progress = self.progress();
        progress.received += chunk.len() as u64;
        match progress.received > self.limits.transfer {
            true => Err(Failure::TooLarge),
            false => Ok(chunk),
        }
    }
}

/// Keeps a watch over an operation until it is dropped.
pub(super) struct Watch(tokio::task::JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn same_host(left: &Url, right: &Url) -> bool {
    left.scheme() == right.scheme()
        && left.host() == right.host()
        && left.port_or_known_default() == right.port_or_known_default()
}

fn accept(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    match status.is_success() {
        true => Ok(response),
        false => {
            Err(Failure::Status { status, retry_after: retry_after(response.headers(), Timestamp::now()) })
        }
    }
}

fn location(response: &Response, from: &Url) -> Option<Url> {
    from.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

/// Returns where a redirect of the first request leads, if it may be followed.
fn target(response: &Response, from: &Url) -> Result<Url, Failure> {
    let refuse = |to: String, problem| Err(Failure::Redirect { to, problem });
    let Some(to) = location(response, from) else {
        return refuse(String::new(), "it names no address");
    };
    let printed = printable(&to);
    if !matches!(to.scheme(), "http" | "https") {
        refuse(printed, "it leads away from HTTP")
    } else if from.scheme() == "https" && to.scheme() == "http" {
        refuse(printed, "it leads from HTTPS to plain HTTP")
    } else if !to.username().is_empty() || to.password().is_some() {
        refuse(printed, "it carries credentials")
    } else if !to.path().ends_with("/info/refs") || to.query() != from.query() {
        refuse(printed, "it does not lead to a repository")
    } else {
        Ok(to)
    }
}

/// Returns an address without anything that may be secret.
fn printable(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Reads `Retry-After`, which is seconds or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let wait = date.duration_since(now).max(SignedDuration::ZERO);
    Some(wait.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
        let wait = |text: &str| {
            let header = HeaderValue::from_str(text).unwrap();
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, header)]), now)
        };
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Mon, 23 Nov 2026 08:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wait("Mon, 23 Nov 2026 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }
}
