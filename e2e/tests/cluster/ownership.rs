//! Which app has an object: one of several that want it, the one that it moves to, and the same object in two API groups.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use skiff_e2e::manifests::config_map;
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::audit::Mark;
use skiff_harness::cluster::Options;

/// Returns an app list of names and folders.
fn list(apps: &[(&str, &str)]) -> String {
    let entry =
        |(name, path): &(&str, &str)| format!("- {{name: {name}, path: {path}, namespace: default}}\n");
    let entries: String = apps.iter().map(entry).collect();
    format!("apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n{entries}")
}

async fn uids(site: &Site) -> anyhow::Result<BTreeMap<String, String>> {
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let ours = ListParams::default().labels("skiff.dev/instance=lab");
    let named = maps.list(&ours).await?.items.into_iter().map(|map| map.metadata);
    Ok(named.map(|map| (map.name.unwrap_or_default(), map.uid.unwrap_or_default())).collect())
}

/// Returns the agent's writes of an object since `mark`, dry runs left out.
fn writes_of(site: &Site, mark: Mark, name: &str) -> anyhow::Result<Vec<String>> {
    let mut writes = site.writes(mark)?;
    writes.retain(|entry| entry.name == name && entry.namespace == "default" && !entry.dry_run);
    Ok(writes.into_iter().map(|entry| entry.verb).collect())
}

/// Waits until the inventories list what belongs to each app and nothing else.
async fn have(site: &Site, app: &str, names: &[&str]) -> anyhow::Result<()> {
    let wanted: BTreeSet<String> = names.iter().map(|name| format!("ConfigMap/default/{name}")).collect();
    site.until(&format!("{app} has {names:?}"), async || {
        Ok(site.inventory(app).await.is_ok_and(|ids| ids == wanted))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_two_apps_stays_with_the_first_and_is_handed_over_when_it_moves() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("skiff.yaml", list(&[("one", "one"), ("two", "two")]))
        .write("one/shared.yaml", config_map("shared", "of one"))
        .write("one/own.yaml", config_map("own-one", "v1"))
        .write("two/shared.yaml", config_map("shared", "of two"))
        .write("two/own.yaml", config_map("own-two", "v1"));
    let first = shop.commit("two apps want one object")?;
    let mark = site.mark()?;
    site.start_agent(json!([Site::environment("development", shop.url(), "")]))?;
    site.synced("one", &first).await?;
    let conflict =
        "ConfigMap/default/shared: app \"one\" has this object already: remove it from one of the two";
    site.app("two", "it says who has the object", |app| says(app, "Ready", "Held", conflict)).await?;

    // Commits to both, and a restart: the object stays where it is, and nobody writes it but for its own change.
    for round in ["v2", "v3"] {
        shop.write("one/own.yaml", config_map("own-one", round))
            .write("two/own.yaml", config_map("own-two", round))
            .write("two/shared.yaml", config_map("shared", &format!("of two, {round}")));
        let commit = shop.commit("both apps change, and what the second one wants")?;
        site.synced("one", &commit).await?;
        let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
        site.until("the second app has written its own", async || {
            Ok(maps.get("own-two").await?.data.unwrap_or_default()["value"] == round)
        })
        .await?;
        assert_eq!(maps.get("shared").await?.data.unwrap_or_default()["value"], "of one");
        site.end_agent().await?;
        site.restart_agent()?;
    }
    site.app("two", "it still says who has the object", |app| says(app, "Ready", "Held", conflict)).await?;
    site.polls(2).await?;
    assert_eq!(writes_of(&site, mark, "shared")?, ["patch"], "the object was fought over");

    let before = uids(&site).await?;
    shop.remove("one/shared.yaml");
    let moved = shop.commit("the first app gives it up")?;
    site.synced("two", &moved).await?;
    site.synced("one", &moved).await?;
    have(&site, "one", &["own-one"]).await?;
    have(&site, "two", &["own-two", "shared"]).await?;
    assert_eq!(uids(&site).await?, before, "handed over, not made anew");
    assert_eq!(writes_of(&site, mark, "shared")?, ["patch", "patch"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_renamed_or_moved_keeps_its_objects() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let names: Vec<String> = (0..12).map(|number| format!("map-{number}")).collect();
    let files = |shop: &mut skiff_harness::git_server::Repository, folder: &str| {
        for name in &names {
            shop.write(&format!("{folder}/{name}.yaml"), config_map(name, "one"));
        }
    };
    files(&mut shop, "web");
    shop.write("skiff.yaml", list(&[("web", "web"), ("other", "other")]))
        .write("other/map.yaml", config_map("other", "one"));
    let first = shop.commit("an app with a dozen objects")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "")]))?;
    site.synced("web", &first).await?;
    site.synced("other", &first).await?;
    let before = uids(&site).await?;
    assert_eq!(before.len(), 13);
    let mark = site.mark()?;

    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    shop.write("skiff.yaml", list(&[("shop", "web"), ("other", "other")]));
    let renamed = shop.commit("another name")?;
    site.synced("shop", &renamed).await?;
    have(&site, "shop", &all).await?;
    let apps = site.apps()?;
    site.until("the old name is gone", async || Ok(apps.get_opt("web").await?.is_none())).await?;
    assert_eq!(uids(&site).await?, before, "another name makes nothing anew");

    files(&mut shop, "elsewhere/shop");
    shop.remove("web").write("skiff.yaml", list(&[("shop", "elsewhere/shop"), ("other", "other")]));
    let moved = shop.commit("another folder")?;
    site.synced("shop", &moved).await?;
    assert_eq!(uids(&site).await?, before, "another folder makes nothing anew");

    shop.remove("elsewhere");
    files(&mut shop, "third");
    shop.write("skiff.yaml", list(&[("again", "third"), ("other", "other")]));
    let both = shop.commit("another name and another folder")?;
    site.synced("again", &both).await?;
    site.until("the old name is gone", async || Ok(apps.get_opt("shop").await?.is_none())).await?;
    assert_eq!(uids(&site).await?, before, "neither do both at once");
    let deletes =
        site.writes(mark)?.into_iter().filter(|entry| entry.verb == "delete" && entry.namespace == "default");
    assert_eq!(deletes.count(), 0);
    Ok(())
}

/// The API server keeps the events of both groups as one.
const EVENT: &str = "apiVersion: v1
kind: Event
metadata: {name: deployed, namespace: default}
involvedObject: {apiVersion: v1, kind: Namespace, name: default, namespace: default}
reason: Deployed
message: the first
type: Normal
";

const NEW_EVENT: &str = "apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: deployed, namespace: default, labels: {stage: second}}
regarding: {apiVersion: v1, kind: Namespace, name: default, namespace: default}
reason: Deployed
note: the first
type: Normal
";

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_group_changes_in_git_is_not_deleted() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/event.yaml", EVENT).write(
        "apps/map.yaml",
        config_map("map", "one").replace("name: map", "name: map\n  namespace: default"),
    );
    let first = shop.commit("an event of the core group")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &first).await?;
    let events: Api<Event> = Api::namespaced(site.admin()?, "default");
    let uid = events.get("deployed").await?.metadata.uid;
    let mark = site.mark()?;

    shop.write("apps/event.yaml", NEW_EVENT);
    let second = shop.commit("the same event in its own group")?;
    site.synced("development", &second).await?;
    let event = events.get("deployed").await?;
    assert_eq!(event.metadata.uid, uid, "it was made anew");
    assert_eq!(event.metadata.labels.unwrap_or_default()["stage"], "second");
    let wanted: BTreeSet<String> =
        ["ConfigMap/default/map", "Event/default/deployed"].map(str::to_owned).into();
    site.until("one of the two records is left", async || {
        let records = site.records("development").await?;
        Ok(records.len() == 2 && site.inventory("development").await.is_ok_and(|ids| ids == wanted))
    })
    .await?;
    let deletes =
        site.writes(mark)?.into_iter().filter(|entry| entry.verb == "delete" && entry.resource == "events");
    assert_eq!(deletes.count(), 0);

    // It leaves Git for good: then it goes.
    shop.remove("apps/event.yaml");
    let third = shop.commit("no event any more")?;
    site.synced("development", &third).await?;
    assert!(events.get_opt("deployed").await?.is_none());
    Ok(())
}
