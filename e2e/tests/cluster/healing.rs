//! Drift: whatever somebody else changes of what is ours is put back, with their name and the paths.

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde::Serialize;
use serde_json::{Value, json};
use skiff_e2e::manifests::{in_namespace, namespace};
use skiff_e2e::requests::line;
use skiff_e2e::site::Site;
use skiff_e2e::words::Bookmark;
use skiff_harness::cluster::{Options, User};
use skiff_harness::otlp::Span;

const WEB: &str = "Deployment/development/web";
const SETTINGS: &str = "ConfigMap/development/settings";

/// One change by somebody else, and what must be told of it.
struct Case {
    name: &'static str,
    by: User,
    kubectl: &'static str,
    object: &'static str,
    /// Who did it and how, as far as managedFields tell: whoever removes a field leaves no trace.
    who: Option<(&'static str, &'static str)>,
    /// What was lost; empty where the object itself was.
    paths: &'static [&'static str],
}

const CASES: [Case; 9] = [
    Case {
        name: "image changed",
        by: User::Dev,
        kubectl: "set image deployment/web web=registry.example/web:evil",
        object: WEB,
        who: Some(("kubectl-set", "Update")),
        paths: &[r#".spec.template.spec.containers[name="web"].image"#],
    },
    Case {
        name: "environment variable removed",
        by: User::Dev,
        kubectl: "set env deployment/web MODE-",
        object: WEB,
        who: None,
        paths: &[
            r#".spec.template.spec.containers[name="web"].env[name="MODE"]"#,
            r#".spec.template.spec.containers[name="web"].env[name="MODE"].name"#,
            r#".spec.template.spec.containers[name="web"].env[name="MODE"].value"#,
        ],
    },
    Case {
        name: "scaled",
        by: User::Ops,
        kubectl: "scale deployment/web --replicas=5",
        object: WEB,
        who: Some(("kubectl", "Update on scale")),
        paths: &[".spec.replicas"],
    },
    Case {
        name: "declared label removed",
        by: User::Dev,
        kubectl: "label deployment/web tier-",
        object: WEB,
        who: None,
        paths: &[".metadata.labels.tier"],
    },
    Case {
        name: "our own label removed",
        by: User::Dev,
        kubectl: "label deployment/web skiff.dev/instance-",
        object: WEB,
        who: None,
        paths: &[".metadata.labels[skiff.dev/instance]"],
    },
    Case {
        name: "annotation changed",
        by: User::Ops,
        kubectl: "annotate deployment/web owner=ops --overwrite --field-manager=editor",
        object: WEB,
        who: Some(("editor", "Update")),
        paths: &[".metadata.annotations.owner"],
    },
    Case {
        name: "key changed",
        by: User::Dev,
        kubectl: r#"patch configmap/settings --type=merge --field-manager=tuner --patch={"data":{"mode":"fast"}}"#,
        object: SETTINGS,
        who: Some(("tuner", "Update")),
        paths: &[".data.mode"],
    },
    Case {
        name: "data removed",
        by: User::Dev,
        kubectl: r#"patch configmap/settings --type=merge --patch={"data":null}"#,
        object: SETTINGS,
        who: None,
        paths: &[".data.colour", ".data.mode"],
    },
    Case {
        name: "deleted",
        by: User::Ops,
        kubectl: "delete configmap/settings",
        object: SETTINGS,
        who: None,
        paths: &[],
    },
];

/// Changes that touch nothing of ours.
const HARMLESS: [&str; 6] = [
    "label deployment/web colour=green",
    "annotate deployment/web note=mine --field-manager=editor",
    "scale deployment/web --replicas=2",
    "set image deployment/web web=registry.example/web:1",
    r#"patch deployment/web --subresource=status --type=merge --patch={"status":{"observedGeneration":1}}"#,
    "set env deployment/web EXTRA=1",
];

const DEPLOYMENT: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: development
  labels:
    tier: front
  annotations:
    owner: shop
spec:
  replicas: 2
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
      - name: web
        image: registry.example/web:1
        env:
        - name: MODE
          value: plain
        - name: COLOUR
          value: blue
"#;

const CONFIG_MAP: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  mode: slow
  colour: blue
";

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_what_is_ours_is_healed_and_told() -> anyhow::Result<()> {
    let mut site = start().await?;
    for case in CASES {
        let before = live(&site, case.object).await?;
        let bookmark = site.bookmark();
        kubectl(&site, case.by, case.kubectl).await?;
        is_told(&site, bookmark, &case).await?;
        is_as_before(&site, &case, &before).await?;
    }
    replaced(&mut site).await?;
    site.end_agent().await
}

/// Waits for the line and for the span that tell of a heal.
async fn is_told(site: &Site, bookmark: Bookmark, case: &Case) -> anyhow::Result<()> {
    let Case { name, object, who, paths, .. } = case;
    site.logged(bookmark, &[&format!("drift of {object}: ")]).await?;
    let line = site.logged(bookmark, &[&format!("healed {object} in")]).await?;
    let by = who.map_or("somebody".to_owned(), |(manager, how)| format!("{manager:?} ({how})"));
    let told = match paths {
        [] => format!(": {by} deleted it "),
        paths => format!(": {by} changed {} ", paths.join(", ")),
    };
    assert!(line.contains(&told), "{name}: {told:?} is not in {line}");
    let told = |span: &Span| {
        let attribute = |name: &str| span.attributes.get(name).cloned().unwrap_or_default();
        span.name == "HEAL development"
            && attribute("skiff.object") == *object
            && attribute("skiff.drift.paths").as_array().is_some_and(|told| told.iter().eq(paths.iter()))
            && who.is_none_or(|(manager, _)| attribute("skiff.drift.manager") == manager)
    };
    site.span(told).await.with_context(|| format!("{name}: no span tells of it")).map(drop)
}

async fn is_as_before(site: &Site, case: &Case, before: &Value) -> anyhow::Result<()> {
    site.until(&format!("{} is as before: {}", case.object, case.name), async || {
        Ok(live(site, case.object).await.is_ok_and(|now| now == *before))
    })
    .await
}

/// Deletes an object and makes another of its name before the agent can look.
async fn replaced(site: &mut Site) -> anyhow::Result<()> {
    let before = live(site, SETTINGS).await?;
    let bookmark = site.bookmark();
    site.agent().freeze()?;
    kubectl(site, User::Ops, "delete configmap/settings").await?;
    kubectl(site, User::Ops, "create configmap settings --from-literal=mode=theirs").await?;
    site.agent().thaw()?;
    let case = Case { name: "replaced", by: User::Ops, kubectl: "", object: SETTINGS, who: None, paths: &[] };
    site.logged(bookmark, &["healed ConfigMap/development/settings in"]).await?;
    is_as_before(site, &case, &before).await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_nothing_that_is_ours_cause_no_request() -> anyhow::Result<()> {
    let site = start().await?;
    site.until("the inventory is settled", async || Ok(site.inventory("development").await.is_ok())).await?;
    site.polls(2).await?;
    let mark = site.mark()?;
    for change in HARMLESS {
        kubectl(&site, User::Dev, change).await?;
    }
    kubectl(&site, User::Dev, "create configmap foreign --from-literal=a=b").await?;
    // Events of one object come in their order: once this is healed, the others have been judged.
    let bookmark = site.bookmark();
    kubectl(&site, User::Ops, "annotate deployment/web owner=ops --overwrite").await?;
    site.logged(bookmark, &[&format!("healed {WEB} in")]).await?;
    let mut entries = site.cluster.audit().all_since(mark)?;
    let drifted = entries.iter().position(|entry| entry.user == User::Ops.name() && entry.verb == "patch");
    entries.truncate(drifted.context("the drift is not in the audit log")?);
    // Pods come and go with somebody else's variable, and the app's health with them.
    // Lists are those of its own namespace, some seconds after the start: a change would be asked about by a GET.
    let asked = entries.iter().filter(|entry| entry.user == site.identity.username());
    let asked = asked.filter(|entry| !["watch", "list"].contains(&entry.verb.as_str()));
    let asked: Vec<String> =
        asked.filter(|entry| entry.resource != "leases" && entry.subresource != "status").map(line).collect();
    assert_eq!(asked, Vec::<String>::new());
    let env = site
        .kubectl(
            User::Dev,
            &["get", "deployment/web", "--namespace=development", "--output=jsonpath={..env[*].name}"],
        )
        .await?;
    assert_eq!(env, "MODE COLOUR EXTRA", "what somebody else added stays");
    Ok(())
}

async fn kubectl(site: &Site, by: User, command: &str) -> anyhow::Result<()> {
    let mut arguments: Vec<&str> = command.split(' ').collect();
    arguments.extend(["--namespace", "development"]);
    site.kubectl(by, &arguments).await.map(drop)
}

async fn start() -> anyhow::Result<Site> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/namespace.yaml", namespace("development"))
        .write("apps/web.yaml", DEPLOYMENT)
        .write("apps/settings.yaml", in_namespace("development", CONFIG_MAP));
    let commit = shop.commit("what is ours")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &commit).await?;
    Ok(site)
}

/// Returns what Git decides of an object, as it is in the cluster.
async fn live(site: &Site, object: &str) -> anyhow::Result<Value> {
    let admin = site.admin()?;
    let value = match object {
        WEB => json(&Api::<Deployment>::namespaced(admin, "development").get("web").await?)?,
        _ => json(&Api::<ConfigMap>::namespaced(admin, "development").get("settings").await?)?,
    };
    let metadata = json!({
        "labels": value["metadata"]["labels"],
        "owner": value["metadata"]["annotations"]["owner"],
    });
    Ok(json!({ "metadata": metadata, "spec": value["spec"], "data": value["data"] }))
}

fn json(object: &impl Serialize) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(object)?)
}
