//! Folders of plain manifests.

use std::os::unix::fs::symlink;

use serde_json::json;
use skiff::render::input_digest;
use skiff_shared::environment::{HelmOptions, KustomizeOptions, Parameter, Renderer, RepoPath};
use skiff_shared::object::GroupKind;

use super::{World, world};

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ";

#[tokio::test]
async fn files_are_read_in_order_and_what_is_no_manifest_is_left_alone() {
    let world = world(&[
        ("b.yml", &format!("{CONFIG}b\n---\n\n---\n{CONFIG}c\n")),
        ("a/deep.yaml", &format!("# a comment first\n{CONFIG}deep\n")),
        (
            "j.json",
            "{\n\t\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"j\"}\n}\n",
        ),
        (".hidden.yaml", "nonsense: ["),
        (".github/workflow.yaml", "on: push"),
        ("README.md", "# no manifest"),
        ("skiff.yaml", "kind: Environment"),
        ("sub/kustomization.yaml", "resources: []"),
        ("chart/Chart.yaml", "name: chart"),
        ("chart/templates/a.yaml", "{{ not yaml }}"),
    ]);
    insta::assert_snapshot!(world.rows().await, @r"
    ConfigMap/shop/b b.yml:1
    ConfigMap/shop/c b.yml:8
    ConfigMap/shop/deep a/deep.yaml:2
    ConfigMap/shop/j j.json:1
    warning: chart: the chart is left out: plain manifests are not rendered by Helm; make it an app of its own
    warning: sub/kustomization.yaml: the kustomization is not built: the app is rendered as plain manifests
    ");
}

#[tokio::test]
async fn body_is_what_is_sent() {
    let world = world(&[(
        "a.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  creationTimestamp: null\ndata:\n  mode: 'on'\nimmutable: off\n",
    )]);
    assert_eq!(
        world.body("ConfigMap/shop/a").await,
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "immutable": false, "data": { "mode": "on" },
            "metadata": {
                "name": "a", "namespace": "shop",
                "labels": { "skiff.dev/app": "web", "skiff.dev/instance": "lab" },
            },
        })
    );
}

#[tokio::test]
async fn every_problem_is_named_with_its_file_and_line() {
    let world = world(&[
        ("a.yaml", &format!("{CONFIG}a\n---\nkey: 1\nkey: 2\n---\n{CONFIG}b\n---\na: [\n")),
        ("values.yaml", "# values\nreplicas: 3\n"),
        ("c.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: 7\n"),
        ("d.yaml", "apiVersion: v1\nkind: List\nitems:\n- kind: Pod\n- 3\n"),
    ]);
    insta::assert_snapshot!(world.problems().await, @r#"
    InvalidYaml
    a.yaml:7:1: duplicate key "key" (first at line 6)
    a.yaml:14:4: unclosed bracket '['
    c.yaml:1: ConfigMap: metadata.name must be text (put it in quotes), not a number
    d.yaml:1: Pod has no apiVersion
    d.yaml:1: Pod has no metadata.name
    d.yaml:1: a number is not a Kubernetes object: move the file out of the app's path, or start its name with a dot to have it left alone
    values.yaml:2: a mapping without apiVersion and kind is not a Kubernetes object: move the file out of the app's path, or start its name with a dot to have it left alone
    "#);
}

#[tokio::test]
async fn links_that_leave_the_repository_are_refused_and_others_are_followed() {
    let world = world(&[("app/a.yaml", &format!("{CONFIG}a\n")), ("base/b.yaml", &format!("{CONFIG}b\n"))]);
    let app = world.root().join("app");
    symlink("../base/b.yaml", app.join("linked.yaml")).unwrap();
    symlink("../base", app.join("folder")).unwrap();
    let mut world = world;
    world.path = "app".to_owned();
    insta::assert_snapshot!(world.rows().await, @r"
    ConfigMap/shop/a app/a.yaml:1
    ConfigMap/shop/b app/linked.yaml:1
    warning: app/folder: symbolic links to folders are not followed: name the folder as an app's path
    ");

    symlink("/etc", app.join("etc")).unwrap();
    symlink("../../elsewhere.yaml", app.join("out.yaml")).unwrap();
    symlink("gone.yaml", app.join("void.yaml")).unwrap();
    insta::assert_snapshot!(world.problems().await, @r"
    PathRefused
    app/etc: this symbolic link leaves the repository: replace it by what it leads to
    app/out.yaml: this symbolic link leaves the repository: replace it by what it leads to
    app/void.yaml: this is no file that can be read: commit the file, or remove the link
    ");
}

#[tokio::test]
async fn path_that_is_no_folder_of_the_revision_is_named() {
    let mut world = world(&[("app/a.yaml", &format!("{CONFIG}a\n"))]);
    world.path = "aap".to_owned();
    insta::assert_snapshot!(world.problems().await, @r"
    PathMissing
    aap: there is no such folder in this revision: correct the app's path or commit the folder
    ");
    world.path = "app/a.yaml".to_owned();
    insta::assert_snapshot!(world.problems().await, @r"
    PathMissing
    app/a.yaml: the app's path is a file: name the folder that it lies in
    ");
    symlink("/etc", world.root().join("out")).unwrap();
    world.path = "out".to_owned();
    insta::assert_snapshot!(world.problems().await, @r"
    PathRefused
    out: the app's folder is a symbolic link that leaves the repository
    ");
}

#[tokio::test]
async fn input_that_is_too_large_is_refused() {
    let mut world = world(&[
        ("a.yaml", &format!("{CONFIG}a\n---\n{CONFIG}b\n---\n{CONFIG}c\n")),
        ("b.yaml", &format!("{CONFIG}big\ndata: {{ a: {} }}\n", "x".repeat(200))),
    ]);
    world.tools.bounds.file_bytes = 200;
    insta::assert_snapshot!(world.problems().await, @r"
    TooLarge
    b.yaml: the file is larger than 200 bytes: split it
    ");
    world.tools.bounds.objects = 2;
    insta::assert_snapshot!(world.problems().await, @r"
    TooLarge
    a.yaml:11: the app has more than 2 objects: split it into several apps
    ");
}

#[tokio::test]
async fn namespaces_follow_the_scope_of_the_kind_also_when_its_definition_comes_last() {
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: zones.example.com}\nspec: {group: example.com, names: {kind: Zone}, scope: Cluster}\n";
    let zone = "apiVersion: example.com/v1\nkind: Zone\nmetadata: {name: z, namespace: stray}\n";
    let mut world = world(&[
        ("1-zone.yaml", zone),
        ("2-role.yaml", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r}\n"),
        ("3-unknown.yaml", "apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: t}\n"),
        ("4-own.yaml", &format!("{CONFIG}own\n  namespace: other\n")),
        ("9-definition.yaml", definition),
    ]);
    insta::assert_snapshot!(world.rows().await, @r#"
    ConfigMap/other/own 4-own.yaml:1
    CustomResourceDefinition/zones.example.com 9-definition.yaml:1
    Zone/z 1-zone.yaml:1
    Thing/shop/t 3-unknown.yaml:1
    ClusterRole/r 2-role.yaml:1
    warning: 1-zone.yaml:1: Zone/stray/z has no namespace, as its kind has none: "stray" is left out
    "#);
    let rows = world.render().await.rows;
    let provides: Vec<_> = rows.iter().filter_map(|row| row.provides.as_deref()).collect();
    assert_eq!(provides, [&GroupKind::new("example.com", "Zone")]);

    world.namespace = None;
    world.write("5-homeless.yaml", &format!("{CONFIG}homeless\n"));
    insta::assert_snapshot!(world.problems().await, @r"
    InvalidObject
    5-homeless.yaml:1: ConfigMap/homeless is namespaced but names no namespace, and the app has none: set one of the two
    ");
    world.write("5-homeless.yaml", "");
    world.apis.incomplete.push("example.org".into());
    insta::assert_snapshot!(world.problems().await, @r"
    DiscoveryIncomplete
    3-unknown.yaml:1: Thing/t: whether Thing.example.org is namespaced is unknown: the API group cannot be discovered at the moment
    ");
}

#[tokio::test]
async fn tests_and_hooks_of_a_deletion_are_left_out_and_options_are_kept() {
    let with = |name: &str, annotation: &str| format!("{CONFIG}{name}\n  annotations:\n    {annotation}\n");
    let world = world(&[
        ("hook.yaml", &with("hook", "argocd.argoproj.io/hook: PreSync")),
        (
            "run.yaml",
            "apiVersion: batch/v1\nkind: Job\nmetadata:\n  generateName: run-\n  annotations: {helm.sh/hook: post-install}\n",
        ),
        ("skip.yaml", &with("skip", "argocd.argoproj.io/hook: Skip")),
        ("gone.yaml", &with("gone", "argocd.argoproj.io/hook: Presync")),
        ("test.yaml", &with("test", "helm.sh/hook: test")),
        ("wave.yaml", &with("wave", "argocd.argoproj.io/sync-wave: '-3'\n    skiff.dev/prune: never")),
    ]);
    insta::assert_snapshot!(world.rows().await, @r#"
    ConfigMap/shop/hook hook.yaml:1
    ConfigMap/shop/wave wave.yaml:1
    Job/shop/run-4bc0131c51 run.yaml:1
    warning: gone.yaml:1: ConfigMap/gone is a hook (Presync) that runs in no phase and is left out
    warning: wave.yaml:1: ConfigMap/wave: annotation skiff.dev/prune has the unknown value "never" and is ignored: write enabled, disabled or confirm
    "#);
    let rows = world.render().await.rows;
    assert_eq!((rows[1].wave, rows.iter().filter(|row| row.hook.is_some()).count()), (-3, 2));
}

#[tokio::test]
async fn namespace_is_created_only_if_the_render_does_not_bring_it() {
    let mut world = world(&[("a.yaml", &format!("{CONFIG}a\n"))]);
    world.create_namespace = true;
    insta::assert_snapshot!(world.rows().await, @r"
    ConfigMap/shop/a a.yaml:1
    Namespace/shop createNamespace
    ");
    let rows = world.render().await.rows;
    assert!(rows[1].options.keep, "what may hold more than the app is never pruned with it");

    world.write("n.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    insta::assert_snapshot!(world.rows().await, @r"
    ConfigMap/shop/a a.yaml:1
    Namespace/shop n.yaml:1
    ");
    world.namespace = Some("default".to_owned());
    insta::assert_snapshot!(world.rows().await, @r"
    ConfigMap/default/a a.yaml:1
    Namespace/shop n.yaml:1
    ");
}

#[tokio::test]
async fn same_input_renders_to_the_same_rows_and_writes_nothing_twice() {
    let world = world(&[("a.yaml", &format!("{CONFIG}a\n---\n{CONFIG}b\n"))]);
    let first = world.render().await;
    assert_eq!(world.store.len(), 2);
    assert_eq!(world.render().await.rows, first.rows);
    assert_eq!(world.store.len(), 2);
    let empty = super::world(&[("README.md", "nothing")]);
    insta::assert_snapshot!(empty.rows().await, @"warning: .: no manifests: there is no YAML or JSON file");
}

#[tokio::test]
async fn input_digest_names_everything_but_the_folder() {
    let mut world = world(&[]);
    let digest = |world: &World, tree: &str| {
        let (root, path) = (world.root(), world.path());
        let elsewhere = root.join("elsewhere");
        let digest = input_digest(&world.request(&root, &path), tree);
        assert_eq!(digest, input_digest(&world.request(&elsewhere, &path), tree));
        digest
    };
    let first = digest(&world, "tree");
    assert_ne!(first, digest(&world, "other"));
    world.apis.incomplete.push("metrics.k8s.io".into());
    assert_ne!(first, digest(&world, "tree"));
}

#[test]
fn input_digest_names_every_option_of_the_renderers() {
    let path = |path: &str| RepoPath::parse(path).unwrap();
    let parameter = |name: &str, value: &str, force_string| {
        let (name, value) = (name.to_owned(), value.to_owned());
        vec![Parameter { name, value, force_string }]
    };
    // Without `..Default` in the first of them: a new field is to be varied here too.
    let full = HelmOptions {
        release_name: Some("a".to_owned()),
        value_files: vec![path("a.yaml")],
        environment_value_files: vec![path("b.yaml")],
        values: serde_json::Map::from_iter([("a".to_owned(), 1.into())]),
        parameters: parameter("a", "1", false),
        skip_crds: true,
    };
    let renderers = [
        Renderer::Auto,
        Renderer::Plain,
        Renderer::Kustomize(KustomizeOptions {}),
        Renderer::Helm(HelmOptions::default()),
        Renderer::Helm(HelmOptions { release_name: None, ..full.clone() }),
        Renderer::Helm(HelmOptions { release_name: Some("b".to_owned()), ..full.clone() }),
        Renderer::Helm(HelmOptions { value_files: vec![], ..full.clone() }),
        Renderer::Helm(HelmOptions { value_files: vec![path("b.yaml")], ..full.clone() }),
        Renderer::Helm(HelmOptions { value_files: vec![path("a.yaml"), path("b.yaml")], ..full.clone() }),
        Renderer::Helm(HelmOptions { environment_value_files: vec![], ..full.clone() }),
        Renderer::Helm(HelmOptions { environment_value_files: vec![path("a.yaml")], ..full.clone() }),
        Renderer::Helm(HelmOptions { values: serde_json::Map::new(), ..full.clone() }),
        Renderer::Helm(HelmOptions { parameters: vec![], ..full.clone() }),
        Renderer::Helm(HelmOptions { parameters: parameter("b", "1", false), ..full.clone() }),
        Renderer::Helm(HelmOptions { parameters: parameter("a", "2", false), ..full.clone() }),
        Renderer::Helm(HelmOptions { parameters: parameter("a", "1", true), ..full.clone() }),
        Renderer::Helm(HelmOptions { skip_crds: false, ..full.clone() }),
        Renderer::Helm(full),
    ];
    let mut world = world(&[]);
    let mut known = std::collections::BTreeMap::new();
    for renderer in renderers {
        world.renderer = renderer.clone();
        let digest = input_digest(&world.request(&world.root(), &world.path()), "tree");
        let other = known.insert(digest, renderer.clone());
        assert!(other.is_none(), "{renderer:?} and {other:?} have the same digest");
    }
}
