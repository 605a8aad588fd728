//! The chart as real Helm renders it.

#[path = "chart/installed.rs"]
mod installed;
#[path = "chart/switches.rs"]
mod switches;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use skiff::config::Config;
use skiff_harness::toolchain;

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the agent lies in the workspace")
        .join("charts/skiff")
}

/// Renders the chart into namespace `skiff-system` with the committed example values and more arguments.
fn render(arguments: &[&str]) -> Result<String, String> {
    let example = chart().join("rendered/values.yaml").display().to_string();
    let given = ["template", "skiff", "--namespace", "skiff-system", "--values", &example];
    helm(&[&given, arguments].concat())
}

/// Runs a verb of helm over the chart.
fn helm(arguments: &[&str]) -> Result<String, String> {
    let lab = toolchain::ensure().expect("the lab's programs are built");
    let home = tempfile::tempdir().expect("a folder can be made");
    let output = Command::new(lab.helm)
        .args(arguments)
        .arg(chart())
        .env("HOME", home.path())
        .output()
        .expect("helm starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("helm speaks UTF-8");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn documents(rendered: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(rendered).expect("helm renders YAML")
}

fn find<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).expect("the chart has the kind")
}

/// Compares a generated file with the committed one, or writes it where `UPDATE=1` asks for that.
fn assert_committed(path: &Path, generated: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, generated).expect("the file can be written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    assert!(
        committed == generated,
        "{name} is out of date: run the test again with UPDATE=1 and commit the change"
    );
}

#[test]
fn rendered_default_is_committed() {
    let rendered = render(&[]).expect("the example values are complete");
    assert_committed(&chart().join("rendered/default.yaml"), &rendered);
}

/// Returns the configuration file that the agent is given.
fn config_file(rendered: &str) -> String {
    let documents = documents(rendered);
    find(&documents, "ConfigMap")["data"]["config.yaml"].as_str().expect("a file").to_owned()
}

#[test]
fn values_become_the_configuration_as_they_are() {
    let rendered = render(&["--set-string", "cluster.vars.domain=eu.example", "--set", "lease.duration=20s"]);
    let file = config_file(&rendered.expect("the values are right"));
    insta::assert_snapshot!(file, @"
    agent:
      instance: example
      namespace: skiff-system
      namespaces: []
    cluster:
      labels: {}
      name: example
      vars:
        domain: eu.example
    environments:
    - name: production
      source:
        path: clusters/production
        ref:
          branch: main
        url: https://git.example/shop
    fetch: {}
    http:
      listen: 0.0.0.0:9090
    lease:
      duration: 20s
      name: skiff
    notifications: []
    render: {}
    state: {}
    telemetry: {}
    webhooks: {}
    ");
}

#[test]
fn configuration_of_the_chart_is_one_that_the_agent_takes() {
    let endpoint = ["--set", "telemetry.otlp.endpoint=http://collector:4318", "--set", "agent.instance=blue"];
    let file = config_file(&render(&endpoint).expect("the values are right"));
    let config = Config::parse(file.as_bytes(), "config.yaml", Vec::new()).expect("the agent takes it");
    assert_eq!((config.agent.namespace.as_str(), config.agent.instance.as_str()), ("skiff-system", "blue"));
    assert_eq!(config.telemetry.otlp.endpoint.as_deref(), Some("http://collector:4318"));
    // The Deployment mounts its cache where the agent looks for it.
    assert_eq!(config.state.directory, Path::new("/var/lib/skiff"));
}

#[test]
fn every_key_of_the_agents_file_is_a_value() {
    let example = include_str!("../../src/config/example.yaml");
    let mut values = skiff_shared::yaml::load(example).expect("the example is YAML").value;
    values["agent"].as_object_mut().expect("keys").remove("namespace");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("values.json");
    std::fs::write(&file, values.to_string()).expect("the file can be written");

    let rendered = render(&["--values", &file.display().to_string()]).expect("every key is a value");

    let wanted = example.replace("namespace: skiff ", "namespace: skiff-system ");
    let parse = |text: &str| Config::parse(text.as_bytes(), "config.yaml", Vec::new()).expect("it is valid");
    assert_eq!(parse(&config_file(&rendered)), parse(&wanted));
}

#[test]
fn lint_has_nothing_to_say() {
    let example = chart().join("rendered/values.yaml").display().to_string();
    let said = helm(&["lint", "--strict", "--quiet", "--values", &example]);
    assert_eq!(said.as_deref().map(str::trim), Ok(""));
}

#[test]
fn values_that_the_chart_does_not_know_are_refused() {
    let error = render(&["--set", "enviroments[0].name=x"]).expect_err("a misspelt key");
    assert!(error.contains("additional properties 'enviroments' not allowed"), "{error}");
    let error = render(&["--set", "environments[0].sync.selfheal=true"]).expect_err("a misspelt key within");
    assert!(
        error.contains("at '/environments/0/sync': additional properties 'selfheal' not allowed"),
        "{error}"
    );
    let error = render(&["--set", "agent.namespace=elsewhere"]).expect_err("the release says it");
    assert!(error.contains("at '/agent': additional properties 'namespace' not allowed"), "{error}");
    let error = render(&["--set", "cluster.name="]).expect_err("no name");
    assert!(error.contains("/cluster/name"), "{error}");
    let error = render(&["--set-json", "environments=[]"]).expect_err("nothing to do");
    assert!(error.contains("at '/environments': minItems: got 0, want 1"), "{error}");
}
