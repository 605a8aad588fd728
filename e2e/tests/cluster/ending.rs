//! The agent is told to end: what it has begun is finished, and nothing keeps the process.

use std::collections::BTreeSet;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_harness::cluster::{Component, Options};

const OBJECTS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_in_the_middle_of_a_sync_it_leaves_nothing_half_done() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    for number in 0..OBJECTS {
        let text = in_namespace("default", &config_map(&format!("map-{number}"), "one"));
        shop.write(&format!("apps/map-{number}.yaml"), text);
    }
    let commit = shop.commit("many objects")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.until("some objects are there", async || Ok(site.labelled("ConfigMap").await?.len() >= 30)).await?;
    site.end_agent().await?;

    let there = site.labelled("ConfigMap").await?;
    assert!(there.len() < OBJECTS, "the sync was over before the agent was told to end");
    let records = site.records("development").await?;
    let settled: BTreeSet<String> =
        records.iter().filter(|(_, settled)| *settled).map(|(id, _)| id.clone()).collect();
    assert_eq!(settled, there, "what was written is on record as written, and nothing else is");
    assert_eq!(holder(&site).await?, None, "the Lease was not given back");

    site.restart_agent()?;
    site.synced("development", &commit).await?;
    assert_eq!(site.labelled("ConfigMap").await?.len(), OBJECTS);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_it_does_not_wait_for_a_cluster_that_does_not_answer() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/map.yaml", in_namespace("default", &config_map("map", "one"))).commit("one object")?;
    site.cluster.freeze(Component::Apiserver)?;
    let bookmark = site.bookmark();
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.logged(bookmark, &["the apps of before cannot be listed yet"]).await?;
    site.end_agent().await?;

    site.cluster.thaw(Component::Apiserver)?;
    site.restart_agent()?;
    site.app("development", "it is synced", |app| {
        app.status.as_ref().is_some_and(|status| status.sync == "Synced")
    })
    .await?;
    let bookmark = site.bookmark();
    site.cluster.freeze(Component::Apiserver)?;
    // A changed source starts the environments anew, which asks for the apps of before.
    let mut other = Site::environment("development", shop.url(), "apps");
    other["sync"]["interval"] = json!("2s");
    site.configure(json!([other, Site::environment("staging", shop.url(), "apps")]))?;
    site.logged(bookmark, &["the apps of before cannot be listed yet"]).await?;
    site.end_agent().await?;
    site.cluster.thaw(Component::Apiserver)?;
    Ok(())
}

async fn holder(site: &Site) -> anyhow::Result<Option<String>> {
    let leases: Api<Lease> = Api::namespaced(site.admin()?, NAMESPACE);
    Ok(leases.get("skiff").await?.spec.and_then(|spec| spec.holder_identity))
}
