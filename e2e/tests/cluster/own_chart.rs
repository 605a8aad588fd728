//! An agent that gets its own chart from Git, beside everything else.

use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use serde_json::json;
use skiff_e2e::inputs::write_folder;
use skiff_e2e::manifests::config_map;
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_harness::cluster::Options;

fn list(apps: &str) -> String {
    format!("apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n{apps}")
}

const NOTES: &str = "- {name: notes, namespace: default}\n";

fn own_app(more: &str) -> String {
    format!(
        "- name: skiff\n  namespace: {NAMESPACE}\n  helm:\n    releaseName: skiff\n    values:\n      cluster: {{name: lab}}\n      \
         environments: [{{name: production, source: {{url: \"https://git.example/shop\", ref: {{branch: main}}}}}}]\n{more}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_follows_its_own_chart_and_never_deletes_itself() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/skiff");
    write_folder(&mut shop, &chart, "skiff")?;
    shop.write("notes/note.yaml", config_map("note", "one"));
    let both = format!("{NOTES}{}", own_app(""));
    let first = shop.write("skiff.yaml", list(&both)).commit("the agent and an app")?;
    let mut environment = Site::environment("development", shop.url(), "");
    environment["sync"]["adopt"] = json!("always");
    site.start_agent(json!([environment]))?;
    site.synced("skiff", &first).await?;

    let labelled = format!("{NOTES}{}", own_app("      podLabels: {team: platform}\n"));
    let second = shop.write("skiff.yaml", list(&labelled)).commit("another label for its pods")?;
    site.synced("skiff", &second).await?;
    let deployments: Api<Deployment> = Api::namespaced(site.admin()?, NAMESPACE);
    let template = deployments.get("skiff").await?.spec.template.metadata.unwrap_or_default();
    assert_eq!(template.labels.unwrap_or_default()["team"], "platform");

    // Git has it no more: the app goes, the agent goes on, and nothing of it is deleted.
    let third = shop.write("skiff.yaml", list(NOTES)).commit("without the agent")?;
    site.synced("notes", &third).await?;
    let apps = site.apps()?;
    site.until("its app is gone", async || Ok(apps.get_opt("skiff").await?.is_none())).await?;
    let fourth = shop.write("notes/note.yaml", config_map("note", "two")).commit("life goes on")?;
    site.synced("notes", &fourth).await?;
    site.polls(2).await?;
    assert!(deployments.get_opt("skiff").await?.is_some());
    let accounts: Api<ServiceAccount> = Api::namespaced(site.admin()?, NAMESPACE);
    assert!(accounts.get_opt("skiff").await?.is_some());
    let definitions: Api<CustomResourceDefinition> = Api::all(site.admin()?);
    assert!(definitions.get_opt("apps.skiff.dev").await?.is_some());
    Ok(())
}
