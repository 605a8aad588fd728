//! State that was lost: shards deleted by hand, and a namespace of the agent that is not there any more.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::requests::lines;
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_e2e::words::{condition, says};
use skiff_harness::cluster::{Options, User};

async fn versions(site: &Site) -> anyhow::Result<BTreeMap<String, String>> {
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let listed = maps.list(&ListParams::default().labels("skiff.dev/instance=lab")).await?;
    let version = |map: ConfigMap| Some((map.metadata.name?, map.metadata.resource_version?));
    Ok(listed.items.into_iter().filter_map(version).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_shards_are_rebuilt_from_labels_and_nothing_is_pruned_unasked() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    for name in ["price", "stock", "old"] {
        shop.write(&format!("apps/{name}.yaml"), in_namespace("default", &config_map(name, "one")));
    }
    let first = shop.commit("three objects")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "apps")]))?;
    site.synced("staging", &first).await?;
    site.end_agent().await?;
    let before = versions(&site).await?;

    let shards: Api<ConfigMap> = Api::namespaced(site.admin()?, NAMESPACE);
    let of_inventory = ListParams::default().labels("skiff.dev/state=inventory");
    shards.delete_collection(&DeleteParams::default(), &of_inventory).await?;
    shop.remove("apps/old.yaml");
    shop.commit("one of them goes")?;
    let mark = site.mark()?;
    site.restart_agent()?;
    site.app("staging", "it says what happened and how it goes on", |app| {
        says(app, "Recorded", "InventoryLost", "kept until `skiff sync`: ConfigMap/default/old")
            && app.status.as_ref().is_some_and(|status| status.plan.is_none())
    })
    .await?;
    let wanted = ["ConfigMap/default/old", "ConfigMap/default/price", "ConfigMap/default/stock"];
    site.until("the inventory has everything again", async || {
        let records = site.records("staging").await.unwrap_or_default();
        Ok(records.iter().map(|(id, _)| id.as_str()).collect::<BTreeSet<_>>() == BTreeSet::from(wanted))
    })
    .await?;
    assert_eq!(versions(&site).await?, before, "nothing was pruned, and nothing has changed");
    let deletes = site.writes(mark)?.into_iter().filter(|entry| entry.verb == "delete");
    assert_eq!(deletes.filter(|entry| entry.namespace == "default").count(), 0);

    let (said, code) = site.skiff(User::Dev, &["sync", "staging"]).await?;
    assert_eq!(code, 0, "{said}");
    site.until("what left Git is pruned at a person's word", async || {
        Ok(!versions(&site).await?.contains_key("old"))
    })
    .await?;
    site.app("staging", "nothing is left to say", |app| condition(app, "Recorded").is_none()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_exported_is_imported_and_nothing_is_written_afterwards() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/price.yaml", in_namespace("default", &config_map("price", "one")));
    shop.write("apps/stock.yaml", in_namespace("default", &config_map("stock", "one")));
    let first = shop.commit("two objects")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "apps")]))?;
    site.synced("staging", &first).await?;
    shop.write("apps/price.yaml", in_namespace("default", &config_map("price", "two")));
    let second = shop.commit("a better price")?;
    site.synced("staging", &second).await?;
    let (said, code) = site.skiff(User::Dev, &["rollback", "staging", "--wait", "--timeout", "90s"]).await?;
    assert_eq!(code, 0, "{said}");
    let (said, code) = site.skiff(User::Dev, &["pause", "staging", "--reason", "incident 7"]).await?;
    assert_eq!(code, 0, "{said}");
    site.app("staging", "it is paused", |app| says(app, "Ready", "Paused", "incident 7")).await?;
    let home = ["--namespace", NAMESPACE];
    let file = site.state_directory().with_file_name("export.json");
    let path = file.display().to_string();
    let import = ["import", &path, home[0], home[1]];

    site.end_agent().await?;
    let before = (versions(&site).await?, site.apps()?.get("staging").await?.status.unwrap_or_default());
    let (said, code) = site.skiff(User::Dev, &["export", home[0], home[1]]).await?;
    assert!(code == 0 && said.contains("warning: the file holds every Secret"), "{said}");
    std::fs::write(&file, said.split("warning: ").next().unwrap_or_default())?;
    let (said, code) = site.skiff(User::Dev, &import).await?;
    assert!(code == 1 && said.contains("has an inventory already"), "{said}");

    // Everything that the agent knows is gone, on its disk too.
    for what in ["apps.skiff.dev", "configmaps", "secrets"] {
        let mine = ["delete", what, "--namespace", NAMESPACE, "--selector", "skiff.dev/agent=lab"];
        site.kubectl(User::Admin, &mine).await?;
    }
    std::fs::remove_dir_all(site.state_directory())?;
    let (said, code) = site.skiff(User::Dev, &import).await?;
    assert_eq!(code, 0, "{said}");
    let mark = site.mark()?;
    site.restart_agent()?;
    site.until("the agent works on what was imported", async || {
        Ok(site.requests(mark)?.iter().any(|entry| entry.verb == "list" && entry.resource == "configmaps"))
    })
    .await?;
    site.polls(4).await?;
    let written = site.writes(mark)?.into_iter().filter(|entry| entry.namespace == "default");
    assert_eq!(lines(&written.collect::<Vec<_>>()), "");
    let app = site.app("staging", "it is paused and pinned as before", |app| {
        says(app, "Ready", "Paused", "incident 7") && condition(app, "Pinned").is_some()
    });
    let status = app.await?.status.unwrap_or_default();
    assert_eq!((versions(&site).await?, &status.history), (before.0, &before.1.history));

    // The pin is in force, from the stored render: Git has another price.
    let (said, code) = site.skiff(User::Dev, &["import", &path, home[0], home[1], "--replace"]).await?;
    assert!(code == 1 && said.contains("is at work in namespace"), "{said}");
    let (said, code) = site.skiff(User::Dev, &["resume", "staging"]).await?;
    assert_eq!(code, 0, "{said}");
    site.synced("staging", &second).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_namespace_of_the_agent_holds_the_sync_and_says_so() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/price.yaml", in_namespace("default", &config_map("price", "one")));
    let first = shop.commit("one object")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "apps")]))?;
    site.synced("staging", &first).await?;

    let quota = ["quota", "state", "--namespace", NAMESPACE];
    let hard = ["--hard", "count/secrets=0"];
    site.kubectl(User::Admin, &[&["create"], &quota[..], &hard].concat()).await?;
    // No controller of quotas runs here: what is used is said by hand.
    let used = r#"--patch={"status":{"hard":{"count/secrets":"0"},"used":{"count/secrets":"0"}}}"#;
    let patch = ["--subresource=status", "--type=merge", used];
    site.kubectl(User::Admin, &[&["patch"], &quota[..], &patch].concat()).await?;
    shop.write("apps/price.yaml", in_namespace("default", &config_map("price", "two")));
    let second = shop.commit("a better price")?;
    site.app("staging", "it says what cannot be stored", |app| {
        says(app, "Stored", "QuotaExceeded", "the rendered objects of the app cannot be stored")
    })
    .await?;
    let prices: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    assert_eq!(prices.get("price").await?.data.unwrap_or_default()["value"], "one");

    site.kubectl(User::Admin, &[&["delete"], &quota[..]].concat()).await?;
    site.synced("staging", &second).await?;
    assert_eq!(prices.get("price").await?.data.unwrap_or_default()["value"], "two");
    site.app("staging", "nothing is left to say", |app| condition(app, "Stored").is_none()).await?;
    Ok(())
}
