use serde_json::json;

use super::*;

fn yields(fields: &[&str], managers: &[&str]) -> Yields {
    Yields {
        fields: fields.iter().map(|field| Field::parse(field).expect("a field")).collect(),
        managers: managers.iter().map(|manager| (*manager).into()).collect(),
    }
}

#[test]
fn plain_paths_of_jq_are_pointers() {
    let pointer = |text: &str| Field::parse(text).expect("a plain path").as_pointer().to_owned();
    assert_eq!(pointer("/spec/replicas"), "/spec/replicas");
    assert_eq!(pointer(".spec.replicas"), "/spec/replicas");
    assert_eq!(pointer(".metadata.annotations[\"a/b.c~d\"]"), "/metadata/annotations/a~1b.c~0d");
    assert_eq!(pointer(".spec.template.spec.containers[0].image"), "/spec/template/spec/containers/0/image");
    assert_eq!(pointer(".[\"data\"].key"), "/data/key");
}

#[test]
fn what_cannot_be_left_to_others_says_why() {
    let refused: Vec<String> = [
        "spec.replicas",
        "",
        "/",
        "/a~b",
        ".spec.containers[] | select(.name == \"x\")",
        ".spec.containers[].image",
        "/metadata/labels",
        "/metadata",
        "/kind",
    ]
    .iter()
    .map(|text| Field::parse(text).expect_err("refused").to_string())
    .collect();
    insta::assert_snapshot!(refused.join("\n"), @r#"
    "spec.replicas" names no field: write a JSON pointer such as /spec/replicas
    "" names no field: write a JSON pointer such as /spec/replicas
    "/" names no field: write a JSON pointer such as /spec/replicas
    "/a~b" names no field: write a JSON pointer such as /spec/replicas
    ".spec.containers[] | select(.name == \"x\")" is no plain path: of jq only .spec.replicas, .metadata.annotations["a/b"] and .items[0] are read; write managedFieldsManagers, or a JSON pointer
    ".spec.containers[].image" is no plain path: of jq only .spec.replicas, .metadata.annotations["a/b"] and .items[0] are read; write managedFieldsManagers, or a JSON pointer
    "/metadata/labels" cannot be left to others: Skiff finds the object by it
    "/metadata" cannot be left to others: Skiff finds the object by it
    "/kind" cannot be left to others: Skiff finds the object by it
    "#);
    assert!(Field::parse("/metadata/labels/team").is_ok());
}

#[test]
fn fields_go_with_parents_that_are_empty() {
    let mut object = json!({
        "metadata": {"name": "web", "annotations": {"a/b": "x"}},
        "spec": {"replicas": 3, "paused": true, "template": {"spec": {"containers": [
            {"name": "web", "image": "web:1"}, {"name": "log", "image": "log:1"}]}}},
        "data": {"0": "zero", "1": "one"},
    });
    let fields = [
        "/spec/replicas",
        "/metadata/annotations/a~1b",
        "/spec/template/spec/containers/0/image",
        "/spec/template/spec/containers/1",
        "/data/0",
        "/spec/missing/field",
    ];
    yields(&fields, &[]).take_from(&mut object, &[]).expect("nothing is read");
    assert_eq!(
        object,
        json!({
            "metadata": {"name": "web"},
            "spec": {"paused": true, "template": {"spec": {"containers": [{"name": "web"}]}}},
            "data": {"1": "one"},
        })
    );
}

#[test]
fn several_items_of_a_list_go_each_from_its_place() {
    let items: Vec<Value> = (0..12).map(|number| json!({ "name": format!("n{number}") })).collect();
    let mut object = json!({ "spec": { "items": items } });
    yields(&["/spec/items/2", "/spec/items/10", "/spec/items/11"], &[])
        .take_from(&mut object, &[])
        .expect("nothing is read");
    let left: Vec<&str> = object["spec"]["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|item| item["name"].as_str())
        .collect();
    assert_eq!(left, ["n0", "n1", "n3", "n4", "n5", "n6", "n7", "n8", "n9"]);
}

#[test]
fn what_a_manager_owns_is_left_to_it_but_not_what_names_an_item() {
    let entries: Vec<Entry> = serde_json::from_value(json!([
        {"manager": "injector", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
         "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {
             "k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}}}}}}}},
        {"manager": "scaler", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
         "fieldsV1": {"f:spec": {"f:replicas": {}}}, "subresource": "scale"},
        {"manager": "other", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
         "fieldsV1": {"f:spec": {"f:paused": {}}}}]))
    .expect("entries");
    let mut object = json!({"spec": {"replicas": 3, "paused": true, "template": {"spec": {"containers": [
        {"name": "web", "image": "web:1"}, {"name": "log", "image": "log:1"}]}}}});
    yields(&[], &["injector", "scaler"]).take_from(&mut object, &entries).expect("field sets");
    assert_eq!(
        object,
        json!({"spec": {"paused": true, "template": {"spec": {"containers": [
            {"name": "web"}, {"name": "log", "image": "log:1"}]}}}})
    );
}

#[test]
fn several_fields_at_once_are_refused() {
    for text in ["/spec/containers/*/image", "/spec/list/-"] {
        assert!(matches!(Field::parse(text), Err(FieldError::Several { .. })), "{text}");
    }
}

#[test]
fn what_an_object_is_found_by_is_never_left_to_a_manager() {
    let entries: Vec<Entry> = serde_json::from_value(serde_json::json!([{
        "manager": "other", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {"f:skiff.dev/instance": {}, "f:team": {}}}},
    }]))
    .expect("entries");
    let mut object =
        serde_json::json!({"metadata": {"labels": {"skiff.dev/instance": "prod", "team": "shop"}}});
    yields(&[], &["other"]).take_from(&mut object, &entries).expect("readable");
    assert_eq!(object, serde_json::json!({"metadata": {"labels": {"skiff.dev/instance": "prod"}}}));
}

#[test]
fn positions_are_taken_before_items_that_are_named_otherwise() {
    let entries: Vec<Entry> = serde_json::from_value(serde_json::json!([{
        "manager": "other", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:set": {"v:\"a\"": {}}}},
    }]))
    .expect("entries");
    let mut object = serde_json::json!({"spec": {"set": ["a", "b", "c"]}});
    yields(&["/spec/set/1"], &["other"]).take_from(&mut object, &entries).expect("readable");
    assert_eq!(object, serde_json::json!({"spec": {"set": ["c"]}}));
}
