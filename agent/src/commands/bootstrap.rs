//! `skiff bootstrap`: from a kubeconfig and a repository to an agent that runs and has read it.
//!
//! Every step looks first at what is there, so that the whole can be repeated: a key is made once, the chart is
//! installed or upgraded, and nothing is installed before the repository could be read and rendered.

mod access;
mod arrival;
mod chart;
mod trial;
mod values;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use self::access::{Keeper, Trust};
use self::arrival::Arrived;
use self::chart::Chart;
use self::trial::{Opened, Trial};
use self::values::Values;
use super::{TIMEOUT, connect, refused, ui};
use crate::args::{BootstrapArgs, ToolArgs};
use crate::cluster::discovery::discover;
use crate::cluster::secrets::Secrets;
use crate::config::{Config, EnvironmentConfig};
use crate::telemetry::chain;

/// Does one step after the other, and tells each.
pub async fn run(arguments: BootstrapArgs) -> anyhow::Result<ExitCode> {
    let until = Instant::now() + arguments.patience.timeout;
    let values = match read(&arguments) {
        Ok(values) => values,
        Err(problems) => return Ok(refused(&problems)),
    };
    let BootstrapArgs { release, namespace, helm, kustomize, cluster, host_keys, yes, .. } = &arguments;
    let connection = connect(cluster.clone()).await?;
    let client = connection.client().clone();
    let found = discover(&connection).await.context("the cluster cannot be asked what it serves")?;
    ui::progress(&format!(
        "cluster   {}, Kubernetes {}",
        connection.config().cluster_url,
        found.kube_version
    ));
    let chart = Chart::unpack(&values, helm, release, namespace, cluster)?;
    let config = match chart.config(&found.kube_version).await? {
        Ok(config) => config,
        Err(errors) => return Ok(refused(&errors.problems)),
    };
    ensure_namespace(&client, namespace).await?;
    let keeper = Keeper {
        secrets: Api::namespaced(client.clone(), namespace),
        cluster: &config.cluster.name,
        trust: Trust { host_keys, yes: *yes },
    };
    let trial = Trial::open(Arc::new(Secrets::new(connection.clone(), namespace)))?;
    let tools = ToolArgs { fetch: false, helm: helm.clone(), kustomize: kustomize.clone() };
    for environment in &config.environments {
        if in_files(environment) {
            ui::progress(&format!(
                "source    {}: not tried, as its credentials are files of the agent's pod",
                environment.name
            ));
            continue;
        }
        let public = keeper.provide(environment).await?;
        let url = environment.source.url.to_string();
        let opened =
            trial.fetch(environment, until, || ask_for_access(environment, public.as_deref())).await?;
        let snapshot = match opened {
            Opened::Yes(snapshot) => snapshot,
            Opened::NotYet(error) => {
                ui::error(&format!(
                    "{}; nothing is installed. Run this again when it has access",
                    chain(&error)
                ));
                return Ok(ExitCode::from(TIMEOUT));
            }
        };
        ui::progress(&format!("source    {}: {url} was fetched", environment.name));
        trial.render(environment, &config, &snapshot, &found, &tools).await?;
    }
    if !*yes && ui::is_terminal() && !ui::confirm(&question(&config, &found.kube_version))? {
        bail!("nothing is installed");
    }
    chart.install().await?;
    ui::progress(&format!("chart     installed as {release} in namespace {namespace}"));
    ended(arrival::wait(&client, &config, release, until).await?, &arguments, &values)
}

fn read(arguments: &BootstrapArgs) -> Result<Values, Vec<skiff_shared::desired::Problem>> {
    let mut values = match &arguments.values {
        Some(file) => Values::read(file)?,
        None => Values::of(&arguments.place),
    };
    if let Some(image) = &arguments.image {
        values.set_image(image);
    }
    Ok(values)
}

fn question(config: &Config, kube_version: &str) -> String {
    let names: Vec<String> = config
        .environments
        .iter()
        .map(|environment| {
            let source = &environment.source;
            format!("{} from {} {}", environment.name, source.url, source.path)
        })
        .collect();
    format!(
        "Install the agent of {} (Kubernetes {kube_version}) with {}?",
        config.cluster.name,
        names.join(", ")
    )
}

/// Makes the agent's namespace, for pods of the `restricted` profile, as the agent's is.
async fn ensure_namespace(client: &Client, name: &str) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let made = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }))?;
    match namespaces.create(&PostParams::default(), &made).await {
        Ok(_) => {
            ui::progress(&format!("namespace {name} was made"));
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        // Who may not make one may still install into the one that is there.
        Err(error) => match namespaces.get_opt(name).await {
            Ok(Some(_)) => Ok(()),
            _ => Err(error).with_context(|| format!("failed to make namespace {name}")),
        },
    }
}

/// Whether an environment is read with files that only the agent's pod has.
fn in_files(environment: &EnvironmentConfig) -> bool {
    let credentials = &environment.source.credentials;
    let files = [
        &credentials.username_file,
        &credentials.password_file,
        &credentials.token_file,
        &credentials.certificate_file,
        &credentials.key_file,
        &credentials.ssh_key_file,
        &credentials.known_hosts_file,
    ];
    files.iter().any(|file| file.as_ref().is_some_and(|file| !file.exists()))
}

/// Tells where the key has to be let in.
fn ask_for_access(environment: &EnvironmentConfig, public: Option<&str>) {
    let url = &environment.source.url;
    let Some((server, public)) = url.ssh_server().zip(public) else {
        ui::progress(&format!("waiting   for access to {url}"));
        return;
    };
    ui::progress(&format!("waiting   until this key may read {url}: {public}"));
    ui::progress(&format!("          add it at {}", access::place_of_key(&server, &url.canonical())));
}

fn ended(arrived: Arrived, arguments: &BootstrapArgs, values: &Values) -> anyhow::Result<ExitCode> {
    if let Arrived::NotYet(missing) = arrived {
        ui::error(&format!("the agent is installed, and has not come so far: it waits {missing}"));
        return Ok(ExitCode::from(TIMEOUT));
    }
    ui::progress("done      the agent runs, and has read its environments: `skiff get` shows its apps");
    if arguments.values.is_none() {
        ui::progress("          The values, to keep in Git; --values takes them next time:");
        ui::value(values.json(), crate::args::Output::Yaml)?;
    }
    Ok(ExitCode::SUCCESS)
}
