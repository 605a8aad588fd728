//! `skiff validate` and `skiff render` far from any cluster: what each cluster of a fleet would get.

#![expect(
    clippy::unwrap_used,
    reason = "the exemption of tests does not reach helper functions of integration tests"
)]

#[path = "validate/sentiment.rs"]
mod sentiment;

use std::fs;
use std::path::Path;
use std::process::Command;

use skiff_harness::chart_repository::ChartRepository;
use skiff_harness::git_server::{Access, GitServer, Repository};

/// A work tree.
struct Tree(tempfile::TempDir);

/// What a call said, and how it ended.
struct Said {
    out: String,
    err: String,
    code: i32,
}

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        // The root of a repository is where its `.git` is.
        fs::create_dir(tree.0.path().join(".git")).unwrap();
        for (name, content) in files {
            tree.write(name, content);
        }
        tree
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn skiff(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skiff"));
        command.current_dir(self.0.path()).args(arguments);
        said(&mut command)
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { out: text(output.stdout), err: text(output.stderr), code: output.status.code().unwrap() }
}

impl Said {
    /// Returns everything as one text.
    fn all(&self) -> String {
        format!("{}{}exit code {}", self.out, self.err, self.code)
    }
}

fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: \"{value}\"}}\n")
}

/// A fleet of two clusters that read the same files.
fn fleet() -> Tree {
    let tree = Tree::new(&[
        (
            "fleet/skiff.yaml",
            "apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- each: ../apps/*
  namespace: ${app.name}-${labels.region}
  substitute: true
- name: edge
  path: ../edge
  clusters: {matchLabels: {region: us}}
  dependsOn: [web]
- each: ../none/*
",
        ),
        (
            "edge/widget.yaml",
            "apiVersion: lab.example/v1\nkind: Widget\nmetadata: {name: a, namespace: edge}\n",
        ),
        ("eu.yaml", "name: eu-1\nlabels: {region: eu}\nvars: {domain: eu.example}\n"),
        ("us.yaml", "name: us-1\nlabels: {region: us}\nvars: {domain: us.example}\n"),
    ]);
    tree.write("apps/web/map.yaml", &map("web", "web.${vars.domain}"));
    tree.write("apps/db/map.yaml", &map("db", "one"));
    tree
}

#[test]
fn each_cluster_of_a_fleet_gets_its_own() {
    let tree = fleet();
    insta::assert_snapshot!(tree.skiff(&["validate", "fleet", "--cluster", "eu.yaml", "--cluster", "us.yaml"]).all(), @r#"
    CLUSTER   APP    NAMESPACE   OBJECTS     PATH
    eu-1      db     db-eu       1           apps/db
    eu-1      web    web-eu      1           apps/web
    eu-1      edge   -           elsewhere   -
    us-1      db     db-us       1           apps/db
    us-1      web    web-us      1           apps/web
    us-1      edge   -           1           edge
    warning: cluster eu-1: fleet/skiff.yaml:11: no folder matches "../none/*": the entry lists no app
    warning: cluster us-1: fleet/skiff.yaml:11: no folder matches "../none/*": the entry lists no app
    warning: cluster us-1: app edge: Widget.lab.example is no kind of Kubernetes and no app here defines it: it is taken for namespaced
    exit code 0
    "#);
    let eu = tree.skiff(&["render", "fleet", "--cluster", "eu.yaml", "--app", "web"]);
    assert!(
        eu.code == 0 && eu.out.contains("web.eu.example") && eu.out.contains("namespace: web-eu"),
        "{}",
        eu.all()
    );
    let us = tree.skiff(&["render", "fleet", "--cluster", "us.yaml", "-o", "name"]);
    assert_eq!(us.out, "ConfigMap/db-us/db\nConfigMap/web-us/web\nWidget/edge/a\n");
}

#[test]
fn every_mistake_of_every_app_is_told_with_file_and_line() {
    let tree = fleet();
    tree.write("apps/web/map.yaml", &map("web", "web.${vars.domian}"));
    tree.write("apps/db/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: db}\ndata: {a: [}\n");
    insta::assert_snapshot!(tree.skiff(&["validate", "fleet", "--cluster", "eu.yaml"]).all(), @r#"
    CLUSTER   APP    NAMESPACE   OBJECTS           PATH
    eu-1      db     db-eu       InvalidYaml       apps/db
    eu-1      web    web-eu      UnknownVariable   apps/web
    eu-1      edge   -           elsewhere         -
    warning: cluster eu-1: fleet/skiff.yaml:11: no folder matches "../none/*": the entry lists no app
    error: cluster eu-1: app db: apps/db/map.yaml:4:11: mismatched bracket '[' closed by '}'
    error: cluster eu-1: app web: apps/web/map.yaml:1: ConfigMap/web: .data.value: unknown variable "vars.domian": did you mean "vars.domain"? known here: app.name, cluster.name, labels.region, vars.domain; write "$${vars.domian}" for the text itself
    exit code 1
    "#);
    let json = tree.skiff(&["validate", "fleet", "--cluster", "eu.yaml", "-o", "json"]);
    let verdicts: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &verdicts[0]["apps"][0]["reason"]), (1, &"InvalidYaml".into()));
    assert_eq!(verdicts[0]["apps"][1]["problems"][0]["place"], "apps/web/map.yaml:1");
    assert_eq!(verdicts[0]["elsewhere"], serde_json::json!(["edge"]));
}

#[test]
fn a_list_that_cannot_be_read_is_told_once_for_each_cluster() {
    let tree = fleet();
    tree.write("fleet/skiff.yaml", "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n- nmae: web\n");
    insta::assert_snapshot!(tree.skiff(&["validate", "fleet"]).all(), @r#"
    error: fleet/skiff.yaml:4: missing key "name"
    error: fleet/skiff.yaml:4: unknown key "nmae": did you mean "name"?
    exit code 1
    "#);
    let json = tree.skiff(&["validate", "fleet", "-o", "json"]);
    let verdicts: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(verdicts[0]["reason"], "InvalidAppList");
}

#[test]
fn an_expression_that_cannot_be_read_is_told_of_its_app_alone() {
    let tree = fleet();
    tree.write(
        "fleet/skiff.yaml",
        "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n- {name: web, path: ../apps/web}\n\
         - name: db\n  path: ../apps/db\n  healthCheckExprs:\n  \
         - {apiVersion: v1, kind: ConfigMap, current: metadata.name ==}\n",
    );
    let json = tree.skiff(&["validate", "fleet", "-o", "json"]);
    let verdicts: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let apps = &verdicts[0]["apps"];
    let of = |name: &str| apps.as_array().unwrap().iter().find(|app| app["name"] == name).unwrap();
    assert_eq!(of("db")["reason"], "InvalidAppList");
    assert_eq!(of("db")["problems"][0]["place"], "fleet/skiff.yaml:8");
    assert!(of("db")["problems"][0]["message"].as_str().unwrap().contains("is no CEL"));
    assert_ne!(of("web")["reason"], "InvalidAppList");
}

#[test]
fn wrong_words_and_wrong_descriptions_end_with_two() {
    let tree = fleet();
    tree.write("bad.yaml", "name: eu-1\nlables: {region: eu}\n");
    insta::assert_snapshot!(tree.skiff(&["validate", "fleet", "--cluster", "bad.yaml"]).all(), @r#"
    error: bad.yaml:2: unknown key "lables": did you mean "labels"?
    exit code 2
    "#);
    insta::assert_snapshot!(tree.skiff(&["render", "fleet", "--cluster", "gone.yaml"]).all(), @r"
    error: gone.yaml: the file cannot be read: No such file or directory (os error 2)
    exit code 2
    ");
    let nowhere = tree.skiff(&["validate", "nowhere"]);
    assert!(nowhere.code == 2 && nowhere.err.contains("failed to find nowhere"), "{}", nowhere.all());
}

#[test]
fn the_agents_own_file_brings_its_limits() {
    let tree = fleet();
    tree.write(
        "agent.yaml",
        "cluster: {name: eu-1, labels: {region: eu}, vars: {domain: eu.example}}
environments:
- name: production
  source: {url: https://git.example/fleet.git, ref: {branch: main}, path: fleet}
  limits: {namespaces: [web-*]}
",
    );
    let call = ["validate", "fleet", "--cluster", "agent.yaml", "--environment", "production"];
    insta::assert_snapshot!(tree.skiff(&call).all(), @r#"
    CLUSTER   APP    NAMESPACE   OBJECTS         PATH
    eu-1      db     db-eu       OutsideLimits   apps/db
    eu-1      web    web-eu      1               apps/web
    eu-1      edge   -           elsewhere       -
    warning: cluster eu-1: fleet/skiff.yaml:11: no folder matches "../none/*": the entry lists no app
    error: cluster eu-1: app db: apps/db/map.yaml:1: ConfigMap/db: namespace "db-eu" is outside of limits.namespaces of environment "production" in the agent's file
    exit code 1
    "#);
}

/// Copies a folder with everything below it.
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

#[test]
fn apps_from_elsewhere_are_left_out_by_name() {
    let agent = "cluster: {name: eu-1}
environments:
- name: development
  source: {url: https://git.example/fleet.git, ref: {branch: main}}
";
    let list = "apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- name: map
  namespace: shop
- name: redis
  namespace: shop
  chart: {repository: https://charts.example, name: redis, version: ^18.1}
";
    let tree = Tree::new(&[
        ("fleet/skiff.yaml", list),
        ("fleet/map/map.yaml", &map("a", "1")),
        ("open.yaml", agent),
        ("closed.yaml", &format!("{agent}  limits: {{repositories: ['https://git.example/*']}}\n")),
    ]);
    let validate =
        |file: &str| tree.skiff(&["validate", "fleet", "--environment", "development", "--cluster", file]);
    let open = validate("open.yaml");
    assert_eq!(open.code, 0, "{}", open.all());
    let why =
        "it is left out, as it comes from chart redis ^18.1 of https://charts.example: --fetch fetches it";
    assert!(open.err.contains(why), "{}", open.all());
    let closed = validate("closed.yaml");
    assert_eq!(closed.code, 1, "{}", closed.all());
    let refusal = "fleet/skiff.yaml:6: repository https://charts.example is outside of limits.repositories";
    assert!(closed.err.contains(refusal), "{}", closed.all());
    let rendered = tree.skiff(&["render", "fleet", "--offline", "--output", "name"]);
    assert_eq!(rendered.out, "ConfigMap/shop/a\n", "{}", rendered.all());
    assert!(rendered.err.contains(why), "{}", rendered.all());
}

#[test]
fn apps_from_elsewhere_are_fetched_where_that_is_asked_for() {
    let charts = ChartRepository::start().unwrap();
    let template =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {colour: {{ .Values.colour }}}\n";
    charts.publish("web", "1.0.0", &[("templates/map.yaml", template)]).unwrap();
    let server = GitServer::start().unwrap();
    let mut blog = Repository::create(&server, "blog").unwrap();
    blog.write("deploy/b.yaml", map("b", "1"))
        .write("chart/Chart.yaml", "apiVersion: v2\nname: wiki\nversion: 1.0.0\n")
        .write(
            "chart/templates/map.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: w}\ndata: {paper: {{ .Values.paper }}}\n",
        )
        .commit("A blog")
        .unwrap();
    server.demand(Access::Basic { username: "ada".into(), password: "s3cret".into() });
    let list = format!(
        "apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- name: web
  namespace: shop
  chart: {{repository: {}, name: web, version: ^1}}
  helm: {{valueFiles: [web.yaml]}}
- name: blog
  namespace: shop
  source: {{url: {blog}, ref: {{branch: main}}, path: deploy}}
- name: wiki
  namespace: shop
  source: {{url: {blog}, ref: {{branch: main}}, path: chart}}
  helm: {{environmentValueFiles: [wiki.yaml]}}
",
        charts.url(),
        blog = blog.url()
    );
    let tree = Tree::new(&[
        ("fleet/skiff.yaml", &list),
        ("fleet/web.yaml", "colour: green\n"),
        ("fleet/wiki.yaml", "paper: laid\n"),
    ]);
    let helper = "!f() { echo username=ada; echo password=s3cret; }; f";
    let call = |verb: &str, helper: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skiff"));
        command.current_dir(tree.0.path()).args([verb, "fleet", "--fetch", "--output", "json"]);
        let helm = skiff_harness::toolchain::ensure().unwrap().helm;
        command.env("SKIFF_HELM", helm).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_COUNT", "1");
        command.env("GIT_CONFIG_KEY_0", "credential.helper").env("GIT_CONFIG_VALUE_0", helper);
        if verb == "render" {
            command.arg("--offline");
        }
        said(&mut command)
    };
    let rendered = call("render", helper);
    assert_eq!(rendered.code, 0, "{}", rendered.all());
    assert!(rendered.out.contains("\"paper\": \"laid\""), "{}", rendered.all());
    assert!(rendered.out.contains("green") && rendered.out.contains("\"name\": \"b\""), "{}", rendered.all());
    let refused = call("validate", "");
    assert_eq!(refused.code, 1, "{}", refused.all());
    assert!(refused.out.contains("\"reason\": \"AccessDenied\""), "{}", refused.all());
    assert!(!refused.all().contains("s3cret"));
}
