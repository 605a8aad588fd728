//! What can go wrong with the cluster outside of a machine's requests.

use skiff_shared::sync::event::Failure;

/// A failure to reach, read or understand the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("failed to read the ServiceAccount of this pod; outside of a cluster name a kubeconfig")]
    InCluster { source: kube::config::InClusterError },
    #[error("failed to read the kubeconfig; name one with --kubeconfig or KUBECONFIG")]
    Kubeconfig { source: kube::config::KubeconfigError },
    #[error("failed to set up the connection to the API server")]
    Client { source: kube::Error },
    #[error("failed to {action}: {}", words(.failure))]
    Refused { action: String, failure: Failure },
    #[error("failed to {action}: the answer cannot be read")]
    Malformed { action: String, source: serde_json::Error },
    #[error("the API server does not answer aggregated discovery; Kubernetes 1.30 or newer is needed")]
    TooOld,
    #[error("{what} in the cluster cannot be read")]
    Stored { what: String, source: std::io::Error },
    #[error("{what} was written by another program version")]
    Inventory { what: String, source: skiff_shared::inventory::ShardError },
    #[error("the kinds that the cluster serves are not known yet")]
    Undiscovered,
    #[error("failed to look for objects of a lost inventory among {kind}")]
    Marks { kind: String, source: Box<kube::Error> },
    #[error("no answer in time to looking for objects of a lost inventory among {kind}")]
    MarksDeadline { kind: String },
    #[error("{what} does not hold what its name says; it was changed by hand: delete it")]
    Corrupt { what: String },
}

impl ClusterError {
    /// Returns the failure as the machine knows it, if a request failed.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused { failure, .. } => Some(failure),
            _ => None,
        }
    }
}

/// Returns a failure in words, for people.
pub fn words(failure: &Failure) -> String {
    match failure {
        Failure::Rejected(cause)
        | Failure::NotFound(cause)
        | Failure::Replaced(cause)
        | Failure::Unavailable(cause) => format!("{} ({})", cause.message, cause.reason.word()),
        Failure::Throttled(Some(wait)) => format!("throttled for {} s", wait.as_secs()),
        Failure::Throttled(None) => "throttled".to_owned(),
        Failure::Unknown(what) => what.clone(),
        Failure::Fenced => "another agent changed it".to_owned(),
        Failure::NotSent => "not sent".to_owned(),
    }
}
