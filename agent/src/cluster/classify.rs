//! What an answer that is not a success means: one pure function, by the structure of the answer.
//!
//! The API server's prose decides only what its structure leaves open, in [`told_by_prose`], and there
//! only between words for people, with one exception that is named.

use jiff::SignedDuration;
use serde::Deserialize;
use skiff_shared::report::shortened;
use skiff_shared::sync::event::{Cause, Failure, Refusal};

/// Characters of the server's message that are kept.
const MAX_MESSAGE: usize = 4_096;

/// The `Status` that the API server answers with, as far as it decides anything.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    reason: String,
    message: String,
    details: Details,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    name: String,
    kind: String,
    causes: Vec<StatusCause>,
    retry_after_seconds: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StatusCause {
    reason: String,
    field: String,
}

/// Returns what an answer with status `code` means for the request.
pub fn classify(code: u16, retry_after: Option<SignedDuration>, body: &[u8]) -> Failure {
    let status = read(body);
    let cause = |reason| Cause { reason, code, message: shortened(&status.message, MAX_MESSAGE) };
    match code {
        401 => Failure::Unavailable(cause(Refusal::Forbidden)),
        403 if status.has_cause("NamespaceTerminating") => {
            Failure::Unavailable(cause(Refusal::NamespaceTerminating))
        }
        403 => Failure::Rejected(cause(status.admission().unwrap_or(Refusal::Forbidden))),
        404 if status.details.kind == "namespaces" => Failure::NotFound(cause(Refusal::NamespaceMissing)),
        404 => Failure::NotFound(cause(Refusal::KindMissing)),
        // 410 is the end of a watch or of a paged list; nothing else answers it.
        409 | 410 => Failure::Unavailable(cause(Refusal::Conflict)),
        413 => Failure::Rejected(cause(status.admission().unwrap_or(Refusal::TooLarge))),
        422 if status.is_about("metadata.uid") => Failure::Replaced(cause(Refusal::Invalid)),
        422 => Failure::Rejected(cause(status.admission().unwrap_or(Refusal::Invalid))),
        400 => Failure::Rejected(cause(status.admission().unwrap_or(Refusal::SchemaInvalid))),
        429 => Failure::Throttled(retry_after.or_else(|| status.retry_after())),
        402..=499 => Failure::Rejected(cause(Refusal::Unclassified)),
        500 => internal(&status, cause),
        // The request may have been carried out behind a gateway, or after the server gave up waiting.
        502 | 504 => Failure::Unknown(format!("HTTP {code}: {}", shortened(&status.message, MAX_MESSAGE))),
        501..=599 => Failure::Unavailable(cause(Refusal::ServerError)),
        _ => Failure::Unknown(format!("HTTP {code} from something that is no API server")),
    }
}

/// Whether a 404 says that the object asked for is not there, and not its kind. Only of a GET or a
/// DELETE: a write answers alike where the namespace is missing.
pub(super) fn is_absent(code: u16, body: &[u8]) -> bool {
    code == 404 && !read(body).details.name.is_empty()
}

fn internal(status: &Status, cause: impl Fn(Refusal) -> Cause) -> Failure {
    match told_by_prose(&status.message) {
        // Also with a reason: a webhook may answer no with any code it likes.
        Some(reason @ (Refusal::SchemaInvalid | Refusal::TooLarge)) if status.reason.is_empty() => {
            Failure::Rejected(cause(reason))
        }
        Some(Refusal::WebhookUnavailable) => Failure::Unavailable(cause(Refusal::WebhookUnavailable)),
        _ => Failure::Unavailable(cause(Refusal::ServerError)),
    }
}

/// Reads what only the words tell.
///
/// - A 500 without a `reason` is both a body that does not fit the schema or the store (permanent) and
///   any error that the server has no class for (passing). This is the one place where words decide
///   whether a request is sent again.
/// - Quota, webhooks and missing rights all answer 403 `Forbidden` with the same details; a webhook that
///   cannot be reached answers as any other inner error.
fn told_by_prose(message: &str) -> Option<Refusal> {
    let starts = |words: &str| message.starts_with(words);
    let has = |words: &str| message.contains(words);
    if starts("failed to create typed patch object") {
        Some(Refusal::SchemaInvalid)
    } else if has("trying to send message larger than max") || has("etcdserver: request is too large") {
        Some(Refusal::TooLarge)
    } else if has("failed calling webhook") {
        Some(Refusal::WebhookUnavailable)
    } else if has("admission webhook") && has("denied the request") {
        Some(Refusal::AdmissionDenied)
    } else if has("exceeded quota: ") {
        Some(Refusal::QuotaExceeded)
    } else {
        None
    }
}

impl Status {
    fn has_cause(&self, reason: &str) -> bool {
        self.details.causes.iter().any(|cause| cause.reason == reason)
    }

    fn is_about(&self, field: &str) -> bool {
        self.details.causes.iter().any(|cause| cause.field == field)
    }

    /// Returns why admission said no, if it did. A policy's cause has neither reason nor field.
    fn admission(&self) -> Option<Refusal> {
        let policy = |cause: &StatusCause| cause.reason.is_empty() && cause.field.is_empty();
        let by_policy = self.details.causes.iter().any(policy).then_some(Refusal::AdmissionDenied);
        let by_words = || {
            told_by_prose(&self.message)
                .filter(|told| matches!(told, Refusal::AdmissionDenied | Refusal::QuotaExceeded))
        };
        by_policy.or_else(by_words)
    }

    fn retry_after(&self) -> Option<SignedDuration> {
        let seconds = self.details.retry_after_seconds;
        (seconds > 0).then(|| SignedDuration::from_secs(seconds))
    }
}

/// Reads a `Status`; anything else (a missing kind, a proxy) is text.
fn read(body: &[u8]) -> Status {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let message = String::from_utf8_lossy(&body[..body.len().min(MAX_MESSAGE)]).trim().to_owned();
        Status { message, ..Status::default() }
    })
}

#[cfg(test)]
mod tests;
