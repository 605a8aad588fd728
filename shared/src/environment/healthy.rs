//! `healthCheckExprs`: how an app's own kinds say how they are, in Flux's form.

use crate::object::{Digest, GroupKind, Hashing};

/// The expressions for one kind, in CEL, as written. They see `metadata`, `spec` and `status` of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheckExprs {
    pub kind: GroupKind,
    /// True where the object is `Healthy`.
    pub current: String,
    /// True while it is `Progressing`.
    pub in_progress: Option<String>,
    /// True where it is `Degraded`.
    pub failed: Option<String>,
    /// Where it is written, `skiff.yaml:12`.
    pub place: String,
}

impl HealthCheckExprs {
    /// Returns the digest of a list: another one judges otherwise.
    pub fn digest(list: &[Self]) -> Digest {
        let one = |hashing: Hashing, exprs: &Self| {
            let Self { kind, current, in_progress, failed, place: _ } = exprs;
            let optional = [in_progress, failed].map(|text| text.as_deref().unwrap_or_default().to_owned());
            let texts = [kind.to_string(), current.clone()].into_iter().chain(optional);
            texts.fold(hashing, |hashing, text| hashing.part(text.as_bytes()))
        };
        list.iter().fold(Hashing::default(), one).finish()
    }
}
