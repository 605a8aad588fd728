//! What a revision has to prove before it is read: signatures, and branches that only move forward.

use schemars::JsonSchema;
use serde::Deserialize;

use super::source::{Reference, is_commit_id};

/// What of a revision has to be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Signed {
    // Flux's words are read beside ours.
    #[default]
    #[serde(alias = "HEAD")]
    Commit,
    #[serde(alias = "Tag")]
    Tag,
    /// One of the two.
    Either,
    #[serde(alias = "TagAndHEAD")]
    Both,
}

/// What becomes of a branch that moves to a commit which does not build on the one that it stood at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rewrites {
    #[default]
    Follow,
    /// It is not read any more.
    Refuse {
        /// The full id of the state that a person has accepted, in lower case; what builds on it is good too.
        accepted: Option<String>,
    },
}

/// [`Rewrites`] as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawRewrites {
    pub refuse: bool,
    pub accepted: Option<String>,
}

/// Why keys about what a source is trusted with cannot stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    #[error("this mode is about tags: ref has to be a tag or semver, or mode commit")]
    NoTag,
    #[error("refuseRewrites is about branches: a tag is moved on purpose, a commit never")]
    NoBranch,
    #[error("acceptedRewrite needs refuseRewrites")]
    NothingRefused,
    #[error("acceptedRewrite is not a full commit id in lower case")]
    AcceptedCommit,
}

impl Signed {
    /// Returns what has to be signed so that both are content.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Either, stricter) | (stricter, Self::Either) => stricter,
            (one, other) if one == other => one,
            _ => Self::Both,
        }
    }

    /// Says whether the tag's own object is looked at.
    #[must_use]
    pub fn needs_tag(self) -> bool {
        self != Self::Commit
    }

    /// Makes sure that a revision of this reference can have what is asked for.
    pub fn check(self, reference: &Reference) -> Result<(), TrustError> {
        match (self, reference) {
            (Self::Commit | Self::Either, _) | (_, Reference::Tag(_) | Reference::Versions(_)) => Ok(()),
            (Self::Tag | Self::Both, _) => Err(TrustError::NoTag),
        }
    }
}

impl RawRewrites {
    /// Checks what is written.
    pub fn check(self) -> Result<Rewrites, TrustError> {
        let Self { refuse, accepted } = self;
        match (refuse, accepted) {
            (false, None) => Ok(Rewrites::Follow),
            (false, Some(_)) => Err(TrustError::NothingRefused),
            (true, Some(id)) if !is_commit_id(&id) => Err(TrustError::AcceptedCommit),
            (true, accepted) => Ok(Rewrites::Refuse { accepted }),
        }
    }
}

impl Rewrites {
    /// Makes sure that the reference is one that can be rewritten.
    pub fn check(&self, reference: &Reference) -> Result<(), TrustError> {
        match (self, reference) {
            (Self::Follow, _) | (_, Reference::Branch(_)) => Ok(()),
            _ => Err(TrustError::NoBranch),
        }
    }
}

impl TrustError {
    /// Returns the key of the source that is wrong.
    pub fn key(self) -> &'static str {
        match self {
            Self::NoTag => "verify/mode",
            Self::NoBranch => "refuseRewrites",
            Self::NothingRefused | Self::AcceptedCommit => "acceptedRewrite",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Signed::{Both, Commit, Either, Tag};

    #[test]
    fn what_two_ask_for_contents_both() {
        for (one, other, together) in [
            (Commit, Commit, Commit),
            (Either, Either, Either),
            (Either, Commit, Commit),
            (Tag, Either, Tag),
            (Commit, Tag, Both),
            (Both, Either, Both),
            (Both, Commit, Both),
        ] {
            assert_eq!((one.and(other), other.and(one)), (together, together), "{one:?} and {other:?}");
        }
    }
}
