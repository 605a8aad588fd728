//! A restart goes on where the agent was: nothing is written when nothing changed, and nothing is overlooked.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use skiff_e2e::manifests::{config_map, deployment, in_namespace};
use skiff_e2e::requests::lines;
use skiff_e2e::site::Site;
use skiff_harness::cluster::{Options, User};

#[tokio::test(flavor = "multi_thread")]
async fn restart_without_a_change_writes_nothing() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/web.yaml", in_namespace("default", &deployment("web", 2, "registry.example/web:1")));
    for number in 0..100 {
        let text = in_namespace("default", &config_map(&format!("map-{number}"), "one"));
        shop.write(&format!("apps/map-{number}.yaml"), text);
    }
    shop.commit("many objects")?;
    let second = shop.write("README.md", "nothing that the app reads\n").commit("words")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    let before = site.synced("development", &second).await?;
    site.until("the inventory is settled", async || Ok(site.inventory("development").await.is_ok())).await?;
    site.end_agent().await?;

    let mark = site.mark()?;
    site.restart_agent()?;
    site.until("the restarted agent has read its state", async || {
        Ok(site.requests(mark)?.iter().any(|entry| entry.verb == "list" && entry.resource == "configmaps"))
    })
    .await?;
    site.polls(4).await?;
    assert_eq!(lines(&site.writes(mark)?), "");
    let objects = site
        .requests(mark)?
        .iter()
        .filter(|entry| entry.verb == "get" && entry.namespace == "default")
        .count();
    assert_eq!(objects, 0, "objects are listed, not read one by one");
    let after = site.synced("development", &second).await?;
    assert_eq!(after.status, before.status);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_drifted_meanwhile_is_healed_in_every_environment() -> anyhow::Result<()> {
    const NAMES: [&str; 4] = ["one", "two", "three", "four"];
    let mut site = Site::start(Options::default()).await?;
    let mut environments = Vec::new();
    let mut commits = Vec::new();
    for name in NAMES {
        let mut repository = site.repository(name)?;
        for number in 0..20 {
            let text = in_namespace("default", &config_map(&format!("{name}-{number}"), "ours"));
            repository.write(&format!("apps/map-{number}.yaml"), text);
        }
        commits.push((name, repository.commit("twenty objects")?));
        let mut environment = Site::environment(name, repository.url(), "apps");
        environment["sync"]["mode"] = json!("auto");
        environment["sync"]["selfHeal"] = json!(true);
        environments.push(environment);
    }
    site.start_agent(json!(environments))?;
    for (name, commit) in &commits {
        site.synced(name, commit).await?;
    }
    site.end_agent().await?;
    let patch = r#"--patch={"data":{"value":"theirs"}}"#;
    for name in NAMES {
        let object = format!("configmap/{name}-7");
        site.kubectl(User::Dev, &["patch", &object, "--type=merge", patch]).await?;
    }
    site.restart_agent()?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    for (name, commit) in &commits {
        site.until(&format!("{name} is healed"), async || {
            Ok(maps.get(&format!("{name}-7")).await?.data.unwrap_or_default()["value"] == "ours")
        })
        .await?;
        site.synced(name, commit).await?;
    }
    Ok(())
}
