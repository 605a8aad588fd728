//! The main job: what is in Git comes to be in the cluster, and stays so.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use skiff_e2e::manifests;
use skiff_e2e::site::Site;
use skiff_harness::cluster::Options;

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_folder_is_synced_changed_and_pruned() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/namespace.yaml", manifests::namespace("development"))
        .write(
            "apps/a.yaml",
            manifests::config_map("a", "one").replace("name: a", "name: a\n  namespace: development"),
        )
        .write(
            "apps/web.yaml",
            manifests::deployment("web", 2, "registry.example/web:1").replacen(
                "name: web",
                "name: web\n  namespace: development",
                1,
            ),
        );
    let first = shop.commit("the first release")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &first).await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "development");
    assert_eq!(maps.get("a").await?.data.unwrap_or_default()["value"], "one");
    let deployments: Api<Deployment> = Api::namespaced(site.admin()?, "development");
    assert_eq!(deployments.get("web").await?.status.unwrap_or_default().ready_replicas, Some(2));

    shop.write(
        "apps/a.yaml",
        manifests::config_map("a", "two").replace("name: a", "name: a\n  namespace: development"),
    );
    let second = shop.commit("another value")?;
    site.synced("development", &second).await?;
    assert_eq!(maps.get("a").await?.data.unwrap_or_default()["value"], "two");

    shop.remove("apps/a.yaml");
    let third = shop.commit("a goes")?;
    site.synced("development", &third).await?;
    assert!(maps.get_opt("a").await?.is_none());
    site.end_agent().await?;
    println!("{}", site.log());
    Ok(())
}
