//! What goes wrong on real clusters around the objects themselves: deleted namespaces and definitions, immutable
//! fields, admission webhooks whose backend is gone.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, deployment, in_namespace, namespace, widget, widget_definition};
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};

#[tokio::test(flavor = "multi_thread")]
async fn deleted_namespace_and_definition_come_back_with_everything_in_them() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/namespace.yaml", namespace("shop"))
        .write("apps/web.yaml", in_namespace("shop", &deployment("web", 2, "web:1")))
        .write("apps/map.yaml", in_namespace("shop", &config_map("map", "one")))
        .write("apps/kind.yaml", widget_definition())
        .write("apps/widget.yaml", in_namespace("shop", &widget("first", 3)));
    let first = shop.commit("a namespace, a definition and objects of both")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "apps")]))?;
    site.synced("staging", &first).await?;
    let before = recorded(&site).await?;
    assert_eq!(before.len(), 5);

    site.kubectl(User::Dev, &["delete", "namespace", "shop", "--wait=false"]).await?;
    everything_is_back(&site, "Namespace/shop").await?;
    site.synced("staging", &first).await?;
    site.kubectl(User::Admin, &["delete", "crd", "widgets.lab.skiff.dev"]).await?;
    everything_is_back(&site, "the definition").await?;
    site.synced("staging", &first).await?;
    assert_eq!(recorded(&site).await?, before);
    Ok(())
}

/// Returns what is on record, once nothing of it is only claimed.
async fn recorded(site: &Site) -> anyhow::Result<BTreeSet<String>> {
    site.until("everything is settled", async || Ok(site.inventory("staging").await.is_ok())).await?;
    site.inventory("staging").await
}

/// Waits until all objects are there and none of them is on its way out.
async fn everything_is_back(site: &Site, what: &str) -> anyhow::Result<()> {
    let objects = ["deployment/web", "configmap/map", "widget/first"];
    site.until(&format!("{what} is back with everything in it"), async || {
        for object in objects {
            let live = site.kubectl(User::Admin, &["get", object, "--namespace=shop", "--output=json"]).await;
            let Ok(live) = live else { return Ok(false) };
            let live: Value = serde_json::from_str(&live)?;
            if !live["metadata"]["deletionTimestamp"].is_null() {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}

const JOB: &str = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: migrate\n  namespace: default\nspec:\n  \
     template:\n    spec:\n      restartPolicy: Never\n      containers:\n      - name: main\n        image: migrate:1\n";

#[tokio::test(flavor = "multi_thread")]
async fn changed_immutable_field_is_refused_before_anything_is_written() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/job.yaml", JOB)
        .write("apps/map.yaml", in_namespace("default", &config_map("map", "one")));
    let first = shop.commit("a job")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "apps")]))?;
    site.synced("staging", &first).await?;
    let jobs: Api<Job> = Api::namespaced(site.admin()?, "default");
    let uid = jobs.get("migrate").await?.metadata.uid;
    let mark = site.mark()?;

    shop.write("apps/job.yaml", JOB.replace("migrate:1", "migrate:2"))
        .write("apps/map.yaml", in_namespace("default", &config_map("map", "two")));
    shop.commit("an immutable field changes")?;
    site.app("staging", "the change is refused", |app| {
        says(app, "Ready", "PreflightFailed", "Job/default/migrate")
            && says(app, "Ready", "PreflightFailed", "immutable")
    })
    .await?;
    let written =
        site.writes(mark)?.into_iter().filter(|entry| entry.resource == "configmaps" && !entry.dry_run);
    assert_eq!(written.filter(|entry| entry.namespace == "default").count(), 0, "nothing is written");

    // A person deletes the job: the blocked commit goes on by itself.
    site.kubectl(User::Dev, &["delete", "job", "migrate"]).await?;
    let head = shop.head()?;
    site.synced("staging", &head).await?;
    assert_ne!(jobs.get("migrate").await?.metadata.uid, uid);
    Ok(())
}

/// A webhook that everything in the namespace `shop` must pass, and whose backend does not exist.
const WEBHOOK: &str = r#"apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: dead
webhooks:
- name: dead.lab.skiff.dev
  failurePolicy: Fail
  sideEffects: None
  timeoutSeconds: 2
  admissionReviewVersions: [v1]
  clientConfig: {service: {name: gone, namespace: shop, path: /}}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}
  rules:
  - {apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn dead_webhook_does_not_block_the_commit_that_removes_it() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/namespace.yaml", namespace("shop"))
        .write("apps/map.yaml", in_namespace("shop", &config_map("map", "one")));
    let first = shop.commit("a namespace")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "apps")]))?;
    site.synced("staging", &first).await?;

    shop.write("apps/webhook.yaml", WEBHOOK);
    let second = shop.commit("a webhook without a backend")?;
    site.synced("staging", &second).await?;
    shop.write("apps/map.yaml", in_namespace("shop", &config_map("map", "two")))
        .write("apps/other.yaml", in_namespace("default", &config_map("other", "one")));
    shop.commit("the webhook stands in the way of one of two objects")?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    site.app("staging", "the webhook is named", |app| {
        app.status.as_ref().is_some_and(|status| {
            status.objects.iter().any(|row| row.name == "map" && row.message.contains("dead.lab.skiff.dev"))
        })
    })
    .await?;
    site.until("the other object is written", async || Ok(maps.get_opt("other").await?.is_some())).await?;

    shop.remove("apps/webhook.yaml");
    let mended = shop.commit("the webhook goes")?;
    site.synced("staging", &mended).await?;
    Ok(())
}
