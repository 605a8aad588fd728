//! The daemon in the pod: the tasks, put together, started and ended in good order.
//!
//! Tasks: a poller per source, a task per environment (renders), a watch per kind, the router, a driver
//! and a publisher per app, the Lease in its own thread, configuration, HTTP. They talk by messages; only
//! the machines decide.

mod access;
mod apis;
mod apps;
mod driver;
mod environment;
mod environments;
mod herald;
pub(crate) mod inputs;
pub(crate) mod job;
mod launch;
mod leftovers;
mod lists;
mod mailbox;
mod needs;
pub(crate) mod own;
mod parts;
mod past;
mod performer;
mod receivers;
mod registry;
mod retention;
mod router;
mod signals;
mod sought;
pub(crate) mod source;
mod sources;
mod tools;
mod unattended;
mod vital;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use skiff_shared::object::Interner;
use skiff_shared::sync::Limits;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::access::ClusterAccess;
use self::apis::Discovery;
use self::apps::WantedSets;
use self::environments::Environments;
pub use self::environments::source_of;
use self::launch::Launcher;
use self::parts::{
    Caches, Fixed, lease_options, namespaces, open_caches, start_herald, start_http, start_telemetry,
    start_webhooks, tidy, workshop,
};
use self::registry::Registry;
use self::router::Heard;
use self::sources::Sources;
use self::vital::Vital;
use crate::cluster::connection::KubeconfigChoice;
use crate::cluster::marked::Marked;
use crate::cluster::requests::Requests;
use crate::cluster::secrets::Secrets;
use crate::cluster::watch::{Task, Watches};
use crate::cluster::{Connection, Generations};
use crate::config::{self, Config, ConfigErrors, EnvironmentConfig, Watched};
use crate::expr::HealthBook;
use crate::http::Readiness;
use crate::lanes::Lanes;
use crate::lease::{LeaseHolder, Right};
use crate::state::State;
use crate::store::Store;
use crate::telemetry::{SHUTDOWN_CAP, Telemetry};

/// Writes in flight over all apps.
const LANES: usize = 16;

/// How long writes in flight are awaited at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// How long it may take at the end until everybody has been told.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long apps wait at the start until it is known what autoscalers scale.
const AUTOSCALERS: Duration = Duration::from_secs(5);

/// How often tasks that should run for ever are looked after.
const INSPECTION: Duration = Duration::from_secs(5);

/// Bodies on disk are collected at every so manieth inspection: every ten minutes.
const GARBAGE_EVERY: u32 = 120;

/// What the verb `agent` was told.
#[derive(Clone, Debug)]
pub struct Options {
    pub config: PathBuf,
    /// Outside of a pod: the kubeconfig of the agent's identity.
    pub kubeconfig: KubeconfigChoice,
    pub in_cluster: InCluster,
}

/// Where the agent's identity comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InCluster {
    Yes,
    No,
}

/// Runs the agent until it is told to end.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let ending = CancellationToken::new();
    signals::listen(ending.clone()).context("failed to listen to signals")?;
    let Watched { config, changes } = config::watch(options.config.clone(), config::process_variables())
        .with_context(|| format!("failed to read {}", options.config.display()))?;
    let environments = config.environments.clone();
    // Nothing that has to be given back is held before this ends.
    match ending.run_until_cancelled(Daemon::start(config, &options, ending.clone())).await {
        Some(daemon) => daemon?.serve(environments, changes, ending).await,
        None => Ok(()),
    }
}

/// The running agent.
struct Daemon {
    environments: Environments,
    registry: Arc<Registry>,
    launcher: Arc<Launcher>,
    telemetry: Telemetry,
    lease: LeaseHolder,
    http: tokio::task::JoinHandle<()>,
    readiness: Readiness,
    fixed: Fixed,
    /// Of definitions, of autoscalers and of `App` objects; they end when this is dropped.
    side_watches: [Task; 3],
    /// Ends what serves the apps, once they are drained.
    stop: CancellationToken,
    inspections: u32,
}

impl Daemon {
    /// Puts the tasks together; whatever asks the cluster for something does so in the background.
    async fn start(config: Config, options: &Options, ending: CancellationToken) -> anyhow::Result<Self> {
        let (_, fixed) = Fixed::of(config);
        let telemetry = start_telemetry(&fixed);
        let stop = CancellationToken::new();
        let vital = Vital::new(ending.clone());
        let readiness = Readiness::default();
        readiness.known("config", "read");
        readiness.expect("lease");
        let http = start_http(&fixed, &telemetry, &readiness, &stop).await?;
        let connection = match options.in_cluster {
            InCluster::Yes => Connection::in_cluster()?,
            InCluster::No => Connection::kubeconfig(options.kubeconfig.clone()).await?,
        };
        let namespace = fixed.agent.namespace.as_str().to_owned();
        let lease = LeaseHolder::start(connection.config(), lease_options(&fixed))?;
        let instance: Arc<str> = fixed.agent.instance.as_str().into();
        let interner = Arc::new(Mutex::new(Interner::default()));
        let store = Arc::new(Store::open(fixed.state.directory.join("bodies"))?);
        let secrets = Arc::new(Secrets::new(connection.clone(), &namespace));
        let (cache, charts) = open_caches(&fixed.state.directory, &stop, secrets)?;
        let (registry, wanted) = (Arc::new(Registry::default()), Arc::new(WantedSets::default()));
        let (watched, seen) = mpsc::channel(1_024);
        let (definitions, changed) = mpsc::channel(4);
        let (asked, asks) = mpsc::channel(64);
        let discovery = Discovery { connection: connection.clone(), changed, wanted: wanted.clone() };
        let apis = discovery.start(&vital, stop.child_token());
        let (generations, health) = (Generations::default(), HealthBook::default());
        let watches = Watches::new(
            connection.clone(),
            apis.set.clone(),
            generations.clone(),
            instance.clone(),
            watched,
        )
        .judging_by(health.clone())
        .within(namespaces(&fixed));
        let (scaled, autoscaled) = watch::channel(None);
        let side_watches =
            [watches.definitions(definitions), watches.autoscalers(scaled), watches.apps(&namespace, asked)];
        let limits = Limits::default();
        let access = ClusterAccess {
            requests: Requests::new(
                connection.clone(),
                apis.set.clone(),
                generations.clone(),
                instance.clone(),
            )
            .judging_by(health.clone()),
            health,
            namespace: namespace.clone(),
            marked: Marked::new(&connection, &apis.set, &instance, namespaces(&fixed)),
            watches,
            state: Arc::new(State::new(connection.client(), &namespace, &fixed.agent.instance)),
            store,
            lanes: Lanes::new(LANES),
            right: Right {
                term: lease.term.clone(),
                deadline: limits.request_deadline,
                draining: CancellationToken::new(),
            },
            interner,
            stop: ending,
        };
        let launcher = Arc::new(Launcher {
            cluster: Arc::new(access),
            registry: registry.clone(),
            wanted,
            telemetry: telemetry.clone(),
            apis: apis.set.clone(),
            lease: lease.term.clone(),
            autoscaled: autoscaled.clone(),
            autoscaled_by: tokio::time::Instant::now() + AUTOSCALERS,
            limits,
            drivers: TaskTracker::new(),
            newest: Mutex::default(),
            vital: vital.clone(),
            past: Arc::default(),
            herald: start_herald(&fixed, &vital, &connection),
        });
        tidy(&launcher, &fixed.state);
        let heard = Heard { seen, asks, lease: lease.term.clone(), autoscaled, apis: apis.set.clone() };
        heard.pass_on(&vital, &registry, &readiness);
        let sources = Sources::new(cache.clone(), charts.clone(), instance.clone(), &registry, vital.clone());
        start_webhooks(&fixed, &sources, &stop).await?;
        let workshop = workshop(&fixed, Caches { cache, charts, sources }, &launcher)?;
        let environments = Environments::new(workshop, launcher.clone(), apis.discovered, readiness.clone());
        Ok(Self {
            environments,
            registry,
            launcher,
            telemetry,
            lease,
            http,
            readiness,
            fixed,
            side_watches,
            stop,
            inspections: 0,
        })
    }
}

impl Daemon {
    /// Serves until the process is told to end, then ends in good order.
    async fn serve(
        mut self,
        configured: Vec<EnvironmentConfig>,
        changes: config::Changes,
        ending: CancellationToken,
    ) -> anyhow::Result<()> {
        // Whatever it waits for: a cluster that does not answer must not keep the process.
        ending.run_until_cancelled(self.work(configured, changes)).await;
        let vital = self.launcher.vital.clone();
        self.end().await;
        match vital.broken() {
            Some(task) => {
                anyhow::bail!("{task} ended unexpectedly: the process ends so that it is started anew")
            }
            None => Ok(()),
        }
    }

    /// Starts the environments and takes up changes of the configuration; never ends by itself.
    async fn work(&mut self, configured: Vec<EnvironmentConfig>, mut changes: config::Changes) {
        let facts = Arc::new(self.fixed.cluster.facts());
        self.environments.apply(configured, facts).await;
        let mut inspection = tokio::time::interval(INSPECTION);
        loop {
            tokio::select! {
                _ = inspection.tick() => {
                    self.inspect_watches();
                    self.collect_garbage();
                }
                Some(changed) = changes.recv() => match changed {
                    Ok(config) => self.reconfigure(config).await,
                    Err(errors) => self.refuse(&errors),
                },
            }
        }
    }

    /// Tells that the changed configuration is not taken up.
    fn refuse(&self, errors: &ConfigErrors) {
        self.readiness.known("config", "the changed file is refused, the one before it is in force");
        tracing::error!(%errors, "the changed configuration is refused: the one before it stays in force");
        self.registry.config_refused(Some(errors.to_string().replace('\n', "; ")));
    }

    /// Ends the process if a watch, which should run for ever, does not.
    fn inspect_watches(&self) {
        let side = self.side_watches.iter().any(Task::has_ended);
        let watches = self.launcher.cluster.watches.ended();
        let watch = watches.first().map(|kind| format!("the watch of {kind}"));
        let broken =
            watch.or_else(|| side.then(|| "a watch of definitions, autoscalers or App objects".to_owned()));
        if let Some(name) = broken {
            self.launcher.vital.breaks(name);
        }
    }

    /// Removes from the disk what no app needs any more.
    fn collect_garbage(&mut self) {
        self.inspections += 1;
        if !self.inspections.is_multiple_of(GARBAGE_EVERY) {
            return;
        }
        let store = self.launcher.cluster.store.clone();
        let (registry, wanted) = (self.registry.clone(), self.environments.wanted());
        let live = move || &registry.bodies() | &wanted.bodies();
        tokio::task::spawn_blocking(move || match store.retain(live) {
            Ok(collected) => tracing::debug!(?collected, "bodies on disk"),
            Err(error) => tracing::warn!(%error, "failed to remove bodies from the disk"),
        });
        self.environments.forget_sources();
    }

    async fn reconfigure(&mut self, config: Config) {
        let (
            environments,
            Fixed { cluster, agent, notifications, webhooks, telemetry, http, render, state, lease },
        ) = Fixed::of(config);
        // Labels and variables are taken up at once, the name is the one that traces, metrics and trace ids have.
        let name = self.fixed.cluster.name.clone();
        let labels = cluster.labels.clone();
        let facts = Arc::new(config::Cluster { name, ..cluster.clone() }.facts());
        let cluster = config::Cluster { name: cluster.name, ..self.fixed.cluster.clone() };
        let fixed = Fixed { cluster, agent, notifications, webhooks, telemetry, http, render, state, lease };
        self.readiness.known("config", "read");
        if fixed != self.fixed {
            tracing::warn!(
                "only environments, fetch, cluster.labels and cluster.vars are taken up without a restart: restart the agent for the other changes"
            );
        }
        tracing::info!("the changed configuration is in force");
        self.registry.config_refused(None);
        self.telemetry.cluster_labelled(&labels);
        self.environments.apply(environments, facts).await;
    }

    /// Drains the drivers, gives the Lease back last, then flushes telemetry.
    async fn end(self) {
        tracing::info!("ending: writes in flight are awaited");
        self.environments.stop();
        self.launcher.cluster.right.draining.cancel();
        self.registry.drain();
        self.launcher.drivers.close();
        if tokio::time::timeout(DRAIN, self.launcher.drivers.wait()).await.is_err() {
            tracing::warn!(seconds = DRAIN.as_secs(), "writes were still in flight at the end");
        }
        self.launcher.herald.finish(LAST_WORDS).await;
        self.stop.cancel();
        let lease = self.lease;
        let released = tokio::task::spawn_blocking(move || lease.release());
        if tokio::time::timeout(Duration::from_secs(3), released).await.is_err() {
            tracing::warn!("the lease was not given back in time: it runs out by itself");
        }
        self.telemetry.shutdown(SHUTDOWN_CAP).await;
        self.http.abort();
    }
}
