//! While the app list cannot be read, an app may do no more than its own words and the agent's file both let happen.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};
use skiff_harness::git_server::Fault;
use skiff_shared::api::v1alpha1::App;

const LIST: &str = "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n\
     - {name: web, namespace: default, sync: {selfHeal: false}}\n\
     - {name: api, namespace: default}\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_app_heals_no_more_than_it_is_allowed_while_nobody_can_read_its_list() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("skiff.yaml", LIST)
        .write("web/map.yaml", in_namespace("default", &config_map("web", "ours")))
        .write("api/map.yaml", in_namespace("default", &config_map("api", "ours")));
    let commit = shop.commit("two apps, one of which does not heal")?;
    let mut environment = Site::environment("development", shop.url(), "");
    environment["sync"]["selfHeal"] = json!(true);
    site.start_agent(json!([environment]))?;
    site.synced("web", &commit).await?;
    site.synced("api", &commit).await?;
    site.end_agent().await?;

    site.git.behave(Fault::status(503));
    site.restart_agent()?;
    for app in ["web", "api"] {
        site.app(app, "the source is told to be away", |app| {
            says(app, "SourceReady", "ServerError", "the server answered 503")
        })
        .await?;
    }
    meddle(&site, "web").await?;
    site.app("web", "its drift is told", is_drifted).await?;
    meddle(&site, "api").await?;
    site.until("the other app is healed", async || Ok(value(&site, "api").await? == "ours")).await?;
    assert_eq!(value(&site, "web").await?, "theirs");

    shop.write("skiff.yaml", LIST.replace("name: api", "nmae: api"));
    shop.commit("a list that nobody can read")?;
    site.git.behave(Fault::None);
    for app in ["web", "api"] {
        site.app(app, "the list is told to be broken", |app| {
            says(app, "Rendered", "InvalidAppList", "unknown key \"nmae\"")
        })
        .await?;
    }
    let bookmark = site.bookmark();
    environment["sync"]["selfHeal"] = json!(false);
    site.configure(json!([environment]))?;
    site.logged(bookmark, &["the changed configuration is in force"]).await?;
    site.app("api", "what it may do is told", |app| {
        app.status.as_ref().and_then(|status| status.policy).is_some_and(|policy| !policy.self_heal)
    })
    .await?;
    meddle(&site, "api").await?;
    site.app("api", "its drift is told", is_drifted).await?;
    assert_eq!(value(&site, "api").await?, "theirs");
    Ok(())
}

fn is_drifted(app: &App) -> bool {
    let objects = app.status.iter().flat_map(|status| &status.objects);
    objects.into_iter().any(|object| object.message.contains("changed by \"kubectl-patch\": .data.value"))
}

async fn meddle(site: &Site, name: &str) -> anyhow::Result<()> {
    let patch = r#"--patch={"data":{"value":"theirs"}}"#;
    site.kubectl(User::Dev, &["patch", &format!("configmap/{name}"), "--type=merge", patch]).await?;
    Ok(())
}

async fn value(site: &Site, name: &str) -> anyhow::Result<String> {
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let data = maps.get(name).await?.data.unwrap_or_default();
    Ok(data.get("value").cloned().unwrap_or_default())
}
