//! Drift that managedFields do not show: other values under our own field manager, within the second of our own apply.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::{PATIENCE, Site};
use skiff_e2e::witness::Witness;
use skiff_e2e::words::says;
use skiff_harness::cluster::Options;

/// Commits after which at least one change must have fallen into the second of the agent's apply.
const TRIES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn values_in_our_name_within_the_second_of_our_apply_are_found_by_their_content() -> anyhow::Result<()>
{
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let mut environment = Site::environment("development", shop.url(), "apps");
    environment["sync"]["selfHeal"] = json!(false);
    let written = |value: &str| in_namespace("default", &config_map("settings", value));
    let first = shop.write("apps/settings.yaml", written("0")).commit("the settings")?;
    site.start_agent(json!([environment]))?;
    site.synced("development", &first).await?;

    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let mut settings = Witness::start::<ConfigMap>(site.admin()?, "default").await?;
    let mut number = 0;
    let (mark, ours) = loop {
        number += 1;
        assert!(number <= TRIES, "no change fell into the second of an apply");
        let ours = number.to_string();
        shop.write("apps/settings.yaml", written(&ours)).commit("other settings")?;
        let what = format!("the agent has applied {ours}");
        let applied =
            settings.until("settings", &what, PATIENCE, |seen| seen.object["data"]["value"] == *ours).await?;
        let mark = site.mark()?;
        let (parameters, theirs) = (PatchParams::apply("skiff").force(), in_our_name(&applied.object));
        let changed = maps.patch("settings", &parameters, &Patch::Apply(&theirs)).await?;
        if our_entry(&serde_json::to_value(changed)?) == our_entry(&applied.object) {
            break (mark, ours);
        }
    };
    site.app("development", "the drift is reported", |app| {
        says(app, "Ready", "Drifted", "ConfigMap/default/settings")
    })
    .await?;
    let mut asked = site.writes(mark)?;
    asked.retain(|entry| entry.name == "settings");
    assert!(!asked.is_empty() && asked.iter().all(|entry| entry.dry_run), "{asked:?}");
    assert_eq!(value(&maps).await?.as_deref(), Some("theirs"));

    environment["sync"]["selfHeal"] = json!(true);
    site.configure(json!([environment]))?;
    site.until("it is healed", async || Ok(value(&maps).await? == Some(ours.clone()))).await
}

/// Returns what sets another value and owns the very fields that the agent's apply owns.
fn in_our_name(object: &Value) -> Value {
    let mut metadata = object["metadata"].clone();
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "labels" | "annotations"));
    }
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": "theirs"}})
}

/// Returns the entry of managedFields that an apply of the agent writes, with its time.
fn our_entry(object: &Value) -> Option<&Value> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    entries.iter().find(|entry| entry["manager"] == "skiff" && entry["operation"] == "Apply")
}

async fn value(maps: &Api<ConfigMap>) -> anyhow::Result<Option<String>> {
    Ok(maps.get("settings").await?.data.and_then(|data| data.get("value").cloned()))
}
