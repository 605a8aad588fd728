//! Hooks of real Jobs: in order, once for a release, and what becomes of a sync that one of them fails.

use std::fmt::Write as _;

use anyhow::Context as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use skiff_e2e::manifests;
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};
use skiff_harness::git_server::Repository;
use skiff_harness::kubelet::BEHAVIOUR;

/// Returns a hook whose pods end as `behaviour` says.
fn job(name: &str, annotations: &[(&str, &str)], behaviour: &str) -> String {
    let mut lines = String::new();
    for (key, value) in annotations {
        writeln!(lines, "    {key}: {value}").expect("a string takes everything");
    }
    format!(
        "apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
  namespace: development
  annotations:
{lines}spec:
  backoffLimit: 0
  template:
    metadata:
      annotations: {{{BEHAVIOUR}: '{behaviour}'}}
    spec:
      restartPolicy: Never
      containers:
      - {{name: {name}, image: registry.example/{name}:1}}
"
    )
}

fn config_map(name: &str, value: &str, wave: i32) -> String {
    manifests::config_map(name, value).replace(
        &format!("name: {name}"),
        &format!("name: {name}\n  namespace: development\n  annotations: {{skiff.dev/wave: '{wave}'}}"),
    )
}

async fn start(files: &[(&str, String)]) -> anyhow::Result<(Site, Repository, String)> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/namespace.yaml", manifests::namespace("development"));
    for (path, content) in files {
        shop.write(&format!("apps/{path}"), content.clone());
    }
    let first = shop.commit("the first release")?;
    let mut environment = Site::environment("development", shop.url(), "apps");
    environment["sync"]["timeout"] = json!("3s");
    site.start_agent(json!([environment]))?;
    Ok((site, shop, first))
}

fn position(log: &str, words: &str) -> anyhow::Result<usize> {
    log.find(words).with_context(|| format!("{words:?} is not in\n{log}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_in_order_once_for_a_release() -> anyhow::Result<()> {
    let (mut site, mut shop, first) = start(&[
        ("migrate.yaml", job("migrate", &[("argocd.argoproj.io/hook", "PreSync")], "delay=0.5")),
        (
            "check.yaml",
            job(
                "check",
                &[
                    ("helm.sh/hook", "post-install,post-upgrade"),
                    ("helm.sh/hook-delete-policy", "hook-succeeded"),
                ],
                "",
            ),
        ),
        ("a.yaml", config_map("a", "one", 0)),
    ])
    .await?;
    site.synced("development", &first).await?;
    let jobs: Api<Job> = Api::namespaced(site.admin()?, "development");
    site.until("the PostSync hook is gone", async || Ok(jobs.get_opt("check").await?.is_none())).await?;
    let log = site.log();
    let order = [
        position(&log, "PreSync hook Job/development/migrate succeeded")?,
        position(&log, "created ConfigMap/development/a")?,
        position(&log, "PostSync hook Job/development/check succeeded")?,
    ];
    assert!(order.is_sorted(), "{order:?} in\n{log}");
    let ran = jobs.get("migrate").await?.uid();
    site.span(|span| span.name == "hook").await?;

    // Drift and a restart are no release.
    let bookmark = site.bookmark();
    site.kubectl(User::Ops, &["delete", "configmap/a", "--namespace=development"]).await?;
    site.logged(bookmark, &["healed ConfigMap/development/a in"]).await?;
    site.end_agent().await?;
    site.restart_agent()?;
    site.synced("development", &first).await?;
    assert_eq!(jobs.get("migrate").await?.uid(), ran);

    shop.write("apps/a.yaml", config_map("a", "two", 0));
    let second = shop.commit("another value")?;
    site.synced("development", &second).await?;
    assert_ne!(jobs.get("migrate").await?.uid(), ran, "a new release runs it again");

    shop.remove("apps/migrate.yaml");
    let third = shop.commit("nothing to migrate any more")?;
    site.synced("development", &third).await?;
    site.until("the hook that left Git is gone", async || Ok(jobs.get_opt("migrate").await?.is_none()))
        .await?;
    site.end_agent().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_hook_stops_its_release_and_nothing_else() -> anyhow::Result<()> {
    let (mut site, mut shop, first) = start(&[("a.yaml", config_map("a", "one", 0))]).await?;
    site.synced("development", &first).await?;

    shop.write("apps/migrate.yaml", job("migrate", &[("argocd.argoproj.io/hook", "PreSync")], "exit=3"))
        .write("apps/clean.yaml", job("clean", &[("skiff.dev/hook", "SyncFail")], ""))
        .write("apps/b.yaml", config_map("b", "one", 0));
    shop.commit("a migration that fails")?;
    let bookmark = site.bookmark();
    let failed = "PreSync hook Job/development/migrate failed";
    site.app("development", "the app says which hook failed", |app| says(app, "Ready", "HookFailed", failed))
        .await?;
    site.logged(bookmark, &["SyncFail hook Job/development/clean succeeded"]).await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "development");
    assert!(maps.get_opt("b").await?.is_none(), "nothing is written after a failed hook");

    // What was applied is healed all the same.
    let bookmark = site.bookmark();
    site.kubectl(User::Ops, &["delete", "configmap/a", "--namespace=development"]).await?;
    site.logged(bookmark, &["healed ConfigMap/development/a in"]).await?;

    shop.write("apps/migrate.yaml", job("migrate", &[("argocd.argoproj.io/hook", "PreSync")], ""));
    let mended = shop.commit("a migration that works")?;
    site.synced("development", &mended).await?;
    assert!(maps.get_opt("b").await?.is_some());
    site.end_agent().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_that_stands_still_is_told_and_a_newer_commit_takes_over() -> anyhow::Result<()> {
    let stuck = job("stuck", &[("skiff.dev/wave", "'0'")], "delay=3600");
    let (mut site, mut shop, _) =
        start(&[("stuck.yaml", stuck), ("late.yaml", config_map("late", "one", 1))]).await?;
    let waiting = "Job/development/stuck to be healthy";
    site.app("development", "the sync has timed out", |app| says(app, "Ready", "SyncTimedOut", waiting))
        .await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "development");
    assert!(maps.get_opt("late").await?.is_none(), "the next wave still waits");

    shop.remove("apps/stuck.yaml");
    let second = shop.commit("without what stood still")?;
    site.synced("development", &second).await?;
    assert!(maps.get_opt("late").await?.is_some());
    site.end_agent().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_is_deleted_as_soon_as_it_ends_has_ended_as_it_did() -> anyhow::Result<()> {
    let brief = |behaviour: &str| {
        let lives = "spec:\n  ttlSecondsAfterFinished: 0\n  backoffLimit: 0";
        job("migrate", &[("skiff.dev/hook", "PreSync")], behaviour).replace("spec:\n  backoffLimit: 0", lives)
    };
    let (mut site, mut shop, first) =
        start(&[("a.yaml", config_map("a", "one", 0)), ("migrate.yaml", brief(""))]).await?;
    site.synced("development", &first).await?;
    let jobs: Api<Job> = Api::namespaced(site.admin()?, "development");
    let is_gone = async || Ok(jobs.get_opt("migrate").await?.is_none());
    for value in ["two", "three", "four"] {
        let bookmark = site.bookmark();
        let commit = shop.write("apps/a.yaml", config_map("a", value, 0)).commit("another value")?;
        site.synced("development", &commit).await?;
        site.logged(bookmark, &["PreSync hook Job/development/migrate succeeded"]).await?;
        site.until("its time to live is over", is_gone).await?;
    }
    shop.write("apps/migrate.yaml", brief("exit=3")).commit("a migration that fails")?;
    let failed = "PreSync hook Job/development/migrate failed";
    let app = site
        .app("development", "the hook has failed", |app| says(app, "Ready", "HookFailed", failed))
        .await?;
    let message = app.status.unwrap_or_default().message;
    assert!(!message.contains("deleted before its result was seen"), "{message}");
    site.until("its time to live is over", is_gone).await?;
    site.end_agent().await
}
