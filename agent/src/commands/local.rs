//! Rendering a folder of a work tree, as the agent would render it from Git.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, bail};
use skiff_shared::desired::scope;
use skiff_shared::desired::{DesiredRow, Problem, Unrendered};
use skiff_shared::environment::{
    self, AppName, AppSource, AppSpec, ChartSource, Environment, GitSource, ListReason, Pattern, RepoPath,
    Setting,
};
use skiff_shared::object::{ApiSet, GroupKind, Interner};

use super::described::Described;
use super::elsewhere::{Elsewhere, Place};
use crate::args::ToolArgs;
use crate::daemon::own;
use crate::expr;
use crate::render::{self, Bounds, RenderError, Tools};
use crate::sandbox;
use crate::store::Store;

/// The version that charts are told where no cluster is asked and none is described.
pub const KUBE_VERSION: &str = "v1.37.0";

/// A folder of a work tree and the environment's name that it is taken for.
pub struct Local {
    root: PathBuf,
    folder: RepoPath,
    environment: String,
    tools: Tools,
    /// The cluster that is rendered for.
    pub described: Described,
    /// Bodies of the renders; removed in the end.
    pub store: Store,
    scratch: tempfile::TempDir,
    /// Fetches what comes from elsewhere, if that is wanted.
    elsewhere: Option<Elsewhere>,
}

/// One rendered app.
pub struct LocalApp {
    pub rows: Vec<DesiredRow>,
    pub warnings: Vec<String>,
}

/// Returns where an app comes from if that is not the folder at hand.
pub fn origin(spec: &AppSpec) -> Option<String> {
    match &spec.source {
        AppSource::Environment => None,
        AppSource::Git(GitSource { url, .. }) => Some(format!("{} of {url}", spec.path)),
        AppSource::Chart(ChartSource { repository, name, version }) => {
            Some(format!("chart {name} {version} of {repository}"))
        }
    }
}

/// Why an app is not rendered.
pub enum NotHere {
    /// It comes from elsewhere, and nobody asked to fetch it; says where from, and what to do.
    LeftOut(String),
    Failed(Unrendered),
}

impl fmt::Display for NotHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftOut(why) => f.write_str(why),
            Self::Failed(Unrendered { reason, problems }) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                write!(f, "{reason}: {}", problems.join("; "))
            }
        }
    }
}

/// What the cluster serves, for a render.
pub struct Served<'a> {
    pub apis: &'a ApiSet,
    pub kube_version: &'a str,
}

impl Local {
    pub fn new(
        path: &Path,
        environment: &str,
        tools: &ToolArgs,
        described: Described,
    ) -> anyhow::Result<Self> {
        let path = path.canonicalize().with_context(|| format!("failed to find {}", path.display()))?;
        if !path.is_dir() {
            bail!("{} is not a folder", path.display());
        }
        let root = path.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(&path).to_owned();
        let below = path.strip_prefix(&root).expect("an ancestor is a prefix").to_string_lossy();
        let folder = RepoPath::parse(&below).with_context(|| format!("{below:?} cannot be a path"))?;
        Self::within(root, folder, environment, tools, described)
    }

    /// Takes a folder of a tree that begins at `root`.
    pub fn within(
        root: PathBuf,
        folder: RepoPath,
        environment: &str,
        tools: &ToolArgs,
        described: Described,
    ) -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir().context("failed to make a folder")?;
        let ToolArgs { fetch, helm, kustomize } = tools.clone();
        let elsewhere = if fetch { Some(Elsewhere::open(scratch.path())?) } else { None };
        Ok(Self {
            root,
            folder,
            environment: environment.to_owned(),
            tools: Tools {
                helm: found(&helm),
                kustomize: found(&kustomize),
                sandbox: std::env::current_exe().ok(),
                scratch: scratch.path().to_owned(),
                timeout: std::time::Duration::from_secs(60),
                limits: sandbox::Limits::default(),
                demand: sandbox::Demand::BestEffort,
                bounds: Bounds::default(),
            },
            described,
            store: Store::open(scratch.path().join("bodies")).context("failed to make a folder")?,
            scratch,
            elsewhere,
        })
    }

    /// Returns the apps of the folder that are those of the cluster.
    pub fn environment(&self) -> Result<Environment, Unrendered> {
        let unlisted =
            |place: &str, message: String| Unrendered::one(ListReason::InvalidAppList.word(), place, message);
        let file = self.root.join(self.folder.as_str()).join(environment::FILE_NAME);
        let policy = &self.described.policy.clone().unwrap_or_default();
        if !file.is_file() {
            let named = AppName::parse(&self.environment)
                .map_err(|error| unlisted("--environment", error.to_string()));
            return Ok(environment::single_app(named?, self.folder.clone(), policy));
        }
        let text = std::fs::read_to_string(&file).map_err(|error| {
            unlisted(&file.display().to_string(), format!("the file cannot be read: {error}"))
        })?;
        let facts = &self.described.facts;
        let folders = environment::patterns(&text, &self.folder, facts);
        let folders = folders.into_iter().map(|pattern| (pattern.clone(), self.matching(&pattern))).collect();
        let setting = Setting { folder: &self.folder, policy, facts, folders: &folders };
        environment::parse(&text, &setting)
            .map_err(|errors| Unrendered { reason: errors.reason().word(), problems: errors.problems })
    }

    /// Returns the names that match a pattern, as far as their folders are there.
    fn matching(&self, pattern: &Pattern) -> Vec<String> {
        let entries =
            std::fs::read_dir(self.root.join(pattern.base().as_str())).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
        let is_there = |name: &String| self.root.join(pattern.folder(name).as_str()).is_dir();
        names.filter(|name| pattern.matches(name)).filter(is_there).collect()
    }

    /// Returns the store with the folder that it lies in.
    pub fn into_store(self) -> (Store, tempfile::TempDir) {
        (self.store, self.scratch)
    }

    /// Returns where an app's files are on this machine.
    pub async fn place(&self, spec: &AppSpec) -> Result<Place, NotHere> {
        expr::health_checks(spec).map_err(NotHere::Failed)?;
        let Some(from) = origin(spec) else {
            return Ok(Place { directory: self.root.clone(), spec: spec.clone(), values: None });
        };
        if let Err(refusal) = self.described.limits.source(&spec.source) {
            let reason = render::Reason::OutsideLimits.word();
            return Err(NotHere::Failed(own::unusable(spec, reason, refusal.to_string())));
        }
        let left_out =
            || NotHere::LeftOut(format!("it is left out, as it comes from {from}: --fetch fetches it"));
        let elsewhere = self.elsewhere.as_ref().ok_or_else(left_out)?;
        let brought = elsewhere.bring(spec, &self.described, &self.root).await;
        brought.map_err(NotHere::Failed)?.ok_or_else(left_out)
    }

    /// Renders one app.
    pub async fn render(
        &self,
        place: &Place,
        served: &Served<'_>,
        instance: &str,
        interner: &Mutex<Interner>,
    ) -> Result<LocalApp, RenderError> {
        let Place { directory, spec, values } = place;
        let request = render::Request {
            app: spec.name.as_str(),
            instance,
            directory,
            path: &spec.path,
            values: values.as_deref(),
            namespace: spec.namespace.as_ref().map(|namespace| namespace.as_str()),
            create_namespace: spec.create_namespace,
            namespace_metadata: &spec.namespace_metadata,
            renderer: &spec.renderer,
            facts: spec.substitute.then_some(&self.described.facts),
            ignore_differences: &spec.ignore_differences,
            limits: &self.described.limits,
            apis: served.apis,
            kube_version: served.kube_version,
            tools: &self.tools,
            api_versions: &self.described.api_versions,
            on_duplicate: self.described.on_duplicate,
            interner,
        };
        let rendered = render::render(&request, &self.store).await?;
        Ok(LocalApp { rows: rendered.rows, warnings: rendered.warnings })
    }
}

/// Returns a note for each kind of which nobody far from the cluster knows whether it is namespaced.
pub fn unknown_kinds(rows: &[DesiredRow], provided: &BTreeSet<Arc<GroupKind>>) -> Vec<String> {
    let (none, nothing) = (ApiSet::default(), BTreeMap::new());
    let mut unknown: BTreeMap<&GroupKind, bool> = BTreeMap::new();
    for row in rows.iter().filter(|row| !provided.contains(row.id.kind())) {
        if scope::scope_of(row.id.kind(), &none, &nothing).is_none() {
            *unknown.entry(row.id.kind()).or_default() |= row.id.namespace().is_some();
        }
    }
    let note = |(kind, namespaced): (&GroupKind, bool)| {
        let taken = if namespaced { "namespaced" } else { "cluster-wide" };
        format!("{kind} is no kind of Kubernetes and no app here defines it: it is taken for {taken}")
    };
    unknown.into_iter().map(note).collect()
}

/// Looks a program up as a shell does; one that is not found is named as it was asked for.
fn found(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&folders).map(|folder| folder.join(program));
    candidates.into_iter().find(|path| path.is_file()).unwrap_or_else(|| program.to_owned())
}

/// Puts problems into one error, a line each.
pub fn problems(problems: &[Problem]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{}", lines.join("\n       "))
}
