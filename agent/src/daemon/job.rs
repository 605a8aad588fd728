//! One app at one state of its sources, on its way to rows: what it reads, its render, and the set that comes of it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use skiff_shared::desired::{Assignment, Desired, Interval, Listing, Revision, Unrendered, render_digest};
use skiff_shared::environment::{AppSpec, Renderer, RendererKind, RepoPath};
use skiff_shared::object::{Hashing, ObjectId};
use tokio::sync::OwnedSemaphorePermit;

use super::environment::{Outcome, Rules, Workshop};
use super::inputs::{self, Inputs};
use super::needs::ChartFolder;
use super::source::Fetched;
use crate::charts::{self, Chart, ChartProblem};
use crate::cluster::discovery::Discovered;
use crate::config::{self, EnvironmentConfig};
use crate::git::{self, Cache, CommitId, ReadError, Snapshot};
use crate::render::{self, FileCache, OnDuplicate, Rendered, changing};
use crate::store::Hold;
use crate::telemetry::chain;

/// Where an app's files are at the moment.
#[derive(Clone)]
pub struct AppFiles {
    /// Its environment's repository, or its own.
    pub source: git::Source,
    pub revision: Fetched<git::Revision>,
    /// A chart of a chart repository; the revision has its value files then.
    pub chart: Option<Fetched<Chart>>,
    /// The environment's repository and where it stands, if that is another one and has value files for the app.
    pub values: Option<(git::Source, Fetched<git::Revision>)>,
}

impl AppFiles {
    /// Returns what plans, status and spans say of this state.
    pub fn record(&self) -> Revision {
        let chart = self.chart.as_ref().map(|chart| chart.what.release.clone());
        Revision { chart, ..self.revision.what.record() }
    }

    /// Returns when the newer of the parts was seen, and how long it took to fetch.
    fn fetched(&self) -> (Timestamp, Interval) {
        let revision = (self.revision.seen_at, self.revision.took);
        let chart = self.chart.as_ref().map(|chart| (chart.seen_at, chart.took));
        chart.filter(|(seen_at, _)| *seen_at > revision.0).unwrap_or(revision)
    }
}

/// Why there are no rows, and whether there may be at another time.
pub struct Failed {
    pub why: Unrendered,
    pub outcome: Outcome,
}

/// One app at one revision, on its way to rows.
pub struct Job {
    workshop: Workshop,
    pub files: AppFiles,
    spec: AppSpec,
    apis: Arc<Discovered>,
    rules: Rules,
    config: EnvironmentConfig,
    /// What its chart depends on and does not bring, once it is rendered.
    pub dependencies: Vec<Arc<Chart>>,
    /// Its place among the renders that may run at once.
    bench: Option<OwnedSemaphorePermit>,
}

impl Job {
    pub fn new(
        workshop: Workshop,
        mut spec: AppSpec,
        files: AppFiles,
        apis: Arc<Discovered>,
        rules: Rules,
        config: EnvironmentConfig,
    ) -> Self {
        if let Some(chart) = &files.chart {
            spec.path = chart.what.folder();
        }
        Self { workshop, files, spec, apis, rules, config, dependencies: Vec::new(), bench: None }
    }

    /// Waits for a place among the renders that may run at once.
    pub async fn take_bench(&mut self) {
        // Nobody closes the semaphore.
        self.bench = self.workshop.benches.clone().acquire_owned().await.ok();
    }

    /// Finds out what the app reads; the key covers also what the cluster and the options add.
    pub async fn prepare(&self) -> Result<Inputs, Unrendered> {
        let snapshot = self.snapshot().await?;
        let (spec, chart) = (self.spec.clone(), self.files.chart.clone());
        let values = self.values_snapshot().await?;
        let inputs = blocking(move || {
            let found = match chart {
                Some(chart) => inputs::of_chart(&snapshot, &spec, &chart.what.release),
                None => inputs::find(&snapshot, &spec),
            };
            let inputs = found.map_err(|error| unreadable(&spec.path, &error))?;
            let Some(values) = values else { return Ok(inputs) };
            let files = environment_value_files(&spec.renderer);
            let values = inputs::of_files(&values, files).map_err(|error| unreadable(&spec.path, &error))?;
            let key = Hashing::default().part(&inputs.key.0).part(&values.0).finish();
            Ok(Inputs { key, ..inputs })
        })
        .await?;
        let directory = self.workshop.scratch.clone();
        let key = render::input_digest(&self.request(&directory, None), &inputs.key.to_string());
        // Also where nothing of them is used: what the facts were is recorded with the set.
        let key = Hashing::default().part(&key.0).part(&self.rules.facts.digest().0).finish();
        Ok(Inputs { key, ..inputs })
    }

    pub async fn render(&mut self, inputs: &Inputs, files: &mut FileCache) -> Result<Rendered, Failed> {
        // Disk and cache fail in passing, here as where the inputs are looked for.
        let unread = |why| Failed { why, outcome: Outcome::FailedInPassing };
        let failed = |error: std::io::Error| {
            unread(internal(self.spec.path.as_str(), format!("failed to make a folder: {error}")))
        };
        let store = self.workshop.store.clone();
        let rendered = if inputs.kind == RendererKind::Plain {
            let snapshot = self.snapshot().await.map_err(unread)?;
            render::render_commit(&self.request(&self.workshop.scratch, None), snapshot, files, &store).await
        } else {
            let directory = tempfile::tempdir_in(&self.workshop.scratch).map_err(failed)?;
            self.export(inputs, directory.path()).await.map_err(unread)?;
            let values = self.export_values().await?;
            if inputs.kind == RendererKind::Helm {
                self.complete(directory.path()).await?;
            }
            let values = values.as_ref().map(|folder| folder.path());
            render::render(&self.request(directory.path(), values), &store).await
        };
        let mut rendered = rendered.map_err(|error| {
            let outcome = Outcome::failed(error.reason().is_transient());
            let why = Unrendered { reason: error.reason().word(), problems: error.problems };
            Failed { why, outcome }
        })?;
        self.put_back(&mut rendered).await.map_err(unread)?;
        Ok(rendered)
    }

    /// Renders as it was applied what another render would have otherwise.
    async fn put_back(&mut self, rendered: &mut Rendered) -> Result<(), Unrendered> {
        if rendered.changing.is_empty() {
            return Ok(());
        }
        // What the app has on record may be on its way from the cluster: others render meanwhile.
        self.bench = None;
        let recorded = self.workshop.registry.recorded_of(self.spec.name.as_str()).await;
        let applied = |id: &ObjectId| recorded.get(id)?.applied;
        changing::put_back(rendered, applied, &self.workshop.store)
            .map_err(|error| internal(self.spec.path.as_str(), format!("failed to keep a body: {error}")))
    }

    /// Puts the files that the app reads into a folder of their own.
    async fn export(&self, inputs: &Inputs, directory: &Path) -> Result<(), Unrendered> {
        let snapshot = self.snapshot().await?;
        let (roots, directory) = (inputs.roots.clone(), directory.to_owned());
        let (charts, chart) = (self.workshop.charts.clone(), self.files.chart.clone());
        blocking(move || {
            if let Some(Fetched { what: chart, .. }) = chart {
                let unusable = |error: ChartProblem| {
                    Unrendered::one(error.reason(), chart.release.to_string(), chain(&error))
                };
                let folder = directory.join(chart.folder().as_str());
                charts::unpack(&charts.archive(&chart), &folder).map_err(unusable)?;
            }
            roots.iter().try_for_each(|root| export(&snapshot, root, &directory))
        })
        .await
    }

    /// Puts the environment's value files into a folder of their own, if the app's others are elsewhere.
    async fn export_values(&self) -> Result<Option<tempfile::TempDir>, Failed> {
        let unread = |why| Failed { why, outcome: Outcome::FailedInPassing };
        let Some(snapshot) = self.values_snapshot().await.map_err(unread)? else { return Ok(None) };
        let (spec, scratch) = (self.spec.clone(), self.workshop.scratch.clone());
        let exported = blocking(move || {
            let folder = tempfile::tempdir_in(scratch)
                .map_err(|error| internal(spec.path.as_str(), format!("failed to make a folder: {error}")))?;
            for file in environment_value_files(&spec.renderer) {
                write(&snapshot, file, folder.path())?;
            }
            Ok(folder)
        });
        exported.await.map(Some).map_err(unread)
    }

    async fn values_snapshot(&self) -> Result<Option<Snapshot>, Unrendered> {
        match &self.files.values {
            Some((source, revision)) => {
                opened(&self.workshop.cache, source, revision.what.commit, &self.spec.path).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Fetches what a chart in Git depends on and does not bring, if the agent's file allows it.
    async fn complete(&mut self, directory: &Path) -> Result<(), Failed> {
        if !self.workshop.fetch_dependencies || self.files.chart.is_some() {
            return Ok(());
        }
        let (charts, path) = (self.workshop.charts.clone(), self.spec.path.clone());
        let (config, limits) = (self.config.clone(), self.rules.limits.clone());
        let directory = directory.to_owned();
        let completed = tokio::task::spawn_blocking(move || {
            ChartFolder { directory: &directory, path: &path }.complete(&charts, &config, &limits)
        });
        // A repository may take its time: others render meanwhile.
        self.bench = None;
        let completed = completed.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        self.dependencies = completed?;
        self.take_bench().await;
        Ok(())
    }

    async fn snapshot(&self) -> Result<Snapshot, Unrendered> {
        let AppFiles { source, revision, .. } = &self.files;
        opened(&self.workshop.cache, source, revision.what.commit, &self.spec.path).await
    }

    fn request<'a>(&'a self, directory: &'a Path, values: Option<&'a Path>) -> render::Request<'a> {
        render::Request {
            app: self.spec.name.as_str(),
            instance: &self.workshop.instance,
            directory,
            path: &self.spec.path,
            values,
            namespace: self.spec.namespace.as_ref().map(|namespace| namespace.as_str()),
            create_namespace: self.spec.create_namespace,
            namespace_metadata: &self.spec.namespace_metadata,
            renderer: &self.spec.renderer,
            facts: self.spec.substitute.then_some(&*self.rules.facts),
            ignore_differences: &self.spec.ignore_differences,
            limits: &self.rules.limits,
            apis: &self.apis.apis,
            api_versions: &self.apis.api_versions,
            kube_version: &self.apis.kube_version,
            tools: &self.workshop.tools,
            on_duplicate: match self.config.on_duplicate {
                config::OnDuplicate::Refuse => OnDuplicate::Refuse,
                config::OnDuplicate::LastWins => OnDuplicate::LastWins,
            },
            interner: &self.workshop.interner,
        }
    }
}

/// Returns the set that came of a render.
pub fn desired(
    files: &AppFiles,
    assignment: Assignment,
    rendered: Rendered,
    rendered_at: Interval,
) -> (Desired, Hold) {
    let Rendered { rows, warnings, changing: _, hold, files: _ } = rendered;
    let (seen_at, fetched) = files.fetched();
    let desired = Desired {
        revision: files.record(),
        assignment,
        render: render_digest(&rows),
        rows,
        warnings,
        listing: Listing::Listed,
        seen_at,
        fetched: Some(fetched),
        rendered: Some(rendered_at),
    };
    (desired, hold)
}

/// Puts one folder or file of the repository where it stands in there.
pub fn export(snapshot: &Snapshot, root: &RepoPath, directory: &Path) -> Result<(), Unrendered> {
    let target = directory.join(root.as_str());
    match snapshot.export(root.as_str(), &target) {
        Ok(_) => Ok(()),
        Err(ReadError::NotAFolder { .. }) => write(snapshot, root, directory),
        Err(error) => Err(unreadable(root, &error)),
    }
}

/// Puts one file of the repository where it stands in there.
fn write(snapshot: &Snapshot, file: &RepoPath, directory: &Path) -> Result<(), Unrendered> {
    let content = snapshot.read(file.as_str()).map_err(|error| unreadable(file, &error))?;
    let target = directory.join(file.as_str());
    let folder = target.parent().unwrap_or(directory);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&target, content));
    written.map_err(|error| internal(file.as_str(), format!("failed to write it to disk: {error}")))
}

/// Returns the value files that an app takes from its environment's repository while its others are elsewhere.
pub fn environment_value_files(renderer: &Renderer) -> &[RepoPath] {
    match renderer {
        Renderer::Helm(options) => &options.environment_value_files,
        Renderer::Auto | Renderer::Plain | Renderer::Kustomize(_) => &[],
    }
}

/// Opens a commit for an app that has its files in `path`.
async fn opened(
    cache: &Arc<Cache>,
    source: &git::Source,
    commit: CommitId,
    path: &RepoPath,
) -> Result<Snapshot, Unrendered> {
    let (cache, source, path) = (cache.clone(), source.clone(), path.clone());
    blocking(move || cache.snapshot(&source, commit).map_err(|error| unreadable(&path, &error))).await
}

pub fn unreadable(path: &RepoPath, error: &ReadError) -> Unrendered {
    Unrendered::one(error.reason(), path.to_string(), chain(error))
}

/// What fails that is not the input's fault.
fn internal(place: &str, message: String) -> Unrendered {
    Unrendered::one(render::Reason::Internal.word(), place, message)
}

pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Unrendered> + Send + 'static,
) -> Result<T, Unrendered> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(internal("", format!("reading the revision ended early: {error}"))))
}
