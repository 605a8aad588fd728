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

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use jiff::SignedDuration;
use skiff_shared::object::{ApiSet, Interner};
use skiff_shared::sync::Limits;
use skiff_shared::sync::event::{Event, LeaseTerm};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::access::ClusterAccess;
use self::apis::Discovery;
use self::apps::WantedSets;
use self::environment::Workshop;
pub use self::environments::source_of;

use self::environments::Environments;
use self::herald::Herald;
use self::launch::Launcher;
use self::registry::Registry;
use self::sources::Sources;
use self::vital::Vital;
use crate::charts::Charts;
use crate::cluster::connection::KubeconfigChoice;
use crate::cluster::events::Events;
use crate::cluster::marked::Marked;
use crate::cluster::requests::Requests;
use crate::cluster::secrets::Secrets;
use crate::cluster::watch::{AppEvent, KnownAutoscalers, Task, WatchEvent, Watches};
use crate::cluster::{Connection, Generations};
use crate::config::{self, Config, ConfigErrors, EnvironmentConfig, Watched};
use crate::expr::HealthBook;
use crate::git::{Cache, Means};
use crate::http::{self, Endpoint, Heartbeats, Readiness};
use crate::lanes::Lanes;
use crate::lease::{LeaseHolder, LeaseOptions, Right};
use crate::notify::Teller;
use crate::state::State;
use crate::store::Store;
use crate::telemetry::{Identity, SHUTDOWN_CAP, Telemetry, TelemetryConfig, chain};
use crate::webhooks::{self, Webhooks};

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

/// Renders that run at once: the tools take a core each.
const BENCHES: usize = 2;

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

/// The part of the configuration that is read once; a change of it asks for a restart.
#[derive(Clone, PartialEq, Eq)]
struct Fixed {
    cluster: config::Cluster,
    agent: config::Agent,
    notifications: Vec<config::Receiver>,
    webhooks: Option<config::Webhooks>,
    telemetry: config::Telemetry,
    http: config::Http,
    render: config::Render,
    state: config::State,
    lease: config::Lease,
}

impl Fixed {
    /// Takes a configuration apart: what may change while the agent runs, and what is read once.
    fn of(config: Config) -> (Vec<EnvironmentConfig>, Self) {
        let Config {
            cluster,
            agent,
            environments,
            notifications,
            webhooks,
            telemetry,
            http,
            render,
            state,
            lease,
        } = config;
        (
            environments,
            Self { cluster, agent, notifications, webhooks, telemetry, http, render, state, lease },
        )
    }
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

/// What is told to apps from outside of them.
struct Heard {
    seen: mpsc::Receiver<WatchEvent>,
    asks: mpsc::Receiver<AppEvent>,
    lease: watch::Receiver<LeaseTerm>,
    autoscaled: watch::Receiver<KnownAutoscalers>,
    apis: watch::Receiver<Arc<ApiSet>>,
}

impl Heard {
    /// Starts the tasks that pass it on.
    fn pass_on(self, vital: &Vital, registry: &Arc<Registry>, readiness: &Readiness) {
        let Self { seen, asks, lease, autoscaled, apis } = self;
        vital.spawn("the router", router::objects(seen, registry.clone()));
        vital.spawn("the router of requests", router::asks(asks, registry.clone()));
        vital.spawn("the lease's messenger", tell_lease(lease, registry.clone(), readiness.clone()));
        vital.spawn("the autoscalers' messenger", tell_autoscaled(autoscaled, registry.clone()));
        vital.spawn("discovery's messenger", tell_apis(apis, registry.clone()));
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

/// Returns the namespaces that the agent works in; none where it works in all.
fn namespaces(fixed: &Fixed) -> Vec<Arc<str>> {
    fixed.agent.namespaces.iter().map(|name| name.as_str().into()).collect()
}

/// Opens the listener of webhooks where there is to be one; it is served until the end.
async fn start_webhooks(
    fixed: &Fixed,
    sources: &Arc<Sources>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let Some(config) = fixed.webhooks.clone() else { return Ok(()) };
    let listener = webhooks::listen(config.listen).await?;
    let (sources, stop) = (sources.clone(), stop.clone());
    let webhooks = Webhooks::new(config, Arc::new(move |urls: &[String]| sources.wake(urls)));
    tokio::spawn(async move {
        if let Err(error) = webhooks::serve(listener, webhooks, stop.cancelled_owned()).await {
            tracing::error!(error = chain(&error), "webhooks are heard no more");
        }
    });
    Ok(())
}

/// Starts what tells people.
fn start_herald(fixed: &Fixed, vital: &Vital, connection: &Connection) -> Herald {
    let teller = Teller {
        cluster: fixed.cluster.name.clone(),
        instance: fixed.agent.instance.clone(),
        namespace: fixed.agent.namespace.as_str().to_owned(),
    };
    let events = Events::new(connection.client(), &teller.namespace, &teller.instance);
    Herald::start(vital, events, fixed.notifications.clone(), teller)
}

/// Starts the tasks that keep what is stored in the cluster small.
fn tidy(launcher: &Launcher, config: &config::State) {
    let Launcher { cluster, registry, vital, lease, limits, .. } = launcher;
    let bound = retention::run(registry.clone(), cluster.state.clone(), config.renders);
    vital.spawn("the bound of stored renders", bound);
    let leftovers = leftovers::Remover {
        state: cluster.state.clone(),
        registry: registry.clone(),
        lease: lease.clone(),
        request_deadline: limits.request_deadline,
    };
    vital.spawn("the remover of leftovers", leftovers.run());
}

/// Opens the agent's own endpoint; it is served until the end.
async fn start_http(
    fixed: &Fixed,
    telemetry: &Telemetry,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let listener = http::listen(fixed.http.listen).await?;
    let heartbeats = Heartbeats::default();
    let beat = heartbeats.promise("runtime", Duration::from_secs(30));
    tokio::spawn(async move {
        loop {
            beat.beat();
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    });
    let endpoint = Endpoint { telemetry: telemetry.clone(), heartbeats, readiness: readiness.clone() };
    let stop = stop.clone();
    Ok(tokio::spawn(async move {
        if let Err(error) = http::serve(listener, endpoint, stop.cancelled_owned()).await {
            tracing::error!(error = chain(&error), "the HTTP endpoint has ended");
        }
    }))
}

fn start_telemetry(fixed: &Fixed) -> Telemetry {
    let identity = Identity::new(&fixed.cluster.name, &fixed.agent.instance);
    let telemetry = Telemetry::start(TelemetryConfig::of(identity, &fixed.telemetry));
    telemetry.cluster_labelled(&fixed.cluster.labels);
    telemetry.install();
    telemetry
}

fn lease_options(fixed: &Fixed) -> LeaseOptions {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "agent".to_owned());
    LeaseOptions {
        namespace: fixed.agent.namespace.as_str().to_owned(),
        name: fixed.lease.name.clone(),
        identity: format!("{host}_{}_{}", std::process::id(), jiff::Timestamp::now().as_nanosecond()),
        duration: SignedDuration::try_from(fixed.lease.duration).unwrap_or(SignedDuration::from_secs(30)),
        renew_interval: fixed.lease.renew_interval,
    }
}

/// Where what sources hold is kept, and who reads it.
struct Caches {
    cache: Arc<Cache>,
    charts: Arc<Charts>,
    sources: Arc<Sources>,
}

fn open_caches(
    directory: &Path,
    stop: &CancellationToken,
    secrets: Arc<Secrets>,
) -> anyhow::Result<(Arc<Cache>, Arc<Charts>)> {
    let runtime = tokio::runtime::Handle::current();
    let cache = Cache::open(&directory.join("git"), runtime.clone(), stop.child_token(), secrets.clone())?;
    let folder = directory.join("charts");
    let charts = Charts::open(&folder, Means::new(runtime, stop.child_token(), secrets))
        .with_context(|| format!("failed to use {}", folder.display()))?;
    Ok((Arc::new(cache), Arc::new(charts)))
}

fn workshop(
    fixed: &Fixed,
    Caches { cache, charts, sources }: Caches,
    launcher: &Launcher,
) -> anyhow::Result<Workshop> {
    let scratch = fixed.state.directory.join("scratch");
    Ok(Workshop {
        instance: fixed.agent.instance.as_str().into(),
        cache,
        charts,
        sources,
        store: launcher.cluster.store.clone(),
        interner: launcher.cluster.interner.clone(),
        registry: launcher.registry.clone(),
        tools: tools::open(&fixed.render, &scratch)?,
        benches: Arc::new(Semaphore::new(BENCHES)),
        scratch: scratch.into(),
        fetch_dependencies: fixed.render.fetch_dependencies,
    })
}

async fn tell_lease(mut lease: watch::Receiver<LeaseTerm>, registry: Arc<Registry>, readiness: Readiness) {
    while lease.changed().await.is_ok() {
        let term = *lease.borrow_and_update();
        readiness.known("lease", if term == LeaseTerm::Lost { "another agent holds it" } else { "held" });
        registry.leased(term);
    }
}

async fn tell_autoscaled(mut autoscaled: watch::Receiver<KnownAutoscalers>, registry: Arc<Registry>) {
    while autoscaled.changed().await.is_ok() {
        let targets = autoscaled.borrow_and_update().clone();
        registry.broadcast(&Event::Autoscaled(targets));
    }
}

async fn tell_apis(mut apis: watch::Receiver<Arc<ApiSet>>, registry: Arc<Registry>) {
    while apis.changed().await.is_ok() {
        let set = apis.borrow_and_update().clone();
        registry.broadcast(&Event::Apis(set));
    }
}
