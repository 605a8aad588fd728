//! The verbs that people use, against a real cluster with a running agent.

use std::path::Path;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use skiff_e2e::manifests;
use skiff_e2e::site::Site;
use skiff_harness::cluster::{Options, User};

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    std::fs::write(folder.join(name), text).with_context(|| format!("failed to write {name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_what_is_and_what_would_be() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let settings = manifests::config_map("settings", "one")
        .replace("name: settings", "name: settings\n  namespace: default");
    shop.write("apps/settings.yaml", &settings);
    shop.write("apps/other.yaml", settings.replace("name: settings", "name: other"));
    let commit = shop.commit("two settings")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "apps")]))?;
    site.synced("staging", &commit).await?;

    let (table, code) = site.skiff(User::Admin, &["get"]).await?;
    assert_eq!(code, 0, "{table}");
    let row = table.lines().find(|line| line.contains("staging")).context("a row of the app")?;
    assert!(row.contains("Synced") && row.contains("Healthy") && row.contains(&commit[..12]), "{table}");
    let (one, code) = site.skiff(User::Admin, &["get", "staging"]).await?;
    assert!(code == 0 && one.contains("objects    2 in all, 2 healthy"), "{one}");
    let (json, _) = site.skiff(User::Admin, &["get", "-o", "json"]).await?;
    let apps: Value = serde_json::from_str(&json).context("programs can read it")?;
    assert_eq!(apps[0]["status"]["sync"], "Synced");
    let (missing, code) = site.skiff(User::Admin, &["get", "nothing"]).await?;
    assert!(code == 1 && missing.contains("there is no app \"nothing\""), "{missing}");

    let (clean, code) = site.skiff(User::Admin, &["diff", "staging"]).await?;
    assert_eq!((clean.as_str(), code), ("", 0));

    let folder = tempfile::tempdir()?;
    write(folder.path(), "settings.yaml", &settings.replace("one", "two"))?;
    write(folder.path(), "new.yaml", &settings.replace("name: settings", "name: new"))?;
    let path = folder.path().to_string_lossy().into_owned();
    let (plan, code) = site.skiff(User::Admin, &["plan", "staging", "--path", &path]).await?;
    assert_eq!(code, 3, "{plan}");
    assert!(plan.contains("created     ConfigMap/default/new"), "{plan}");
    assert!(plan.contains("configured  ConfigMap/default/settings"), "{plan}");
    assert!(plan.contains("pruned      ConfigMap/default/other"), "{plan}");
    let (diff, code) = site.skiff(User::Admin, &["diff", "staging", "--path", &path]).await?;
    assert!(code == 3 && diff.contains("-  value: one") && diff.contains("+  value: two"), "{diff}");
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    assert!(maps.get_opt("new").await?.is_none(), "a plan writes nothing");

    site.end_agent().await?;
    let change = Patch::Merge(json!({"data": {"value": "by hand"}}));
    maps.patch("settings", &PatchParams::default(), &change).await?;
    let (drift, code) = site.skiff(User::Admin, &["diff", "staging"]).await?;
    assert!(code == 3 && drift.contains("-  value: by hand") && drift.contains("+  value: one"), "{drift}");

    let (rendered, code) = site.skiff(User::Admin, &["render", &path]).await?;
    assert!(code == 0 && rendered.contains("name: new"), "{rendered}");
    let (usage, code) = site.skiff(User::Admin, &["sail"]).await?;
    assert_eq!(code, 2, "{usage}");
    Ok(())
}
