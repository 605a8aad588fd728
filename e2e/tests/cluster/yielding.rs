//! Fields that others decide: never reset, never taken for drift, and taken back when Git says so.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, deployment, in_namespace, namespace};
use skiff_e2e::site::Site;
use skiff_harness::cluster::{Options, User};

const AUTOSCALER: &str = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: web\n  \
     namespace: development\nspec:\n  minReplicas: 1\n  maxReplicas: 200\n  scaleTargetRef:\n    apiVersion: apps/v1\n    \
     kind: Deployment\n    name: web\n  metrics:\n  - type: Resource\n    resource:\n      name: cpu\n      target:\n        \
     type: Utilization\n        averageUtilization: 80\n";

/// What the scaler sets: neither Git's 3 nor the server's default.
const SET: [i32; 4] = [11, 12, 13, 14];

/// Scales a Deployment without a pause, and writes down every other value that it is seen with afterwards.
struct Scaler {
    stop: Arc<AtomicBool>,
    blows: Arc<Mutex<usize>>,
    scaling: tokio::task::JoinHandle<anyhow::Result<()>>,
    watching: tokio::task::JoinHandle<anyhow::Result<Vec<i32>>>,
}

impl Scaler {
    fn start(client: &Client) -> Self {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), "development");
        let (stop, blows) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(0)));
        let scaling = tokio::spawn(scale(deployments.clone(), stop.clone(), blows.clone()));
        let watching = tokio::spawn(watch(deployments, stop.clone()));
        Self { stop, blows, scaling, watching }
    }

    fn blows(&self) -> usize {
        *self.blows.lock().expect("nobody panics")
    }

    /// Returns the values that nobody but a reset can have set.
    async fn end(self) -> anyhow::Result<Vec<i32>> {
        self.stop.store(true, Ordering::Relaxed);
        self.scaling.await??;
        self.watching.await?
    }
}

async fn scale(
    deployments: Api<Deployment>,
    stop: Arc<AtomicBool>,
    blows: Arc<Mutex<usize>>,
) -> anyhow::Result<()> {
    let params = PatchParams { field_manager: Some("scaler".to_owned()), ..PatchParams::default() };
    for replicas in SET.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        match deployments.patch_scale("web", &params, &patch).await {
            Ok(_) => *blows.lock().expect("nobody panics") += 1,
            // It is not there yet.
            Err(kube::Error::Api(status)) if status.code == 404 => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn watch(deployments: Api<Deployment>, stop: Arc<AtomicBool>) -> anyhow::Result<Vec<i32>> {
    let (mut version, mut scaled, mut others) = ("0".to_owned(), false, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let params = WatchParams::default().timeout(2);
        let mut events = deployments.watch(&params, &version).await?.boxed();
        while let Some(event) = events.try_next().await? {
            let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else { continue };
            version = object.metadata.resource_version.unwrap_or_default();
            let replicas = object.spec.replicas.unwrap_or_default();
            scaled |= SET.contains(&replicas);
            if scaled && !SET.contains(&replicas) {
                others.push(replicas);
            }
        }
    }
    Ok(others)
}

fn web(image: &str) -> String {
    let web = in_namespace("development", &deployment("web", 3, image));
    // It is never at rest while it is being scaled.
    web.replacen("metadata:\n", "metadata:\n  annotations:\n    skiff.dev/ignore-health: \"true\"\n", 1)
}

async fn image(deployments: &Api<Deployment>) -> anyhow::Result<String> {
    let Some(found) = deployments.get_opt("web").await? else { return Ok(String::new()) };
    let pods = found.spec.template.spec.unwrap_or_default();
    Ok(pods.containers.into_iter().next().and_then(|container| container.image).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_an_autoscaler_decides_are_never_reset() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/namespace.yaml", namespace("development"))
        .write("apps/autoscaler.yaml", AUTOSCALER)
        .write("apps/web.yaml", web("registry.example/web:0"));
    shop.commit("a Deployment and its autoscaler")?;
    let ops = site.cluster.client(User::Ops)?;
    let scaler = Scaler::start(&ops);
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    let deployments: Api<Deployment> = Api::namespaced(site.admin()?, "development");
    for round in 0..12 {
        let wanted = format!("registry.example/web:{round}");
        if round > 0 {
            shop.write("apps/web.yaml", web(&wanted));
            shop.commit(&format!("image {round}"))?;
        }
        if round == 6 {
            site.kill_agent_and_forget().await?;
            site.restart_agent()?;
        }
        let before = scaler.blows();
        site.until(&format!("{wanted} is applied, and scaling goes on"), async || {
            Ok(image(&deployments).await? == wanted && scaler.blows() > before + 50)
        })
        .await?;
    }
    let blows = scaler.blows();
    let resets = scaler.end().await?;
    assert_eq!(resets, Vec::<i32>::new(), "reset {} times in {blows} scalings", resets.len());
    let log = site.log();
    assert!(
        !log.contains("drift of Deployment/development/web"),
        "what an autoscaler does was told as drift"
    );

    // Without the autoscaler the replicas are Git's again.
    shop.remove("apps/autoscaler.yaml");
    let last = shop.commit("no autoscaler")?;
    site.synced("development", &last).await?;
    site.until("the replicas are Git's", async || Ok(deployments.get("web").await?.spec.replicas == Some(3)))
        .await?;
    Ok(())
}

fn listed(ignore: &Value) -> String {
    json!({
        "apiVersion": "skiff.dev/v1alpha1",
        "kind": "Environment",
        "apps": [{"name": "shop", "path": "shop", "namespace": "default", "ignoreDifferences": ignore}],
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_differences_stay_and_are_taken_back_when_they_are_ignored_no_more() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let settings =
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  tuned: git\n  other: one\n";
    let ignore = json!([
        {"kind": "ConfigMap", "name": "settings", "jsonPointers": ["/data/tuned"]},
        {"kind": "ConfigMap", "name": "by-*", "managedFieldsManagers": ["tuner"]},
        {"group": "apps", "kind": "Deployment", "jqPathExpressions": [".spec.template.spec.containers[0].image"]},
    ]);
    shop.write("env/skiff.yaml", listed(&ignore))
        .write("env/shop/settings.yaml", settings)
        .write("env/shop/managed.yaml", config_map("by-manager", "git"))
        .write(
            "env/shop/annotated.yaml",
            config_map("annotated", "git").replacen(
                "metadata:\n",
                "metadata:\n  annotations:\n    skiff.dev/ignore-differences: /data/value\n",
                1,
            ),
        )
        .write("env/shop/web.yaml", deployment("web", 1, "registry.example/web:git"));
    let first = shop.commit("fields that others decide")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "env")]))?;
    site.synced("shop", &first).await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let deployments: Api<Deployment> = Api::namespaced(site.admin()?, "default");
    let value = async |name: &str, key: &str| -> anyhow::Result<String> {
        Ok(maps.get(name).await?.data.unwrap_or_default().remove(key).unwrap_or_default())
    };
    assert_eq!(value("settings", "tuned").await?, "git", "a creation sends what Git has");

    let bookmark = site.bookmark();
    let tune = async |kind: &str, patch: &str| {
        let patch = format!("--patch={patch}");
        let manager = "--field-manager=tuner";
        site.kubectl(User::Ops, &["patch", kind, "--type=merge", "--namespace=default", manager, &patch])
            .await
    };
    tune("configmap/settings", r#"{"data":{"tuned":"theirs"}}"#).await?;
    tune("configmap/by-manager", r#"{"data":{"value":"theirs"}}"#).await?;
    tune("configmap/annotated", r#"{"data":{"value":"theirs"}}"#).await?;
    let set_image =
        ["set", "image", "deployment/web", "web=registry.example/web:theirs", "--namespace=default"];
    site.kubectl(User::Ops, &set_image).await?;
    tune("configmap/settings", r#"{"data":{"other":"theirs"}}"#).await?;
    site.logged(bookmark, &["healed ConfigMap/default/settings", ".data.other"]).await?;

    shop.write("env/shop/settings.yaml", settings.replace("one", "two"))
        .write(
            "env/shop/managed.yaml",
            config_map("by-manager", "git").replace("\ndata:\n", "\ndata:\n  more: two\n"),
        )
        .write("env/shop/web.yaml", deployment("web", 2, "registry.example/web:git"));
    let second = shop.commit("what is Git's changes")?;
    site.synced("shop", &second).await?;
    assert_eq!(value("settings", "other").await?, "two");
    assert_eq!(value("by-manager", "more").await?, "two");
    let theirs = [("settings", "tuned"), ("by-manager", "value"), ("annotated", "value")];
    for (name, key) in theirs {
        assert_eq!(value(name, key).await?, "theirs", "{name}");
    }
    assert_eq!(image(&deployments).await?, "registry.example/web:theirs");
    let told: BTreeSet<String> = site
        .log_since(bookmark)
        .lines()
        .filter(|line| line.contains("drift of "))
        .filter_map(|line| line.split("drift of ").nth(1)?.split(':').next().map(str::to_owned))
        .collect();
    assert_eq!(told, BTreeSet::from(["ConfigMap/default/settings".to_owned()]));

    shop.write("env/skiff.yaml", listed(&json!([])));
    let third = shop.commit("nothing is ignored any more")?;
    site.synced("shop", &third).await?;
    assert_eq!(value("settings", "tuned").await?, "git");
    assert_eq!(value("by-manager", "value").await?, "git");
    assert_eq!(image(&deployments).await?, "registry.example/web:git");
    assert_eq!(value("annotated", "value").await?, "theirs");
    Ok(())
}
