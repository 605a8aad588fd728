//! `skiff import`: brings back what `skiff export` wrote, while no agent is at work.
//!
//! Stored renders come first, then the inventory that names them, then the apps: an agent that is started at any moment
//! finds nothing that names what is not there.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use skiff_shared::api::v1alpha1::App;
use skiff_shared::managed_fields::FIELD_MANAGER;

use super::export::Exported;
use super::{connect, ui};
use crate::args::ImportArgs;
use crate::state::{LABEL_AGENT, LABEL_KIND};

/// What the file holds, by kind.
#[derive(Default)]
struct Content {
    renders: Vec<Secret>,
    shards: Vec<ConfigMap>,
    apps: Vec<App>,
}

/// Writes the objects of the file.
pub async fn run(arguments: ImportArgs) -> anyhow::Result<ExitCode> {
    let ImportArgs { file, namespace, replace, cluster } = arguments;
    let text = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    let content = read(&text).with_context(|| format!("{} is no export", file.display()))?;
    let connection = connect(cluster).await?;
    let target = Target::new(connection.client(), &namespace);
    target.nobody_works().await?;
    target.make_room(replace).await?;
    let Content { renders, shards, apps } = content;
    let (all, count) = (renders.len() + shards.len(), apps.len());
    for render in &renders {
        create(&target.renders, render, "stored render").await?;
    }
    for shard in &shards {
        create(&target.shards, shard, "inventory shard").await?;
    }
    for app in &apps {
        target.app(app).await?;
    }
    ui::line(&format!(
        "imported {count} apps and {all} objects of their state into {namespace}: start the agent"
    ));
    Ok(ExitCode::SUCCESS)
}

fn read(text: &[u8]) -> anyhow::Result<Content> {
    let exported: Exported = serde_json::from_slice(text)?;
    let mut content = Content::default();
    for item in exported.items {
        let kind = item["kind"].as_str().unwrap_or_default().to_owned();
        let what = || format!("{kind} {}", item["metadata"]["name"]);
        match kind.as_str() {
            "Secret" => content.renders.push(value(&item).with_context(what)?),
            "ConfigMap" => content.shards.push(value(&item).with_context(what)?),
            "App" => content.apps.push(value(&item).with_context(what)?),
            _ => bail!("it holds {}, which is no part of an agent's state", what()),
        }
    }
    Ok(content)
}

fn value<T: serde::de::DeserializeOwned>(item: &Value) -> serde_json::Result<T> {
    serde_json::from_value(item.clone())
}

/// The namespace that is written to.
struct Target {
    namespace: String,
    renders: Api<Secret>,
    shards: Api<ConfigMap>,
    apps: Api<App>,
    leases: Api<Lease>,
}

impl Target {
    fn new(client: &kube::Client, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            renders: Api::namespaced(client.clone(), namespace),
            shards: Api::namespaced(client.clone(), namespace),
            apps: Api::namespaced(client.clone(), namespace),
            leases: Api::namespaced(client.clone(), namespace),
        }
    }

    /// Refuses to write under the hands of an agent: it would take it for another agent's work, and end.
    async fn nobody_works(&self) -> anyhow::Result<()> {
        let leases = self.leases.list(&ListParams::default()).await.context("the Leases cannot be read")?;
        for lease in leases.items {
            let Some(spec) = lease.spec else { continue };
            let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
            let (Some(holder), Some(renewed)) = (holder, spec.renew_time) else { continue };
            let age = Timestamp::now().duration_since(renewed.0).as_secs();
            if age < i64::from(spec.lease_duration_seconds.unwrap_or_default()) {
                bail!(
                    "agent {holder} is at work in namespace {:?}: scale its Deployment to 0, import, and scale it up again",
                    self.namespace
                );
            }
        }
        Ok(())
    }

    /// Removes what an agent has stored here, if that is asked for; refuses to lay state over other state.
    async fn make_room(&self, replace: bool) -> anyhow::Result<()> {
        let kept = ListParams::default().labels(&format!("{LABEL_AGENT},{LABEL_KIND}"));
        let there = self.shards.list_metadata(&kept).await.context("the inventory cannot be read")?;
        if there.items.is_empty() {
            return Ok(());
        }
        if !replace {
            bail!(
                "namespace {:?} has an inventory already, of {} shards: --replace removes it, and what it alone knows is forgotten",
                self.namespace,
                there.items.len()
            );
        }
        let params = DeleteParams::default();
        self.shards.delete_collection(&params, &kept).await.context("the inventory cannot be removed")?;
        self.renders.delete_collection(&params, &kept).await.context("stored renders cannot be removed")?;
        Ok(())
    }

    /// Writes what people ask of an app, and what the agent remembers of it.
    async fn app(&self, app: &App) -> anyhow::Result<()> {
        let name = app.metadata.name.as_deref().context("an App has no name")?;
        let failed = || format!("App {name} cannot be written");
        let labels = &app.metadata.labels;
        let whole = json!({
            "apiVersion": "skiff.dev/v1alpha1", "kind": "App",
            "metadata": {"name": name, "labels": labels}, "spec": app.spec,
        });
        let params = PatchParams::apply("skiff-cli").force();
        self.apps.patch(name, &params, &Patch::Apply(&whole)).await.with_context(failed)?;
        let Some(status) = &app.status else { return Ok(()) };
        let status = json!({
            "apiVersion": "skiff.dev/v1alpha1", "kind": "App", "metadata": {"name": name}, "status": status,
        });
        // As the agent writes it, so that it goes on owning the fields.
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.apps.patch_status(name, &params, &Patch::Apply(&status)).await.with_context(failed)?;
        Ok(())
    }
}

/// Creates an object; a stored render that is there is the same, as its name is its content's.
async fn create<K>(api: &Api<K>, object: &K, what: &str) -> anyhow::Result<()>
where
    K: kube::Resource + Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let name = object.meta().name.clone().unwrap_or_default();
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{what} {name} cannot be written")),
    }
}
