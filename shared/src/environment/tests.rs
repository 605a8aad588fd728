mod elsewhere;
mod fleet;

use std::collections::BTreeMap;

use crate::policy::{Mode, Policy};

use super::{
    AppName, Environment, EnvironmentErrors, Facts, Renderer, RendererKind, RepoPath, Setting,
    detect_renderer, single_app,
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
                approval: ApprovalPolicy {
                    binds: Plan,
                    by_tag: false,
                },
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
                approval: ApprovalPolicy {
                    binds: Plan,
                    by_tag: false,
                },
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
            environment_value_files: [],
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
