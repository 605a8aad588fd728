//! The JSON schemas in docs/schema and of the chart's values: made of the types that read the files and of the tables that document them.

#![expect(
    clippy::unwrap_used,
    reason = "the exemption of tests does not reach helper functions of integration tests"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the last cell of each row of docs/configuration.md that is about a key, by the key.
fn meanings() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let mut meanings = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let row = row.replace("\\|", "/");
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        if let [keys, .., meaning] = cells.as_slice() {
            for key in keys.split(", ") {
                meanings.insert(key.trim_matches('`').to_owned(), (*meaning).to_owned());
            }
        }
    }
    meanings
}

/// Gives every key of a schema its documented meaning; returns the keys without one.
struct Describe<'a> {
    meanings: &'a BTreeMap<String, String>,
    undocumented: Vec<String>,
}

impl Describe<'_> {
    fn node(&mut self, path: &str, node: &mut Map<String, Value>) {
        node.remove("description");
        if node.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
            node.remove("default");
        }
        // What reaches the repositories of apps is written once, for the environment's own.
        let as_own = path.replace("environments[].repositories[].", "environments[].source.");
        match self.meanings.get(path).or_else(|| self.meanings.get(&as_own)) {
            Some(meaning) if !meaning.is_empty() => {
                node.insert("description".to_owned(), meaning.clone().into());
            }
            Some(_) => {}
            None if has_keys(node) || path.is_empty() => {}
            None => self.undocumented.push(path.to_owned()),
        }
        self.inside(path, node);
    }

    fn inside(&mut self, path: &str, node: &mut Map<String, Value>) {
        if let Some(Value::Object(properties)) = node.get_mut("properties") {
            for (key, property) in properties {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                self.node(&below, property.as_object_mut().unwrap());
            }
        }
        if let Some(Value::Object(items)) = node.get_mut("items")
            && has_keys(items)
        {
            items.remove("description");
            self.inside(&format!("{path}[]"), items);
        }
        if let Some(Value::Array(choices)) = node.get_mut("anyOf") {
            for choice in choices.iter_mut().filter_map(Value::as_object_mut) {
                choice.remove("description");
                self.inside(path, choice);
            }
        }
    }
}

/// Says whether keys are within, each of which is documented by itself.
fn has_keys(node: &Map<String, Value>) -> bool {
    let within = |node: &Value| node.as_object().is_some_and(has_keys);
    node.get("properties").is_some_and(|properties| properties.as_object().is_some_and(|map| !map.is_empty()))
        || node.get("items").is_some_and(within)
        || node.get("anyOf").and_then(Value::as_array).is_some_and(|choices| choices.iter().any(within))
}

fn committed_as_generated(path: &str, title: &str, schema: &Value) {
    let mut schema = schema.clone();
    schema["title"] = title.into();
    let generated = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let file = root().join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == generated,
        "{path} is out of date: run the test again with UPDATE=1 and commit the change"
    );
}

fn described(mut schema: Value) -> Value {
    let meanings = meanings();
    let mut describe = Describe { meanings: &meanings, undocumented: Vec::new() };
    describe.node("", schema.as_object_mut().unwrap());
    let undocumented = describe.undocumented;
    assert!(undocumented.is_empty(), "docs/configuration.md has no row for {undocumented:?}");
    schema
}

#[test]
fn schema_of_skiff_yaml_is_that_of_its_reader_and_every_key_is_documented() {
    let schema = described(skiff_shared::environment::schema());
    committed_as_generated("docs/schema/environment.json", "skiff.yaml", &schema);
}

#[test]
fn schema_of_the_agents_file_is_that_of_its_reader_and_every_key_is_documented() {
    committed_as_generated("docs/schema/config.json", "Skiff agent", &described(skiff::config::schema()));
}

/// The chart's values are the keys of the agent's file and its own, so one schema is made of both.
#[test]
fn schema_of_the_charts_values_has_every_key_of_the_agents_file() {
    let own = std::fs::read_to_string(root().join("charts/skiff/own-values.schema.json")).unwrap();
    let mut schema: Value = serde_json::from_str(&own).unwrap();
    let mut config = described(skiff::config::schema());
    // The release's namespace is the agent's.
    config["properties"]["agent"]["properties"].as_object_mut().unwrap().remove("namespace");
    let values = schema["properties"].as_object_mut().unwrap();
    for (key, node) in config["properties"].as_object().unwrap() {
        assert!(
            values.insert(key.clone(), node.clone()).is_none(),
            "{key} is the chart's own and the agent's"
        );
    }
    let title = schema["title"].as_str().unwrap().to_owned();
    committed_as_generated("charts/skiff/values.schema.json", &title, &schema);
}

#[test]
fn schema_of_a_description_is_that_of_its_reader() {
    let schema = skiff::commands::description_schema();
    committed_as_generated(
        "docs/schema/cluster.json",
        "A cluster, described for skiff validate and render",
        &schema,
    );
}

#[test]
fn every_key_of_the_example_is_in_the_schema() {
    let example = include_str!("../../src/config/example.yaml");
    let example = skiff_shared::yaml::load(example).unwrap().value;
    let mut unknown = Vec::new();
    missing(&example, &skiff::config::schema(), "", &mut unknown);
    assert_eq!(unknown, Vec::<String>::new());
}

/// Collects the keys of a value that a schema does not have.
fn missing(value: &Value, schema: &Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let choices =
                schema["anyOf"].as_array().and_then(|all| all.iter().find(|it| it["properties"].is_object()));
            let schema = choices.unwrap_or(schema);
            for (key, value) in map {
                let below = format!("{path}.{key}");
                match (&schema["properties"][key], &schema["additionalProperties"]) {
                    (Value::Null, Value::Object(_)) => {}
                    (Value::Null, _) => unknown.push(below),
                    (schema, _) => missing(value, schema, &below, unknown),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| missing(item, &schema["items"], path, unknown)),
        _ => {}
    }
}
