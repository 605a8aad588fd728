use serde_json::{Value, json};

use super::{Fault, Manifest, Setting, Stray, explode};
use crate::desired::scope::Scope;

const SETTING: Setting<'static> =
    Setting { instance: "lab", app: "web", namespace: Some("shop"), scope: Some(Scope::Namespaced) };

fn sent(value: Value) -> Value {
    let manifest = Manifest::read(value).expect("it is an object");
    let (namespace, _) = manifest.placed(&SETTING).expect("it has a place");
    manifest.into_sent(namespace.as_deref(), &SETTING)
}

fn faults(value: Value) -> String {
    let faults = Manifest::read(value).expect_err("it is no object");
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn labels_and_namespace_are_set_and_what_the_server_writes_is_dropped() {
    let value = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "a", "uid": "1", "resourceVersion": "2", "generation": 3, "selfLink": "/a",
            "creationTimestamp": null, "managedFields": [], "annotations": {}, "labels": null,
        },
        "data": { "key": null },
        "status": {},
    });
    assert_eq!(
        sent(value),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "a", "namespace": "shop",
                "labels": { "skiff.dev/instance": "lab", "skiff.dev/app": "web" },
            },
            "data": { "key": null },
        })
    );
}

#[test]
fn string_data_of_a_secret_becomes_data_and_wins() {
    let value = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "a" },
        "data": { "kept": "a2VwdA==", "both": "b2xk" }, "stringData": { "both": "new", "only": "x" },
    });
    let sent = sent(value);
    assert_eq!(sent["data"], json!({ "kept": "a2VwdA==", "both": "bmV3", "only": "eA==" }));
    assert_eq!(sent.get("stringData"), None);
}

#[test]
fn rules_that_a_controller_aggregates_are_left_to_it() {
    let role = |rest: Value| {
        let mut value = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": "a" }, "rules": [],
        });
        value.as_object_mut().expect("a mapping").extend(rest.as_object().cloned().unwrap_or_default());
        sent(value)
    };
    assert_eq!(role(json!({ "aggregationRule": { "clusterRoleSelectors": [] } })).get("rules"), None);
    assert_eq!(role(json!({ "aggregationRule": null })).get("rules"), Some(&json!([])));
}

#[test]
fn empty_annotations_of_a_pod_template_are_not_claimed() {
    let value = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "a" },
        "spec": { "template": {
            "metadata": { "annotations": null, "creationTimestamp": null, "labels": { "app": "a" } },
            "spec": { "nodeSelector": null },
        } },
    });
    assert_eq!(
        sent(value)["spec"]["template"],
        json!({ "metadata": { "labels": { "app": "a" } }, "spec": { "nodeSelector": null } })
    );
}

#[test]
fn lists_are_taken_apart_and_typed_items_get_their_kind() {
    let items = explode(json!({
        "apiVersion": "v1", "kind": "List",
        "items": [
            { "apiVersion": "v1", "kind": "ConfigMapList", "items": [{ "metadata": { "name": "a" } }] },
            { "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "b" } },
        ],
    }));
    assert_eq!(
        items,
        [
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } }),
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "b" } }),
        ]
    );
    assert_eq!(explode(json!({ "apiVersion": "v1", "kind": "List", "items": null })), Vec::<Value>::new());
    assert_eq!(explode(json!({ "apiVersion": "x/v1", "kind": "AllowList" })).len(), 1);
}

#[test]
fn namespace_follows_the_scope() {
    let placed = |namespace: Option<&str>, setting: &Setting<'_>| {
        let value = json!({ "apiVersion": "x/v1", "kind": "Foo", "metadata": { "name": "a", "namespace": namespace } });
        Manifest::read(value).expect("it is an object").placed(setting)
    };
    let cluster = Setting { scope: Some(Scope::Cluster), ..SETTING };
    let unknown = Setting { scope: None, ..SETTING };
    let homeless = Setting { namespace: None, ..SETTING };
    assert_eq!(placed(None, &SETTING), Ok((Some("shop".into()), Stray::No)));
    assert_eq!(placed(Some("own"), &SETTING), Ok((Some("own".into()), Stray::No)));
    assert_eq!(placed(None, &cluster), Ok((None, Stray::No)));
    assert_eq!(placed(Some("own"), &cluster), Ok((None, Stray::Namespace("own".into()))));
    assert_eq!(placed(None, &unknown), Ok((Some("shop".into()), Stray::No)));
    assert_eq!(placed(None, &Setting { scope: None, ..homeless }), Ok((None, Stray::No)));
    insta::assert_snapshot!(
        placed(None, &homeless).expect_err("it has no place"),
        @"Foo/a is namespaced but names no namespace, and the app has none: set one of the two"
    );
}

#[test]
fn document_that_is_no_object_is_told_from_one_with_faults() {
    insta::assert_snapshot!(faults(json!({ "replicas": 3 })), @"a mapping without apiVersion and kind is not a Kubernetes object");
    insta::assert_snapshot!(faults(json!([1])), @"a list is not a Kubernetes object");
}

#[test]
fn everything_wrong_with_an_object_is_reported_at_once() {
    insta::assert_snapshot!(faults(json!({
        "kind": "Secret", "apiVersion": "v1",
        "metadata": { "name": 5, "namespace": "a/b", "labels": [], "annotations": { "wave": 1 } },
        "stringData": { "port": 80 },
    })), @r#"
    Secret/a/b: metadata.annotations.wave must be text (put it in quotes), not a number
    Secret/a/b: metadata.name must be text (put it in quotes), not a number
    Secret/a/b: metadata.labels must be a mapping, not a list
    Secret/a/b: stringData.port must be text (put it in quotes), not a number
    Secret/a/b: metadata.namespace "a/b" cannot be part of an object's address
    "#);
    insta::assert_snapshot!(faults(json!({ "kind": "Pod" })), @r"
    Pod has no apiVersion
    Pod has no metadata.name
    ");
    insta::assert_snapshot!(faults(json!({ "kind": "Job", "apiVersion": "batch/v1", "metadata": { "generateName": "run-" } })), @"Job/run- has metadata.generateName but no metadata.name: give it a name, by which it can be found again");
}
