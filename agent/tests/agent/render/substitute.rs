//! `${…}` in rendered objects, where an app asks for it.

use std::collections::BTreeMap;

use serde_json::json;
use skiff_shared::environment::{Fact, Facts};

use super::{World, world};

const OBJECTS: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: \"${app.name}-settings\"}
data: {host: \"web.${vars.domain}\", script: \"echo $${HOME}\"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: \"${vars.replicas}\"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: raw, annotations: {skiff.dev/substitute: disabled}}
data: {script: \"echo ${HOME}\"}
";

fn with_facts(objects: &str) -> World {
    let vars = BTreeMap::from([
        ("domain".to_owned(), Fact::Text("eu-1.example.org".to_owned())),
        ("replicas".to_owned(), Fact::Number(3.into())),
    ]);
    let mut world = world(&[("objects.yaml", objects)]);
    world.facts = Some(Facts { cluster: "eu-1".to_owned(), vars, ..Facts::default() });
    world
}

#[tokio::test]
async fn facts_of_the_cluster_complete_the_objects() {
    let world = with_facts(OBJECTS);
    assert_eq!(
        world.body("ConfigMap/shop/web-settings").await["data"],
        json!({"host": "web.eu-1.example.org", "script": "echo ${HOME}"})
    );
    assert_eq!(world.body("Deployment/shop/web").await["spec"]["replicas"], 3);
    assert_eq!(world.body("ConfigMap/shop/raw").await["data"]["script"], "echo ${HOME}");
}

#[tokio::test]
async fn objects_are_left_as_they_are_where_nobody_asks() {
    let mut world = with_facts(&OBJECTS.replace("name: \"${app.name}-settings\"", "name: settings"));
    world.facts = None;
    assert_eq!(world.body("ConfigMap/shop/settings").await["data"]["host"], "web.${vars.domain}");
}

#[tokio::test]
async fn a_secret_is_never_quoted() {
    let world = with_facts(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: \"${DB_PASS:-hunter2}\"}\n",
    );
    let problems = world.problems().await;
    assert!(problems.contains("Secret/db: .stringData.password: it holds a variable"), "{problems}");
    assert!(!problems.contains("hunter2") && !problems.contains("DB_PASS"), "{problems}");
}

#[tokio::test]
async fn an_unknown_variable_of_an_object_is_named_with_its_place() {
    let world = with_facts(&format!(
        "{OBJECTS}---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {{name: web}}\n  spec: {{ports: [{{port: \"${{vars.prot}}\"}}]}}\n"
    ));
    insta::assert_snapshot!(world.problems().await, @r#"
    UnknownVariable
    objects.yaml:16: Service/web: .spec.ports[0].port: unknown variable "vars.prot": known here: app.name, cluster.name, vars.domain, vars.replicas; write "$${vars.prot}" for the text itself
    "#);
}
