//! Objects of kubectl, Helm, Argo CD and Flux: what leaves Git after they were taken over leaves the object, and a tool
//! that comes back is named.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use skiff_e2e::site::Site;
use skiff_e2e::words::{condition, says};
use skiff_harness::cluster::{Options, User};

/// What an object was made with before.
#[derive(Clone, Copy)]
enum Way {
    /// `kubectl apply`, on the client's side.
    KubectlApply,
    KubectlCreate,
    /// A server-side apply as this manager.
    Apply(&'static str),
    /// A create or update as this manager.
    Update(&'static str),
    /// Nobody knows who made it: it has no managedFields, and the API server invents a manager for what was there.
    BeforeFirstApply,
    /// The same, and somebody has applied a part of it since.
    BeforeApplyOf(&'static str),
}

const WAYS: [(&str, Way); 8] = [
    ("kubectl-apply", Way::KubectlApply),
    ("kubectl-create", Way::KubectlCreate),
    ("helm-4", Way::Apply("helm")),
    ("helm-3", Way::Update("helm")),
    ("argo", Way::Update("argocd-controller")),
    ("flux", Way::Apply("kustomize-controller")),
    ("unknown", Way::BeforeFirstApply),
    ("half-known", Way::BeforeApplyOf("kustomize-controller")),
];

fn manifest(name: &str, data: &Value) -> Value {
    let metadata = json!({"name": name, "namespace": "default", "labels": marks(name)});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
}

/// What the tools write on objects to know them again.
fn marks(name: &str) -> Value {
    match name {
        "flux" => json!({
            "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        }),
        "argo" => json!({"app.kubernetes.io/instance": "shop"}),
        _ => json!({"team": "shop"}),
    }
}

async fn apply(maps: &Api<ConfigMap>, manager: &str, name: &str, data: &Value) -> anyhow::Result<()> {
    let params = PatchParams::apply(manager).force();
    let applied = maps.patch(name, &params, &Patch::Apply(manifest(name, data))).await;
    applied.map(drop).with_context(|| format!("{manager} failed to apply {name}"))
}

async fn update(maps: &Api<ConfigMap>, manager: &str, name: &str, data: &Value) -> anyhow::Result<()> {
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    let created = maps.create(&params, &serde_json::from_value(manifest(name, data))?).await;
    created.map(drop).with_context(|| format!("{manager} failed to create {name}"))
}

async fn make(site: &Site, maps: &Api<ConfigMap>, name: &str, way: Way, data: &Value) -> anyhow::Result<()> {
    match way {
        Way::KubectlApply => site.kubectl_apply(User::Dev, &manifest(name, data).to_string()).await,
        Way::KubectlCreate => {
            let path = site.cluster.directory().join(format!("{name}.json"));
            std::fs::write(&path, manifest(name, data).to_string())?;
            let path = path.display().to_string();
            site.kubectl(User::Dev, &["create", "--filename", &path]).await.map(drop)
        }
        Way::Apply(manager) => apply(maps, manager, name, data).await,
        Way::Update(manager) => update(maps, manager, name, data).await,
        Way::BeforeFirstApply => {
            update(maps, "somebody", name, data).await?;
            let cleared = json!({"metadata": {"managedFields": [{}]}});
            let cleared = maps.patch(name, &PatchParams::default(), &Patch::Merge(cleared)).await?;
            anyhow::ensure!(cleared.metadata.managed_fields.is_none(), "{:?}", cleared.metadata);
            Ok(())
        }
        Way::BeforeApplyOf(manager) => {
            Box::pin(make(site, maps, name, Way::BeforeFirstApply, data)).await?;
            apply(maps, manager, name, &json!({"mode": data["mode"]})).await
        }
    }
}

async fn data(maps: &Api<ConfigMap>, name: &str) -> anyhow::Result<BTreeMap<String, String>> {
    Ok(maps.get(name).await?.data.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_git_leaves_objects_of_every_tool_and_tools_that_come_back_are_named()
-> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let both = json!({"mode": "slow", "colour": "blue"});
    let mut uids = BTreeMap::new();
    for (name, way) in WAYS {
        make(&site, &maps, name, way, &both).await?;
        uids.insert(name, maps.get(name).await?.metadata.uid);
    }
    let mut shop = site.repository("shop")?;
    let file = |name: &str| format!("apps/{name}.json");
    for (name, _) in WAYS {
        shop.write(&file(name), manifest(name, &both).to_string());
    }
    let first = shop.commit("what is there already")?;
    let mut environment = Site::environment("development", shop.url(), "apps");
    environment["sync"]["adopt"] = json!("always");
    site.start_agent(json!([environment]))?;
    let app = site.synced("development", &first).await?;
    assert!(condition(&app, "CoManaged").is_none(), "all of it is ours: {:?}", app.status);

    let one = json!({"mode": "slow"});
    for (name, _) in WAYS {
        shop.write(&file(name), manifest(name, &one).to_string());
    }
    let second = shop.commit("a key goes")?;
    site.synced("development", &second).await?;
    for (name, _) in WAYS {
        assert_eq!(json!(data(&maps, name).await?), one, "{name}");
        assert_eq!(maps.get(name).await?.metadata.uid, uids[name], "{name} is another object");
    }

    // A field of a tool that comes back is its own: nobody takes it away, and the app says whose it is.
    let mark = site.mark()?;
    apply(&maps, "helm", "helm-4", &both).await?;
    site.kubectl_apply(User::Dev, &manifest("kubectl-apply", &both).to_string()).await?;
    for (name, manager) in [("helm-4", "helm"), ("kubectl-apply", "kubectl-client-side-apply")] {
        let words = format!("ConfigMap/default/{name} co-managed by {manager:?}");
        let app = site.app("development", &words, |app| says(app, "CoManaged", "CoManaged", &words)).await?;
        let status = app.status.unwrap_or_default();
        let row = status.objects.iter().find(|row| row.name == name).context("the object has a row")?;
        assert_eq!(row.message, format!("co-managed by {manager:?}"));
        assert_eq!(json!(data(&maps, name).await?), both, "{name}");
    }
    site.polls(2).await?;
    let written: Vec<_> = site
        .writes(mark)?
        .into_iter()
        .filter(|entry| entry.resource == "configmaps" && entry.namespace == "default")
        .collect();
    assert!(written.is_empty(), "somebody else's field was fought over: {written:?}");

    // It goes away again.
    let nothing = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "helm-4"}});
    maps.patch("helm-4", &PatchParams::apply("helm").force(), &Patch::Apply(nothing)).await?;
    site.app("development", "one tool is left", |app| {
        condition(app, "CoManaged").is_some_and(|found| !found.message.contains("helm-4"))
    })
    .await?;
    Ok(())
}
