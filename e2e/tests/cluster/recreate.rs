//! Objects that cannot be changed: deleted and created anew where they ask for it, refused where they do not.

use std::collections::BTreeMap;

use kube::Api;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;
use skiff_e2e::manifests::namespace;
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::cluster::Options;

/// One object of each kind with a field that cannot be changed, `VALUE`, and what it is in the first and second commit.
const KINDS: [(&str, &str, &str, &str); 9] = [
    (
        "batch/v1 Job",
        "spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: \"registry.example/VALUE\"}]}}}",
        "one",
        "two",
    ),
    (
        "apps/v1 Deployment",
        "spec: {selector: {matchLabels: {app: VALUE}}, template: {metadata: {labels: {app: VALUE}}, \
         spec: {containers: [{name: a, image: registry.example/a}]}}}",
        "one",
        "two",
    ),
    (
        "apps/v1 StatefulSet",
        "spec: {serviceName: VALUE, selector: {matchLabels: {app: set}}, template: {metadata: {labels: {app: set}}, \
         spec: {containers: [{name: a, image: registry.example/a}]}}}",
        "one",
        "two",
    ),
    (
        "v1 Service",
        "spec: {clusterIP: VALUE, selector: {app: web}, ports: [{port: 80}]}",
        "10.96.77.1",
        "10.96.77.2",
    ),
    (
        "v1 PersistentVolumeClaim",
        "spec: {storageClassName: VALUE, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}",
        "one",
        "two",
    ),
    ("v1 Pod", "spec: {containers: [{name: a, image: registry.example/a, args: [VALUE]}]}", "one", "two"),
    ("v1 ConfigMap", "immutable: true\ndata: {value: VALUE}", "one", "two"),
    ("v1 Secret", "immutable: true\nstringData: {value: VALUE}", "one", "two"),
    (
        "rbac.authorization.k8s.io/v1 RoleBinding",
        "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: VALUE}\n\
         subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: nobody}]",
        "view",
        "edit",
    ),
];

/// Writes all objects with their first value (0) or their second (1).
fn manifests(which: usize, annotations: &str) -> String {
    manifests_of(&KINDS, which, annotations)
}

fn manifests_of(kinds: &[(&str, &str, &str, &str)], which: usize, annotations: &str) -> String {
    let one = |(kind, body, first, second): &(&str, &str, &str, &str)| {
        let (version, kind) = kind.split_once(' ').expect("version and kind");
        let body = body.replace("VALUE", [first, second][which]);
        format!(
            "---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: thing, namespace: development, \
             annotations: {{{annotations}}}}}\n{body}\n"
        )
    };
    kinds.iter().map(one).collect()
}

async fn uids(site: &Site) -> anyhow::Result<BTreeMap<String, String>> {
    let mut uids = BTreeMap::new();
    for (kind, ..) in KINDS {
        let (version, kind) = kind.split_once(' ').expect("version and kind");
        let (group, version) = skiff_shared::object::split_api_version(version);
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(site.admin()?, "development", &resource);
        uids.insert(kind.to_owned(), api.get("thing").await?.metadata.uid.unwrap_or_default());
    }
    Ok(uids)
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_cannot_be_changed_are_recreated_only_where_they_ask_for_it() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/namespace.yaml", namespace("development")).write("apps/things.yaml", manifests(0, ""));
    let first = shop.commit("one of each kind")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &first).await?;
    let before = uids(&site).await?;

    shop.write("apps/things.yaml", manifests(1, ""));
    shop.commit("every one of them is another, and none may be recreated")?;
    site.app("development", "all of them are refused", |app| {
        says(app, "Ready", "PreflightFailed", "9 objects are refused")
    })
    .await?;
    assert_eq!(uids(&site).await?, before);

    let bookmark = site.bookmark();
    shop.write("apps/things.yaml", manifests(1, "skiff.dev/force: enabled"));
    let third = shop.commit("all of them may be recreated")?;
    site.synced("development", &third).await?;
    let after = uids(&site).await?;
    for (kind, uid) in &before {
        assert_ne!(after[kind], *uid, "{kind} is another object");
        site.logged(bookmark, &[&format!("recreated {kind}/development/thing")]).await?;
    }
    assert!(!site.log_since(bookmark).contains("drift of "), "our own deletes were told as drift");

    // What is wrong in itself is refused, and what stands there stays.
    let invalid = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: thing, namespace: development, annotations: \
         {argocd.argoproj.io/sync-options: Force=true}}\nspec: {backoffLimit: -1, template: {spec: {restartPolicy: Never, \
         containers: [{name: a, image: registry.example/three}]}}}\n";
    let rest = manifests_of(&KINDS[1..], 1, "skiff.dev/force: enabled");
    shop.write("apps/things.yaml", format!("{invalid}{rest}"));
    shop.commit("a Job that no server takes")?;
    site.app("development", "the Job is refused", |app| {
        says(app, "Ready", "PreflightFailed", "1 objects are refused: Job/development/thing")
    })
    .await?;
    assert_eq!(uids(&site).await?, after);
    Ok(())
}
