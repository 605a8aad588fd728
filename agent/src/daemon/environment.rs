//! One environment: what a revision of its source means for each of its apps.
//!
//! Reads the app list, renders the apps whose inputs changed, and sends each driver its wanted set.
//! It decides nothing about what is written; a mistake in one app never hides the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use skiff_shared::desired::{Interval, Problem, Revision, Unrendered};
use skiff_shared::environment::{
    self, AppName, AppSource, AppSpec, Environment as AppList, Facts, ListReason, RepoPath, Setting,
};
use skiff_shared::gate::approval::ApprovalTag;
use skiff_shared::limits::Limits;
use skiff_shared::object::{Digest, Interner};
use skiff_shared::policy::Policy;
use skiff_shared::sync::event::Event;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::apps::{Apps, Ensured};
use super::inputs;
use super::job::{AppFiles, Failed, Job, blocking, desired, environment_value_files, unreadable};
use super::own::{self, News, OwnSources};
use super::registry::Registry;
use super::source::{Fetched, Sourced, State, Subject, Trouble};
use super::sources::{Following, Sources, Told};
use crate::charts::{Chart, Charts};
use crate::cluster::discovery::Discovered;
use crate::config::EnvironmentConfig;
use crate::expr;
use crate::git::{self, Cache, CommitId, Snapshot};
use crate::http::Readiness;
use crate::render::{FileCache, FilesRead, Tools};
use crate::store::Store;
use crate::telemetry::{self, Rendering, SourceFailure, chain};

/// Failures in a row of a source that was never read, before an app shows them.
const SHOWN_AFTER: u32 = 3;

/// What rendering needs beside the revision.
#[derive(Clone)]
pub struct Workshop {
    pub instance: Arc<str>,
    pub cache: Arc<Cache>,
    pub charts: Arc<Charts>,
    pub sources: Arc<Sources>,
    pub store: Arc<Store>,
    pub interner: Arc<Mutex<Interner>>,
    /// What the apps have on record.
    pub registry: Arc<Registry>,
    pub tools: Arc<Tools>,
    /// Renders that may run at once.
    pub benches: Arc<Semaphore>,
    pub scratch: Arc<Path>,
    /// Whether charts in Git get the dependencies that they do not bring.
    pub fetch_dependencies: bool,
}

impl Workshop {
    /// Tells the cache where a source stood when the agent last ran.
    pub async fn remember(&self, source: &git::Source, commit: CommitId) {
        let (cache, source) = (self.cache.clone(), source.clone());
        let remembered = tokio::task::spawn_blocking(move || cache.remember(&source, commit)).await;
        if let Ok(Err(error)) = remembered {
            tracing::warn!(error = chain(&error), "where the source stood is not known");
        }
    }
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
    pub current: Option<Fetched<git::Revision>>,
    /// The apps of the newest list that can be rendered.
    pub listed: BTreeMap<Arc<str>, AppSpec>,
    /// The sources that apps have of their own.
    pub own: OwnSources,
    /// Keeps the environment's own source polled.
    pub following: Following,
    /// Why the newest list could not be read; it is tried again at every poll.
    pub unlisted: Option<Unrendered>,
    pub readiness: Readiness,
    /// Failures of the source in a row, and the last one as it was told.
    pub failures: u32,
    pub told: Option<String>,
    pub trouble: Option<Trouble>,
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
    files: AppFiles,
    apis: Arc<Discovered>,
    rules: Rules,
}

/// A render that has ended; without news where the app reads what it read before.
pub struct Finished {
    name: Arc<str>,
    news: Option<Last>,
    files: FileCache,
}

/// The last render of an app.
pub struct Last {
    pub key: Digest,
    pub outcome: Outcome,
    /// What the app's chart depends on: kept on disk as long as this is.
    #[expect(dead_code, reason = "holding them is what they are for")]
    pub dependencies: Vec<Arc<Chart>>,
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

impl Outcome {
    /// What has failed; `in_passing`: the same files may do at another time.
    pub fn failed(in_passing: bool) -> Self {
        if in_passing { Self::FailedInPassing } else { Self::Failed }
    }
}

impl Environment {
    /// Runs until it is stopped.
    pub async fn run(mut self, mut sourced: mpsc::UnboundedReceiver<Told>) {
        let mut noted = self.apps.registry.noted();
        let mut freed = self.apps.registry.freed();
        loop {
            tokio::select! {
                Some(told) = sourced.recv() => self.told(told).await,
                Some(ended) = self.renders.join_next() => self.rendered(ended),
                Ok(()) = noted.changed(), if self.busy.is_empty() => self.apps.go_on_with_hand_overs(),
                Ok(()) = freed.changed(), if self.apps.is_refused => self.revise().await,
                Ok(()) = self.apis.changed() => self.revise().await,
                Ok(()) = self.rules.changed() => self.rules_changed().await,
            }
        }
    }

    /// Takes over what the agent's file says now, also where nobody knows what the apps themselves say.
    async fn rules_changed(&mut self) {
        self.revise().await;
        if self.current.is_none() || self.unlisted.is_some() {
            self.apps.hold_to(&self.rules.borrow().policy);
        }
    }

    /// Sees to it that an app can tell what is wrong with all of them.
    async fn ensure_one(&mut self) {
        let policy = self.rules.borrow().policy.clone();
        self.apps.ensure_one(&self.config.name, &policy).await;
    }

    async fn told(&mut self, told: Told) {
        if !Arc::ptr_eq(&told.subject, &self.following.subject) {
            return self.own_told(&told);
        }
        match told.sourced {
            Sourced::Moved(State::Git(revision)) => {
                self.source_read();
                self.current = Some(revision);
                self.revise().await;
            }
            // An environment's own source is no chart.
            Sourced::Moved(State::Chart(_)) => {}
            Sourced::Unmoved => {
                self.source_read();
                let failed = self.last.values().any(|last| last.outcome == Outcome::FailedInPassing);
                if failed || self.unlisted.is_some() {
                    self.revise().await;
                }
            }
            Sourced::Failed(trouble) => self.source_failed(trouble).await,
            Sourced::Approvals(tags) => self.approved(&tags),
        }
    }

    /// Tells each app which tags approve its plans, as long as there are any or were.
    fn approved(&mut self, tags: &[ApprovalTag]) {
        let mut by_app: BTreeMap<Arc<str>, Vec<ApprovalTag>> = BTreeMap::new();
        for app in &self.apps.running {
            by_app.insert(app.clone(), tags.iter().filter(|tag| tag.app == **app).cloned().collect());
        }
        for (app, tags) in by_app {
            self.apps.registry.send_from(&self.apps.environment, &app, Event::ApprovalTags(tags));
        }
    }

    /// Takes news of a source that some apps have of their own.
    fn own_told(&mut self, told: &Told) {
        let (apps, news) = self.own.note(told);
        if let (Sourced::Failed(trouble), News::New) = (&told.sourced, news) {
            self.tell_trouble(&told.subject.url(), trouble);
        }
        for app in apps {
            self.tell_source(&app);
            let failed = || self.last.get(&app).is_some_and(|last| last.outcome == Outcome::FailedInPassing);
            if matches!(told.sourced, Sourced::Moved(_)) || failed() {
                self.order_app(&app);
            }
        }
    }

    /// Tells an app how the sources are that it comes from: its environment's, and its own if it has one.
    fn tell_source(&self, app: &Arc<str>) {
        let event = match self.trouble.as_ref().or_else(|| self.own.trouble(app)) {
            Some(Trouble { reason, message, .. }) => {
                Event::SourceFailed { reason: (*reason).to_owned(), message: message.clone() }
            }
            None => Event::SourceOk,
        };
        self.apps.registry.send(app, event);
    }

    fn tell_trouble(&self, url: &str, trouble: &Trouble) {
        let Trouble { reason, message, tried } = trouble;
        let environment = &self.config.name;
        self.apps.launcher.telemetry.source_failed(&SourceFailure {
            environment: environment.as_str(),
            url,
            reason,
            message,
            tried: *tried,
        });
        tracing::warn!(%environment, "error.type" = reason, "the source cannot be read: {message}");
    }

    /// Tells of a source that cannot be read: on the apps each time, in the log when it is news.
    async fn source_failed(&mut self, trouble: Trouble) {
        self.readiness.known(format!("source of {}", self.config.name), trouble.reason);
        self.failures += 1;
        if self.failures >= SHOWN_AFTER {
            self.ensure_one().await;
        }
        if self.told.as_ref() != Some(&trouble.message) {
            self.tell_trouble(&self.source.url.canonical(), &trouble);
        }
        self.told = Some(trouble.message.clone());
        self.trouble = Some(trouble);
        self.apps.running.iter().for_each(|app| self.tell_source(app));
    }

    fn source_read(&mut self) {
        (self.failures, self.told, self.trouble) = (0, None, None);
        self.readiness.known(format!("source of {}", self.config.name), "read");
        self.apps.launcher.telemetry.source_read(self.config.name.as_str());
        self.apps.running.iter().for_each(|app| self.tell_source(app));
    }

    /// Goes through the apps of the current revision, as the cluster and the policy are now.
    async fn revise(&mut self) {
        let Some(revision) = self.current.clone() else { return };
        if self.apis.borrow_and_update().is_none() {
            return;
        }
        let rules = self.rules.borrow_and_update().clone();
        self.apps.assignment.facts = rules.facts.digest().to_string();
        let listed = self.list(&revision, &rules).await;
        let list = match listed {
            Ok(list) => list,
            Err(unlisted) => return self.list_failed(&revision, unlisted).await,
        };
        self.unlisted = None;
        self.warn(&list.warnings);
        let names: BTreeSet<Arc<str>> = list.apps.iter().map(|app| app.name.as_str().into()).collect();
        let record = revision.what.record();
        self.apps.list_read(&record);
        self.apps.expect(&names);
        self.apps.only(&names, &record);
        // An app that is listed again has to be rendered: it was told that nothing is wanted.
        self.last.retain(|name, _| names.contains(name));
        self.files.retain(|name, _| names.contains(name));
        let mut running = BTreeMap::new();
        for spec in list.apps {
            if self.apps.ensure(&spec.name, &spec.policy).await == Ensured::Running {
                if let Err(why) = self.judge_by(&spec) {
                    self.refuse(&Arc::from(spec.name.as_str()), record.clone(), why);
                    continue;
                }
                let on = spec.depends_on.iter().map(|name| name.as_str().into()).collect();
                self.apps.registry.depend(spec.name.as_str(), on);
                running.insert(Arc::from(spec.name.as_str()), spec);
            }
        }
        self.listed = self.follow_own(running, &revision, &rules).await;
        for app in self.listed.keys().cloned().collect::<Vec<_>>() {
            self.order_app(&app);
        }
        if self.busy.is_empty() {
            // Nobody is waited for whose render would settle it.
            self.apps.settle_ownership();
        }
    }

    /// Follows the sources that apps have of their own; returns the apps that may have the source that they name.
    async fn follow_own(
        &mut self,
        mut apps: BTreeMap<Arc<str>, AppSpec>,
        revision: &Fetched<git::Revision>,
        rules: &Rules,
    ) -> BTreeMap<Arc<str>, AppSpec> {
        let mut wanted = BTreeMap::new();
        apps.retain(|app, spec| match own::subject_of(spec, &self.config, &rules.limits) {
            Ok(subject) => {
                wanted.extend(subject.map(|subject| (app.clone(), subject)));
                true
            }
            Err(why) => {
                self.refuse(app, revision.what.record(), why);
                false
            }
        });
        self.remember_own(&wanted).await;
        self.own.follow(wanted);
        self.workshop.sources.list_read(self.config.name.as_str());
        apps.keys().for_each(|app| self.tell_source(app));
        apps
    }

    /// Tells an app that it cannot be rendered as the list has it.
    fn refuse(&mut self, app: &Arc<str>, revision: Revision, why: Unrendered) {
        let now = Timestamp::now();
        self.apps.sender().failed(app, revision, why, Interval { start: now, end: now });
        self.last.remove(app);
    }

    /// Tells the cache once where the own sources of apps stood when the agent last ran.
    async fn remember_own(&mut self, wanted: &BTreeMap<Arc<str>, Subject>) {
        for subject in wanted.values() {
            if let Subject::Git(source) = subject
                && source.rewrites != git::Rewrites::Follow
                && let Some(commit) = self.apps.stood_at(source)
            {
                self.workshop.remember(source, commit).await;
            }
        }
        // Whatever is followed from now on is read, and that is newer.
        self.apps.recorded.clear();
    }

    /// Orders a render of an app as its sources stand; one whose own source was never read waits for it.
    fn order_app(&mut self, app: &Arc<str>) {
        let Some(spec) = self.listed.get(app).cloned() else { return };
        let Some(files) = self.files_of(&spec) else { return self.apps.unknown(app) };
        let Some(apis) = self.apis.borrow().clone() else { return };
        let rules = self.rules.borrow().clone();
        self.order(Order { spec, files, apis, rules });
    }

    /// Returns where an app's files are at the moment.
    fn files_of(&self, spec: &AppSpec) -> Option<AppFiles> {
        let environments = || Some((self.source.clone(), self.current.clone()?));
        Some(match (&spec.source, self.own.state(spec.name.as_str())) {
            (AppSource::Environment, _) => {
                let (source, revision) = environments()?;
                AppFiles { source, revision, chart: None, values: None }
            }
            (AppSource::Git(_), Some(State::Git(revision))) => {
                let (source, revision) = (self.own.git_source(spec.name.as_str())?, revision.clone());
                let takes_values = !environment_value_files(&spec.renderer).is_empty();
                let values = if takes_values { Some(environments()?) } else { None };
                AppFiles { source, revision, chart: None, values }
            }
            (AppSource::Chart(_), Some(State::Chart(chart))) => {
                let (source, revision) = environments()?;
                AppFiles { source, revision, chart: Some(chart.clone()), values: None }
            }
            _ => return None,
        })
    }

    /// Takes over how an app's kinds say how they are.
    fn judge_by(&self, spec: &AppSpec) -> Result<(), Unrendered> {
        let checks = expr::health_checks(spec)?;
        let launcher = &self.apps.launcher;
        let kinds = launcher.cluster.health.set(spec.name.as_str(), checks);
        if !kinds.is_empty() {
            launcher.registry.send(spec.name.as_str(), Event::HealthRules(kinds));
        }
        Ok(())
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

    async fn list_failed(&mut self, revision: &Fetched<git::Revision>, why: Unrendered) {
        let revision = revision.what.record();
        let is_news = self.unlisted.as_ref() != Some(&why);
        for problem in why.problems.iter().filter(|_| is_news) {
            let environment = &self.config.name;
            tracing::error!(%environment, %revision, "error.type" = why.reason, %problem, "the app list cannot be read");
        }
        self.ensure_one().await;
        self.apps.list_is_bad(&revision, &why);
        self.unlisted = Some(why);
    }

    /// Reads the app list of a revision.
    async fn list(&self, revision: &Fetched<git::Revision>, rules: &Rules) -> Result<AppList, Unrendered> {
        let (cache, source, rules) = (self.workshop.cache.clone(), self.source.clone(), rules.clone());
        let (path, name) = (self.config.source.path.clone(), self.config.name.clone());
        let commit = revision.what.commit;
        let read = blocking(move || {
            let snapshot = cache.snapshot(&source, commit).map_err(|error| unreadable(&path, &error))?;
            read_list(&snapshot, name, &path, &rules)
        });
        read.await
    }

    /// Renders one app if what it reads has changed, and tells its driver.
    fn app(&self, order: Order, mut files: FileCache) -> impl Future<Output = Finished> + use<> {
        let Order { spec, files: from, apis, rules } = order;
        let name: Arc<str> = spec.name.as_str().into();
        let before = self.last.get(&name).filter(|last| last.outcome == Outcome::Good).map(|last| last.key);
        let (workshop, apps) = (self.workshop.clone(), self.apps.sender());
        let assignment = self.apps.assignment.clone();
        let (measured, config) = (self.measured(&name), self.config.clone());
        async move {
            let revision = from.record();
            let mut job = Job::new(workshop, spec, from, apis, rules, config);
            job.take_bench().await;
            let start = Timestamp::now();
            let prepared = match job.prepare().await {
                Ok(inputs) => inputs,
                Err(why) => {
                    apps.failed(&name, revision, why, Interval { start, end: Timestamp::now() });
                    measured(Rendering::Failed, start);
                    // Disk and cache fail in passing; what is wrong in Git is told again, which changes nothing.
                    let outcome = Outcome::FailedInPassing;
                    let last = Last { key: Digest::of(b""), outcome, dependencies: Vec::new() };
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
                    let (desired, hold) = desired(&job.files, assignment, rendered, rendered_at);
                    apps.wanted(&name, desired, hold);
                    Outcome::Good
                }
                Err(Failed { why, outcome }) => {
                    measured(Rendering::Failed, start);
                    apps.failed(&name, revision, why, Interval { start, end: Timestamp::now() });
                    outcome
                }
            };
            let last = Last { key, outcome, dependencies: job.dependencies };
            Finished { name, news: Some(last), files }
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

/// Reads the list in a folder of a revision; without one the folder is the app.
pub(super) fn read_list(
    snapshot: &Snapshot,
    name: AppName,
    path: &RepoPath,
    rules: &Rules,
) -> Result<AppList, Unrendered> {
    let Rules { policy, facts, limits: _ } = rules;
    let names = inputs::names(snapshot, path).map_err(|error| unreadable(path, &error))?;
    if !names.iter().any(|name| name == environment::FILE_NAME) {
        return Ok(environment::single_app(name, path.clone(), policy));
    }
    let file = path.join(environment::FILE_NAME).expect("a file in a folder is in the repository");
    let text = snapshot.read(file.as_str()).map_err(|error| unreadable(&file, &error))?;
    let text = String::from_utf8(text).map_err(|_| {
        Unrendered::one(ListReason::InvalidAppList.word(), file.to_string(), "it is not UTF-8")
    })?;
    let patterns = environment::patterns(&text, path, facts);
    let folders = inputs::matching(snapshot, patterns).map_err(|error| unreadable(path, &error))?;
    let setting = Setting { folder: path, policy, facts, folders: &folders };
    environment::parse(&text, &setting)
        .map_err(|errors| Unrendered { reason: errors.reason().word(), problems: errors.problems })
}
