//! `skiff export`: everything that an agent remembers of its cluster, as one file.
//!
//! A `List` of the `App` objects, inventory shards and stored renders, without what belongs to one life of them, so that
//! it can be kept, read and brought back by `skiff import`, or, the histories apart, by `kubectl apply`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skiff_shared::api::v1alpha1::App;

use super::{connect, ui};
use crate::args::{ExportArgs, Output};
use crate::cluster::next_page;
use crate::state::{LABEL_AGENT, LABEL_KIND};

/// Objects of one page: stored renders have half a MiB each.
const PAGE: u32 = 20;

/// What is exported.
#[derive(Serialize, Deserialize)]
pub struct Exported {
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    pub kind: String,
    pub items: Vec<Value>,
}

/// Prints the state of one agent.
pub async fn run(arguments: ExportArgs) -> anyhow::Result<ExitCode> {
    let ExportArgs { namespace, cluster } = arguments;
    let connection = connect(cluster).await?;
    let client = connection.client();
    let apps: Api<App> = Api::namespaced(client.clone(), &namespace);
    let of_agent = ListParams::default().labels(LABEL_AGENT);
    let apps = apps.list(&of_agent).await.context("the App objects cannot be read")?;
    if apps.items.is_empty() {
        bail!("namespace {namespace:?} has no App objects: name the agent's with --namespace");
    }
    let mut items = Vec::new();
    for app in apps.items {
        items.push(portable(
            "skiff.dev/v1alpha1",
            "App",
            &app.metadata,
            json!({"spec": app.spec, "status": app.status}),
        ));
    }
    let kept = ListParams::default().labels(&format!("{LABEL_AGENT},{LABEL_KIND}"));
    for shard in all::<ConfigMap>(&Api::namespaced(client.clone(), &namespace), &kept).await? {
        items.push(portable("v1", "ConfigMap", &shard.metadata, json!({"binaryData": shard.binary_data})));
    }
    for render in all::<Secret>(&Api::namespaced(client.clone(), &namespace), &kept).await? {
        let content = json!({"data": render.data, "immutable": render.immutable, "type": render.type_});
        items.push(portable("v1", "Secret", &render.metadata, content));
    }
    let exported = Exported { api_version: "v1".to_owned(), kind: "List".to_owned(), items };
    ui::value(&exported, Output::Json)?;
    ui::warning("the file holds every Secret that Git declares for this cluster: keep it as you keep those");
    Ok(ExitCode::SUCCESS)
}

/// Returns all objects, page by page.
async fn all<K>(api: &Api<K>, params: &ListParams) -> anyhow::Result<Vec<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let what = || format!("the {}s of the agent's state cannot be read", K::kind(&()));
    let mut params = params.clone().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&params).await.with_context(what)?;
        found.extend(page.items);
        match next_page(&params, &page.metadata) {
            Some(next) => params = next,
            None => return Ok(found),
        }
    }
}

/// Returns an object without what the server gave it: it can be created anew, in any namespace.
fn portable(api_version: &str, kind: &str, metadata: &ObjectMeta, content: Value) -> Value {
    let ObjectMeta { name, labels, annotations, .. } = metadata;
    let mut object = json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
    });
    let parts = content.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    for (key, value) in parts {
        object[key] = value.clone();
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|_, value| !value.is_null());
    }
    object
}
