//! Going back to a release: from what is stored in the cluster, with Git away, until a person says otherwise.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::requests::lines;
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_e2e::words::{condition, says};
use skiff_harness::cluster::{Options, User};
use skiff_harness::git_server::{Fault, Repository};
use skiff_shared::api::v1alpha1::App;

async fn value(site: &Site, name: &str) -> anyhow::Result<Option<String>> {
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    Ok(maps.get_opt(name).await?.and_then(|map| map.data?.remove("value")))
}

/// Three releases: `price` goes up, `old` leaves with the second, `new` comes with the third.
async fn three_releases(site: &mut Site, shop: &mut Repository) -> anyhow::Result<Vec<String>> {
    let write = |name: &str, value: &str| in_namespace("default", &config_map(name, value));
    shop.write("apps/price.yaml", write("price", "one")).write("apps/old.yaml", write("old", "here"));
    let mut commits = vec![shop.commit("the first price")?];
    site.start_agent(json!([Site::environment("staging", shop.url(), "apps")]))?;
    site.synced("staging", &commits[0]).await?;
    shop.remove("apps/old.yaml").write("apps/price.yaml", write("price", "two"));
    commits.push(shop.commit("a better price")?);
    site.synced("staging", &commits[1]).await?;
    shop.write("apps/new.yaml", write("new", "here")).write("apps/price.yaml", write("price", "three"));
    commits.push(shop.commit("the last price")?);
    site.synced("staging", &commits[2]).await?;
    assert_eq!((value(site, "old").await?, value(site, "new").await?.as_deref()), (None, Some("here")));
    Ok(commits)
}

/// Waits until the app is at a release that it is pinned to.
async fn pinned_at(site: &Site, commit: &str) -> anyhow::Result<App> {
    site.app("staging", "it is at the release that it is pinned to", |app| {
        let status = app.status.as_ref();
        let applied = status.and_then(|status| status.applied.as_ref());
        applied.is_some_and(|applied| applied.commit.ends_with(commit))
            && says(app, "Pinned", "Pinned", "pinned to main@sha1:")
            && status.is_some_and(|status| status.plan.is_none())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_goes_back_without_git_and_stays_there() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let commits = three_releases(&mut site, &mut shop).await?;
    let (said, code) = site.skiff(User::Dev, &["history", "staging"]).await?;
    assert!(code == 0 && said.contains("a better price") && said.matches(" yes ").count() == 3, "{said}");

    // Git is away, and the agent is a new one with an empty disk: what it knows is in the cluster.
    site.git.behave(Fault::status(503));
    site.end_agent().await?;
    std::fs::remove_dir_all(site.state_directory())?;
    site.restart_agent()?;
    let (said, code) = site.skiff(User::Dev, &["rollback", "staging", "--reason", "incident 7"]).await?;
    assert!(code == 0 && said.contains(&commits[1][..12]) && said.contains("a better price"), "{said}");
    pinned_at(&site, &commits[1]).await?;
    assert_eq!(value(&site, "price").await?.as_deref(), Some("two"));
    assert_eq!(value(&site, "new").await?, None, "what the release does not have is pruned");
    let first = ["rollback", "staging", "1", "--wait", "--timeout", "90s"];
    let (said, code) = site.skiff(User::Dev, &first).await?;
    assert_eq!(code, 0, "{said}");
    assert_eq!(value(&site, "price").await?.as_deref(), Some("one"));
    assert_eq!(value(&site, "old").await?.as_deref(), Some("here"), "what left Git is back");
    let (said, _) = site.skiff(User::Dev, &["get", "staging"]).await?;
    assert!(said.contains("pinned     main@sha1:") && said.contains("until `skiff resume`"), "{said}");

    // It is healed to the release, also by an agent that has just been started.
    site.end_agent().await?;
    let drift = Patch::Merge(json!({"data": {"value": "by hand"}}));
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    maps.patch("price", &PatchParams::default(), &drift).await?;
    site.restart_agent()?;
    site.until("the drift is healed to the release", async || {
        Ok(value(&site, "price").await?.as_deref() == Some("one"))
    })
    .await?;

    // Git comes back with a newer commit: it is seen, and nothing else.
    site.git.behave(Fault::None);
    let write = in_namespace("default", &config_map("price", "four"));
    let fourth = shop.write("apps/price.yaml", write).commit("a price too many")?;
    let mark = site.mark()?;
    site.app("staging", "the newer commit is seen", |app| {
        let revision = app.status.as_ref().and_then(|status| status.revision.as_ref());
        revision.is_some_and(|revision| revision.commit.ends_with(&fourth))
            && says(app, "Ready", "Pinned", "newer commits are not applied")
    })
    .await?;
    site.polls(2).await?;
    let writes: Vec<_> =
        site.writes(mark)?.into_iter().filter(|entry| entry.namespace == "default").collect();
    assert_eq!(lines(&writes), "");

    let (said, code) = site.skiff(User::Dev, &["resume", "staging"]).await?;
    assert_eq!(code, 0, "{said}");
    let app = site.synced("staging", &fourth).await?;
    assert!(condition(&app, "Pinned").is_none());
    assert_eq!((value(&site, "old").await?, value(&site, "price").await?.as_deref()), (None, Some("four")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_not_stored_any_more_is_rendered_again_from_git() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let commits = three_releases(&mut site, &mut shop).await?;
    let app = site.apps()?.get("staging").await?;
    let history = app.status.unwrap_or_default().history;
    let second = &history[1];
    let renders: Api<Secret> = Api::namespaced(site.admin()?, NAMESPACE);
    for name in &second.stored {
        renders.delete(name, &DeleteParams::default()).await?;
    }
    // Neither is the release stored, nor is its commit on this disk, nor can Git be reached.
    site.end_agent().await?;
    std::fs::remove_dir_all(site.state_directory())?;
    site.git.behave(Fault::status(503));
    site.restart_agent()?;
    let (said, code) = site.skiff(User::Dev, &["rollback", "staging", &second.number.to_string()]).await?;
    assert_eq!(code, 0, "{said}");
    site.app("staging", "it says why it is not there", |app| {
        says(app, "Pinned", "ReleaseMissing", "cannot be rendered again: failed to fetch")
    })
    .await?;
    assert_eq!(value(&site, "price").await?.as_deref(), Some("three"), "it stays as it is");
    site.git.behave(Fault::None);
    pinned_at(&site, &commits[1]).await?;
    assert_eq!(value(&site, "price").await?.as_deref(), Some("two"));
    assert_eq!(value(&site, "new").await?, None);
    site.skiff(User::Dev, &["resume", "staging"]).await?;
    site.synced("staging", &commits[2]).await?;

    // A commit that no server has is refused by name, once and for all.
    let status = site.apps()?.get("staging").await?.status.unwrap_or_default();
    let mut forged = status.clone();
    for entry in forged.history.iter_mut().filter(|entry| entry.render == second.render) {
        entry.stored.clear();
        entry.revision.commit = format!("sha1:{}", "0".repeat(40));
    }
    site.end_agent().await?;
    let patch = Patch::Merge(json!({"status": {"history": forged.history}}));
    site.apps()?.patch_status("staging", &PatchParams::default(), &patch).await?;
    std::fs::remove_dir_all(site.state_directory())?;
    site.restart_agent()?;
    site.skiff(User::Dev, &["rollback", "staging", &second.number.to_string()]).await?;
    site.app("staging", "the commit is named", |app| {
        let named = condition(app, "Pinned").is_some_and(|found| found.message.contains("sha1:0000000"));
        named && says(app, "Pinned", "ReleaseMissing", "cannot be rendered again")
    })
    .await?;
    assert_eq!(value(&site, "price").await?.as_deref(), Some("three"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_renders_of_all_apps_have_one_bound() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    site.set_variable("SKIFF__STATE__RENDERS", "1");
    let mut shop = site.repository("shop")?;
    let commits = three_releases(&mut site, &mut shop).await?;
    let renders: Api<Secret> = Api::namespaced(site.admin()?, NAMESPACE);
    let stored = async || {
        let listed = renders.list(&ListParams::default().labels("skiff.dev/state=render")).await?;
        anyhow::Ok(listed.items.len())
    };
    site.until("only what is in force is stored", async || Ok(stored().await? == 1)).await?;
    let kept = |app: &App| {
        app.status.iter().flat_map(|status| &status.history).filter(|it| !it.stored.is_empty()).count()
    };
    site.app("staging", "the history says so", |app| kept(app) <= 1).await?;

    // What healing needs is what stays: without Git, on an empty disk.
    site.git.behave(Fault::status(503));
    site.end_agent().await?;
    std::fs::remove_dir_all(site.state_directory())?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let drift = Patch::Merge(json!({"data": {"value": "by hand"}}));
    maps.patch("price", &PatchParams::default(), &drift).await?;
    site.restart_agent()?;
    site.until("the drift is healed", async || Ok(value(&site, "price").await?.as_deref() == Some("three")))
        .await?;
    site.git.behave(Fault::None);
    let (said, code) = site.skiff(User::Dev, &["rollback", "staging", "1"]).await?;
    assert_eq!(code, 0, "{said}");
    pinned_at(&site, &commits[0]).await?;
    Ok(())
}
