//! One environment: what a revision of its source means for each of its apps.
//!
//! Reads the app list, renders the apps whose inputs changed, and sends each driver its wanted set.
//! It decides nothing about what is written; a mistake in one app never hides the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use skiff_shared::desired::{Assignment, Desired, Interval, Problem, Revision, render_digest};
use skiff_shared::environment::{
    self, AppName, AppSpec, Environment as AppList, Facts, ListReason, RendererKind, RepoPath, Setting,
};
use skiff_shared::limits::Limits;
use skiff_shared::object::{Digest, Hashing, Interner};
use skiff_shared::policy::Policy;
use skiff_shared::sync::event::Event;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::apps::{Apps, Ensured};
use super::inputs::{self, Inputs};
use super::source::Sourced;
use crate::cluster::discovery::Discovered;
use crate::config::EnvironmentConfig;
use crate::git::{self, Cache, ReadError, Snapshot};
use crate::http::Readiness;
use crate::render::{self, FileCache, FilesRead, OnDuplicate, Rendered, Tools};
use crate::store::{Hold, Store};
use crate::telemetry::{self, Rendering, SourceFailure, chain};

/// Failures in a row of a source that was never read, before an app shows them.
const SHOWN_AFTER: u32 = 3;

/// What rendering needs beside the revision.
#[derive(Clone)]
pub struct Workshop {
    pub instance: Arc<str>,
    pub cache: Arc<Cache>,
    pub store: Arc<Store>,
    pub interner: Arc<Mutex<Interner>>,
    pub tools: Arc<Tools>,
    /// Renders that may run at once.
    pub benches: Arc<Semaphore>,
    pub scratch: Arc<Path>,
}

/// What the agent's file says of an environment's apps; a change of it is taken up while the agent runs.
#[derive(Clone, PartialEq, Eq)]
pub struct Rules {
    pub policy: Policy,
    pub facts: Arc<Facts>,
    pub limits: Arc<Limits>,
}

/// A running environment.
pub struct Environment {
    pub config: EnvironmentConfig,
    pub source: git::Source,
    pub workshop: Workshop,
    pub apps: Apps,
    pub apis: watch::Receiver<Option<Arc<Discovered>>>,
    pub rules: watch::Receiver<Rules>,
    /// What each app was last rendered from, and what came of it.
    pub last: BTreeMap<Arc<str>, Last>,
    /// What the files of each app became, while the app is not being rendered.
    pub files: BTreeMap<Arc<str>, FileCache>,
    pub current: Option<Moved>,
    /// Why the newest list could not be read; it is tried again at every poll.
    pub unlisted: Option<Vec<Problem>>,
    pub readiness: Readiness,
    /// Failures of the source in a row, and the last one as it was told.
    pub failures: u32,
    pub told: Option<String>,
    /// The warnings of the app list as they were told.
    pub warned: Vec<Problem>,
    /// Renders under way.
    pub renders: JoinSet<Finished>,
    /// The apps that are being rendered, each with what is to be rendered next.
    pub busy: BTreeMap<Arc<str>, Option<Order>>,
}

/// A render that is asked for.
#[derive(Clone)]
pub struct Order {
    spec: AppSpec,
    moved: Moved,
    apis: Arc<Discovered>,
    rules: Rules,
}

/// A render that has ended; without news where the app reads what it read before.
pub struct Finished {
    name: Arc<str>,
    news: Option<Last>,
    files: FileCache,
}

/// A revision that was fetched.
#[derive(Clone)]
pub struct Moved {
    pub revision: Arc<git::Revision>,
    pub seen_at: Timestamp,
    pub fetched: Interval,
}

/// The last render of an app.
pub struct Last {
    pub key: Digest,
    pub outcome: Outcome,
}

/// What a render ended with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Good,
    /// The files are wrong: another revision may be right.
    Failed,
    /// Disk, time or discovery failed: the same files may render later.
    FailedInPassing,
}

impl Environment {
    /// Runs until the poller is gone.
    pub async fn run(mut self, mut sourced: mpsc::Receiver<Sourced>) {
        let mut noted = self.apps.registry.noted();
        loop {
            tokio::select! {
                told = sourced.recv() => match told {
                    Some(told) => self.told(told).await,
                    None => return,
                },
                Some(ended) = self.renders.join_next() => self.rendered(ended),
                Ok(()) = noted.changed(), if self.busy.is_empty() => self.apps.go_on_with_hand_overs(),
                Ok(()) = self.apis.changed() => self.revise().await,
                Ok(()) = self.rules.changed() => self.revise().await,
            }
        }
    }

    async fn told(&mut self, sourced: Sourced) {
        match sourced {
            Sourced::Moved { revision, seen_at, fetched } => {
                self.source_read();
                self.apps.tell_all(&Event::SourceOk);
                self.current = Some(Moved { revision, seen_at, fetched });
                self.revise().await;
            }
            Sourced::Unmoved => {
                self.source_read();
                self.apps.tell_all(&Event::SourceOk);
                let failed = self.last.values().any(|last| last.outcome == Outcome::FailedInPassing);
                if failed || self.unlisted.is_some() {
                    self.revise().await;
                }
            }
            Sourced::Failed { reason, message, tried } => {
                self.source_failed(reason, message, tried).await;
            }
        }
    }

    /// Tells of a source that cannot be read: on the apps each time, in the log when it is news.
    async fn source_failed(&mut self, reason: &'static str, message: String, tried: Interval) {
        self.readiness.known(format!("source of {}", self.config.name), reason);
        self.failures += 1;
        if self.failures >= SHOWN_AFTER {
            self.apps.ensure_one(&self.config.name, &self.config.policy).await;
        }
        if self.told.as_ref() != Some(&message) {
            let environment = &self.config.name;
            self.apps.launcher.telemetry.source_failed(&SourceFailure {
                environment: environment.as_str(),
                url: &self.source.url.canonical(),
                reason,
                message: &message,
                tried,
            });
            tracing::warn!(%environment, "error.type" = reason, "the source cannot be read: {message}");
        }
        self.told = Some(message.clone());
        self.apps.tell_all(&Event::SourceFailed { reason: reason.to_owned(), message });
    }

    fn source_read(&mut self) {
        (self.failures, self.told) = (0, None);
        self.readiness.known(format!("source of {}", self.config.name), "read");
        self.apps.launcher.telemetry.source_read(self.config.name.as_str());
    }

    /// Goes through the apps of the current revision, as the cluster and the policy are now.
    async fn revise(&mut self) {
        let Some(moved) = self.current.clone() else { return };
        let Some(apis) = self.apis.borrow_and_update().clone() else { return };
        let rules = self.rules.borrow_and_update().clone();
        self.apps.assignment.facts = rules.facts.digest().to_string();
        let listed = self.list(&moved, &rules).await;
        let list = match listed {
            Ok(list) => list,
            Err(unlisted) => return self.list_failed(&moved, unlisted).await,
        };
        self.unlisted = None;
        self.warn(&list.warnings);
        let names: BTreeSet<Arc<str>> = list.apps.iter().map(|app| app.name.as_str().into()).collect();
        self.apps.only(&names, &moved.revision.record());
        self.apps.expect(&names);
        // An app that is listed again has to be rendered: it was told that nothing is wanted.
        self.last.retain(|name, _| names.contains(name));
        self.files.retain(|name, _| names.contains(name));
        for spec in list.apps {
            if self.apps.ensure(&spec.name, &spec.policy).await == Ensured::Running {
                let (moved, apis, rules) = (moved.clone(), apis.clone(), rules.clone());
                self.order(Order { spec, moved, apis, rules });
            }
        }
    }

    /// Tells the warnings of the app list when they are news.
    fn warn(&mut self, warnings: &[Problem]) {
        if self.warned != warnings {
            for warning in warnings {
                tracing::warn!(environment = %self.config.name, "the app list: {warning}");
            }
            self.warned = warnings.to_vec();
        }
    }

    /// Starts a render, or notes it for when the app's present one has ended: apps wait only for
    /// themselves.
    fn order(&mut self, order: Order) {
        let name: Arc<str> = order.spec.name.as_str().into();
        if let Some(next) = self.busy.get_mut(&name) {
            *next = Some(order);
            return;
        }
        let files = self.files.remove(&name).unwrap_or_default();
        self.busy.insert(name, None);
        let render = self.app(order, files);
        self.renders.spawn(render);
    }

    fn rendered(&mut self, ended: Result<Finished, JoinError>) {
        let Finished { name, news, files } = match ended {
            Ok(finished) => finished,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return,
            },
        };
        if self.apps.is_listed(&name) {
            if let Some(last) = news {
                self.last.insert(name.clone(), last);
            }
            self.files.insert(name.clone(), files);
        }
        if let Some(Some(next)) = self.busy.remove(&name) {
            self.order(next);
        }
        if self.busy.is_empty() {
            self.apps.settle_ownership();
        }
    }

    async fn list_failed(&mut self, moved: &Moved, unlisted: Unlisted) {
        let Unlisted { reason, problems } = unlisted;
        let revision = moved.revision.record();
        let is_news = self.unlisted.as_ref() != Some(&problems);
        for problem in problems.iter().filter(|_| is_news) {
            let environment = &self.config.name;
            tracing::error!(%environment, %revision, "error.type" = reason, %problem, "the app list cannot be read");
        }
        self.apps.ensure_one(&self.config.name, &self.config.policy).await;
        self.apps.list_is_bad(&revision, &problems);
        self.unlisted = Some(problems);
    }

    /// Reads the app list of a revision.
    async fn list(&self, moved: &Moved, rules: &Rules) -> Result<AppList, Unlisted> {
        let (cache, source, rules) = (self.workshop.cache.clone(), self.source.clone(), rules.clone());
        let (path, name) = (self.config.source.path.clone(), self.config.name.clone());
        let commit = moved.revision.commit;
        let read = blocking(move || {
            let snapshot = cache.snapshot(&source, commit);
            let snapshot = snapshot.map_err(|error| Unlisted::unreadable(&path, &error));
            Ok(snapshot.and_then(|snapshot| read_list(&snapshot, name, &path, &rules)))
        });
        read.await.unwrap_or_else(|problems| Err(Unlisted { reason: "Internal", problems }))
    }

    /// Renders one app if what it reads has changed, and tells its driver.
    fn app(&self, order: Order, mut files: FileCache) -> impl Future<Output = Finished> + use<> {
        let Order { spec, moved, apis, rules } = order;
        let name: Arc<str> = spec.name.as_str().into();
        let before = self.last.get(&name).filter(|last| last.outcome == Outcome::Good).map(|last| last.key);
        let (workshop, source, apps) = (self.workshop.clone(), self.source.clone(), self.apps.sender());
        let assignment = self.apps.assignment.clone();
        let measured = self.measured(&name);
        let on_duplicate = match self.config.on_duplicate {
            crate::config::OnDuplicate::Refuse => OnDuplicate::Refuse,
            crate::config::OnDuplicate::LastWins => OnDuplicate::LastWins,
        };
        async move {
            let _bench = workshop.benches.clone().acquire_owned().await;
            let revision = moved.revision.record();
            let start = Timestamp::now();
            let commit = moved.revision.commit;
            let job = Job { workshop, source, spec, apis, rules, on_duplicate, commit };
            let prepared = match job.prepare().await {
                Ok(inputs) => inputs,
                Err(problems) => {
                    apps.failed(&name, revision, problems, Interval { start, end: Timestamp::now() });
                    measured(Rendering::Failed, start);
                    // Disk and cache fail in passing; what is wrong in Git is told again, which changes nothing.
                    let last = Last { key: Digest::of(b""), outcome: Outcome::FailedInPassing };
                    return Finished { name, news: Some(last), files };
                }
            };
            let key = prepared.key;
            if before == Some(key) {
                measured(Rendering::Cached, start);
                apps.unmoved(&name, revision);
                return Finished { name, news: None, files };
            }
            let outcome = match job.render(&prepared, &mut files).await {
                Ok(rendered) => {
                    let FilesRead { read, reused } = rendered.files;
                    tracing::debug!(app = %name, read, reused, "rendered");
                    measured(Rendering::Done { read, reused }, start);
                    let rendered_at = Interval { start, end: Timestamp::now() };
                    let source = DesiredSource { revision, assignment, rendered_at };
                    let (desired, hold) = desired(source, rendered, &moved);
                    apps.wanted(&name, desired, hold);
                    Outcome::Good
                }
                Err(Unrendered { problems, outcome }) => {
                    measured(Rendering::Failed, start);
                    apps.failed(&name, revision, problems, Interval { start, end: Timestamp::now() });
                    outcome
                }
            };
            Finished { name, news: Some(Last { key, outcome }), files }
        }
    }

    /// Returns what counts and measures the renders of an app.
    fn measured(&self, app: &str) -> impl Fn(Rendering, Timestamp) + use<> {
        let telemetry = self.apps.launcher.telemetry.clone();
        let environment = self.config.name.to_string();
        let app = telemetry::AppName { environment, app: app.to_owned(), namespace: None };
        move |rendering, start| {
            telemetry.rendered(&app, rendering, Interval { start, end: Timestamp::now() });
        }
    }
}

/// Why there are no rows.
struct Unrendered {
    problems: Vec<Problem>,
    outcome: Outcome,
}

/// Why there is no app list.
struct Unlisted {
    reason: &'static str,
    problems: Vec<Problem>,
}

impl Unlisted {
    fn unreadable(path: &RepoPath, error: &ReadError) -> Self {
        Self { reason: error.reason(), problems: unreadable(path, error) }
    }
}

/// Reads the list in a folder of a revision; without one the folder is the app.
fn read_list(
    snapshot: &Snapshot,
    name: AppName,
    path: &RepoPath,
    rules: &Rules,
) -> Result<AppList, Unlisted> {
    let Rules { policy, facts, limits: _ } = rules;
    let names = inputs::names(snapshot, path).map_err(|error| Unlisted::unreadable(path, &error))?;
    if !names.iter().any(|name| name == environment::FILE_NAME) {
        return Ok(environment::single_app(name, path.clone(), policy));
    }
    let file = path.join(environment::FILE_NAME).expect("a file in a folder is in the repository");
    let text = snapshot.read(file.as_str()).map_err(|error| Unlisted::unreadable(&file, &error))?;
    let text = String::from_utf8(text).map_err(|_| Unlisted {
        reason: ListReason::InvalidAppList.word(),
        problems: vec![Problem { place: file.to_string(), message: "it is not UTF-8".to_owned() }],
    })?;
    let patterns = environment::patterns(&text, path, facts);
    let folders = inputs::matching(snapshot, patterns).map_err(|error| Unlisted::unreadable(path, &error))?;
    let setting = Setting { folder: path, policy, facts, folders: &folders };
    environment::parse(&text, &setting)
        .map_err(|errors| Unlisted { reason: errors.reason().word(), problems: errors.problems })
}

/// One app at one revision, on its way to rows.
struct Job {
    workshop: Workshop,
    source: git::Source,
    spec: AppSpec,
    apis: Arc<Discovered>,
    rules: Rules,
    on_duplicate: OnDuplicate,
    commit: git::CommitId,
}

impl Job {
    /// Finds out what the app reads; the key covers also what the cluster and the options add.
    async fn prepare(&self) -> Result<Inputs, Vec<Problem>> {
        let (cache, source) = (self.workshop.cache.clone(), self.source.clone());
        let (spec, commit) = (self.spec.clone(), self.commit);
        let inputs = blocking(move || {
            let snapshot = cache.snapshot(&source, commit).map_err(|error| unreadable(&spec.path, &error))?;
            inputs::find(&snapshot, &spec).map_err(|error| unreadable(&spec.path, &error))
        })
        .await?;
        let directory = self.workshop.scratch.clone();
        let key = render::input_digest(&self.request(&directory), &inputs.key.to_string());
        // Also where nothing of them is used: what the facts were is recorded with the set.
        let key = Hashing::default().part(&key.0).part(&self.rules.facts.digest().0).finish();
        Ok(Inputs { key, ..inputs })
    }

    async fn render(&self, inputs: &Inputs, files: &mut FileCache) -> Result<Rendered, Unrendered> {
        let failed = |error: std::io::Error| Unrendered {
            problems: vec![Problem {
                place: self.spec.path.to_string(),
                message: format!("failed to make a folder: {error}"),
            }],
            outcome: Outcome::FailedInPassing,
        };
        let wrong = |problems| Unrendered { problems, outcome: Outcome::Failed };
        let store = &self.workshop.store;
        let rendered = if inputs.kind == RendererKind::Plain {
            let snapshot = self.snapshot().await.map_err(wrong)?;
            render::render_commit(&self.request(&self.workshop.scratch), snapshot, files, store).await
        } else {
            let directory = tempfile::tempdir_in(&self.workshop.scratch).map_err(failed)?;
            self.export(inputs, directory.path()).await.map_err(wrong)?;
            render::render(&self.request(directory.path()), store).await
        };
        rendered.map_err(|error| {
            let outcome =
                if error.reason().is_transient() { Outcome::FailedInPassing } else { Outcome::Failed };
            Unrendered { problems: error.problems, outcome }
        })
    }

    /// Puts the files that the app reads into a folder of their own.
    async fn export(&self, inputs: &Inputs, directory: &Path) -> Result<(), Vec<Problem>> {
        let snapshot = self.snapshot().await?;
        let (roots, directory) = (inputs.roots.clone(), directory.to_owned());
        blocking(move || roots.iter().try_for_each(|root| export(&snapshot, root, &directory))).await
    }

    async fn snapshot(&self) -> Result<Snapshot, Vec<Problem>> {
        let (cache, source, commit) = (self.workshop.cache.clone(), self.source.clone(), self.commit);
        let path = self.spec.path.clone();
        blocking(move || cache.snapshot(&source, commit).map_err(|error| unreadable(&path, &error))).await
    }

    fn request<'a>(&'a self, directory: &'a Path) -> render::Request<'a> {
        render::Request {
            app: self.spec.name.as_str(),
            instance: &self.workshop.instance,
            directory,
            path: &self.spec.path,
            namespace: self.spec.namespace.as_ref().map(|namespace| namespace.as_str()),
            create_namespace: self.spec.create_namespace,
            renderer: &self.spec.renderer,
            facts: self.spec.substitute.then_some(&*self.rules.facts),
            limits: &self.rules.limits,
            apis: &self.apis.apis,
            api_versions: &[],
            kube_version: &self.apis.kube_version,
            tools: &self.workshop.tools,
            on_duplicate: self.on_duplicate,
            interner: &self.workshop.interner,
        }
    }
}

/// Where a rendered set comes from.
struct DesiredSource {
    revision: Revision,
    assignment: Assignment,
    rendered_at: Interval,
}

fn desired(from: DesiredSource, rendered: Rendered, moved: &Moved) -> (Desired, Hold) {
    let Rendered { rows, warnings, hold, files: _ } = rendered;
    let DesiredSource { revision, assignment, rendered_at } = from;
    let desired = Desired {
        revision,
        assignment,
        render: render_digest(&rows),
        rows,
        warnings,
        seen_at: moved.seen_at,
        fetched: Some(moved.fetched),
        rendered: Some(rendered_at),
    };
    (desired, hold)
}

/// Puts one folder or file of the repository where it stands in there.
fn export(snapshot: &Snapshot, root: &RepoPath, directory: &Path) -> Result<(), Vec<Problem>> {
    let target = directory.join(root.as_str());
    let written = |error: std::io::Error| {
        vec![Problem { place: root.to_string(), message: format!("failed to write it to disk: {error}") }]
    };
    match snapshot.export(root.as_str(), &target) {
        Ok(_) => Ok(()),
        Err(ReadError::NotAFolder { .. }) => {
            let content = snapshot.read(root.as_str()).map_err(|error| unreadable(root, &error))?;
            let folder = target.parent().unwrap_or(directory);
            std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&target, content)).map_err(written)
        }
        Err(error) => Err(unreadable(root, &error)),
    }
}

fn unreadable(path: &RepoPath, error: &ReadError) -> Vec<Problem> {
    vec![Problem { place: path.to_string(), message: chain(error) }]
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Vec<Problem>> + Send + 'static,
) -> Result<T, Vec<Problem>> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(vec![Problem {
            place: String::new(),
            message: format!("reading the revision ended early: {error}"),
        }])
    })
}
