//! What a failed request to the agent's own state means.

use kube::core::Status;
use skiff_shared::sync::event::{Cause, Failure, Refusal};

use super::DEADLINE;
use crate::cluster::classify::classify;

/// Runs a request under the deadline and classes its failure.
pub(super) async fn within<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failure_of(&error)),
        Err(_) => Err(Failure::Unknown(format!("no answer in {} s", DEADLINE.as_secs()))),
    }
}

/// Classes a failure of a request to the agent's own state. `Replaced` says that a name is taken: a creation that
/// ran into another one's change of a ResourceQuota is a 409 too, and passes when it is sent again.
fn failure_of(error: &kube::Error) -> Failure {
    let kube::Error::Api(status) = error else { return Failure::Unknown(error.to_string()) };
    let cause = |reason| Cause { reason, code: status.code, message: status.message.clone() };
    let told = |otherwise| cause(refusal(status).unwrap_or(otherwise));
    match status.code {
        404 => Failure::NotFound(cause(Refusal::Unclassified)),
        409 if status.reason == "AlreadyExists" => Failure::Replaced(cause(Refusal::Conflict)),
        409 => Failure::Unavailable(cause(Refusal::Conflict)),
        429 => Failure::Throttled(None),
        500.. => Failure::Unavailable(told(Refusal::ServerError)),
        _ => Failure::Rejected(told(Refusal::Unclassified)),
    }
}

/// Returns why a request was refused, in the words that are used of objects.
fn refusal(status: &Status) -> Option<Refusal> {
    let body = serde_json::to_vec(status).ok()?;
    match classify(status.code, None, &body) {
        Failure::Rejected(cause) | Failure::Unavailable(cause) => Some(cause.reason),
        _ => None,
    }
}

pub(super) fn packing(error: &std::io::Error) -> Failure {
    let cause = Cause { reason: Refusal::Unclassified, code: 0, message: error.to_string() };
    Failure::Unavailable(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classed(reason: &str, code: u16) -> Failure {
        let status = Status { reason: reason.to_owned(), code, ..Status::default() };
        failure_of(&kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn only_a_name_that_is_taken_is_another_ones_object() {
        assert!(matches!(classed("AlreadyExists", 409), Failure::Replaced(_)));
        // Operation cannot be fulfilled on resourcequotas "state": the object has been modified.
        assert!(matches!(classed("Conflict", 409), Failure::Unavailable(_)));
    }

    #[test]
    fn a_refusal_has_the_word_that_it_has_for_objects() {
        let word = |code, message: &str| {
            let message = message.to_owned();
            let status = Status { code, reason: "Forbidden".to_owned(), message, ..Status::default() };
            match failure_of(&kube::Error::Api(Box::new(status))) {
                Failure::Rejected(cause) | Failure::Unavailable(cause) => cause.reason.word(),
                _ => "another failure",
            }
        };
        assert_eq!(word(403, "configmaps is forbidden: User \"skiff\" cannot create"), "Forbidden");
        assert_eq!(
            word(403, "secrets \"a\" is forbidden: exceeded quota: state, requested"),
            "QuotaExceeded"
        );
        assert_eq!(word(403, "admission webhook \"w\" denied the request: no"), "AdmissionDenied");
        assert_eq!(word(500, "failed calling webhook \"w\": connection refused"), "WebhookUnavailable");
    }
}
