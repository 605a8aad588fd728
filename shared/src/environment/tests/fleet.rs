//! One app list for many clusters: folders, selectors, facts, and apps that depend on apps.

use std::collections::BTreeMap;

use super::{HEAD, errors, folder};
use crate::environment::{
    AppName, AppSpec, Environment, EnvironmentErrors, Fact, Facts, Pattern, Renderer, Setting, parse,
    patterns,
};
use crate::policy::Policy;

/// A cluster of the region `eu` in a repository with some folders.
fn on_cluster(apps: &str) -> Result<Environment, EnvironmentErrors> {
    let text = format!("{HEAD}{apps}");
    let facts = facts();
    let present = ["apps/web", "apps/db", "apps/Big_App", "apps/cache", "tools/x"];
    let listed = |pattern: &Pattern| {
        let apart = present.iter().filter_map(|path| path.rsplit_once('/'));
        let below = apart.filter(|(base, _)| *base == pattern.base().as_str());
        below.map(|(_, name)| name.to_owned()).collect()
    };
    let wanted = patterns(&text, &folder(), &facts);
    let folders = wanted.into_iter().map(|pattern| (pattern.clone(), listed(&pattern))).collect();
    let policy = Policy::default();
    parse(&text, &Setting { folder: &folder(), policy: &policy, facts: &facts, folders: &folders })
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
    let namespace = |app: &AppSpec| app.namespace.as_ref().map_or("-".to_owned(), ToString::to_string);
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
fn a_variable_in_a_selector_is_a_mistake_and_never_a_mismatch() {
    let errors = errors("apps:\n- name: web\n  clusters: {matchLabels: {region: \"${vars.region}\"}}\n");
    assert!(errors.contains("variables are not completed in clusters"), "{errors}");
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
