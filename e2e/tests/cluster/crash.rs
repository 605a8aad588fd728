//! Killed in the middle of a sync: what was begun is completed, and nothing is forgotten.

use std::collections::BTreeSet;

use anyhow::Context as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, in_namespace, namespace};
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_harness::cluster::Options;
use skiff_harness::git_server::Repository;
use skiff_shared::inventory::{Shard, shard_of};
use skiff_shared::object::Interner;

const OBJECTS: usize = 600;
const REMOVED: usize = 100;

fn write_maps(shop: &mut Repository, numbers: std::ops::Range<usize>, value: &str) {
    for number in numbers {
        let text = in_namespace("development", &config_map(&format!("map-{number}"), value));
        shop.write(&format!("apps/map-{number}.yaml"), text);
    }
}

fn ids(numbers: std::ops::Range<usize>) -> BTreeSet<String> {
    numbers.map(|number| format!("ConfigMap/development/map-{number}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_that_was_killed_is_completed_and_leaks_nothing() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/namespace.yaml", namespace("development"));
    write_maps(&mut shop, 0..OBJECTS, "one");
    shop.commit("many objects")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.until("some objects are there", async || Ok(site.labelled("ConfigMap").await?.len() >= 30)).await?;
    site.kill_agent_and_forget().await?;
    let there = site.labelled("ConfigMap").await?;
    assert!(there.len() < OBJECTS, "the sync was over before it could be killed");

    // What leaves Git now is in the cluster in part, known only by the claims of the one that was killed.
    (0..REMOVED).for_each(|number| _ = shop.remove(&format!("apps/map-{number}.yaml")));
    let second = shop.commit("some of them go")?;
    let gone = ids(0..REMOVED);
    assert!(there.intersection(&gone).next().is_some(), "none of the removed objects had been written");
    site.restart_agent()?;
    site.synced("development", &second).await?;
    let mut wanted = ids(REMOVED..OBJECTS);
    assert_eq!(site.labelled("ConfigMap").await?, wanted);
    wanted.insert("Namespace/development".to_owned());
    site.until("the inventory is settled", async || {
        Ok(site.inventory("development").await.is_ok_and(|ids| ids == wanted))
    })
    .await?;

    write_maps(&mut shop, REMOVED..OBJECTS, "two");
    let third = shop.commit("another value for all")?;
    site.until("some objects have the new value", async || Ok(with_value(&site, "two").await? >= 30)).await?;
    site.kill_agent_and_forget().await?;
    assert!(
        with_value(&site, "two").await? < OBJECTS - REMOVED,
        "the sync was over before it could be killed"
    );
    site.restart_agent()?;
    site.synced("development", &third).await?;
    assert_eq!(with_value(&site, "two").await?, OBJECTS - REMOVED);
    site.until("the inventory is settled", async || {
        Ok(site.inventory("development").await.is_ok_and(|ids| ids == wanted))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_crashes_left_behind_is_removed_and_nothing_else() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/map.yaml", in_namespace("default", &config_map("map", "one")));
    let first = shop.commit("one object")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &first).await?;
    let wanted = BTreeSet::from(["ConfigMap/default/map".to_owned()]);
    site.until("the inventory is settled", async || {
        Ok(site.inventory("development").await.is_ok_and(|ids| ids == wanted))
    })
    .await?;
    site.end_agent().await?;

    // Killed between the storing of bodies and the claim, and between the claims and the removal of smaller shards.
    let secrets: Api<Secret> = Api::namespaced(site.admin()?, NAMESPACE);
    for (name, agent) in
        [("skiff-render-development-0123", "lab"), ("skiff-render-development-4567", "other")]
    {
        let secret = json!({
            "metadata": {"name": name, "labels": state_labels(agent, "render")},
            "stringData": {"bodies.zst": "a password"},
        });
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
    }
    let shards: Api<ConfigMap> = Api::namespaced(site.admin()?, NAMESPACE);
    for shard in grown(&shards.get("skiff-inventory-development-1-0").await?)? {
        shards.create(&PostParams::default(), &shard).await?;
    }
    site.restart_agent()?;
    site.until("the render that nobody names is gone", async || {
        Ok(secrets.get_opt("skiff-render-development-0123").await?.is_none())
    })
    .await?;
    let stored: BTreeSet<String> = shards
        .list(&ListParams::default().labels("skiff.dev/state=inventory"))
        .await?
        .items
        .into_iter()
        .filter_map(|shard| shard.metadata.name)
        .collect();
    assert_eq!(
        stored.into_iter().collect::<Vec<_>>(),
        ["skiff-inventory-development-2-0", "skiff-inventory-development-2-1"]
    );
    let mut renders = site.named_renders("development").await?;
    assert!(!renders.is_empty(), "the inventory names no render");
    renders.insert("skiff-render-development-4567".to_owned());
    let kept = secrets.list(&ListParams::default().labels("skiff.dev/state=render")).await?;
    let kept: BTreeSet<String> = kept.items.into_iter().filter_map(|secret| secret.metadata.name).collect();
    assert_eq!(kept, renders, "what is named, or is another agent's, stays");

    let second =
        shop.write("apps/map.yaml", in_namespace("default", &config_map("map", "two"))).commit("two")?;
    site.synced("development", &second).await?;
    Ok(())
}

/// Returns the two shards that an inventory of one becomes when it is doubled.
fn grown(stored: &ConfigMap) -> anyhow::Result<[ConfigMap; 2]> {
    let packed = stored.binary_data.as_ref().and_then(|data| data.get("shard.json.zst"));
    let packed = packed.context("the shard holds nothing")?;
    let shard = Shard::decode(&zstd::decode_all(packed.0.as_slice())?, &mut Interner::default())?;
    let half = |index: u32| {
        let rows = shard.rows.iter().filter(|row| shard_of(&row.id, 2) == index).cloned().collect();
        let half = Shard { rows, renders: shard.renders.clone(), kept: None }.encode();
        let packed = ByteString(zstd::encode_all(half.as_slice(), 3)?);
        let name = format!("skiff-inventory-development-2-{index}");
        let metadata = json!({"name": name, "labels": state_labels("lab", "inventory")});
        anyhow::Ok(ConfigMap {
            metadata: serde_json::from_value(metadata)?,
            binary_data: Some([("shard.json.zst".to_owned(), packed)].into()),
            ..ConfigMap::default()
        })
    };
    Ok([half(0)?, half(1)?])
}

fn state_labels(agent: &str, kind: &str) -> Value {
    json!({"skiff.dev/agent": agent, "skiff.dev/state": kind, "skiff.dev/state-of": "development"})
}

async fn with_value(site: &Site, value: &str) -> anyhow::Result<usize> {
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "development");
    let listed = maps.list(&ListParams::default().labels("skiff.dev/instance=lab")).await?;
    let has = |map: &&ConfigMap| map.data.as_ref().is_some_and(|data| data["value"] == value);
    Ok(listed.items.iter().filter(has).count())
}
