//! Apps that come under another environment of the same agent.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::Site;
use skiff_harness::cluster::{Options, User};
use skiff_harness::git_server::{Fault, Repository};

const OBJECTS: usize = 300;

/// Returns an app list; each app's files are in the folder of its name.
fn list(apps: &[&str]) -> String {
    let entry = |app: &&str| format!("- name: {app}\n  path: ../apps/{app}\n  namespace: default\n");
    let entries: String = apps.iter().map(entry).collect();
    format!("apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n{entries}")
}

fn write_maps(shop: &mut Repository, app: &str, count: usize) {
    for number in 0..count {
        let name = format!("{app}-{number}");
        shop.write(&format!("apps/{app}/{name}.yaml"), in_namespace("default", &config_map(&name, "ours")));
    }
}

fn healing(name: &str, shop: &Repository, path: &str, heals: bool) -> Value {
    let mut environment = Site::environment(name, shop.url(), path);
    environment["sync"]["mode"] = json!("auto");
    environment["sync"]["selfHeal"] = json!(heals);
    environment
}

async fn is_of(site: &Site, app: &str, environment: &str) -> anyhow::Result<()> {
    let what = format!("{app} is synced in {environment}");
    let wanted = |status: &skiff_shared::api::v1alpha1::AppStatus| {
        status.environment == environment && status.sync == "Synced" && status.health == "Healthy"
    };
    site.app(app, &what, |app| app.status.as_ref().is_some_and(wanted)).await.map(drop)
}

/// Changes an object while the agent is away and Git is, too, and waits until the restarted agent has healed it.
async fn heals_after_a_restart_without_git(site: &mut Site, object: &str) -> anyhow::Result<()> {
    site.end_agent().await?;
    site.git.behave(Fault::status(503));
    let patch = r#"--patch={"data":{"value":"theirs"}}"#;
    site.kubectl(User::Dev, &["patch", &format!("configmap/{object}"), "--type=merge", patch]).await?;
    site.restart_agent()?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    site.until(&format!("{object} is healed"), async || {
        Ok(maps.get(object).await?.data.unwrap_or_default()["value"] == "ours")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_another_environment_lists_goes_on_there() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    for app in ["web", "stays", "other"] {
        write_maps(&mut shop, app, 1);
    }
    shop.write("one/skiff.yaml", list(&["web", "stays"])).write("two/skiff.yaml", list(&["other"]));
    shop.commit("three apps")?;
    site.start_agent(json!([healing("first", &shop, "one", false), healing("second", &shop, "two", true)]))?;
    is_of(&site, "web", "first").await?;
    is_of(&site, "other", "second").await?;

    shop.write("one/skiff.yaml", list(&["stays"])).write("two/skiff.yaml", list(&["other", "web"]));
    shop.commit("one moves")?;
    is_of(&site, "web", "second").await?;
    is_of(&site, "stays", "first").await?;
    // Only the environment that has it now heals.
    heals_after_a_restart_without_git(&mut site, "web-0").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_can_be_renamed_in_the_middle_of_a_sync() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    write_maps(&mut shop, "web", OBJECTS);
    shop.write("one/skiff.yaml", list(&["web"])).commit("many objects")?;
    site.start_agent(json!([healing("before", &shop, "one", true)]))?;
    let id = site.agent().id();
    site.until("some objects are there", async || Ok(site.labelled("ConfigMap").await?.len() >= 30)).await?;
    site.configure(json!([healing("after", &shop, "one", true)]))?;
    let there = site.labelled("ConfigMap").await?.len();
    assert!(there < OBJECTS, "the sync was over before the environment was renamed");

    is_of(&site, "web", "after").await?;
    assert_eq!(site.labelled("ConfigMap").await?.len(), OBJECTS);
    assert_eq!(site.agent().id(), id);
    assert!(site.agent().is_running(), "{}", site.log());
    site.until("the inventory is settled", async || {
        Ok(site.inventory("web").await.is_ok_and(|ids| ids.len() == OBJECTS))
    })
    .await?;
    heals_after_a_restart_without_git(&mut site, "web-7").await
}
