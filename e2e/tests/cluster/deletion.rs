//! Apps that go: from the app list, or by a person's word; with hooks, with crashes, and with their `App` last.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use skiff_e2e::manifests::config_map;
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};
use skiff_harness::git_server::Repository;
use skiff_harness::kubelet::BEHAVIOUR;

const LIST: &str = "apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- each: ../apps/*
  namespace: default
";

/// Returns a hook of an app's deletion whose pod takes some time.
fn hook(name: &str, phase: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
  annotations: {{argocd.argoproj.io/hook: {phase}}}
spec:
  backoffLimit: 0
  template:
    metadata:
      annotations: {{{BEHAVIOUR}: 'delay=0.3'}}
    spec:
      restartPolicy: Never
      containers:
      - {{name: {name}, image: registry.example/{name}:1}}
"
    )
}

/// A list with the apps `web` and `stays`; `web` has objects in two waves and hooks of its deletion.
async fn two_apps(site: &mut Site) -> anyhow::Result<(Repository, String)> {
    let mut fleet = site.repository("fleet")?;
    let late = config_map("web-late", "one")
        .replace("name: web-late", "name: web-late\n  annotations: {skiff.dev/wave: '1'}");
    fleet
        .write("fleet/skiff.yaml", LIST)
        .write("apps/web/first.yaml", config_map("web-first", "one"))
        .write("apps/web/late.yaml", late)
        .write("apps/web/drain.yaml", hook("drain", "PreDelete"))
        .write("apps/web/farewell.yaml", hook("farewell", "PostDelete"))
        .write("apps/stays/map.yaml", config_map("stays", "one"));
    let first = fleet.commit("two apps")?;
    site.start_agent(json!([Site::environment("development", fleet.url(), "fleet")]))?;
    site.synced("web", &first).await?;
    site.synced("stays", &first).await?;
    Ok((fleet, first))
}

async fn jobs(site: &Site) -> anyhow::Result<Vec<Job>> {
    let jobs: Api<Job> = Api::namespaced(site.admin()?, "default");
    Ok(jobs.list(&ListParams::default()).await?.items)
}

/// Waits until nothing of the app `web` is left, neither in the cluster nor stored.
async fn nothing_is_left(site: &Site) -> anyhow::Result<()> {
    let apps = site.apps()?;
    site.until("the App is gone", async || Ok(apps.get_opt("web").await?.is_none())).await?;
    assert_eq!(site.labelled("ConfigMap").await?, ["ConfigMap/default/stays".to_owned()].into());
    assert!(jobs(site).await?.is_empty(), "the hooks would be nobody's");
    let of_web = ListParams::default().labels("skiff.dev/state-of=web");
    let shards: Api<ConfigMap> = Api::namespaced(site.admin()?, NAMESPACE);
    let renders: Api<Secret> = Api::namespaced(site.admin()?, NAMESPACE);
    assert!(shards.list(&of_web).await?.items.is_empty() && renders.list(&of_web).await?.items.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_leaves_the_list_goes_with_its_hooks_and_its_app_last() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let (mut fleet, _) = two_apps(&mut site).await?;
    assert!(jobs(&site).await?.is_empty(), "hooks of the deletion are no part of a sync");
    let bookmark = site.bookmark();
    fleet.remove("apps/web");
    fleet.commit("one app less")?;
    let order = [
        "PreDelete hook Job/default/drain succeeded",
        "pruned ConfigMap/default/web-late",
        "pruned ConfigMap/default/web-first",
        "PostDelete hook Job/default/farewell succeeded",
        "the app is no more",
    ];
    site.logged(bookmark, &["the app is no more"]).await?;
    let log = site.log();
    let places: Vec<_> = order.iter().map(|words| log.rfind(words)).collect();
    assert!(places.is_sorted(), "{places:?} in\n{log}");
    nothing_is_left(&site).await?;

    // The folder comes back: a new app of the same name.
    fleet.write("apps/web/first.yaml", config_map("web-first", "two"));
    let again = fleet.commit("it is back")?;
    site.synced("web", &again).await?;

    // The last apps of the list wait for a person.
    fleet.remove("apps/web").remove("apps/stays");
    fleet.commit("no app at all")?;
    site.app("stays", "the last app is held", |app| says(app, "Ready", "Held", "the app list is empty"))
        .await?;
    let (said, code) = site.skiff(User::Ops, &["delete", "stays", "--yes", "--wait"]).await?;
    assert!(code == 0 && said.contains("stays is no more"), "{said}");
    site.end_agent().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_goes_on_after_each_crash() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let (mut fleet, _) = two_apps(&mut site).await?;
    fleet.remove("apps/web");
    fleet.commit("one app less")?;
    let apps = site.apps()?;
    let mut read = 0;
    for words in
        ["PreDelete hook Job/default/drain succeeded", "pruned ConfigMap/default/web-late", "PostDelete hook"]
    {
        let is_gone = async || anyhow::Ok(apps.get_opt("web").await?.is_none());
        site.until(words, async || Ok(site.log()[read..].contains(words) || is_gone().await?)).await?;
        if is_gone().await? {
            break;
        }
        site.kill_agent_and_forget().await?;
        read = site.log().len();
        site.restart_agent()?;
    }
    nothing_is_left(&site).await?;
    site.end_agent().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_git_has_is_deleted_only_until_it_is_resumed() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let (_fleet, first) = two_apps(&mut site).await?;
    let (said, code) = site.skiff(User::Ops, &["delete", "web", "--yes"]).await?;
    assert!(code == 1 && said.contains("is still in the app list of main@sha1:"), "{code} {said}");
    let (said, code) = site
        .skiff(User::Ops, &["delete", "web", "--until-resumed", "--cascade=foreground", "--yes", "--wait"])
        .await?;
    assert!(code == 0, "{said}");
    site.app("web", "it stays away", |app| says(app, "Ready", "Deleted", "skiff resume")).await?;
    assert_eq!(site.labelled("ConfigMap").await?, ["ConfigMap/default/stays".to_owned()].into());
    site.end_agent().await?;
    site.restart_agent()?;
    site.app("web", "it stays away after a restart", |app| says(app, "Ready", "Deleted", "skiff resume"))
        .await?;
    let (said, code) = site.skiff(User::Ops, &["resume", "web"]).await?;
    assert!(code == 0, "{said}");
    site.synced("web", &first).await?;
    assert_eq!(site.labelled("ConfigMap").await?.len(), 3);
    site.end_agent().await
}
