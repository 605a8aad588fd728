//! The verbs that people use, against a real cluster with a running agent.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use skiff_e2e::site::Site;
use skiff_e2e::{agent, manifests};
use skiff_harness::cluster::{Options, User};

/// Runs a verb as the person `admin`; returns what it printed and its exit code.
fn skiff(site: &Site, arguments: &[&str]) -> anyhow::Result<(String, i32)> {
    let mut command = Command::new(agent::program()?);
    command.args(arguments).arg("--kubeconfig").arg(site.cluster.kubeconfig(User::Admin));
    ran(&mut command)
}

fn ran(command: &mut Command) -> anyhow::Result<(String, i32)> {
    let Output { status, stdout, stderr } = command.output().context("skiff cannot be started")?;
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    Ok((text, status.code().context("skiff was killed")?))
}

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

    let (table, code) = skiff(&site, &["get"])?;
    assert_eq!(code, 0, "{table}");
    let row = table.lines().find(|line| line.contains("staging")).context("a row of the app")?;
    assert!(row.contains("Synced") && row.contains("Healthy") && row.contains(&commit[..12]), "{table}");
    let (one, code) = skiff(&site, &["get", "staging"])?;
    assert!(code == 0 && one.contains("objects    2 in all, 2 healthy"), "{one}");
    let (json, _) = skiff(&site, &["get", "-o", "json"])?;
    let apps: Value = serde_json::from_str(&json).context("programs can read it")?;
    assert_eq!(apps[0]["status"]["sync"], "Synced");
    let (missing, code) = skiff(&site, &["get", "nothing"])?;
    assert!(code == 1 && missing.contains("there is no app \"nothing\""), "{missing}");

    let (clean, code) = skiff(&site, &["diff", "staging"])?;
    assert_eq!((clean.as_str(), code), ("", 0));

    let folder = tempfile::tempdir()?;
    write(folder.path(), "settings.yaml", &settings.replace("one", "two"))?;
    write(folder.path(), "new.yaml", &settings.replace("name: settings", "name: new"))?;
    let path = folder.path().to_string_lossy().into_owned();
    let (plan, code) = skiff(&site, &["plan", "staging", "--path", &path])?;
    assert_eq!(code, 3, "{plan}");
    assert!(plan.contains("created     ConfigMap/default/new"), "{plan}");
    assert!(plan.contains("configured  ConfigMap/default/settings"), "{plan}");
    assert!(plan.contains("pruned      ConfigMap/default/other"), "{plan}");
    let (diff, code) = skiff(&site, &["diff", "staging", "--path", &path])?;
    assert!(code == 3 && diff.contains("-  value: one") && diff.contains("+  value: two"), "{diff}");
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    assert!(maps.get_opt("new").await?.is_none(), "a plan writes nothing");

    site.end_agent().await?;
    let change = Patch::Merge(json!({"data": {"value": "by hand"}}));
    maps.patch("settings", &PatchParams::default(), &change).await?;
    let (drift, code) = skiff(&site, &["diff", "staging"])?;
    assert!(code == 3 && drift.contains("-  value: by hand") && drift.contains("+  value: one"), "{drift}");

    let (rendered, code) = skiff(&site, &["render", &path])?;
    assert!(code == 0 && rendered.contains("name: new"), "{rendered}");
    let (usage, code) = ran(Command::new(agent::program()?).arg("sail"))?;
    assert_eq!(code, 2, "{usage}");
    Ok(())
}
