//! What breaks around the agent, and the agent itself.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use skiff_e2e::agent;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_e2e::words::{condition, says};
use skiff_harness::cluster::{Component, Options, User};
use skiff_harness::git_server::{Fault, Repository};
use skiff_shared::api::v1alpha1::AppStatus;

fn write_maps(shop: &mut Repository, count: usize, value: &str) {
    for number in 0..count {
        let text = in_namespace("default", &config_map(&format!("map-{number}"), value));
        shop.write(&format!("apps/map-{number}.yaml"), text);
    }
}

async fn value(site: &Site, name: &str) -> anyhow::Result<Option<String>> {
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    Ok(maps.get_opt(name).await?.and_then(|map| map.data?.remove("value")))
}

async fn change(site: &Site, name: &str) -> anyhow::Result<()> {
    let patch = r#"--patch={"data":{"value":"theirs"}}"#;
    site.kubectl(User::Dev, &["patch", &format!("configmap/{name}"), "--type=merge", patch]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_is_healed_while_git_is_away() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    write_maps(&mut shop, 5, "ours");
    let first = shop.commit("five objects")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &first).await?;
    site.git.behave(Fault::status(503));
    site.app("development", "the source is away", |app| says(app, "SourceReady", "ServerError", "503"))
        .await?;

    change(&site, "map-0").await?;
    site.until("the object is healed", async || Ok(value(&site, "map-0").await?.as_deref() == Some("ours")))
        .await?;
    site.end_agent().await?;
    std::fs::remove_dir_all(site.state_directory())?;
    change(&site, "map-1").await?;
    site.kubectl(User::Dev, &["delete", "configmap/map-2"]).await?;
    let bookmark = site.bookmark();
    site.restart_agent()?;
    site.logged(bookmark, &["healed ConfigMap/default/map-1"]).await?;
    site.logged(bookmark, &["healed ConfigMap/default/map-2"]).await?;
    change(&site, "map-3").await?;
    site.logged(bookmark, &["healed ConfigMap/default/map-3"]).await?;
    for name in ["map-0", "map-1", "map-2", "map-3", "map-4"] {
        assert_eq!(value(&site, name).await?.as_deref(), Some("ours"), "{name}");
    }

    site.git.behave(Fault::None);
    write_maps(&mut shop, 5, "newer");
    let second = shop.commit("Git is back")?;
    site.synced("development", &second).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_outlives_an_apiserver_that_is_killed_or_frozen() -> anyhow::Result<()> {
    const OBJECTS: usize = 400;
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    write_maps(&mut shop, OBJECTS, "one");
    let first = shop.commit("many objects")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    let mut there = 0;
    site.until("some objects are there", async || {
        there = site.labelled("ConfigMap").await?.len();
        Ok(there >= 30)
    })
    .await?;
    site.cluster.kill(Component::Apiserver)?;
    assert!(there < OBJECTS, "the sync was over before the apiserver was killed");
    site.cluster.restart(Component::Apiserver).await?;
    site.synced("development", &first).await?;
    assert_eq!(site.labelled("ConfigMap").await?.len(), OBJECTS);

    write_maps(&mut shop, OBJECTS, "two");
    let second = shop.commit("another value")?;
    site.until("some objects have the new value", async || {
        Ok(value(&site, &format!("map-{}", OBJECTS - 1)).await?.as_deref() == Some("two")
            || value(&site, "map-0").await?.as_deref() == Some("two"))
    })
    .await?;
    site.cluster.freeze(Component::Apiserver)?;
    // The fault itself: how long it lasts is what is being tried.
    tokio::time::sleep(std::time::Duration::from_secs(15)).await;
    site.cluster.thaw(Component::Apiserver)?;
    site.synced("development", &second).await?;
    for number in 0..OBJECTS {
        assert_eq!(value(&site, &format!("map-{number}")).await?.as_deref(), Some("two"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_configuration_is_taken_up_and_a_bad_one_is_refused() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let first = shop
        .write("dev/a.yaml", in_namespace("default", &config_map("dev", "ours")))
        .write("stage/a.yaml", in_namespace("default", &config_map("stage", "ours")))
        .commit("two environments")?;
    let development = Site::environment("development", shop.url(), "dev");
    let staging = Site::environment("staging", shop.url(), "stage");
    site.start_agent(json!([development]))?;
    site.synced("development", &first).await?;
    let id = site.agent().id();

    site.configure(json!([development, staging]))?;
    site.synced("staging", &first).await?;

    let mut gentle = development.clone();
    gentle["sync"]["selfHeal"] = json!(false);
    let bookmark = site.bookmark();
    site.configure(json!([gentle, staging]))?;
    site.logged(bookmark, &["the changed configuration is in force"]).await?;
    change(&site, "dev").await?;
    site.app("development", "drift is reported", |app| {
        says(app, "Ready", "Drifted", "ConfigMap/default/dev")
    })
    .await?;
    change(&site, "stage").await?;
    site.until("staging is healed", async || Ok(value(&site, "stage").await?.as_deref() == Some("ours")))
        .await?;
    assert_eq!(value(&site, "dev").await?.as_deref(), Some("theirs"));

    let mut wrong = development.clone();
    wrong["sync"]["selfHeel"] = json!(true);
    let bookmark = site.bookmark();
    site.configure(json!([wrong]))?;
    site.logged(bookmark, &["the changed configuration is refused", "selfHeel"]).await?;
    for name in ["development", "staging"] {
        site.app(name, "its configuration is refused", |app| {
            says(app, "Configured", "ConfigRefused", "unknown key \"selfHeel\"")
        })
        .await?;
    }
    let second =
        shop.write("stage/a.yaml", in_namespace("default", &config_map("stage", "newer"))).commit("more")?;
    site.synced("staging", &second).await?;
    assert_eq!(
        value(&site, "dev").await?.as_deref(),
        Some("theirs"),
        "the refused configuration is in force"
    );

    let bookmark = site.bookmark();
    site.configure(json!([development, staging]))?;
    site.logged(bookmark, &["the changed configuration is in force"]).await?;
    site.app("staging", "its configuration is good again", |app| condition(app, "Configured").is_none())
        .await?;
    site.until("the drift of before is healed", async || {
        Ok(value(&site, "dev").await?.as_deref() == Some("ours"))
    })
    .await?;

    site.configure(json!([development]))?;
    let third = shop
        .write("dev/a.yaml", in_namespace("default", &config_map("dev", "newest")))
        .remove("stage/a.yaml")
        .commit("staging is no longer looked after")?;
    site.synced("development", &third).await?;
    site.polls(2).await?;
    assert_eq!(
        value(&site, "stage").await?.as_deref(),
        Some("newer"),
        "a changed configuration prunes nothing"
    );
    site.app("staging", "staging is not shown as healthy", |app| {
        let unknown = |status: &AppStatus| status.sync == "Unknown" && status.health == "Unknown";
        says(app, "Ready", "Unattended", "staging") && app.status.as_ref().is_some_and(unknown)
    })
    .await?;
    assert_eq!(site.agent().id(), id, "the agent was started anew");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn second_agent_stands_by_and_takes_over() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    write_maps(&mut shop, 3, "one");
    let first = shop.commit("three objects")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &first).await?;
    let leases: Api<Lease> = Api::namespaced(site.admin()?, NAMESPACE);
    let holder = async || -> anyhow::Result<Option<String>> {
        Ok(leases.get("skiff").await?.spec.and_then(|spec| spec.holder_identity))
    };
    let active = holder().await?;

    // The second one has a state directory and an address of its own, as in a pod of its own.
    let config = site.second_configuration()?;
    let log = site.cluster.directory().join("second.log");
    let mut second = agent::start(&config, site.identity.kubeconfig(), &log, &[])?;
    let listed = |text: &str| text.contains("sync to");
    let mark = site.mark()?;
    write_maps(&mut shop, 3, "two");
    let commit = shop.commit("another value")?;
    site.synced("development", &commit).await?;
    site.polls(4).await?;
    assert_eq!(holder().await?, active);
    assert!(
        !listed(&std::fs::read_to_string(&log)?),
        "the second agent did something:\n{}",
        second.log_tail(30)
    );
    let patches = site.writes(mark)?.iter().filter(|entry| entry.name == "map-0" && !entry.dry_run).count();
    assert_eq!(patches, 1);

    site.kill_agent();
    write_maps(&mut shop, 3, "three");
    let commit = shop.commit("written by the second agent")?;
    site.synced("development", &commit).await?;
    assert_ne!(holder().await?, active);

    second.terminate()?;
    let ended = second.ended(skiff_e2e::site::PATIENCE).await?;
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}\n{}", second.log_tail(30));
    assert_eq!(holder().await?, None, "the Lease was not given back");
    Ok(())
}
