//! What a failed request to the agent's own state means.

use skiff_shared::sync::event::{Cause, Failure, Refusal};

use super::DEADLINE;

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
    match status.code {
        404 => Failure::NotFound(cause(Refusal::Unclassified)),
        409 if status.reason == "AlreadyExists" => Failure::Replaced(cause(Refusal::Conflict)),
        409 => Failure::Unavailable(cause(Refusal::Conflict)),
        429 => Failure::Throttled(None),
        500.. => Failure::Unavailable(cause(Refusal::ServerError)),
        403 => Failure::Rejected(cause(Refusal::Forbidden)),
        413 => Failure::Rejected(cause(Refusal::TooLarge)),
        _ => Failure::Rejected(cause(Refusal::Unclassified)),
    }
}

pub(super) fn packing(error: &std::io::Error) -> Failure {
    let cause = Cause { reason: Refusal::Unclassified, code: 0, message: error.to_string() };
    Failure::Unavailable(cause)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

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
}
