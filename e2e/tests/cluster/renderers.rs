//! All renderers in one environment, as its `skiff.yaml` lists them.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use skiff_e2e::manifests::{config_map, deployment, in_namespace};
use skiff_e2e::requests::lines;
use skiff_e2e::site::Site;
use skiff_harness::cluster::Options;
use skiff_harness::git_server::Repository;

const APPS: &str = "\
apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- name: plain
  namespace: plain
  createNamespace: true
- name: overlay
  path: overlays/staging
  namespace: overlay
  createNamespace: true
- name: chart
  path: ../charts/web
  namespace: chart
  createNamespace: true
  helm:
    releaseName: web
    valueFiles: [../../staging/values/base.yaml, ../../staging/values/staging.yaml]
    parameters:
    - {name: replicas, value: \"3\"}
    - {name: label, value: \"017\", forceString: true}
";

const OVERLAY: &str = "\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namePrefix: staging-
resources: [../../../base]
images:
- {name: registry.example/web, newTag: staging}
";

const TEMPLATE: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
  labels:
    zip: {{ .Values.label | quote }}
    minor: {{ .Capabilities.KubeVersion.Minor | quote }}
    reviews: {{ .Capabilities.APIVersions.Has \"authentication.k8s.io/v1/TokenReview\" | quote }}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      containers:
      - name: web
        image: registry.example/web:{{ .Values.tag }}
{{- if .Capabilities.APIVersions.Has \"policy/v1/PodDisruptionBudget\" }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: {{ .Release.Name }}}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: {{ .Release.Name }}}}
{{- end }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  mode: {{ .Values.mode }}
  colour: {{ .Values.colour }}
";

const TEST_HOOK: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: only-for-tests
  annotations: {helm.sh/hook: test}
";

fn write_chart(shop: &mut Repository) {
    shop.write("charts/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n")
        .write("charts/web/values.yaml", "replicas: 1\ntag: \"1\"\nmode: none\ncolour: none\nlabel: none\n")
        .write("charts/web/templates/web.yaml", TEMPLATE)
        .write("charts/web/templates/tests/test.yaml", TEST_HOOK)
        .write("staging/values/base.yaml", "mode: base\ncolour: base\n")
        .write("staging/values/staging.yaml", "mode: staging\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_of_all_renderers_are_synced_and_follow_what_they_read() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("staging/skiff.yaml", APPS)
        .write("staging/plain/map.yaml", config_map("plain", "one"))
        .write(
            "staging/plain/deep/map.json",
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"deep"}}"#,
        )
        .write("staging/overlays/staging/kustomization.yaml", OVERLAY)
        .write("base/kustomization.yaml", "resources: [web.yaml]\n")
        .write("base/web.yaml", deployment("web", 1, "registry.example/web:1"));
    write_chart(&mut shop);
    let first = shop.commit("three apps")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "staging")]))?;
    for app in ["plain", "overlay", "chart"] {
        site.synced(app, &first).await?;
    }
    let namespaces: Api<Namespace> = Api::all(site.admin()?);
    for name in ["plain", "overlay", "chart"] {
        namespaces.get(name).await?;
    }
    assert_eq!(maps(&site, "plain").await?, ["deep", "plain"]);
    assert_eq!(image(&site, "overlay", "staging-web").await?, "registry.example/web:staging");
    let web = Api::<Deployment>::namespaced(site.admin()?, "chart").get("web").await?;
    let labels = web.metadata.labels.unwrap_or_default();
    assert_eq!((labels["zip"].as_str(), labels["minor"].as_str()), ("017", "37"));
    assert_eq!(labels["reviews"], "true", "charts are told of APIs that nothing can be applied to");
    assert_eq!(web.spec.replicas, Some(3));
    let web = Api::<ConfigMap>::namespaced(site.admin()?, "chart").get("web").await?;
    insta::assert_compact_debug_snapshot!(web.data.unwrap_or_default(), @r#"{"colour": "base", "mode": "staging"}"#);
    assert_eq!(maps(&site, "chart").await?, ["web"], "test hooks are no part of an app");

    shop.write("base/web.yaml", deployment("web", 2, "registry.example/web:1"))
        .write("staging/values/staging.yaml", "mode: night\n");
    let second = shop.commit("a base and a value file change")?;
    for app in ["plain", "overlay", "chart"] {
        site.synced(app, &second).await?;
    }
    let web = Api::<Deployment>::namespaced(site.admin()?, "overlay").get("staging-web").await?;
    assert_eq!(web.spec.replicas, Some(2));
    let web = Api::<ConfigMap>::namespaced(site.admin()?, "chart").get("web").await?;
    assert_eq!(web.data.unwrap_or_default()["mode"], "night");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn renders_and_files_that_are_not_needed_are_counted_as_such() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let map = |name: &str, value: &str| in_namespace("default", &config_map(name, value));
    let first = shop.write("apps/a.yaml", map("a", "1")).write("apps/b.yaml", map("b", "1")).commit("two")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &first).await?;
    let second = shop.write("README.md", "Read me").commit("nothing that the app reads")?;
    site.synced("development", &second).await?;
    let third = shop.write("apps/b.yaml", map("b", "2")).commit("one of two files")?;
    site.synced("development", &third).await?;
    let (_, metrics) = site.ask("/metrics").await?;
    let mut counts: Vec<&str> = metrics.lines().filter(|line| line.starts_with("skiff_render")).collect();
    counts.retain(|line| line.contains("_total{") || line.contains("_count{"));
    let counts = counts
        .join("\n")
        .replace(r#"cicd_pipeline_name="development",deployment_environment_name="development","#, "")
        .replace(r#",k8s_cluster_name="lab""#, "");
    insta::assert_snapshot!(counts, @r#"
    skiff_render_duration_seconds_count{skiff_render_result="cached"} 1
    skiff_render_duration_seconds_count{skiff_render_result="rendered"} 2
    skiff_render_files_total{skiff_render_file="read"} 3
    skiff_render_files_total{skiff_render_file="reused"} 1
    "#);
    Ok(())
}

/// A kustomize that says that it has begun and then waits for leave to go on.
const PATIENT: &str = r#"#!/bin/sh
if [ "$1" = version ]; then echo v5.0.0; exit; fi
: > "$TMPDIR/begun"
until [ -e "$TMPDIR/go" ]; do :; done
echo "apiVersion: v1
kind: ConfigMap
metadata:
  name: ${2##*/}
  namespace: default"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn two_apps_are_rendered_at_the_same_time() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let tools = tempfile::tempdir()?;
    let patient = tools.path().join("kustomize");
    std::fs::write(&patient, PATIENT)?;
    std::fs::set_permissions(&patient, std::fs::Permissions::from_mode(0o755))?;
    site.set_variable("SKIFF__RENDER__KUSTOMIZE", &patient.display().to_string());
    let mut shop = site.repository("shop")?;
    shop.write("skiff.yaml", "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps: [{each: 'apps/*'}]\n")
        .write("apps/a/kustomization.yaml", "resources: []\n")
        .write("apps/b/kustomization.yaml", "resources: []\n");
    let commit = shop.commit("two kustomizations")?;
    let bookmark = site.bookmark();
    site.start_agent(json!([Site::environment("development", shop.url(), "")]))?;
    let version =
        "is kustomize 5.0.0, and Skiff is tested with 5.8.1: kustomizations may come out differently";
    site.logged(bookmark, &[version]).await?;
    // Neither may go on before both have begun: one after the other would wait for ever.
    let scratch = site.state_directory().join("scratch");
    let mut begun = Vec::new();
    site.until("both are being rendered", async || {
        begun = waiting_renders(&scratch)?;
        Ok(begun.len() == 2)
    })
    .await?;
    for folder in begun {
        std::fs::write(folder.join("go"), "")?;
    }
    for app in ["a", "b"] {
        site.synced(app, &commit).await?;
    }
    Ok(())
}

/// Returns the folders of the renders that have said that they have begun.
fn waiting_renders(scratch: &Path) -> anyhow::Result<Vec<PathBuf>> {
    // The agent makes the folder at its start.
    let Ok(renders) = std::fs::read_dir(scratch) else { return Ok(Vec::new()) };
    let folders = renders.map(|render| Ok(render?.path().join("tmp")));
    let folders: Vec<PathBuf> = folders.collect::<std::io::Result<_>>()?;
    Ok(folders.into_iter().filter(|folder| folder.join("begun").exists()).collect())
}

async fn image(site: &Site, namespace: &str, name: &str) -> anyhow::Result<String> {
    let found = Api::<Deployment>::namespaced(site.admin()?, namespace).get(name).await?;
    let pod = found.spec.template.spec;
    let image = pod.and_then(|pod| pod.containers.into_iter().next()?.image);
    Ok(image.unwrap_or_default())
}

/// Returns the names of the agent's ConfigMaps in a namespace.
async fn maps(site: &Site, namespace: &str) -> anyhow::Result<Vec<String>> {
    let start = format!("ConfigMap/{namespace}/");
    let all = site.labelled("ConfigMap").await?;
    Ok(all.iter().filter_map(|id| Some(id.strip_prefix(&start)?.to_owned())).collect())
}

const RANDOM: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData:
  user: ada
  password: {{ randAlphaNum 20 | quote }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: registry.example/web:1
        env:
        - {name: TOKEN, value: {{ randAlphaNum 20 | quote }}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: note}
data: {value: {{ .Values.note | quote }}}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_random_password_stays_what_it_was_created_with() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("chart/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n")
        .write("chart/values.yaml", "note: one\n")
        .write("chart/templates/all.yaml", RANDOM)
        .write(
            "skiff.yaml",
            "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n- {name: chart, namespace: default}\n",
        );
    let first = shop.commit("a chart with a random password")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "")]))?;
    site.synced("chart", &first).await?;
    let password = password(&site).await?;
    assert_eq!(password.len(), 20);

    site.until("the inventory is settled", async || Ok(site.inventory("chart").await.is_ok())).await?;
    site.end_agent().await?;
    std::fs::remove_dir_all(site.state_directory())?;
    let mark = site.mark()?;
    site.restart_agent()?;
    site.polls(4).await?;
    assert_eq!(lines(&site.writes(mark)?), "", "a restart is no change");
    let second = shop.write("chart/values.yaml", "note: two\n").commit("another note")?;
    site.synced("chart", &second).await?;
    let written = site.writes(mark)?;
    let written = written.iter().filter(|entry| entry.namespace == "default");
    let written: BTreeSet<&str> = written.map(|entry| entry.name.as_str()).collect();
    assert_eq!(written, BTreeSet::from(["note"]), "nor does a commit change what it does not say");
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    assert_eq!(maps.get("note").await?.data.unwrap_or_default()["value"], "two");
    assert_eq!(self::password(&site).await?, password, "after a restart without its disk, and a commit");

    let logins: Api<Secret> = Api::namespaced(site.admin()?, "default");
    logins.delete("login", &DeleteParams::default()).await?;
    site.until("a deleted one is there again", async || Ok(logins.get_opt("login").await?.is_some())).await?;
    assert_eq!(self::password(&site).await?, password, "it comes back as it was");
    Ok(())
}

async fn password(site: &Site) -> anyhow::Result<Vec<u8>> {
    let logins: Api<Secret> = Api::namespaced(site.admin()?, "default");
    let data = logins.get("login").await?.data.unwrap_or_default();
    Ok(data.get("password").map(|value| value.0.clone()).unwrap_or_default())
}
