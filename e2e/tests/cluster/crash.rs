//! Killed in the middle of a sync: what was begun is completed, and nothing is forgotten.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace, namespace};
use skiff_e2e::site::Site;
use skiff_harness::cluster::Options;
use skiff_harness::git_server::Repository;

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

async fn with_value(site: &Site, value: &str) -> anyhow::Result<usize> {
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "development");
    let listed = maps.list(&ListParams::default().labels("skiff.dev/instance=lab")).await?;
    let has = |map: &&ConfigMap| map.data.as_ref().is_some_and(|data| data["value"] == value);
    Ok(listed.items.iter().filter(has).count())
}
