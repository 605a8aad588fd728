//! Waits until the agent runs and has read its environments.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use skiff_shared::api::v1alpha1::App;

use crate::commands::ui;
use crate::commands::wait::is_well;
use crate::config::Config;

const PAUSE: Duration = Duration::from_secs(1);

/// What an app waits for that only a person can say.
const APPROVAL: &str = "WaitingForApproval";

/// Whether everything has come.
pub(super) enum Arrived {
    Yes,
    /// What is still missing.
    NotYet(String),
}

/// Waits until the agent's Deployment is available, and every app of its environments is as it should be or waits for
/// an approval.
pub(super) async fn wait(
    client: &Client,
    config: &Config,
    release: &str,
    until: Instant,
) -> anyhow::Result<Arrived> {
    let mut told = String::new();
    loop {
        let missing = match agent(client, config, release).await? {
            Some(missing) => Some(missing),
            None => apps(client, config).await?,
        };
        let Some(missing) = missing else { return Ok(Arrived::Yes) };
        if Instant::now() + PAUSE > until {
            return Ok(Arrived::NotYet(missing));
        }
        if missing != told {
            ui::progress(&format!("waiting   {missing}"));
            told = missing;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns what the agent's pods lack.
async fn agent(client: &Client, config: &Config, release: &str) -> anyhow::Result<Option<String>> {
    let namespace = config.agent.namespace.as_str();
    let chosen = format!("app.kubernetes.io/name=skiff,app.kubernetes.io/instance={release}");
    let params = ListParams::default().labels(&chosen);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployments = deployments.list(&params).await.context("failed to read the agent's Deployment")?;
    let is_available = |deployment: &Deployment| {
        let status = deployment.status.clone().unwrap_or_default();
        let wanted = deployment.spec.replicas.unwrap_or(1);
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) >= wanted
            && status.available_replicas.unwrap_or(0) >= wanted
    };
    if deployments.items.iter().all(is_available) {
        return Ok(None);
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = pods.list(&params).await.context("failed to read the agent's pods")?;
    let why: BTreeSet<String> = pods.items.iter().filter_map(why_not_ready).collect();
    let why: Vec<String> = why.into_iter().collect();
    Ok(Some(if why.is_empty() { "for the agent's pod".to_owned() } else { why.join(", ") }))
}

/// Returns why a pod's container does not run.
fn why_not_ready(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let waiting = statuses.iter().find_map(|status| status.state.as_ref()?.waiting.as_ref())?;
    let reason = waiting.reason.as_deref().unwrap_or("Waiting");
    let message = waiting.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    Some(format!("for the agent's pod, {reason}{message}"))
}

/// Returns which app is not as it should be, or which environment has none yet.
async fn apps(client: &Client, config: &Config) -> anyhow::Result<Option<String>> {
    let apps: Api<App> = Api::namespaced(client.clone(), config.agent.namespace.as_str());
    let apps = apps.list(&ListParams::default()).await.context("failed to read the App objects")?;
    for environment in &config.environments {
        let name = environment.name.as_str();
        let statuses = apps.items.iter().filter_map(|app| Some((app, app.status.as_ref()?)));
        let mut of_environment = statuses.filter(|(_, status)| status.environment == name).peekable();
        if of_environment.peek().is_none() {
            return Ok(Some(format!("for the first app of {name}")));
        }
        let unready = of_environment.find(|(_, status)| {
            let waits = |reason: &str| reason == APPROVAL;
            !is_well(status) && !status.conditions.iter().any(|condition| waits(&condition.reason))
        });
        if let Some((app, status)) = unready {
            let app = app.metadata.name.as_deref().unwrap_or_default();
            return Ok(Some(format!("for {app}: {}", status.message)));
        }
    }
    Ok(None)
}
