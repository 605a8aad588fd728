//! Who is talked to, and what is said when a conversation with them fails.

use std::sync::Arc;
use std::time::Duration;

use gix_transport::packetline;
use http::StatusCode;

use super::budget::{Budget, Failure};
use super::error::{FetchError, GitCause};
use super::reference::CommitId;
use super::ssh::SshFailure;

/// Who is talked to, as far as it matters for what is said of failures.
pub(super) struct Peer {
    pub url: String,
    pub budget: Arc<Budget>,
    /// Credentials were sent in the first request.
    pub authorized: bool,
    pub proxy: Option<String>,
    pub known_hosts: String,
}

impl Peer {
    pub(super) fn fetch_failed(&self, commit: CommitId, error: &gix::Error) -> FetchError {
        let Self { url, budget, .. } = self;
        let url = url.clone();
        if budget.expired() {
            // The interrupt shows as whatever it interrupted.
        } else if words(error).is_some_and(|words| is_unknown_commit(&words)) {
            return FetchError::CommitNotFound { url, commit };
        } else if error.is_resource_exhausted() {
            let source = cause(budget, error);
            return FetchError::FileTooLarge { url, limit: budget.limits().file, source };
        }
        self.failed(error)
    }

    pub(super) fn greeting_failed(&self, error: &gix::Error) -> FetchError {
        match self.failed(error) {
            FetchError::Damaged { url, source } => FetchError::NotGit { url, source },
            other => other,
        }
    }

    /// Says in our words why a conversation failed: what carried it knows best, what is left is the Git in it.
    pub(super) fn failed(&self, error: &gix::Error) -> FetchError {
        let Self { url, budget, .. } = self;
        match budget.take_failure() {
            Some(failure) => self.ended(failure),
            None => match words(error) {
                Some(words) => FetchError::Refused { url: url.clone(), source: said(budget, &words) },
                None => FetchError::Damaged { url: url.clone(), source: cause(budget, error) },
            },
        }
    }

    /// Says in our words what ended a conversation.
    pub(super) fn ended(&self, failure: Failure) -> FetchError {
        let Self { url, budget, .. } = self;
        let (url, received) = (url.clone(), budget.received());
        match failure {
            Failure::Unreachable(source) => self.unreachable(source),
            Failure::Interrupted(source) => match tls(&source) {
                // With TLS 1.3 a server asks for a certificate when the client is done.
                Some(tls) => self.tls_failed(tls),
                None => FetchError::Interrupted { url, received, source },
            },
            Failure::Status { status, retry_after } => self.refused(status, retry_after),
            Failure::Redirect { to, problem } => {
                FetchError::Redirect { url, to: budget.redact(&to), problem }
            }
            Failure::Ssh(failure) => self.ssh_failed(failure),
            Failure::Deadline => FetchError::Deadline { url, deadline: budget.limits().deadline, received },
            Failure::TooLarge => FetchError::TransferTooLarge { url, limit: budget.limits().transfer },
            Failure::Cancelled => FetchError::Cancelled { url },
        }
    }

    fn unreachable(&self, source: reqwest::Error) -> FetchError {
        let url = self.url.clone();
        match (tls(&source), self.proxy.clone()) {
            (Some(tls), _) => self.tls_failed(tls),
            (None, Some(proxy)) => FetchError::ProxyFailed { url, proxy, source },
            (None, None) => FetchError::Unreachable { url, source },
        }
    }

    fn tls_failed(&self, source: rustls::Error) -> FetchError {
        let url = self.url.clone();
        match source {
            // An alert is what the other side says of us.
            rustls::Error::AlertReceived(_) => FetchError::IdentityRefused { url, source },
            _ => FetchError::CertificateRefused { url, source },
        }
    }

    fn refused(&self, status: StatusCode, retry_after: Option<Duration>) -> FetchError {
        let url = self.url.clone();
        match status {
            StatusCode::UNAUTHORIZED if self.authorized => FetchError::CredentialsRefused { url },
            StatusCode::UNAUTHORIZED => FetchError::CredentialsWanted { url },
            StatusCode::FORBIDDEN => FetchError::Forbidden { url, retry_after },
            StatusCode::NOT_FOUND => FetchError::RepositoryNotFound { url },
            StatusCode::TOO_MANY_REQUESTS => FetchError::RateLimited { url, retry_after },
            status => FetchError::Status { url, status: status.as_u16(), retry_after },
        }
    }

    fn ssh_failed(&self, failure: SshFailure) -> FetchError {
        let Self { url, budget, known_hosts, .. } = self;
        let (url, known_hosts, received) = (url.clone(), known_hosts.clone(), budget.received());
        match failure {
            SshFailure::Unreachable(source) => FetchError::SshUnreachable { url, source },
            SshFailure::HostUnknown { offered } => FetchError::HostUnknown { url, known_hosts, offered },
            SshFailure::HostKeyWrong { offered, line } => {
                FetchError::HostKeyWrong { url, known_hosts, offered, line }
            }
            SshFailure::HostKeyRevoked { offered, line } => {
                FetchError::HostKeyRevoked { url, known_hosts, offered, line }
            }
            SshFailure::HostKeyKinds { known } => FetchError::HostKeyKinds { url, known_hosts, known },
            SshFailure::KeyRefused { user, key } => FetchError::SshKeyRefused { url, user, key },
            SshFailure::Protocol(source) => FetchError::SshFailed { url, received, source: Box::new(source) },
            SshFailure::Ended { said: words } if words.is_empty() => FetchError::Ended { url, received },
            SshFailure::Ended { said: words } => {
                let source = said(budget, &words);
                match is_unknown_repository(&words) {
                    true => FetchError::RepositoryUnknown { url, source },
                    false => FetchError::Refused { url, source },
                }
            }
        }
    }
}

/// Finds what TLS has to say of a failed request.
fn tls(error: &reqwest::Error) -> Option<rustls::Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found.clone());
        }
        // An I/O error does not name what it wraps as its source.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = wrapped.map(|wrapped| wrapped as &(dyn std::error::Error + 'static)).or(error.source());
    }
    None
}

/// Returns what the server said when it refused in the middle of the protocol. gix tells its words from its answer in
/// some places only; in the others they stand in the text.
fn words(error: &gix::Error) -> Option<String> {
    if let Some(said) = error.downcast_any_ref::<packetline::read::Error>() {
        return Some(said.message.to_string());
    }
    let chain = GitCause::chain(error);
    let (_, said) = chain.split_once("\"ERR ")?;
    Some(said.trim_end_matches('"').to_owned())
}

/// Reads a server's words: the protocol has no codes.
fn is_unknown_commit(words: &str) -> bool {
    words.contains("not our ref")
}

/// Reads what Git, and those who imitate it, print when there is nothing at a path.
fn is_unknown_repository(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    ["does not appear to be a git repository", "repository not found", "could not be found", "does not exist"]
        .iter()
        .any(|known| words.contains(known))
}

fn cause(budget: &Budget, error: &gix::Error) -> GitCause {
    said(budget, &GitCause::chain(error))
}

fn said(budget: &Budget, words: &str) -> GitCause {
    GitCause::from_text(&budget.redact(words))
}
