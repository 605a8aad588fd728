//! The files under `observability/` ask for what is told, and answer as docs/telemetry.md says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use skiff_harness::toolchain;

/// Beginnings of the names that metrics and labels have, as Prometheus spells them.
const OURS: [&str; 8] = ["skiff_", "cicd_", "deployment_", "error_", "http_", "k8s_", "process_", "vcs_"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).expect(path)
}

fn dashboards() -> [(&'static str, Value); 2] {
    let paths = ["observability/grafana/fleet.json", "observability/grafana/app.json"];
    paths.map(|path| (path, serde_json::from_str(&read(path)).expect(path)))
}

/// Returns the elements of a list, none where there is no list.
fn each<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect(key)
}

fn alerts() -> Vec<Value> {
    let file = yaml("observability/prometheus/alerts.yaml");
    each(&file, "groups").flat_map(|group| each(group, "rules").cloned()).collect()
}

/// Returns the queries of a dashboard with Grafana's own variables filled in.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = each(dashboard, "panels");
    let targets = panels.flat_map(|panel| each(panel, "targets"));
    let filled = targets.map(|target| {
        let expression = text(target, "expr");
        expression.replace("$__rate_interval", "5m").replace("$__range", "6h")
    });
    filled.collect()
}

/// Returns the queries that the document gives as answers.
fn answers() -> Vec<String> {
    let document = read("docs/telemetry.md");
    let blocks = document.split("```promql\n").skip(1);
    blocks.filter_map(|block| Some(in_one_line(block.split_once("```")?.0))).collect()
}

fn in_one_line(query: &str) -> String {
    query.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the names of metrics and labels that the document lists.
fn documented() -> BTreeSet<String> {
    let document = read("docs/telemetry.md");
    let rows = document.lines().skip_while(|line| !line.starts_with("| metric | at `/metrics`")).skip(2);
    let mut names = BTreeSet::from(["k8s_cluster_name".to_owned()]);
    names.extend(["cicd_pipeline_name", "deployment_environment_name"].map(str::to_owned));
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let metric = cells[2].replace('`', "");
        if cells[3] == "histogram" {
            names.extend(["bucket", "count", "sum"].map(|part| format!("{metric}_{part}")));
        }
        names.insert(metric);
        names.extend(cells[5].split(", ").map(|label| label.replace('`', "").replace('.', "_")));
    }
    assert!(names.len() > 40, "{names:?}");
    names
}

/// Returns what in a text looks like the name of a metric or a label of ours.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| OURS.iter().any(|start| word.starts_with(start))).collect()
}

/// Runs promtool in the folder of the alerts.
fn promtool(arguments: &[&str]) {
    let program = toolchain::promtool().expect("promtool is built");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root().join("observability/prometheus"));
    let output = command.output().expect("promtool starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn files_name_no_metric_and_no_label_that_is_not_told() {
    let documented = documented();
    let files = [
        "observability/grafana/fleet.json",
        "observability/grafana/app.json",
        "observability/prometheus/alerts.yaml",
        "observability/prometheus/tests.yaml",
    ];
    let documents = files.map(|path| (path, read(path)));
    let answers = ("docs/telemetry.md", answers().join("\n"));
    for (path, content) in documents.iter().chain([&answers]) {
        let known = |name: &str| documented.contains(name) || name.starts_with("skiff_cluster_label_");
        let unknown: Vec<&str> = named(content).into_iter().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{path} asks for {unknown:?}");
    }
}

#[test]
fn alerts_ask_for_states_and_reasons_that_there_are() {
    let documents = read("docs/sync.md") + &read("docs/telemetry.md");
    for alert in alerts() {
        let values = text(&alert, "expr").split('"').skip(1).step_by(2);
        for value in values.flat_map(|value| value.split('|')) {
            assert!(documents.contains(&format!("`{value}`")), "{} asks for {value:?}", alert["alert"]);
        }
    }
}

#[test]
fn every_alert_is_seen_to_fire_and_not_to_fire_and_is_listed() {
    let tests = yaml("observability/prometheus/tests.yaml");
    let readme = read("observability/README.md");
    let looks = || each(&tests, "tests").flat_map(|test| each(test, "alert_rule_test"));
    for alert in alerts() {
        let name = text(&alert, "alert");
        let fires = |look: &&Value| text(look, "alertname") == name && each(look, "exp_alerts").count() > 0;
        assert_eq!(looks().filter(fires).count(), 1, "{name} fires in one test");
        assert!(readme.contains(&format!("| `{name}` |")), "{name} is not in the README");
        for key in ["summary", "description"] {
            assert!(!text(&alert["annotations"], key).is_empty(), "{name} has no {key}");
        }
        assert!(matches!(text(&alert["labels"], "severity"), "critical" | "warning" | "info"), "{name}");
    }
}

#[test]
fn alerts_fire_on_what_they_are_for_and_the_answers_of_the_document_are_right() {
    let tests = yaml("observability/prometheus/tests.yaml");
    let queries = each(&tests, "tests").flat_map(|test| each(test, "promql_expr_test"));
    let tested: Vec<String> = queries.map(|query| in_one_line(text(query, "expr"))).collect();
    assert_eq!(answers(), tested);
    promtool(&["test", "rules", "tests.yaml"]);
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml"]);
}

#[test]
fn dashboards_are_models_that_grafana_loads_with_queries_that_prometheus_reads() {
    let mut rules = Vec::new();
    for (path, model) in dashboards() {
        for key in ["uid", "title"] {
            assert!(text(&model, key).to_lowercase().starts_with("skiff"), "{path}: {key}");
        }
        let ids: BTreeSet<u64> = each(&model, "panels").filter_map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), each(&model, "panels").count(), "{path}: every panel has an id of its own");
        for panel in each(&model, "panels").filter(|panel| panel["type"] != "row") {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{path}: {}", panel["title"]);
            assert!(each(panel, "targets").count() > 0, "{path}: {} asks for nothing", panel["title"]);
        }
        let variables: BTreeSet<&str> =
            each(&model["templating"], "list").map(|variable| text(variable, "name")).collect();
        for query in queries(&model) {
            let used = query.split('$').skip(1).map(|rest| rest.split(['"', '}']).next().unwrap_or_default());
            used.for_each(|name| assert!(variables.contains(name), "{path}: ${name} in {query}"));
            rules.push(serde_json::json!({"record": format!("query:number_{}", rules.len()), "expr": query}));
        }
    }
    assert!(rules.len() > 30, "{} queries", rules.len());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("queries.json");
    let groups = serde_json::json!({"groups": [{"name": "queries", "rules": rules}]});
    fs::write(&file, groups.to_string()).expect("the file is written");
    promtool(&["check", "rules", &file.to_string_lossy()]);
}
