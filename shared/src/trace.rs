//! Trace and span ids derived from what they stand for.
//!
//! Used by telemetry, and by everything that prints a link to a trace. Every cluster derives the same
//! trace id from the same commit without asking anyone, and a run that is told twice has the same ids
//! twice. The formulas are SHA-256 over lines of text, so that a CI job can compute them with
//! `sha256sum`; they are part of the interface and change only with a new scheme name.

use std::fmt;

use jiff::Timestamp;

use crate::desired::Revision;
use crate::object::{Digest, Hashing};

mod repository;
mod traceparent;

pub use repository::canonical_repository;
pub use traceparent::{Traceparent, TraceparentError};

const RELEASE: &str = "skiff-release-v1";
const RESYNC: &str = "skiff-resync-v1";
const HEAL: &str = "skiff-heal-v1";
const FETCH: &str = "skiff-fetch-v1";
const ROOT: &str = "skiff-root-v1";
const CHILD: &str = "skiff-child-v1";

/// A W3C trace id: 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// Returns the id of these bytes, or nothing for the invalid all-zero id.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    fn derived(lines: &[&str]) -> Self {
        // A digest of nothing but zeros will not be seen; an id must not be invalid all the same.
        Self::new(digest(lines).0).unwrap_or(Self([1; 16]))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A W3C span id: 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId([u8; 8]);

impl SpanId {
    /// Returns the id of these bytes, or nothing for the invalid all-zero id.
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    pub fn bytes(self) -> [u8; 8] {
        self.0
    }

    /// Returns the id of the root span of an app on a cluster in a trace.
    pub fn root(trace: TraceId, place: Place<'_>) -> Self {
        Self::derived(&[ROOT, &trace.to_string(), place.cluster, place.app])
    }

    /// Returns the id of the span `name` below this one; names are unique below one parent.
    #[must_use]
    pub fn child(self, name: &str) -> Self {
        Self::derived(&[CHILD, &self.to_string(), name])
    }

    fn derived(lines: &[&str]) -> Self {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest(lines).0[..8]);
        Self::new(bytes).unwrap_or(Self([1; 8]))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The app and the cluster that a span speaks of. An agent that shares its cluster with others names
/// itself `cluster/instance`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    pub cluster: &'a str,
    pub app: &'a str,
}

impl TraceId {
    /// Returns the trace of a failure to read a repository, which was tried at this time.
    pub fn fetch(url: &str, place: Place<'_>, tried_at: Timestamp) -> Self {
        let at = nanoseconds(tried_at);
        Self::derived(&[FETCH, &canonical_repository(url), place.cluster, place.app, &at])
    }
}

/// The trace that a commit's first rollout belongs to, on every cluster of the fleet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    pub trace: TraceId,
    /// The span of the CI run that the commit's `Traceparent:` trailer names.
    pub parent: Option<Traceparent>,
    /// Why the commit's trailer was not used, if it has one.
    pub ignored: Option<TraceparentError>,
}

impl Release {
    /// Derives the trace of a revision. A valid `Traceparent:` trailer wins: its trace id becomes the
    /// release's and its span the parent of every root span. An invalid one is ignored.
    pub fn of(revision: &Revision) -> Self {
        let trailer = revision.traceparent.as_deref().map(str::parse::<Traceparent>);
        let (parent, ignored) = match trailer {
            None => (None, None),
            Some(Ok(parent)) => (Some(parent), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let trace =
            parent.map_or_else(|| derived_release(&revision.url, revision.id()), |parent| parent.trace);
        Self { trace, parent, ignored }
    }

    /// Returns the id of the root span of an app's first sync to this commit.
    pub fn root(&self, place: Place<'_>) -> SpanId {
        SpanId::root(self.trace, place)
    }

    /// Returns the trace of a later sync to the same commit, which began at this time.
    pub fn resync(&self, place: Place<'_>, began: Timestamp) -> TraceId {
        let (release, began) = (self.trace.to_string(), nanoseconds(began));
        TraceId::derived(&[RESYNC, &release, place.cluster, place.app, &began])
    }

    /// Returns the trace of the heal of one object, whose drift was seen at this time.
    pub fn heal(&self, place: Place<'_>, object: &str, seen_at: Timestamp) -> TraceId {
        let (release, seen_at) = (self.trace.to_string(), nanoseconds(seen_at));
        TraceId::derived(&[HEAL, &release, place.cluster, place.app, object, &seen_at])
    }
}

/// Returns the trace id of a commit without a trailer: the first 16 bytes of the SHA-256 of
/// `skiff-release-v1`, the canonical repository and the commit id, joined by newlines.
fn derived_release(url: &str, commit: &str) -> TraceId {
    TraceId::derived(&[RELEASE, &canonical_repository(url), commit])
}

fn nanoseconds(time: Timestamp) -> String {
    time.as_nanosecond().to_string()
}

fn digest(lines: &[&str]) -> Digest {
    Hashing::default().update(lines.join("\n").as_bytes()).finish()
}

#[cfg(test)]
mod tests;
