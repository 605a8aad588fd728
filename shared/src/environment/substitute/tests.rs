use std::collections::BTreeMap;

use serde_json::json;

use super::{Typing, Value, Variables, text, value};
use crate::environment::{Fact, Facts};

fn facts() -> Facts {
    let vars = [
        ("domain", Fact::Text("eu-1.example.org".to_owned())),
        ("replicas", Fact::Number(3.into())),
        ("debug", Fact::Truth(true)),
        ("empty", Fact::Text(String::new())),
    ];
    Facts {
        cluster: "eu-1".to_owned(),
        labels: BTreeMap::from([("topology.kubernetes.io/region".to_owned(), "eu".to_owned())]),
        vars: vars.map(|(key, fact)| (key.to_owned(), fact)).into(),
    }
}

fn completed(written: &str, typing: Typing) -> Result<Value, String> {
    let variables = Variables { facts: &facts(), app: Some("web") };
    text(written, &variables, typing).map_err(|error| error.to_string())
}

#[test]
fn variables_are_put_into_texts() {
    let become_text = |written: &str| completed(written, Typing::Text).unwrap();
    assert_eq!(become_text("https://${app.name}.${vars.domain}/"), "https://web.eu-1.example.org/");
    assert_eq!(become_text("${labels.topology.kubernetes.io/region}-${cluster.name}"), "eu-eu-1");
    assert_eq!(become_text("${ vars.replicas }"), "3");
    assert_eq!(become_text("a${vars.empty}b"), "ab", "an empty value is one that somebody wrote");
}

#[test]
fn two_dollars_are_the_text_itself() {
    let become_text = |written: &str| completed(written, Typing::AsGiven).unwrap();
    assert_eq!(become_text("$${vars.domain} ${vars.debug}"), "${vars.domain} true");
    assert_eq!(become_text("$${HOME:-/root}"), "${HOME:-/root}");
    assert_eq!(become_text("$$$(ls) $HOME $1 {}"), "$$$(ls) $HOME $1 {}");
}

#[test]
fn a_value_that_is_one_variable_keeps_its_type() {
    assert_eq!(completed("${vars.replicas}", Typing::AsGiven), Ok(json!(3)));
    assert_eq!(completed("${vars.debug}", Typing::Object), Ok(json!(true)));
    assert_eq!(completed("${vars.replicas}", Typing::Text), Ok(json!("3")));
    assert_eq!(completed("${vars.replicas} ", Typing::AsGiven), Ok(json!(3)));
    assert_eq!(completed("x${vars.replicas}", Typing::AsGiven), Ok(json!("x3")));
}

#[test]
fn what_is_no_variable_is_never_an_empty_text() {
    for written in
        ["${}", "${HOME}", "${vars.}", "${vars}", "${VAR:-default}", "${cluster.nam}", "${labels.x}"]
    {
        assert!(completed(written, Typing::Text).is_err(), "{written}");
    }
    assert_eq!(
        completed("${vars.domain", Typing::Text).unwrap_err(),
        "\"${\" has no \"}\": write \"$${\" for the text itself"
    );
}

#[test]
fn where_kubernetes_takes_text_a_number_becomes_text() {
    let mut object = json!({
        "metadata": {"annotations": {"${vars.x}": "${vars.replicas}"}},
        "data": {"n": "${vars.replicas}"},
        "spec": {
            "replicas": "${vars.replicas}",
            "template": {"spec": {"containers": [{
                "args": ["${vars.replicas}"],
                "env": [{"name": "N", "value": "${vars.replicas}"}],
                "ports": [{"containerPort": "${vars.replicas}"}],
            }]}},
        },
    });
    let faults = value(&mut object, &Variables { facts: &facts(), app: Some("web") }, Typing::Object);
    assert_eq!(faults, []);
    assert_eq!(
        object,
        json!({
            "metadata": {"annotations": {"${vars.x}": "3"}},
            "data": {"n": "3"},
            "spec": {
                "replicas": 3,
                "template": {"spec": {"containers": [{
                    "args": ["3"],
                    "env": [{"name": "N", "value": "3"}],
                    "ports": [{"containerPort": 3}],
                }]}},
            },
        })
    );
}

#[test]
fn every_fault_of_a_value_is_found_with_its_place() {
    let mut object = json!({"a": ["${vars.x}", "${vars.domain}"], "b": {"c/d": "${"}});
    let faults = value(&mut object, &Variables { facts: &facts(), app: None }, Typing::Object);
    let fields: Vec<String> = faults.iter().map(super::Fault::field).collect();
    assert_eq!(fields, [".a[0]", ".b.c/d"]);
}

#[test]
fn an_object_may_ask_to_be_left_as_it_is() {
    let left = |metadata: Value| {
        let mut object = json!({"metadata": metadata, "data": {"script": "${HOME}"}});
        let faults = super::object(&mut object, &Variables { facts: &facts(), app: None });
        faults.is_empty() && object["data"]["script"] == "${HOME}"
    };
    assert!(left(json!({"annotations": {"skiff.dev/substitute": "disabled"}})));
    assert!(left(json!({"annotations": {"kustomize.toolkit.fluxcd.io/substitute": "disabled"}})));
    assert!(left(json!({"labels": {"kustomize.toolkit.fluxcd.io/substitute": "disabled"}})));
    assert!(!left(json!({"annotations": {"skiff.dev/substitute": "enabled"}})));
    assert!(!left(json!({})));
}

#[test]
fn the_digest_changes_with_every_fact() {
    let base = facts();
    let mut others = vec![base.clone(), base.clone(), base.clone()];
    others[0].cluster = "eu-2".to_owned();
    others[1].labels.clear();
    others[2].vars.insert("replicas".to_owned(), Fact::Text("3".to_owned()));
    for other in others {
        assert_ne!(other.digest(), base.digest());
    }
}
