//! Real repositories of others: synced from empty, without help.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use skiff_e2e::inputs::{self, write_folder};
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_harness::cluster::Options;

/// Returns the folder of a real input, or says that there is none.
fn input(name: &str) -> Option<PathBuf> {
    let found = inputs::folder(name);
    if found.is_none() {
        // Not `println!`: the test harness would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {name} is not there, as SKIFF_INPUTS names no folder with it"
        );
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_prometheus_is_synced_from_empty_as_a_plain_folder() -> anyhow::Result<()> {
    kube_prometheus_is_complete("manifests").await
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_prometheus_is_synced_from_empty_as_a_kustomization() -> anyhow::Result<()> {
    kube_prometheus_is_complete("").await
}

/// Syncs a folder of kube-prometheus, the root being its kustomization.
async fn kube_prometheus_is_complete(path: &str) -> anyhow::Result<()> {
    let Some(folder) = input("kube-prometheus") else { return Ok(()) };
    let mut site = Site::start(Options::default()).await?;
    let mut repository = site.repository("kube-prometheus")?;
    write_folder(&mut repository, &folder.join("manifests"), "manifests")?;
    repository.write("kustomization.yaml", fs::read(folder.join("kustomization.yaml"))?);
    repository.commit("131 objects")?;
    let mark = site.mark()?;
    site.start_agent(json!([Site::environment("development", repository.url(), path)]))?;
    // Not `Healthy`: its aggregated API is served by a pod that does not exist here.
    let app = site
        .app("development", "all objects are in the cluster", |app| {
            app.status.as_ref().is_some_and(|status| status.sync == "Synced" && status.counts.total == 131)
        })
        .await?;
    let status = app.status.unwrap_or_default();
    assert_eq!((status.counts.failed, status.counts.held, status.counts.out_of_sync), (0, 0, 0));
    let refused: Vec<String> = site
        .writes(mark)?
        .iter()
        .filter(|entry| entry.code >= 300 && entry.namespace != NAMESPACE && !entry.dry_run)
        .map(skiff_e2e::requests::line)
        .collect();
    assert_eq!(refused, Vec::<String>::new(), "CRDs come before their objects, so no write is refused");
    site.until("the inventory is settled", async || {
        Ok(site.inventory("development").await.is_ok_and(|ids| ids.len() == 131))
    })
    .await
}

const SENTIMENT: &str = "apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- name: dev
  path: ../helm/mlops-sentiment
  namespace: sentiment-dev
  createNamespace: true
  helm: {valueFiles: [values-dev.yaml], values: {namespace: {create: false, name: sentiment-dev}}}
- name: staging
  path: ../helm/mlops-sentiment
  namespace: sentiment-staging
  createNamespace: true
  helm: {valueFiles: [values-staging.yaml], values: {namespace: {create: false, name: sentiment-staging}}}
- name: prod
  path: ../helm/mlops-sentiment
  namespace: sentiment-prod
  createNamespace: true
  helm: {valueFiles: [values-prod.yaml], values: {namespace: {create: false, name: sentiment-prod}}}
";

/// The apps of the list, with the number of their objects and of those whose kinds have no definition.
const SENTIMENT_APPS: [(&str, u32, u32); 3] = [("dev", 51, 4), ("staging", 53, 5), ("prod", 53, 5)];

#[tokio::test(flavor = "multi_thread")]
async fn one_chart_is_three_apps_in_three_namespaces_and_completed_when_its_kinds_arrive()
-> anyhow::Result<()> {
    let Some(folder) = input("kubesentiment-repaired") else { return Ok(()) };
    let mut site = Site::start(Options::default()).await?;
    let mut repository = site.repository("kubesentiment")?;
    write_folder(&mut repository, &folder.join("helm"), "helm")?;
    repository.write("fleet/skiff.yaml", SENTIMENT);
    repository.commit("three apps")?;
    let mut environment = Site::environment("development", repository.url(), "fleet");
    environment["onDuplicate"] = json!("lastWins");
    site.start_agent(json!([environment]))?;
    for (name, objects, unknown) in SENTIMENT_APPS {
        let what = format!("{name} holds nothing but the kinds without a definition");
        let app = site.app(name, &what, |app| {
            let counts = app.status.as_ref().map(|status| &status.counts);
            counts.is_some_and(|counts| {
                counts.total == objects && counts.held == unknown && counts.out_of_sync == unknown
            })
        });
        let status = app.await?.status.unwrap_or_default();
        let is_unknown = |group: &str| group.ends_with("istio.io") || group == "monitoring.coreos.com";
        let named = status.objects.iter().filter(|row| row.sync == "OutOfSync" && is_unknown(&row.group));
        assert_eq!(
            (status.counts.failed, named.count()),
            (0, usize::try_from(unknown)?),
            "{:?}",
            status.objects
        );
    }

    let definitions: Api<CustomResourceDefinition> = Api::all(site.admin()?);
    for definition in missing_kinds() {
        definitions.create(&PostParams::default(), &serde_json::from_value(definition)?).await?;
    }
    for (name, objects, _) in SENTIMENT_APPS {
        site.app(name, "it is complete, as its kinds have arrived", |app| {
            app.status.as_ref().is_some_and(|status| {
                status.sync == "Synced" && status.counts.total == objects && status.counts.held == 0
            })
        })
        .await?;
    }
    Ok(())
}

/// Returns definitions of the kinds that the chart has objects of and a bare cluster does not serve.
fn missing_kinds() -> Vec<Value> {
    let kinds = [
        ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
        ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
        ("networking.istio.io", "v1beta1", "VirtualService", "virtualservices"),
        ("networking.istio.io", "v1beta1", "DestinationRule", "destinationrules"),
        ("security.istio.io", "v1beta1", "PeerAuthentication", "peerauthentications"),
    ];
    let definition = |(group, version, kind, plural): (&str, &str, &str, &str)| {
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let version = json!({"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": anything}});
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
                "versions": [version],
            },
        })
    };
    kinds.into_iter().map(definition).collect()
}
