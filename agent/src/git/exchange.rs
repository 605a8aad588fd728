//! Requests over HTTP for what is no Git: chart repositories and registries are asked with the credentials, the proxy,
//! the authorities and the limits of a source, and under the same rules.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use reqwest::{Response, Url};

use super::budget::Failure;
use super::error::FetchError;
use super::github_app::Lease;
use super::http::{Transfer, retry_after};
use super::peer::Peer;
use super::remote::{Means, Web, web};
use super::source::Source;
use super::url::Address;
use crate::config::Secret;

/// Requests that belong together. They end with the operation's deadline at the latest.
pub struct Exchange {
    peer: Peer,
    transfer: Arc<Transfer>,
    /// The token that it shows, where a GitHub App gave one out.
    lease: Option<Lease>,
}

/// The answer to a request, whatever it says; its body is still to be read.
pub struct Reply<'a> {
    exchange: &'a Exchange,
    response: Response,
}

impl Exchange {
    /// Reads the credentials of a source whose address is one of HTTP. Nothing is sent to it yet.
    pub fn begin(source: &Source, means: &Means) -> Result<Self, FetchError> {
        let Address::Web(origin) = source.url.address() else {
            return Err(FetchError::RepositoryNotFound { url: source.url.to_string() });
        };
        let named = means.named(source, source.credentials.secret.as_deref())?;
        let Web { peer, transfer, lease } = web(source, origin, named.as_ref(), means)?;
        Ok(Self { peer, transfer, lease })
    }

    /// Sends a request. Credentials go with it if it goes to the source's host; an `Authorization` among the headers
    /// stands instead of them.
    pub fn get(&self, url: Url, headers: HeaderMap) -> Result<Reply<'_>, FetchError> {
        let response = self.wait(self.transfer.ask(url, headers))?;
        Ok(Reply { exchange: self, response })
    }

    /// Keeps a text out of every message.
    pub fn hide(&self, secret: Secret) {
        self.peer.budget.hide(secret);
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, FetchError> {
        self.peer.budget.wait(work).map_err(|_| {
            let failure = self.peer.budget.take_failure().unwrap_or(Failure::Cancelled);
            self.peer.ended(failure)
        })
    }
}

impl Reply<'_> {
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns a header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Returns the address that the answer came from, after redirects.
    pub fn url(&self) -> &Url {
        self.response.url()
    }

    /// Says in our words what an answer means that is no success. What was shown and not accepted is not shown again.
    pub fn refused(&self) -> FetchError {
        if self.status() == StatusCode::UNAUTHORIZED
            && let Some(lease) = &self.exchange.lease
        {
            lease.forget();
        }
        let retry_after = retry_after(self.response.headers(), Timestamp::now());
        self.exchange.peer.ended(Failure::Status { status: self.status(), retry_after })
    }

    /// Returns the next bytes of the body; none at its end.
    pub fn chunk(&mut self) -> Result<Bytes, FetchError> {
        let exchange = self.exchange;
        exchange.wait(exchange.transfer.chunk(&mut self.response))
    }

    /// Reads the body to its end if it has at most `limit` bytes.
    pub fn body(mut self, limit: usize) -> Result<Vec<u8>, FetchError> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(body);
            }
            if body.len() + chunk.len() > limit {
                let (url, limit) = (self.exchange.peer.url.clone(), limit as u64);
                return Err(FetchError::TransferTooLarge { url, limit });
            }
            body.extend_from_slice(&chunk);
        }
    }
}
