//! Objects that left Git and are deleted only by a person's word: one by one.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};

/// A map with one of Argo CD's sync options.
fn map(name: &str, option: &str) -> String {
    let annotated = format!("metadata:\n  annotations:\n    argocd.argoproj.io/sync-options: {option}\n");
    in_namespace("default", &config_map(name, "one")).replace("metadata:\n", &annotated)
}

const DATABASE: &str = "apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: db
  namespace: default
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers: [{name: db, image: 'registry.example/db:1'}]
";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_guarded_goes_by_its_name_and_nothing_else_does() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/skiff.yaml", "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n- {name: web, path: web}\n- {name: rest, path: rest}\n")
        .write("apps/rest/map.yaml", in_namespace("default", &config_map("rest", "one")))
        .write("apps/web/stays.yaml", map("stays", "Delete=false"))
        .write("apps/web/asks.yaml", map("asks", "Delete=confirm"))
        .write("apps/web/confirm.yaml", map("confirm", "Prune=confirm"))
        .write("apps/web/db.yaml", DATABASE);
    let first = shop.commit("what is guarded")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "apps")]))?;
    site.synced("web", &first).await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let sets: Api<StatefulSet> = Api::namespaced(site.admin()?, "default");

    shop.remove("apps/web/confirm.yaml").remove("apps/web/db.yaml").commit("both are gone from Git")?;
    let words = "deleted only by a person's word: skiff approve APP --prune OBJECT";
    site.app("web", "both are held", |app| says(app, "Ready", "Held", words)).await?;
    let (said, code) =
        site.skiff(User::Ops, &["approve", "web", "--yes", "--prune", "ConfigMap/default/stays"]).await?;
    let both = "those that do: ConfigMap/default/confirm, StatefulSet/default/db";
    assert!(code == 1 && said.contains(both), "{said}");
    let (said, code) =
        site.skiff(User::Ops, &["approve", "web", "--yes", "--prune", "StatefulSet/default/db"]).await?;
    assert!(code == 0 && said.contains("DELETE      StatefulSet/default/db"), "{said}");
    site.until("the database goes", async || Ok(sets.get_opt("db").await?.is_none())).await?;
    site.polls(2).await?;
    assert!(maps.get_opt("confirm").await?.is_some(), "nobody has named it");
    let (said, code) =
        site.skiff(User::Ops, &["approve", "web", "--yes", "--prune", "ConfigMap/default/confirm"]).await?;
    assert_eq!(code, 0, "{said}");
    let second = shop.head()?;
    site.synced("web", &second).await?;
    assert!(maps.get_opt("confirm").await?.is_none());

    // The app leaves the list: one object asks first, another one stays.
    shop.write(
        "apps/skiff.yaml",
        "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n- {name: rest, path: rest}\n",
    )
    .commit("the app is to go")?;
    site.app("web", "the app is held by an object that asks", |app| {
        app.status.as_ref().is_some_and(|status| {
            status.objects.iter().any(|row| row.name == "asks" && row.prunable.is_some())
        })
    })
    .await?;
    let (said, code) =
        site.skiff(User::Ops, &["approve", "web", "--yes", "--prune", "ConfigMap/default/asks"]).await?;
    assert_eq!(code, 0, "{said}");
    site.until("the app is gone", async || Ok(site.apps()?.get_opt("web").await?.is_none())).await?;
    assert!(maps.get_opt("asks").await?.is_none() && maps.get_opt("stays").await?.is_some());
    Ok(())
}
