//! One app list for a fleet: folders, selectors, variables and limits, as one cluster of it sees them.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use skiff_e2e::manifests::config_map;
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::cluster::Options;

/// The site's cluster is called `lab` and has the label `region: lab`.
const LIST: &str = "apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- each: ../apps/*
  namespace: ${app.name}-${labels.region}
  createNamespace: true
  substitute: true
- name: elsewhere
  path: ../broken
  clusters: {matchLabels: {region: moon}}
";

/// Returns the ConfigMaps of a namespace.
fn config_maps(site: &Site) -> impl Fn(&str) -> Api<ConfigMap> + use<> {
    let admin = site.admin();
    move |namespace| Api::namespaced(admin.as_ref().expect("the admin can connect").clone(), namespace)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_folder_is_a_new_app_and_a_removed_one_takes_its_objects_with_it() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut fleet = site.repository("fleet")?;
    fleet
        .write("fleet/skiff.yaml", LIST)
        .write("apps/web/map.yaml", config_map("web", "${cluster.name}/${app.name}"))
        .write("broken/map.yaml", "no object");
    let first = fleet.commit("one folder")?;
    site.start_agent(json!([Site::environment("development", fleet.url(), "fleet")]))?;
    site.synced("web", &first).await?;
    let maps = config_maps(&site);
    assert_eq!(maps("web-lab").get("web").await?.data.unwrap_or_default()["value"], "lab/web");

    fleet.write("apps/db/map.yaml", config_map("db", "one"));
    let second = fleet.commit("a folder more")?;
    site.synced("db", &second).await?;

    fleet.remove("apps/web");
    fleet.commit("a folder less")?;
    let apps = site.apps()?;
    site.until("the app is gone", async || Ok(apps.get_opt("web").await?.is_none())).await?;
    assert!(maps("web-lab").get_opt("web").await?.is_none(), "its objects went before it");
    assert!(maps("db-lab").get_opt("db").await?.is_some(), "another app's stay");
    assert!(site.apps()?.get_opt("elsewhere").await?.is_none(), "an app of other clusters is none here");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_an_app_back_and_prune_nothing() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut fleet = site.repository("fleet")?;
    fleet.write("fleet/skiff.yaml", LIST).write("apps/web/map.yaml", config_map("web", "one"));
    let first = fleet.commit("one folder")?;
    let mut environment = Site::environment("development", fleet.url(), "fleet");
    environment["limits"] = json!({"namespaces": ["*-lab"], "kinds": ["ConfigMap", "Namespace"]});
    site.start_agent(json!([environment]))?;
    site.synced("web", &first).await?;

    fleet.write("apps/web/map.yaml", config_map("web", "two")).write(
        "apps/web/secret.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: token, namespace: kube-system}\n",
    );
    fleet.commit("a commit that reaches too far")?;
    for word in [
        "apps/web/secret.yaml:1: Secret/kube-system/token: kind \"Secret\" is outside of limits.kinds",
        "namespace \"kube-system\" is outside of limits.namespaces of environment \"development\"",
    ] {
        site.app("web", word, |app| says(app, "Rendered", "OutsideLimits", word)).await?;
    }
    let maps = config_maps(&site);
    assert_eq!(maps("web-lab").get("web").await?.data.unwrap_or_default()["value"], "one");

    environment["limits"]["namespaces"] = json!(["nothing"]);
    fleet.remove("apps/web/secret.yaml");
    fleet.commit("within the limits of before")?;
    site.configure(json!([environment]))?;
    let word = "namespace \"web-lab\" is outside of limits.namespaces";
    site.app("web", word, |app| says(app, "Rendered", "OutsideLimits", word)).await?;
    assert!(maps("web-lab").get_opt("web").await?.is_some(), "a limit prunes nothing");
    Ok(())
}
