use std::collections::BTreeMap;

use crate::policy::{Mode, Policy};

use super::{
    AppName, AppSource, Environment, EnvironmentErrors, Fact, Facts, Renderer, RendererKind, RepoPath,
    Setting, detect_renderer, patterns, single_app,
};

const HEAD: &str = "apiVersion: skiff.dev/v1alpha1\nkind: Environment\n";

fn folder() -> RepoPath {
    RepoPath::parse("environments/production").unwrap()
}

/// Reads a file on a cluster without facts, in a repository without folders.
fn parse(text: &str, folder: &RepoPath, policy: &Policy) -> Result<Environment, EnvironmentErrors> {
    let (facts, folders) = (Facts::default(), BTreeMap::new());
    super::parse(text, &Setting { folder, policy, facts: &facts, folders: &folders })
}

fn read(apps: &str) -> Environment {
    parse(&format!("{HEAD}{apps}"), &folder(), &Policy::default()).unwrap()
}

fn errors(apps: &str) -> String {
    parse(&format!("{HEAD}{apps}"), &folder(), &Policy::default()).unwrap_err().to_string()
}

#[test]
fn an_app_needs_only_a_name() {
    let environment = read(
        "apps:\n  - name: web\n  - {name: db, path: ../../shared/db, namespace: data, createNamespace: true}\n",
    );
    insta::assert_debug_snapshot!(environment.apps, @r#"
    [
        AppSpec {
            name: AppName(
                "web",
            ),
            source: Environment,
            path: RepoPath(
                "environments/production/web",
            ),
            namespace: None,
            create_namespace: false,
            namespace_metadata: NamespaceMetadata {
                labels: {},
                annotations: {},
            },
            renderer: Auto,
            substitute: false,
            health_checks: [],
            ignore_differences: [],
            depends_on: [],
            policy: Policy {
                mode: Auto,
                self_heal: true,
                adopt: IfUnowned,
                on_invalid: Block,
                timeout: 300s,
                fail_on_shared: false,
                prune: Prune {
                    enabled: true,
                    when: Healthy,
                    max_share: 50,
                    sensitive_kinds: false,
                    propagation: Background,
                },
                windows: [],
            },
            place: "environments/production/skiff.yaml:4",
        },
        AppSpec {
            name: AppName(
                "db",
            ),
            source: Environment,
            path: RepoPath(
                "shared/db",
            ),
            namespace: Some(
                Namespace(
                    "data",
                ),
            ),
            create_namespace: true,
            namespace_metadata: NamespaceMetadata {
                labels: {},
                annotations: {},
            },
            renderer: Auto,
            substitute: false,
            health_checks: [],
            ignore_differences: [],
            depends_on: [],
            policy: Policy {
                mode: Auto,
                self_heal: true,
                adopt: IfUnowned,
                on_invalid: Block,
                timeout: 300s,
                fail_on_shared: false,
                prune: Prune {
                    enabled: true,
                    when: Healthy,
                    max_share: 50,
                    sensitive_kinds: false,
                    propagation: Background,
                },
                windows: [],
            },
            place: "environments/production/skiff.yaml:5",
        },
    ]
    "#);
}

#[test]
fn helm_options_are_read_and_value_files_start_at_the_app() {
    let environment = read(
        "apps:
  - name: web
    path: ./charts/web/
    helm:
      releaseName: shop-web
      valueFiles: [values-production.yaml, ../common.yaml]
      values: {replicas: 3, nothing: null, mode: 0644}
      parameters:
        - {name: image.tag, value: \"1.10\", forceString: true}
        - {name: debug, value: \"on\"}
      skipCrds: true
",
    );
    insta::assert_debug_snapshot!(environment.apps[0].renderer, @r#"
    Helm(
        HelmOptions {
            release_name: Some(
                "shop-web",
            ),
            value_files: [
                RepoPath(
                    "environments/production/charts/web/values-production.yaml",
                ),
                RepoPath(
                    "environments/production/charts/common.yaml",
                ),
            ],
            values: {
                "mode": Number(420),
                "nothing": Null,
                "replicas": Number(3),
            },
            parameters: [
                Parameter {
                    name: "image.tag",
                    value: "1.10",
                    force_string: true,
                },
                Parameter {
                    name: "debug",
                    value: "on",
                    force_string: false,
                },
            ],
            skip_crds: true,
        },
    )
    "#);
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    insta::assert_snapshot!(errors(
        "apps:
  - name: Web_Shop
    path: /etc
  - nmae: db
  - name: a
    path: ../../../other
    createNamespace: true
  - name: b
    renderer: kustomise
    namespace: 5
    extra: true
  - name: b
    renderer: plain
    helm:
      valueFiles: [x.yaml, /etc/passwd]
      parameters:
        - {name: tag, value: 1.10}
  - name: c
    helm:
      valueFiles: [x.yaml, ../../../../passwd]
      release_name: c
    kustomize:
"
    ), @r#"
    environments/production/skiff.yaml:4: name: "Web_Shop" is not a DNS label: at most 63 lower-case letters, digits and "-", with a letter or digit at both ends
    environments/production/skiff.yaml:5: path "/etc" is absolute: it must be relative
    environments/production/skiff.yaml:6: missing key "name"
    environments/production/skiff.yaml:6: unknown key "nmae": did you mean "name"?
    environments/production/skiff.yaml:8: path "../../../other" leaves the repository
    environments/production/skiff.yaml:9: createNamespace needs a namespace
    environments/production/skiff.yaml:11: renderer: expected one of auto, plain, kustomize, helm: did you mean "kustomize"?
    environments/production/skiff.yaml:12: namespace: expected text (put it in quotes), found a number
    environments/production/skiff.yaml:13: unknown key "extra": expected one of name, path, each, except, clusters, source, chart, namespace, createNamespace, managedNamespaceMetadata, renderer, helm, kustomize, substitute, healthCheckExprs, ignoreDifferences, dependsOn, sync
    environments/production/skiff.yaml:14: app "b" is declared twice (first at line 10)
    environments/production/skiff.yaml:16: helm options need renderer: helm
    environments/production/skiff.yaml:19: value: expected text (put it in quotes), found a number
    environments/production/skiff.yaml:22: path "../../../../passwd" leaves the repository
    environments/production/skiff.yaml:23: unknown key "release_name": did you mean "releaseName"?
    "#);
}

#[test]
fn another_kind_of_file_is_refused() {
    let text = "apiVersion: v1\nkind: List\nitems: []\n";
    insta::assert_snapshot!(parse(text, &folder(), &Policy::default()).unwrap_err(), @r#"
    environments/production/skiff.yaml:1: apiVersion must be "skiff.dev/v1alpha1", found "v1"
    environments/production/skiff.yaml:1: missing key "apps": an environment without apps says apps: []
    environments/production/skiff.yaml:2: kind must be "Environment", found "List"
    environments/production/skiff.yaml:3: unknown key "items": expected one of apiVersion, kind, apps
    "#);
    insta::assert_snapshot!(parse("- a\n", &folder(), &Policy::default()).unwrap_err(), @"environments/production/skiff.yaml:1: expected a mapping, found a list");
    insta::assert_snapshot!(parse("", &folder(), &Policy::default()).unwrap_err(), @"environments/production/skiff.yaml:1: the file holds no document");
    insta::assert_snapshot!(parse("a: [", &RepoPath::default(), &Policy::default()).unwrap_err(), @"skiff.yaml:1:4: unclosed bracket '['");
}

#[test]
fn an_app_may_be_stricter_than_its_environment_but_not_wider() {
    let stricter = "apps:\n- name: a\n  sync: {mode: manual, prune: false, selfHeal: false}\n";
    let policy = &read(stricter).apps[0].policy;
    assert_eq!((policy.mode, policy.prune.enabled, policy.self_heal), (Mode::Manual, false, false));

    let mut base = Policy { mode: Mode::Manual, self_heal: false, ..Policy::default() };
    base.prune.enabled = false;
    let wider =
        format!("{HEAD}apps:\n- name: a\n  sync:\n    mode: auto\n    prune: true\n    selfHeal: true\n");
    insta::assert_snapshot!(parse(&wider, &folder(), &base).unwrap_err(), @r#"
    environments/production/skiff.yaml:6: mode: auto is wider than the environment allows: only the agent's configuration can allow it
    environments/production/skiff.yaml:7: prune: true is wider than the environment allows: only the agent's configuration can allow it
    environments/production/skiff.yaml:8: selfHeal: true is wider than the environment allows: only the agent's configuration can allow it
    "#);
}

#[test]
fn the_first_mistake_gives_the_reason() {
    let reason = |apps: &str| on_cluster(apps).unwrap_err().reason().word();
    assert_eq!(reason("apps:\n- nmae: a\n"), "InvalidAppList");
    assert_eq!(reason("apps:\n- {name: a, namespace: \"${vars.x}\"}\n- nmae: a\n"), "UnknownVariable");
    assert_eq!(reason("apps:\n- name: a\n- name: a\n"), "AppDeclaredTwice");
    assert_eq!(reason("apps:\n- {name: a, dependsOn: [b]}\n"), "UnknownApp");
    assert_eq!(reason("apps:\n- {name: a, dependsOn: [a]}\n"), "DependencyCircle");
    assert_eq!(on_cluster("apps: [\n").unwrap_err().reason().word(), "InvalidAppList");
}

#[test]
fn an_environment_may_have_no_apps() {
    assert_eq!(read("apps: []\n").apps, []);
    assert_eq!(
        errors("apps:\n"),
        "environments/production/skiff.yaml:1: missing key \"apps\": an environment without apps says apps: []"
    );
}

#[test]
fn a_folder_is_a_chart_then_a_kustomization_then_plain() {
    assert_eq!(detect_renderer(["kustomization.yaml", "Chart.yaml", "values.yaml"]), RendererKind::Helm);
    for name in ["kustomization.yaml", "kustomization.yml", "Kustomization"] {
        assert_eq!(detect_renderer(["a.yaml", name]), RendererKind::Kustomize);
    }
    assert_eq!(detect_renderer(["chart.yaml", "deployment.yaml"]), RendererKind::Plain);
    assert_eq!(Renderer::Auto.settle(["x.json"]), Renderer::Plain);
    assert_eq!(Renderer::Plain.settle(["Chart.yaml"]), Renderer::Plain);
}

#[test]
fn a_folder_without_a_list_is_one_app_named_after_the_environment() {
    let environment = single_app(AppName::parse("staging").unwrap(), folder(), &Policy::default());
    let app = &environment.apps[0];
    assert_eq!((app.name.as_str(), app.path.as_str()), ("staging", "environments/production"));
    assert_eq!(app.renderer, Renderer::Auto);
}

#[test]
fn paths_stay_within_the_repository() {
    let joined = |path| folder().join(path).map(|path| path.to_string()).map_err(|error| error.to_string());
    assert_eq!(joined("a//./b/"), Ok("environments/production/a/b".to_owned()));
    assert_eq!(joined("../staging"), Ok("environments/staging".to_owned()));
    assert_eq!(joined("../.."), Ok(".".to_owned()));
    assert_eq!(joined("../../.."), Err("path \"../../..\" leaves the repository".to_owned()));
    assert_eq!(
        joined("../../../environments"),
        Err("path \"../../../environments\" leaves the repository".to_owned())
    );
    assert_eq!(joined("/a"), Err("path \"/a\" is absolute: it must be relative".to_owned()));
}

#[test]
fn names_are_dns_labels() {
    for good in ["a", "web-1", "0", &"a".repeat(63)] {
        assert!(AppName::parse(good).is_ok(), "{good}");
    }
    for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"a".repeat(64)] {
        assert!(AppName::parse(bad).is_err(), "{bad}");
    }
}

/// A cluster of the region `eu` in a repository with some folders.
fn on_cluster(apps: &str) -> Result<Environment, EnvironmentErrors> {
    let text = format!("{HEAD}{apps}");
    let facts = facts();
    let present = ["apps/web", "apps/db", "apps/Big_App", "apps/cache", "tools/x"];
    let listed = |pattern: &super::Pattern| {
        let apart = present.iter().filter_map(|path| path.rsplit_once('/'));
        let below = apart.filter(|(base, _)| *base == pattern.base().as_str());
        below.map(|(_, name)| name.to_owned()).collect()
    };
    let wanted = patterns(&text, &folder(), &facts);
    let folders = wanted.into_iter().map(|pattern| (pattern.clone(), listed(&pattern))).collect();
    let policy = Policy::default();
    super::parse(&text, &Setting { folder: &folder(), policy: &policy, facts: &facts, folders: &folders })
}

fn facts() -> Facts {
    let labels = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
    let vars = BTreeMap::from([
        ("domain".to_owned(), Fact::Text("eu-1.example.org".to_owned())),
        ("replicas".to_owned(), Fact::Number(3.into())),
    ]);
    Facts { cluster: "eu-1".to_owned(), labels, vars }
}

/// Returns what is listed: an app a line, then warnings.
fn listed(apps: &str) -> String {
    let environment = on_cluster(apps).unwrap();
    let namespace = |app: &super::AppSpec| app.namespace.as_ref().map_or("-".to_owned(), ToString::to_string);
    let lines = environment.apps.iter().map(|app| format!("{} {} {}", app.name, app.path, namespace(app)));
    let elsewhere = environment.elsewhere.iter().map(|name| format!("elsewhere: {name}"));
    let warnings = environment.warnings.iter().map(|warning| format!("warning: {warning}"));
    lines.chain(elsewhere).chain(warnings).collect::<Vec<_>>().join("\n")
}

fn refused(apps: &str) -> String {
    on_cluster(apps).unwrap_err().to_string()
}

#[test]
fn each_folder_is_an_app_named_after_it() {
    insta::assert_snapshot!(listed(
        "apps:
- each: ../../apps/*
  except: [Big_App, gone]
  namespace: shop-${app.name}
- name: base
  path: ../../base
- each: ../../nowhere/*
"
    ), @r#"
    cache apps/cache shop-cache
    db apps/db shop-db
    web apps/web shop-web
    base base -
    warning: environments/production/skiff.yaml:5: the pattern matches no folder "gone"
    warning: environments/production/skiff.yaml:9: no folder matches "../../nowhere/*": the entry lists no app
    "#);
}

#[test]
fn mistakes_of_a_pattern_are_reported_once_and_not_per_folder() {
    insta::assert_snapshot!(refused(
        "apps:
- name: web
- each: ../../apps/*
  path: x
  namespace: 5
  helm: {valueFiles: [/etc/passwd]}
- each: ../../apps
  nmae: x
- each: ${vars.nothing}/*
- name: a
  except: [b]
- each: [a]
"
    ), @r#"
    environments/production/skiff.yaml:5: app "web" is declared twice (first at line 4): list it under except
    environments/production/skiff.yaml:5: folder apps/Big_App cannot name an app: "Big_App" is not a DNS label: at most 63 lower-case letters, digits and "-", with a letter or digit at both ends; rename it, or list it under except
    environments/production/skiff.yaml:6: path cannot stand beside each: the folders name the apps
    environments/production/skiff.yaml:7: namespace: expected text (put it in quotes), found a number
    environments/production/skiff.yaml:8: path "/etc/passwd" is absolute: it must be relative
    environments/production/skiff.yaml:9: pattern "../../apps" has no "*": write path for a single folder
    environments/production/skiff.yaml:10: unknown key "nmae": did you mean "name"?
    environments/production/skiff.yaml:11: unknown variable "vars.nothing": known here: cluster.name, labels.region, vars.domain, vars.replicas; write "$${vars.nothing}" for the text itself
    environments/production/skiff.yaml:13: except needs each
    environments/production/skiff.yaml:14: each: expected text, found a list
    "#);
}

#[test]
fn an_app_of_other_clusters_is_not_listed() {
    insta::assert_snapshot!(listed(
        "apps:
- name: web
  clusters: {matchLabels: {region: eu}}
  namespace: here
- name: web
  clusters: {matchLabels: {region: us}}
  namespace: ${vars.only-there}
- name: edge
  clusters:
    matchExpressions:
    - {key: tier, operator: Exists}
- name: named
  clusters: {matchLabels: {skiff.dev/cluster: eu-1}}
"
    ), @r"
    web environments/production/web here
    named environments/production/named -
    elsewhere: edge
    ");
}

#[test]
fn a_file_with_a_mistake_is_refused_by_every_cluster_alike() {
    insta::assert_snapshot!(refused(
        "apps:
- name: web
  clusters: {matchLabels: {region: us}}
  namespcae: shop
- name: db
  clusters:
    matchExpressions:
    - {key: region, operator: in, values: [eu]}
- name: cache
  clusters:
    matchExpressions: [{key: region, operator: In}]
"
    ), @r#"
    environments/production/skiff.yaml:6: unknown key "namespcae": did you mean "namespace"?
    environments/production/skiff.yaml:10: operator: expected one of In, NotIn, Exists, DoesNotExist: did you mean "In"?
    environments/production/skiff.yaml:13: operator In needs values
    "#);
}

#[test]
fn facts_of_the_cluster_complete_every_field() {
    let environment = on_cluster(
        "apps:
- name: web
  path: ../../${labels.region}/web
  namespace: ${cluster.name}-shop
  helm:
    releaseName: ${app.name}-${cluster.name}
    valueFiles: [\"values-${labels.region}.yaml\"]
    values: {replicas: \"${vars.replicas}\", host: \"web.${vars.domain}\", shell: \"$${HOME}\"}
    parameters:
    - {name: replicas, value: \"${vars.replicas}\"}
",
    )
    .unwrap();
    let app = &environment.apps[0];
    let Renderer::Helm(helm) = &app.renderer else { panic!("it has options for helm") };
    assert_eq!((app.path.as_str(), app.namespace.as_ref().unwrap().as_str()), ("eu/web", "eu-1-shop"));
    assert_eq!(helm.release_name.as_deref(), Some("web-eu-1"));
    assert_eq!(helm.value_files[0].as_str(), "eu/web/values-eu.yaml");
    assert_eq!(
        serde_json::Value::Object(helm.values.clone()),
        serde_json::json!({"replicas": 3, "host": "web.eu-1.example.org", "shell": "${HOME}"})
    );
    assert_eq!(helm.parameters[0].value, "3");
}

#[test]
fn an_unknown_variable_is_an_error_at_its_line() {
    insta::assert_snapshot!(refused(
        "apps:
- name: web
  namespace: ${vars.domian}
  helm:
    values:
      deep: [{host: \"${label.region}\"}, \"${vars.domain\"]
- name: a-${vars.gone}
"
    ), @r#"
    environments/production/skiff.yaml:5: unknown variable "vars.domian": did you mean "vars.domain"? known here: app.name, cluster.name, labels.region, vars.domain, vars.replicas; write "$${vars.domian}" for the text itself
    environments/production/skiff.yaml:8: "${" has no "}": write "$${" for the text itself
    environments/production/skiff.yaml:8: unknown variable "label.region": did you mean "labels.region"? known here: app.name, cluster.name, labels.region, vars.domain, vars.replicas; write "$${label.region}" for the text itself
    environments/production/skiff.yaml:9: unknown variable "vars.gone": known here: cluster.name, labels.region, vars.domain, vars.replicas; write "$${vars.gone}" for the text itself
    "#);
}

#[test]
fn apps_may_depend_on_apps_of_the_file() {
    let environment = on_cluster(
        "apps:
- {name: web, dependsOn: [db, cache, db, far]}
- each: ../../apps/*
  except: [web, Big_App]
- {name: far, clusters: {matchLabels: {region: us}}}
",
    )
    .unwrap();
    let on: Vec<&str> = environment.apps[0].depends_on.iter().map(AppName::as_str).collect();
    assert_eq!(on, ["cache", "db"], "an app of other clusters is not waited for");
}

#[test]
fn dependencies_that_can_never_be_met_are_refused() {
    insta::assert_snapshot!(refused(
        "apps:
- name: web
  dependsOn: [dbb]
- name: db
  dependsOn:
  - cache
- {name: cache, dependsOn: [proxy]}
- {name: proxy, dependsOn: [db]}
- {name: alone, dependsOn: [alone]}
"
    ), @r#"
    environments/production/skiff.yaml:5: there is no app "dbb" in this file: did you mean "db"?
    environments/production/skiff.yaml:9: apps depend on each other in a circle: cache -> proxy -> db -> cache
    environments/production/skiff.yaml:11: app "alone" depends on itself
    "#);
}

#[test]
fn a_release_name_that_helm_would_read_as_an_option_is_refused() {
    let list = |name: &str| format!("apps:\n- name: web\n  helm: {{releaseName: {name:?}}}\n");
    read(&list("web-1.x"));
    for name in ["--set-file=x=/etc/passwd", "-x", "Web", "", &"w".repeat(54)] {
        let errors = errors(&list(name));
        assert!(errors.contains("is no release name"), "{name}: {errors}");
    }
}

#[test]
fn a_variable_in_a_selector_is_a_mistake_and_never_a_mismatch() {
    let errors = errors("apps:\n- name: web\n  clusters: {matchLabels: {region: \"${vars.region}\"}}\n");
    assert!(errors.contains("variables are not completed in clusters"), "{errors}");
}

#[test]
fn an_app_may_be_a_chart_of_a_chart_repository() {
    let apps = read(
        "apps:
  - name: redis
    chart: {repository: https://charts.example/stable/, name: redis, version: ^18.1}
    helm: {valueFiles: [redis.yaml, ../base/redis.yaml], values: {replicas: 3}}
  - name: cache
    chart: {repository: 'oci://registry.example/charts', name: redis, version: 18.1.2}
",
    )
    .apps;
    let told = |app: &super::AppSpec| match &app.source {
        AppSource::Chart(chart) => format!("{} {} of {}", chart.name, chart.version, chart.repository),
        other => format!("{other:?}"),
    };
    assert_eq!(told(&apps[0]), "redis ^18.1 of https://charts.example/stable");
    assert_eq!(told(&apps[1]), "redis 18.1.2 of oci://registry.example/charts");
    let Renderer::Helm(options) = &apps[0].renderer else { unreachable!("it is a chart") };
    let files: Vec<&str> = options.value_files.iter().map(RepoPath::as_str).collect();
    assert_eq!(files, ["environments/production/redis.yaml", "environments/base/redis.yaml"]);
    assert!(matches!(apps[1].renderer, Renderer::Helm(_)));
}

#[test]
fn an_app_may_have_a_git_repository_of_its_own() {
    let apps = read(
        "apps:
  - name: blog
    source: {url: 'git@git.example:blog.git', ref: {semver: ^1}, path: deploy/chart}
    helm: {valueFiles: [../values.yaml]}
  - name: web
    source: {url: https://git.example/web, ref: {branch: main}}
",
    )
    .apps;
    assert_eq!((apps[0].path.as_str(), apps[1].path.as_str()), ("deploy/chart", ""));
    assert!(matches!(&apps[1].source, AppSource::Git(git) if git.url == "https://git.example/web"));
    let Renderer::Helm(options) = &apps[0].renderer else { unreachable!("it has options for helm") };
    assert_eq!(options.value_files[0].as_str(), "deploy/values.yaml");
}

#[test]
fn what_an_own_source_cannot_be_is_told() {
    insta::assert_snapshot!(errors("apps:
  - name: a
    chart: {repository: charts.example, name: ../a, version: newest}
  - name: b
    path: b
    chart: {repository: https://ada:secret@charts.example, name: b, version: '1'}
    renderer: kustomize
  - name: c
    source: {url: git.example/c, ref: {branch: main, tag: v1}, path: ../c}
  - name: d
    source: {url: https://git.example/d, ref: {branch: 'a b'}}
    chart: {repository: https://charts.example, name: d, version: 1.0.0}
  - name: e
    chart: {repository: https://charts.example, name: e, version: 1.0.0}
    kustomize: {}
  - name: f
    path: f
    source: {url: https://git.example/f, ref: {}}
"), @r#"
    environments/production/skiff.yaml:5: "../a" is no name of a chart: letters, digits, "-", "_" and "."
    environments/production/skiff.yaml:5: "newest" is no range of versions: nothing can be made of "newest"; write it as in ">=1.2 <2", "~1.4" or "1.x || 2.1 - 2.4"
    environments/production/skiff.yaml:5: the URL must begin with https://, http:// or oci://
    environments/production/skiff.yaml:7: path cannot stand beside chart: a chart is taken as a whole
    environments/production/skiff.yaml:8: the URL must not hold a user name or password: they stand in the agent's file
    environments/production/skiff.yaml:11: path "../c" leaves the repository
    environments/production/skiff.yaml:11: ref needs exactly one of branch, tag, semver and commit
    environments/production/skiff.yaml:11: the URL must begin with https://, http:// or ssh://, or be written as git@host:path
    environments/production/skiff.yaml:12: an app has a source or a chart, not both
    environments/production/skiff.yaml:15: a chart is rendered by helm: leave out renderer and kustomize
    environments/production/skiff.yaml:19: path cannot stand beside source: write it as source.path
    environments/production/skiff.yaml:20: ref needs exactly one of branch, tag, semver and commit
    "#);
}

#[test]
fn ignored_differences_are_read_in_argos_form() {
    let environment = read(
        "apps:\n- name: web\n  ignoreDifferences:\n  - group: apps\n    kind: Deployment\n    name: web-*\n    \
         jsonPointers: [/spec/replicas]\n    jqPathExpressions: ['.metadata.annotations[\"a/b\"]']\n  \
         - {kind: '*', namespace: shop, managedFieldsManagers: [tuner]}\n",
    );
    let rules = &environment.apps[0].ignore_differences;
    let id = |group: &str, kind: &str, namespace: &str, name: &str| {
        crate::object::Interner::default().object(group, kind, Some(namespace), name)
    };
    assert!(rules[0].matches(&id("apps", "Deployment", "any", "web-1")));
    assert!(!rules[0].matches(&id("apps", "Deployment", "any", "db")));
    assert!(!rules[0].matches(&id("", "Deployment", "any", "web-1")));
    assert!(
        rules[1].matches(&id("", "Secret", "shop", "a")) && !rules[1].matches(&id("", "Secret", "db", "a"))
    );
    let shown: Vec<String> = rules.iter().map(|rule| rule.yields.to_string()).collect();
    assert_eq!(shown, ["/metadata/annotations/a~1b, /spec/replicas", "what \"tuner\" owns"]);
}

#[test]
fn ignored_differences_that_name_no_field_are_refused_with_their_line() {
    let text = "apps:\n- name: web\n  ignoreDifferences:\n  - kind: ConfigMap\n    jsonPointers:\n    - /data/a\n    \
         - /metadata/name\n  - kind: Secret\n  - kind: Pod\n    jqPathExpressions: ['.spec.containers[].image']\n";
    insta::assert_snapshot!(errors(text), @r#"
    environments/production/skiff.yaml:9: "/metadata/name" cannot be left to others: Skiff finds the object by it
    environments/production/skiff.yaml:10: it names no field: write jsonPointers, jqPathExpressions or managedFieldsManagers
    environments/production/skiff.yaml:12: ".spec.containers[].image" is no plain path: of jq only .spec.replicas, .metadata.annotations["a/b"] and .items[0] are read; write managedFieldsManagers, or a JSON pointer
    "#);
}

#[test]
fn options_of_a_sync_and_of_its_namespace_are_read() {
    let environment = read(
        "apps:\n- name: web\n  namespace: shop\n  createNamespace: true\n  managedNamespaceMetadata:\n    \
         labels: {team: shop}\n  sync: {prunePropagation: foreground, failOnSharedResource: true}\n",
    );
    let app = &environment.apps[0];
    assert_eq!(app.namespace_metadata.labels["team"], "shop");
    assert_eq!(app.policy.prune.propagation, crate::desired::Propagation::Foreground);
    assert!(app.policy.fail_on_shared);
    insta::assert_snapshot!(
        errors("apps:\n- name: web\n  managedNamespaceMetadata: {labels: {a: b}}\n"),
        @"environments/production/skiff.yaml:5: managedNamespaceMetadata needs createNamespace"
    );
}
