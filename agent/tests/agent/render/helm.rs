//! Charts, by the real Helm.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use skiff_shared::desired::yields::Field;
use skiff_shared::environment::{HelmOptions, Parameter, Renderer, RepoPath};
use skiff_shared::object::{GroupKind, ServedKind};

use super::{World, fixture, world};

/// The chart of the fixtures, at `charts/shopfront` of a repository that can be changed.
fn chart() -> World {
    let mut world = world(&[]).with_tools();
    copy(&fixture("chart"), &world.root().join("charts/shopfront"));
    world.path = "charts/shopfront".to_owned();
    world
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn options(options: HelmOptions) -> Renderer {
    Renderer::Helm(options)
}

fn parameter(name: &str, value: &str, force_string: bool) -> Parameter {
    Parameter { name: name.to_owned(), value: value.to_owned(), force_string }
}

#[tokio::test]
async fn chart_renders_with_its_definitions_and_hooks_and_without_tests() {
    insta::assert_snapshot!(chart().rows().await, @r#"
    ConfigMap/shop/facts charts/shopfront/templates/facts.yaml
    ConfigMap/shop/sub charts/shopfront/charts/sub/templates/config.yaml
    Service/shop/web charts/shopfront/templates/deployment.yaml
    CustomResourceDefinition/zones.example.com charts/shopfront/crds/zones.yaml
    Deployment/shop/web charts/shopfront/templates/deployment.yaml
    Job/shop/migrate charts/shopfront/templates/hook.yaml
    warning: charts/shopfront/templates/facts.yaml: line 15 of what it renders: the key "hosts" is there twice: the last one is taken
    "#);
}

#[tokio::test]
async fn options_and_the_cluster_reach_the_chart() {
    let mut world = chart();
    world.write("values/common.yaml", "replicas: 2\nimage: {tag: common}\n");
    world.write("values/a,b.yaml", "hosts: [from-file]\n");
    let path = |path: &str| RepoPath::parse(path).unwrap();
    world.renderer = options(HelmOptions {
        release_name: Some("release".to_owned()),
        value_files: vec![
            path("values/common.yaml"),
            path("charts/shopfront/values-production.yaml"),
            path("values/a,b.yaml"),
        ],
        environment_value_files: Vec::new(),
        values: json!({ "image": { "repository": "inline" } }).as_object().unwrap().clone(),
        parameters: vec![parameter("image.tag", "1.10", true), parameter("hosts[0]", "a,b", false)],
        skip_crds: true,
    });
    let zone = ServedKind { plural: "zones".into(), namespaced: true, versions: vec!["v1".into()] };
    world.apis.kinds = BTreeMap::from([(GroupKind::new("example.com", "Zone"), zone)]);
    let facts = world.body("ConfigMap/shop/facts").await;
    assert_eq!(
        facts["data"],
        json!({
            "kube": "v1.37.2", "zones": "true", "group": "true", "lost": "false",
            "hosts": "a,b", "tag": "\"1.10\"",
        })
    );
    let deployment = world.body("Deployment/shop/release").await;
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], "inline:1.10");
    assert_eq!(deployment["metadata"].get("annotations"), None);
    let rows = world.render().await.rows;
    assert!(rows.iter().all(|row| !row.id.is("apiextensions.k8s.io", "CustomResourceDefinition")));
}

#[tokio::test]
async fn value_files_of_the_environment_stand_over_the_charts_own_and_are_named_by_their_paths_there() {
    let mut world = chart();
    let values = world.directory.path().join("values");
    fs::create_dir_all(values.join("prod")).unwrap();
    fs::write(values.join("prod/web.yaml"), "replicas: 7\n").unwrap();
    world.values = Some(values.clone());
    let path = |path: &str| RepoPath::parse(path).unwrap();
    let from = |files: &[&str]| {
        options(HelmOptions {
            value_files: vec![path("charts/shopfront/values-production.yaml")],
            environment_value_files: files.iter().map(|file| path(file)).collect(),
            ..HelmOptions::default()
        })
    };
    world.renderer = from(&["prod/web.yaml"]);
    assert_eq!(world.body("Deployment/shop/web").await["spec"]["replicas"], 7);
    world.renderer = from(&["prod/web.yaml", "prod/none.yaml"]);
    insta::assert_snapshot!(world.problems().await, @r"
    PathMissing
    prod/none.yaml: there is no such file in this revision: correct the app's environmentValueFiles or commit the file to the environment's repository
    ");
    fs::write(values.join("prod/web.yaml"), "replicas: 7: 8\n").unwrap();
    world.renderer = from(&["prod/web.yaml"]);
    insta::assert_snapshot!(world.problems().await, @r"
    HelmFailed
    prod/web.yaml: mapping values are not allowed in this context
    ");
}

#[tokio::test]
async fn every_faulty_template_is_named_with_its_line() {
    let world = chart();
    for (name, text) in [
        ("a-syntax.yaml", "a: 1\nb: {{ $nowhere }}\n"),
        ("b-fail.yaml", "a: 1\n{{ fail \"set a host\" }}\n"),
        ("c-nil.yaml", "a: {{ .Values.no.such.value }}\n"),
        ("d-helper.yaml", "\n\na: {{ include \"broken\" . }}\n"),
        ("_broken.tpl", "{{ define \"broken\" }}\n{{ .Values.no.such.value }}\n{{ end }}\n"),
        ("e-output.yaml", "kind: X\na: b: c\n"),
        ("f-missing.yaml", "a: {{ include \"nobody.has.it\" . }}\n"),
    ] {
        world.write(&format!("charts/shopfront/templates/{name}"), text);
    }
    insta::assert_snapshot!(world.problems().await, @r#"
    HelmFailed
    charts/shopfront/templates/a-syntax.yaml:2: undefined variable "$nowhere"
    charts/shopfront/templates/f-missing.yaml:1: no template "nobody.has.it"
    charts/shopfront/templates/_broken.tpl:2: <.Values.no.such.value>: nil pointer evaluating interface {}.such (called from charts/shopfront/templates/d-helper.yaml:3)
    charts/shopfront/templates/c-nil.yaml:1: <.Values.no.such.value>: nil pointer evaluating interface {}.such
    charts/shopfront/templates/b-fail.yaml:2: set a host
    charts/shopfront/templates/e-output.yaml: what it renders is not YAML: line 2: mapping values are not allowed in this context
    "#);
}

#[tokio::test]
async fn objects_of_a_template_are_checked_like_any_other() {
    let world = chart();
    let objects = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 1}\n---\nreplicas: 1\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: facts}\n";
    world.write("charts/shopfront/templates/extra.yaml", objects);
    insta::assert_snapshot!(world.problems().await, @r"
    InvalidObject
    charts/shopfront/templates/extra.yaml: ConfigMap: metadata.name must be text (put it in quotes), not a number
    charts/shopfront/templates/extra.yaml: a mapping without apiVersion and kind is not a Kubernetes object
    charts/shopfront/templates/facts.yaml: ConfigMap/shop/facts is declared twice: charts/shopfront/templates/extra.yaml and charts/shopfront/templates/facts.yaml, and they differ: remove one
    ");
}

#[tokio::test]
async fn what_a_chart_renders_differently_each_time_is_named_and_left_to_the_cluster() {
    let world = chart();
    world.write(
        "charts/shopfront/templates/random.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: random\nstringData:\n  fixed: a\n  password: {{ randAlphaNum 20 | quote }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: run-{{ randAlphaNum 8 | lower }}\n",
    );
    let rendered = world.render().await;
    let warnings = rendered.warnings.join("\n");
    assert!(
        warnings
            .contains("Secret/shop/random renders differently each time (/data/password): it keeps there"),
        "{warnings}"
    );
    let secret = rendered.rows.iter().find(|row| row.id.is("", "Secret")).unwrap();
    let left: Vec<&str> =
        secret.yields.iter().flat_map(|yields| &yields.fields).map(Field::as_pointer).collect();
    assert_eq!(left, ["/data/password"]);
    assert!(warnings.contains(" renders differently each time (its name), so"), "{warnings}");
}

#[tokio::test]
async fn dependencies_that_are_not_vendored_are_named_beside_what_else_is_wrong() {
    let world = chart();
    let chart = "apiVersion: v2\nname: shopfront\nversion: 1.2.3\ndependencies:\n- name: sub\n  version: 0.1.0\n- name: redis\n  version: 1.x.x\n  repository: https://charts.example\n- name: common\n  version: 2.0.0\n";
    world.write("charts/shopfront/Chart.yaml", chart);
    world.write("charts/shopfront/templates/uses.yaml", "a: {{ include \"common.names\" . }}\n");
    world.write("charts/shopfront/templates/syntax.yaml", "a: {{ if }}\n");
    insta::assert_snapshot!(world.problems().await, @r#"
    HelmFailed
    charts/shopfront/Chart.yaml:7: dependency "redis" 1.x.x of https://charts.example is not in charts/: run "helm dependency build" and commit charts/, or let the agent fetch it (render.fetchDependencies)
    charts/shopfront/Chart.yaml:10: dependency "common" 2.0.0 is not in charts/: run "helm dependency build" and commit charts/, or let the agent fetch it (render.fetchDependencies)
    charts/shopfront/templates/syntax.yaml:1: missing value for if
    "#);
}

#[tokio::test]
async fn files_that_are_missing_or_broken_are_named() {
    let mut world = chart();
    world.renderer = options(HelmOptions {
        value_files: vec![RepoPath::parse("values/gone.yaml").unwrap()],
        ..HelmOptions::default()
    });
    insta::assert_snapshot!(world.problems().await, @r"
    PathMissing
    values/gone.yaml: there is no such file in this revision: correct the app's valueFiles or commit the file
    ");
    world.write("values/gone.yaml", "a: 1\nb: [\n");
    insta::assert_snapshot!(world.problems().await, @r"
    HelmFailed
    values/gone.yaml:2: did not find expected node content
    ");
    world.write("values/gone.yaml", "replicas: many\n");
    world.write(
        "charts/shopfront/values.schema.json",
        "{\"type\": \"object\", \"required\": [\"owner\"], \"properties\": {\"replicas\": {\"type\": \"number\"}}}",
    );
    insta::assert_snapshot!(world.problems().await, @r"
    HelmFailed
    charts/shopfront/values.schema.json: the schema of shopfront is not met: missing property 'owner'
    charts/shopfront/values.schema.json: the schema of shopfront is not met: value /replicas: got string, want number
    ");
    world.write("charts/shopfront/Chart.yaml", "name: [\n");
    insta::assert_snapshot!(world.problems().await, @r"
    HelmFailed
    charts/shopfront/Chart.yaml:1: did not find expected node content
    ");
    fs::remove_file(world.root().join("charts/shopfront/Chart.yaml")).unwrap();
    insta::assert_snapshot!(world.problems().await, @r"
    PathMissing
    charts/shopfront/Chart.yaml: there is no such file in this revision: it is what makes a folder a chart
    ");
}

#[tokio::test]
async fn chart_that_wants_another_cluster_says_so() {
    let world = chart();
    let chart = "apiVersion: v2\nname: shopfront\nversion: 1.2.3\nkubeVersion: '>=1.99'\n";
    world.write("charts/shopfront/Chart.yaml", chart);
    insta::assert_snapshot!(world.problems().await, @r"
    HelmFailed
    charts/shopfront: chart requires kubeVersion: >=1.99 which is incompatible with Kubernetes v1.37.2
    ");
}

#[tokio::test]
async fn no_chart_is_rendered_for_a_cluster_that_is_half_known() {
    let mut world = chart();
    world.apis.incomplete.push("metrics.k8s.io".into());
    insta::assert_snapshot!(world.problems().await, @r"
    DiscoveryIncomplete
    charts/shopfront: no chart is rendered while API groups cannot be discovered (metrics.k8s.io): a chart may ask for them
    ");
}

#[tokio::test]
async fn links_out_of_the_tree_are_refused_before_helm_could_follow_them() {
    let world = chart();
    symlink("/etc/passwd", world.root().join("charts/shopfront/passwd")).unwrap();
    symlink("values.yaml", world.root().join("charts/shopfront/within.yaml")).unwrap();
    insta::assert_snapshot!(world.problems().await, @r"
    PathRefused
    charts/shopfront/passwd: this symbolic link leaves the repository: replace it by what it leads to
    ");
}

/// Replaces Helm by a shell script.
fn script(script: &str) -> World {
    let mut world = world(&[("Chart.yaml", "name: chart\nversion: 1.0.0\n")]);
    let helm = world.directory.path().join("helm");
    fs::write(&helm, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&helm, fs::Permissions::from_mode(0o755)).unwrap();
    world.tools.helm = helm;
    world
}

#[tokio::test]
async fn tool_has_an_empty_environment_and_the_revision_as_its_folder() {
    let world = script("pwd >&2; /usr/bin/env | /usr/bin/sort | /usr/bin/sed 's/^/env /' >&2");
    let scratch = world.directory.path().display().to_string();
    let warnings = world.render().await.warnings.join("\n");
    assert!(!warnings.contains(&scratch), "{warnings}");
    insta::assert_snapshot!(warnings, @r"
    .: helm: .
    .: helm: env GOMEMLIMIT=858993456
    .: helm: env HELM_CACHE_HOME=home/cache
    .: helm: env HELM_CONFIG_HOME=home/config
    .: helm: env HELM_DATA_HOME=home/data
    .: helm: env HOME=home
    .: helm: env HTTPS_PROXY=http://127.0.0.1:1
    .: helm: env HTTP_PROXY=http://127.0.0.1:1
    .: helm: env PATH=bin
    .: helm: env PWD=.
    .: helm: env TMPDIR=tmp
    .: helm: env XDG_CACHE_HOME=home/cache
    .: helm: env XDG_CONFIG_HOME=home/config
    .: helm: env XDG_DATA_HOME=home/data
    .: helm: env http_proxy=http://127.0.0.1:1
    .: helm: env https_proxy=http://127.0.0.1:1
    ");
}

#[tokio::test]
async fn tool_that_hangs_is_killed_with_its_children() {
    let mut world = script("/bin/sleep 1000 & echo $! > \"$TMPDIR/../../../pid\"; wait");
    world.tools.timeout = Duration::from_millis(500);
    insta::assert_snapshot!(world.problems().await, @r"
    Timeout
    .: helm was ended after 0.5 seconds: make the app smaller or the limit larger
    ");
    let pid = fs::read_to_string(world.directory.path().join("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "the child of the tool lives on");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn tool_that_prints_without_end_is_stopped() {
    let mut world = script("while :; do echo '---'; echo 'a: 1'; done");
    world.tools.bounds.output_bytes = 100_000;
    world.tools.bounds.objects = usize::MAX;
    insta::assert_snapshot!(world.problems().await.lines().next().unwrap(), @"TooLarge");
    let mut world = script("while :; do echo '# the same document for ever'; done");
    world.tools.bounds.file_bytes = 100_000;
    insta::assert_snapshot!(world.problems().await, @r"
    TooLarge
    .: a document renders to more than 100000 bytes: split it
    ");
}

#[tokio::test]
async fn tool_that_fills_the_disk_with_many_files_is_stopped() {
    let mut world = script("i=0; while :; do i=$((i+1)); printf '%4000s' x > \"$TMPDIR/$i\" || exit; done");
    world.tools.bounds.scratch_bytes = 1 << 20;
    insta::assert_snapshot!(world.problems().await, @r"
    TooLarge
    .: helm wrote more than 1048576 bytes to disk
    ");
}

#[tokio::test]
async fn tool_that_cannot_start_or_dies_is_told_of() {
    let mut world = script("kill -9 $$");
    insta::assert_snapshot!(world.problems().await, @r"
    HelmFailed
    .: helm was ended by signal 9: it may use 1024 MiB of memory and 60 seconds of processor time
    ");
    world.tools.helm = "/nowhere/helm".into();
    insta::assert_snapshot!(world.problems().await, @r"
    Internal
    failed to start helm (/nowhere/helm): No such file or directory (os error 2)
    ");
}

#[tokio::test]
async fn real_helm_works_within_the_default_limits_and_says_when_they_are_too_tight() {
    let mut world = chart();
    assert_eq!(world.render().await.rows.len(), 6);
    world.tools.limits.memory_bytes = 60 << 20;
    insta::assert_snapshot!(world.problems().await, @r"
    HelmFailed
    charts/shopfront: helm needs more memory than the 60 MiB that it may use
    ");
    world.tools.helm = "/nowhere/helm".into();
    insta::assert_snapshot!(world.problems().await, @r#"
    Internal
    failed to run helm: failed to start "/nowhere/helm": No such file or directory (os error 2)
    "#);
}
