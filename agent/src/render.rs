//! Turns the files of an app at one revision into bodies and rows.
//!
//! Between source and plan. Plain manifests are read in process, charts and kustomizations by the real `helm` and
//! `kustomize`. However it comes about, a render streams: one document at a time becomes an object, canonical JSON,
//! a digest and a row; the body goes to the [`Store`] and the value is dropped. It reads nothing but the files it is
//! given and decides nothing about what is written to the cluster. What it may remember from one render of an app to
//! the next, the caller keeps: a [`FileCache`].
//!
//! # What is rendered
//!
//! Plain: every `.yaml`, `.yml` and `.json` file below the app's folder, in the order of their paths. Left out are
//! names that start with a dot, `skiff.yaml`, kustomization files (with a warning: they are not built here) and whole
//! charts (folders with a `Chart.yaml`, with a warning). A document that is no Kubernetes object is an error, as with
//! Flux; Argo CD leaves such files alone, and with them the file whose `apiVersion` and `kind` an edit lost.
//!
//! Tests of `helm test` and objects with `hook: Skip` are left out, hooks of an app's deletion with a warning each.
//!
//! All problems are reported, not only the first, each with its file and line as far as anybody knows it.

mod cache;
pub mod changing;
mod collect;
mod files;
mod helm;
mod inputs;
mod kustomize;
mod plain;
mod split;
mod tool;
mod tree;
mod version;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use skiff_shared::desired::manifest::NamespaceMetadata;
use skiff_shared::desired::{DesiredRow, Problem};
use skiff_shared::environment::IgnoreDifferences;
use skiff_shared::environment::{Facts, HelmOptions, Renderer, RendererKind, RepoPath, detect_renderer};
use skiff_shared::limits::Limits;
use skiff_shared::object::{ApiSet, Interner};

use crate::git::Snapshot;
use crate::sandbox;
use crate::store::{Hold, Store};
use collect::Collector;
use files::Files;

pub use cache::FileCache;
pub use changing::Changing;
pub use inputs::input_digest;
pub use version::{Found, Program, programs};

/// What to render.
pub struct Request<'a> {
    /// The app's name: the value of its objects' label, and a Helm release's name.
    pub app: &'a str,
    /// The agent's name: the value of the label that watches select by.
    pub instance: &'a str,
    /// A folder with exactly the files of the revision.
    pub directory: &'a Path,
    /// The app's folder, below `directory`.
    pub path: &'a RepoPath,
    /// A folder with the value files that are the environment's, where `directory` has those of another repository.
    pub values: Option<&'a Path>,
    /// The namespace of namespaced objects that name none.
    pub namespace: Option<&'a str>,
    /// Adds the namespace's object if the render does not bring it.
    pub create_namespace: bool,
    /// What that namespace gets.
    pub namespace_metadata: &'a NamespaceMetadata,
    pub renderer: &'a Renderer,
    /// What completes `${…}` in the objects; `None` leaves them as they are.
    pub facts: Option<&'a Facts>,
    /// Fields of the app's objects that are left to others.
    pub ignore_differences: &'a [IgnoreDifferences],
    /// What the app may touch.
    pub limits: &'a Limits,
    /// What the cluster serves: who is namespaced, and a chart's Capabilities.
    pub apis: &'a ApiSet,
    /// API versions that charts are told of beside those of `apis`.
    pub api_versions: &'a [String],
    /// The version of the cluster, `v1.37.2`.
    pub kube_version: &'a str,
    pub tools: &'a Tools,
    pub on_duplicate: OnDuplicate,
    pub interner: &'a Mutex<Interner>,
}

/// What two objects of one render with the same id are, if they differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnDuplicate {
    /// An error that names both places.
    #[default]
    Refuse,
    /// A warning; the last one is taken, as Argo CD does.
    LastWins,
}

/// The programs that render, and what they may use.
#[derive(Clone, Debug)]
pub struct Tools {
    pub helm: PathBuf,
    pub kustomize: PathBuf,
    /// The program `skiff`, whose hidden verb sets the limits. `None` runs tools without them: for tests.
    pub sandbox: Option<PathBuf>,
    /// Where the folders are made that tools may write to. They are removed when the render ends.
    pub scratch: PathBuf,
    /// The most time that one render's tools take together.
    pub timeout: Duration,
    pub limits: sandbox::Limits,
    /// Whether a tool runs where the kernel cannot keep it to its files.
    pub demand: sandbox::Demand,
    pub bounds: Bounds,
}

/// How large an input may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// One manifest file, and one document that a tool prints.
    pub file_bytes: u64,
    /// Everything that a tool prints.
    pub output_bytes: u64,
    /// Everything that a tool writes to its throw-away folder.
    pub scratch_bytes: u64,
    /// The objects of an app.
    pub objects: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { file_bytes: 16 << 20, output_bytes: 256 << 20, scratch_bytes: 256 << 20, objects: 50_000 }
    }
}

/// What an app's files say.
#[derive(Debug)]
pub struct Rendered {
    /// Sorted by id; no id twice.
    pub rows: Vec<DesiredRow>,
    pub warnings: Vec<String>,
    /// What another render of the same files has otherwise, sorted by id.
    pub changing: Vec<Changing>,
    /// Keeps the bodies until the caller counts them as live.
    pub hold: Hold,
    /// None are counted where a tool renders.
    pub files: FilesRead,
}

/// How many manifest files a render took, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FilesRead {
    pub read: usize,
    /// Those that were as they had been, so that nothing of them was read.
    pub reused: usize,
}

/// What kind of thing went wrong; its word is the condition's reason and `error.type`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// The app's folder is not in the revision.
    PathMissing,
    /// Something points out of the revision's tree.
    PathRefused,
    /// The cluster's API list is incomplete at the moment, and the render depends on it.
    DiscoveryIncomplete,
    /// A document is not YAML.
    InvalidYaml,
    /// A document is not an object.
    InvalidObject,
    DuplicateObject,
    /// An object has a variable that the cluster has not.
    UnknownVariable,
    /// An object is outside of the environment's limits.
    OutsideLimits,
    /// More than [`Bounds`] allow.
    TooLarge,
    HelmFailed,
    KustomizeFailed,
    /// A tool took too long.
    Timeout,
    /// The kernel cannot keep a tool to its files, and the configuration demands it.
    SandboxMissing,
    /// The agent's own disk or programs failed: worth trying again.
    Internal,
}

impl Reason {
    pub fn word(self) -> &'static str {
        match self {
            Self::PathMissing => "PathMissing",
            Self::PathRefused => "PathRefused",
            Self::DiscoveryIncomplete => "DiscoveryIncomplete",
            Self::InvalidYaml => "InvalidYaml",
            Self::InvalidObject => "InvalidObject",
            Self::DuplicateObject => "DuplicateObject",
            Self::UnknownVariable => "UnknownVariable",
            Self::OutsideLimits => "OutsideLimits",
            Self::TooLarge => "TooLarge",
            Self::HelmFailed => "HelmFailed",
            Self::KustomizeFailed => "KustomizeFailed",
            Self::Timeout => "Timeout",
            Self::SandboxMissing => "SandboxMissing",
            Self::Internal => "Internal",
        }
    }

    /// Whether the same input may render at another time.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::DiscoveryIncomplete | Self::Timeout | Self::Internal)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Everything that is wrong with an app's files.
#[derive(Debug, thiserror::Error)]
#[error("failed to render: {}", listed(problems))]
pub struct RenderError {
    reason: Reason,
    /// At least one, in the order in which they were met.
    pub problems: Vec<Problem>,
}

impl RenderError {
    /// Returns the kind of the first problem.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    fn new(reason: Reason, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, problems: vec![Problem { place: place.into(), message: message.into() }] }
    }

    fn internal(what: &str, error: &std::io::Error) -> Self {
        Self::new(Reason::Internal, "", format!("failed to {what}: {error}"))
    }
}

fn listed(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    texts.join("; ")
}

/// Renders an app from a folder on disk. Nothing is left behind but bodies in the store.
pub async fn render(request: &Request<'_>, store: &Store) -> Result<Rendered, RenderError> {
    let folder = tree::folder(request)?;
    let mut collector = Collector::new(request, store);
    let kind = match request.renderer {
        Renderer::Auto => detect_renderer(tree::entries(&folder)?.iter().map(String::as_str)),
        Renderer::Plain => RendererKind::Plain,
        Renderer::Kustomize(_) => RendererKind::Kustomize,
        Renderer::Helm(_) => RendererKind::Helm,
    };
    let walked = match (kind, request.renderer) {
        (RendererKind::Plain, _) => {
            let root = tree::root(request.directory)?;
            let folder = tree::shown(&root, &folder);
            plain::render(&mut collector, &mut Files::Disk { root }, &folder, &mut FileCache::default()).await
        }
        (RendererKind::Kustomize, _) => kustomize::render(&mut collector).await,
        (RendererKind::Helm, Renderer::Helm(options)) => return chart(request, options, store).await,
        (RendererKind::Helm, _) => return chart(request, &Default::default(), store).await,
    };
    collector.finish(walked).0
}

/// Renders a chart, and once more to find what it renders differently each time.
async fn chart(request: &Request<'_>, options: &HelmOptions, store: &Store) -> Result<Rendered, RenderError> {
    let mut collector = Collector::new(request, store);
    let walked = helm::render(&mut collector, options).await;
    let mut rendered = collector.finish(walked).0?;
    let mut again = Collector::new(request, store);
    let walked = helm::render(&mut again, options).await;
    // A second render that fails says nothing of the first.
    if let Ok(again) = again.finish(walked).0 {
        let (changing, warnings) = changing::settle(&mut rendered.rows, &again.rows, store);
        rendered.changing = changing;
        rendered.warnings.extend(warnings);
    }
    Ok(rendered)
}

/// Renders the plain manifests of an app from a fetched commit, without a folder on disk: [`Request::directory`] is not
/// looked at. Files that the cache knows are not read; what comes of it is the same as if all were.
pub async fn render_commit(
    request: &Request<'_>,
    snapshot: Snapshot,
    cache: &mut FileCache,
    store: &Store,
) -> Result<Rendered, RenderError> {
    let (mut files, folder) = Files::of_commit(snapshot, request.path.as_str())?;
    cache.prepare(request);
    let mut collector = Collector::new(request, store);
    let walked = plain::render(&mut collector, &mut files, &folder, cache).await;
    if walked.is_ok() {
        cache.clear();
    }
    let (rendered, parts) = collector.finish(walked);
    cache.keep(parts);
    rendered
}
