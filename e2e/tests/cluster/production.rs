//! Production: nothing happens without a person's word on the very plan.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::requests::lines;
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};
use skiff_shared::api::v1alpha1::App;

/// Asks for an approval in somebody's name, as a person.
async fn approve(site: &Site, user: User, digest: &str, by: &str) -> anyhow::Result<String> {
    let patch = format!("--patch={}", json!({"spec": {"approval": {"digest": digest, "by": by}}}));
    site.kubectl(
        user,
        &["patch", "apps.skiff.dev/production", "--namespace", NAMESPACE, "--type=merge", &patch],
    )
    .await
}

/// Waits until a plan waits for approval and returns its digest.
async fn waiting(site: &Site, commit: &str) -> anyhow::Result<String> {
    let waits = |app: &App| {
        let status = app.status.as_ref();
        status
            .and_then(|status| status.revision.as_ref())
            .is_some_and(|revision| revision.commit.ends_with(commit))
            && says(app, "Ready", "WaitingForApproval", "waiting for approval of plan")
    };
    let app = site.app("production", "the plan waits for approval", waits).await?;
    let plan = app.status.and_then(|status| status.plan);
    let plan = plan.ok_or_else(|| anyhow::anyhow!("the waiting plan is not published"))?;
    assert!(!plan.digest.is_empty());
    Ok(plan.digest)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_approved_plan_is_applied_and_drift_is_reported() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let write = |value: &str| in_namespace("default", &config_map("price", value));
    let first = shop.write("apps/price.yaml", write("one")).commit("the first price")?;
    let mark = site.mark()?;
    site.start_agent(json!([Site::environment("production", shop.url(), "apps")]))?;
    let outdated = waiting(&site, &first).await?;
    let second = shop.write("apps/price.yaml", write("two")).commit("a better price")?;
    let digest = waiting(&site, &second).await?;
    assert_ne!(digest, outdated);
    site.polls(2).await?;
    let written: Vec<_> =
        site.writes(mark)?.into_iter().filter(|entry| entry.name == "price" && !entry.dry_run).collect();
    assert!(written.is_empty(), "something was written without approval: {written:?}");

    let refused = approve(&site, User::Ops, &digest, "dev").await.unwrap_err();
    assert!(format!("{refused:#}").contains("spec.approval.by must be ops"), "{refused:#}");
    let refused = approve(&site, User::Ops, &outdated, "ops").await.unwrap_err();
    assert!(format!("{refused:#}").contains("is not the digest of the plan"), "{refused:#}");
    approve(&site, User::Ops, &digest, "ops").await?;
    let app = site.synced("production", &second).await?;
    let history = app.status.unwrap_or_default().history;
    assert_eq!(history[0].approved_by.as_deref(), Some("ops"));
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    assert_eq!(maps.get("price").await?.data.unwrap_or_default()["value"], "two");

    site.until("the inventory is settled", async || Ok(site.inventory("production").await.is_ok())).await?;
    let mark = site.mark()?;
    let patch = r#"--patch={"data":{"value":"three"}}"#;
    let change = ["patch", "configmap/price", "--type=merge", "--field-manager=haggler", patch];
    site.kubectl(User::Dev, &change).await?;
    site.app("production", "the drift is told with its paths", |app| {
        says(app, "Ready", "Drifted", r#"ConfigMap/default/price changed by "haggler": .data.value"#)
    })
    .await?;
    site.polls(3).await?;
    assert_eq!(maps.get("price").await?.data.unwrap_or_default()["value"], "three", "drift was healed");
    // That it has drifted is told on the App, and nothing else is written.
    let mut writes = site.writes(mark)?;
    writes.retain(|entry| !matches!(entry.resource.as_str(), "apps" | "events") && !entry.dry_run);
    assert_eq!(lines(&writes), "");

    let third = shop.write("apps/price.yaml", write("four")).commit("the last price")?;
    let digest = waiting(&site, &third).await?;
    approve(&site, User::Dev, &digest, "dev").await?;
    site.synced("production", &third).await?;
    assert_eq!(maps.get("price").await?.data.unwrap_or_default()["value"], "four");
    Ok(())
}
