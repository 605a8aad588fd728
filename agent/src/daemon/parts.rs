//! What the daemon is put together of: each part, made as the agent's file says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::SignedDuration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::environment::Workshop;
use super::herald::Herald;
use super::launch::Launcher;
use super::sources::Sources;
use super::vital::Vital;
use super::{leftovers, retention, tools};
use crate::charts::Charts;
use crate::cluster::Connection;
use crate::cluster::events::Events;
use crate::cluster::secrets::Secrets;
use crate::config::{self, Config, EnvironmentConfig};
use crate::git::{Cache, Means};
use crate::http::{self, Endpoint, Heartbeats, Readiness};
use crate::lease::LeaseOptions;
use crate::notify::Teller;
use crate::telemetry::{Identity, Telemetry, TelemetryConfig, chain};
use crate::webhooks::{self, Webhooks};

/// Renders that run at once: the tools take a core each.
const BENCHES: usize = 2;

/// The part of the configuration that is read once; a change of it asks for a restart.
#[derive(Clone, PartialEq, Eq)]
pub struct Fixed {
    pub cluster: config::Cluster,
    pub agent: config::Agent,
    pub notifications: Vec<config::Receiver>,
    pub webhooks: Option<config::Webhooks>,
    pub telemetry: config::Telemetry,
    pub http: config::Http,
    pub render: config::Render,
    pub state: config::State,
    pub lease: config::Lease,
}

impl Fixed {
    /// Takes a configuration apart: what may change while the agent runs, and what is read once.
    pub fn of(config: Config) -> (Vec<EnvironmentConfig>, Self) {
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

/// Returns the namespaces that the agent works in; none where it works in all.
pub fn namespaces(fixed: &Fixed) -> Vec<Arc<str>> {
    fixed.agent.namespaces.iter().map(|name| name.as_str().into()).collect()
}

/// Opens the listener of webhooks where there is to be one; it is served until the end.
pub async fn start_webhooks(
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
pub fn start_herald(fixed: &Fixed, vital: &Vital, connection: &Connection) -> Herald {
    let teller = Teller {
        cluster: fixed.cluster.name.clone(),
        instance: fixed.agent.instance.clone(),
        namespace: fixed.agent.namespace.as_str().to_owned(),
    };
    let events = Events::new(connection.client(), &teller.namespace, &teller.instance);
    Herald::start(vital, events, fixed.notifications.clone(), teller)
}

/// Starts the tasks that keep what is stored in the cluster small.
pub fn tidy(launcher: &Launcher, config: &config::State) {
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
pub async fn start_http(
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

pub fn start_telemetry(fixed: &Fixed) -> Telemetry {
    let identity = Identity::new(&fixed.cluster.name, &fixed.agent.instance);
    let telemetry = Telemetry::start(TelemetryConfig::of(identity, &fixed.telemetry));
    telemetry.cluster_labelled(&fixed.cluster.labels);
    telemetry.install();
    telemetry
}

pub fn lease_options(fixed: &Fixed) -> LeaseOptions {
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
pub struct Caches {
    pub cache: Arc<Cache>,
    pub charts: Arc<Charts>,
    pub sources: Arc<Sources>,
}

pub fn open_caches(
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

pub fn workshop(
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
