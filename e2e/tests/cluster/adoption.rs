//! Objects that are there already: taken over, or left to whom they belong.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};

const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  namespace: default\n  \
     labels:\n    old: label\ndata:\n  mode: slow\n  colour: blue\n";

const TRACKED: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: tracked\n  namespace: default\n  \
     annotations:\n    argocd.argoproj.io/tracking-id: shop:/ConfigMap:default/tracked\ndata:\n  value: theirs\n";

#[tokio::test(flavor = "multi_thread")]
async fn unowned_objects_are_taken_over_and_those_of_other_tools_are_held() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    site.kubectl_apply(User::Dev, SETTINGS).await?;
    site.kubectl_apply(User::Dev, TRACKED).await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let uid = maps.get("settings").await?.metadata.uid;
    let mut shop = site.repository("shop")?;
    shop.write("apps/settings.yaml", SETTINGS)
        .write("apps/fresh.yaml", in_namespace("default", &config_map("fresh", "ours")))
        .write("apps/tracked.yaml", in_namespace("default", &config_map("tracked", "ours")));
    shop.commit("what is there already, and more")?;
    let mark = site.mark()?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.app("development", "the object of Argo CD is held", |app| {
        says(
            app,
            "Ready",
            "Held",
            "ConfigMap/default/tracked: it exists and belongs to Argo CD application \"shop\"",
        )
    })
    .await?;
    site.until("the others are written", async || {
        let labelled = site.labelled("ConfigMap").await?;
        Ok(labelled.iter().eq(["ConfigMap/default/fresh", "ConfigMap/default/settings"]))
    })
    .await?;
    let touched: Vec<_> =
        site.writes(mark)?.into_iter().filter(|entry| entry.name == "tracked" && !entry.dry_run).collect();
    assert!(touched.is_empty(), "what belongs to somebody else was written: {touched:?}");
    assert_eq!(maps.get("tracked").await?.data.unwrap_or_default()["value"], "theirs");
    assert_eq!(maps.get("settings").await?.metadata.uid, uid, "taken over, not made anew");

    shop.write(
        "apps/settings.yaml",
        SETTINGS.replace("  colour: blue\n", "").replace("    old: label\n", "    new: label\n"),
    )
    .remove("apps/tracked.yaml");
    let second = shop.commit("a key and a label go")?;
    site.synced("development", &second).await?;
    let settings = maps.get("settings").await?;
    insta::assert_compact_debug_snapshot!(settings.data.unwrap_or_default(), @r#"{"mode": "slow"}"#);
    let metadata = settings.metadata;
    assert!(!metadata.labels.unwrap_or_default().contains_key("old"));
    let annotations = metadata.annotations.unwrap_or_default();
    assert!(!annotations.contains_key("kubectl.kubernetes.io/last-applied-configuration"), "{annotations:?}");
    maps.get("tracked").await?;
    Ok(())
}
