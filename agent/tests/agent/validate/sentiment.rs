//! A real fleet repository: one chart with its dependencies, for three clusters and as three apps of one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Said, Tree, copy, said};

const CLUSTERS: [&str; 3] = ["dev", "staging", "prod"];

const FLEET: &str = "apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- name: mlops-sentiment
  path: ../helm/mlops-sentiment
  namespace: mlops-sentiment
  clusters:
    matchExpressions: [{key: environment, operator: In, values: [dev, staging, prod]}]
  helm:
    valueFiles: [\"values-${labels.environment}.yaml\"]
";

const TOGETHER: &str = "apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- {name: dev, path: ../helm/mlops-sentiment, namespace: sentiment-dev, helm: {valueFiles: [values-dev.yaml]}}
- {name: staging, path: ../helm/mlops-sentiment, namespace: sentiment-staging, helm: {valueFiles: [values-staging.yaml]}}
- {name: prod, path: ../helm/mlops-sentiment, namespace: sentiment-prod, helm: {valueFiles: [values-prod.yaml]}}
";

/// Returns a work tree of a real input with a fleet's files beside it, or `None`, saying so, where it is not there.
fn tree(name: &str) -> Option<Tree> {
    let folder = std::env::var_os("SKIFF_INPUTS").map(|inputs| Path::new(&inputs).join(name));
    let Some(folder) = folder.filter(|folder| folder.is_dir()) else {
        // Not `eprintln!`: the test harness would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {name} is not there, as SKIFF_INPUTS names no folder with it"
        );
        return None;
    };
    let tree = Tree::new(&[("fleet/skiff.yaml", FLEET), ("together/skiff.yaml", TOGETHER)]);
    copy(&folder, tree.0.path());
    for cluster in CLUSTERS {
        let config = format!(
            "cluster: {{name: {cluster}-1, labels: {{environment: {cluster}}}}}
environments:
- name: sentiment
  source: {{url: https://git.example/sentiment.git, ref: {{branch: main}}, path: fleet}}
  onDuplicate: lastWins
"
        );
        tree.write(&format!("{cluster}.yaml"), &config);
    }
    Some(tree)
}

fn helm() -> PathBuf {
    skiff_harness::toolchain::ensure().unwrap().helm
}

fn validate(tree: &Tree, folder: &str, clusters: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skiff"));
    command.current_dir(tree.0.path()).args(["validate", folder, "--environment", "sentiment", "--helm"]);
    command.arg(helm());
    for cluster in clusters {
        command.args(["--cluster", &format!("{cluster}.yaml")]);
    }
    said(&mut command)
}

/// Counts what Helm itself prints, before tests and doubles are dropped.
fn documents(tree: &Tree, cluster: &str) -> usize {
    let mut command = Command::new(helm());
    command.current_dir(tree.0.path()).args(["template", "x", "./helm/mlops-sentiment", "--include-crds"]);
    let rendered = said(command.arg(format!("--values=helm/mlops-sentiment/values-{cluster}.yaml")));
    assert_eq!(rendered.code, 0, "{}", rendered.err);
    rendered.out.lines().filter(|line| line.starts_with("kind:")).count()
}

#[test]
fn one_chart_is_the_app_of_three_clusters() {
    let Some(tree) = tree("kubesentiment-repaired") else { return };
    assert_eq!(CLUSTERS.map(|cluster| documents(&tree, cluster)), [59, 61, 61]);
    let said = validate(&tree, "fleet", &CLUSTERS);
    // Of each, three are tests of charts and five are declared twice.
    insta::assert_snapshot!(said.out, @r"
    CLUSTER     APP               NAMESPACE         OBJECTS   PATH
    dev-1       mlops-sentiment   mlops-sentiment   51        helm/mlops-sentiment
    staging-1   mlops-sentiment   mlops-sentiment   53        helm/mlops-sentiment
    prod-1      mlops-sentiment   mlops-sentiment   53        helm/mlops-sentiment
    ");
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.err.matches("is declared twice").count(), 15, "{}", said.err);
    assert_eq!(said.err.matches("and they differ: the last one is taken").count(), 6, "{}", said.err);
    assert!(
        said.err.contains("ServiceMonitor.monitoring.coreos.com is no kind of Kubernetes"),
        "{}",
        said.err
    );
}

#[test]
fn one_chart_is_three_apps_of_a_cluster() {
    let Some(tree) = tree("kubesentiment-repaired") else { return };
    let said = validate(&tree, "together", &["dev"]);
    insta::assert_snapshot!(said.out, @r"
    CLUSTER   APP       NAMESPACE           OBJECTS   PATH
    dev-1     dev       sentiment-dev       51        helm/mlops-sentiment
    dev-1     staging   sentiment-staging   53        helm/mlops-sentiment
    dev-1     prod      sentiment-prod      53        helm/mlops-sentiment
    ");
    assert_eq!(said.code, 0, "{}", said.err);
}

#[test]
fn every_fault_of_the_chart_as_committed_is_named_with_its_line() {
    let Some(tree) = tree("kubesentiment") else { return };
    insta::assert_snapshot!(crate::render::without_repositories(&validate(&tree, "fleet", &["dev"]).all()), @r#"
    CLUSTER   APP               NAMESPACE         OBJECTS      PATH
    dev-1     mlops-sentiment   mlops-sentiment   HelmFailed   helm/mlops-sentiment
    error: cluster dev-1: app mlops-sentiment: helm/mlops-sentiment/Chart.yaml:20: dependency "prometheus" 25.8.0 of a repository is not in charts/: run "helm dependency build" and commit charts/, or let the agent fetch it (render.fetchDependencies)
    error: cluster dev-1: app mlops-sentiment: helm/mlops-sentiment/Chart.yaml:24: dependency "grafana" 7.0.19 of a repository is not in charts/: run "helm dependency build" and commit charts/, or let the agent fetch it (render.fetchDependencies)
    error: cluster dev-1: app mlops-sentiment: helm/mlops-sentiment/Chart.yaml:28: dependency "alertmanager" 1.7.0 of a repository is not in charts/: run "helm dependency build" and commit charts/, or let the agent fetch it (render.fetchDependencies)
    error: cluster dev-1: app mlops-sentiment: helm/mlops-sentiment/templates/prometheusrule.yaml:24: undefined variable "$labels"
    error: cluster dev-1: app mlops-sentiment: helm/mlops-sentiment/templates/grafana-dashboard.yaml:105: function "method" not defined
    exit code 1
    "#);
}
