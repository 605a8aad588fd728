//! What Git wants: the rows that rendering leaves behind, and the release they belong to.
//!
//! Between render and plan. A row says everything that plan and machine must know of an object; its
//! body stays in the content-addressed store and is named by digest.

pub mod annotations;
pub mod autoscaler;
pub mod manifest;
pub mod scope;
pub mod stored;
pub mod yields;

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hook::Hook;
use crate::object::{Digest, GroupKind, Hashing, ObjectId};
use yields::Yields;

/// The digest of an object's canonical JSON as it is sent, labels of ours included.
pub type BodyDigest = Digest;

/// One object as rendered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredRow {
    pub id: ObjectId,
    /// The version part of `apiVersion`.
    pub version: Arc<str>,
    pub body: BodyDigest,
    /// Length of the body in bytes.
    pub bytes: u32,
    pub wave: i32,
    pub options: ObjectOptions,
    /// What the app list or the object itself leaves to others.
    pub yields: Option<Arc<Yields>>,
    /// The kind that this object, a CustomResourceDefinition, will serve.
    pub provides: Option<Arc<GroupKind>>,
    /// The object whose replicas this one, an autoscaler, decides.
    pub scales: Option<ObjectId>,
    /// Whether it has `/spec/replicas`, which an autoscaler may decide.
    pub declares_replicas: bool,
    /// What makes it a hook, if it is one.
    pub hook: Option<Arc<Hook>>,
    /// `file:line` in the repository, or the renderer's name for it.
    pub origin: Arc<str>,
}

/// What the object's annotations ask for. The default is what an object without annotations gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ObjectOptions {
    /// `Prune=false`, `prune: disabled`, `helm.sh/resource-policy: keep`.
    pub keep: bool,
    /// `Prune=confirm`.
    pub confirm_prune: bool,
    /// `Delete=false`: it stays when its app is deleted.
    pub outlives: bool,
    /// `Delete=confirm`.
    pub confirm_delete: bool,
    /// `argocd.argoproj.io/ignore-healthcheck`.
    pub ignore_health: bool,
    /// `SkipDryRunOnMissingResource`.
    pub skip_dry_run: bool,
    /// `Force=true`, `force: enabled`: deleted and created anew where it cannot be changed.
    pub recreate: bool,
    /// Left out of the app's sync status when it is no longer in Git.
    pub ignore_extraneous: bool,
    pub apply: ApplyWhen,
    /// What becomes of what it owns when it is deleted; `None`: as the app's policy says.
    pub propagation: Option<Propagation>,
    /// Its record was lost and it was found by its marks: nobody has said since that it may be pruned. Git never
    /// says so.
    pub found: bool,
}

/// When an object is applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ApplyWhen {
    /// Whenever it differs from Git.
    #[default]
    Always,
    /// The same, and what other tools have set stays where Git does not say otherwise.
    Merge,
    /// Only where it is not there.
    Once,
    Never,
}

/// What becomes of what an object owns when it is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Propagation {
    /// It goes after the object.
    #[default]
    Background,
    /// It goes before the object.
    Foreground,
    /// It stays.
    Orphan,
}

impl Propagation {
    /// The word of the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// A state of the source, printed `main@sha1:4f2c9a…`, or `main@sha1:4f2c9a… with redis 18.1.2`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Revision {
    /// Canonical repository URL, without credentials.
    pub url: String,
    /// Branch or tag; empty when the source names a commit.
    pub reference: String,
    /// Object format and id, `sha1:4f2c9a…`.
    pub commit: String,
    pub author: String,
    pub subject: String,
    pub committed_at: Option<Timestamp>,
    /// The commit's `Traceparent:` trailer as written.
    pub traceparent: Option<String>,
    /// The chart of a chart repository that the app is rendered from; the commit has its values.
    pub chart: Option<ChartRelease>,
}

/// One version of a chart as a chart repository gave it out, printed `redis 18.1.2`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChartRelease {
    /// As it is written, without credentials.
    pub repository: String,
    pub name: String,
    pub version: String,
    /// Of the archive, `sha256:4f2c9a…`.
    pub digest: String,
}

impl std::fmt::Display for ChartRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Revision {
    /// The commit id without its format.
    pub fn id(&self) -> &str {
        self.commit.split_once(':').map_or(&self.commit, |(_, id)| id)
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short: String = self.id().chars().take(12).collect();
        let format = self.commit.split_once(':').map_or("sha1", |(format, _)| format);
        if self.reference.is_empty() {
            write!(f, "{format}:{short}")?;
        } else {
            write!(f, "{}@{format}:{short}", self.reference)?;
        }
        self.chart.as_ref().map_or(Ok(()), |chart| write!(f, " with {chart}"))
    }
}

/// When a stage of the pipeline ran, for the spans of a release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// What the configuration assigns to an agent, and an app's objects come from: an environment and the
/// path that it is read from. The reference is no part of it: another branch or tag of the same path is
/// another revision.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assignment {
    pub environment: String,
    /// Canonical repository URL, without credentials.
    pub url: String,
    /// From the repository's root; empty for the root itself.
    pub path: String,
    /// Digest of the cluster's name, labels and variables; empty where a version before this one recorded none.
    pub facts: String,
}

impl Assignment {
    /// Whether both name the same environment and path, whatever the cluster's facts are.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let Self { environment, url, path, facts: _ } = self;
        *environment == other.environment && *url == other.url && *path == other.path
    }

    /// Whether what this one brought may be judged by what the other brings: everything is the same.
    pub fn is_same(&self, other: &Self) -> bool {
        let facts = self.facts.is_empty() || other.facts.is_empty() || self.facts == other.facts;
        self.is_same_place(other) && facts
    }
}

impl std::fmt::Display for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { environment, url, path, facts: _ } = self;
        let path = if path.is_empty() { "." } else { path };
        write!(f, "path {path} of {url} (environment {environment})")
    }
}

/// An app's rendered set at one revision: a value that is replaced as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Desired {
    pub revision: Revision,
    pub assignment: Assignment,
    /// Sorted by id; no id twice.
    pub rows: Vec<DesiredRow>,
    /// Digest over the rows: two renders with the same one are the same render.
    pub render: Digest,
    pub warnings: Vec<String>,
    pub listing: Listing,
    /// When the moved ref was seen.
    pub seen_at: Timestamp,
    pub fetched: Option<Interval>,
    pub rendered: Option<Interval>,
}

/// Whether the app list of the revision has the app.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Listing {
    #[default]
    Listed,
    Unlisted,
    /// The list has no other app either: it may have been emptied by mistake.
    LastUnlisted,
}

/// Returns the digest that identifies a rendered set; `rows` must be sorted by id.
pub fn render_digest(rows: &[DesiredRow]) -> Digest {
    rows.iter()
        .fold(Hashing::default(), |hashing, row| {
            hashing.part(row.id.to_string().as_bytes()).part(row.version.as_bytes()).part(&row.body.0)
        })
        .finish()
}

/// Why a revision gives no set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unrendered {
    /// The word of the kind of mistake, `InvalidYaml`: of the first where there are several.
    pub reason: &'static str,
    /// At least one, in the order in which they were met.
    pub problems: Vec<Problem>,
}

impl Unrendered {
    /// A revision with one thing wrong.
    pub fn one(reason: &'static str, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, problems: vec![Problem { place: place.into(), message: message.into() }] }
    }
}

/// One thing wrong with an input, with the place it is written at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// `base/web.yaml:12`, with the column behind it where that is known; a chart's template; the path asked for.
    pub place: String,
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.place, self.message)
        }
    }
}
