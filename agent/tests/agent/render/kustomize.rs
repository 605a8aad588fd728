//! Kustomizations, by the real kustomize.

use super::{World, fixture, world};

/// A repository that can be changed.
fn repository(files: &[(&str, &str)]) -> World {
    let mut world = world(files).with_tools();
    world.path = "overlay".to_owned();
    world
}

#[tokio::test]
async fn overlay_is_built_with_its_base() {
    let mut world = repository(&[]);
    world.source = Some(fixture("kustomization"));
    insta::assert_snapshot!(world.rows().await, @r"
    ConfigMap/shop/prod-settings-k5b4bggch8 overlay
    Deployment/shop/prod-web overlay
    warning: overlay: kustomize: 'commonLabels' is deprecated. Please use 'labels' instead. Run 'kustomize edit fix' to update your Kustomization automatically.
    ");
    let deployment = world.body("Deployment/shop/prod-web").await;
    assert_eq!(deployment["spec"]["replicas"], 5);
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], "registry.example/web:2.0");
    assert_eq!(deployment["metadata"]["labels"]["tier"], "front");
}

#[tokio::test]
async fn everything_wrong_with_what_a_kustomization_reads_is_named() {
    let world = repository(&[
        (
            "overlay/kustomization.yaml",
            "resources:\n- ../base\n- gone.yaml\n- https://example.com/all.yaml\n- ../../out\npatches:\n- path: nopatch.yaml\nconfigMapGenerator:\n- name: a\n  files: [key=nofile]\n",
        ),
        ("base/kustomization.yml", "resources:\n- twice.yaml\n- broken.yaml\n- values.yaml\n- nothing\n"),
        ("base/twice.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: b\n"),
        ("base/broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n   b: c\n"),
        ("base/values.yaml", "replicas: 1\n"),
        ("base/nothing/README.md", "no kustomization here"),
    ]);
    insta::assert_snapshot!(world.problems().await, @r#"
    KustomizeFailed
    base/twice.yaml:5:3: duplicate key "name" (first at line 4)
    base/broken.yaml:5:5: mapping values are not allowed in this context
    base/values.yaml:1: a mapping without apiVersion and kind is not a Kubernetes object
    base/kustomization.yml:5: base/nothing has no kustomization.yaml: commit one, or name its files
    overlay/kustomization.yaml:3: gone.yaml is not there: there is no overlay/gone.yaml in this revision
    overlay/kustomization.yaml:4: https://example.com/all.yaml is not in the repository: commit it, as nothing is downloaded here
    overlay/kustomization.yaml:5: path "../../out" leaves the repository
    overlay/kustomization.yaml:7: nopatch.yaml is not there: there is no overlay/nopatch.yaml in this revision
    overlay/kustomization.yaml:10: nofile is not there: commit the file
    "#);
}

#[tokio::test]
async fn what_only_kustomize_can_know_is_told_in_its_words() {
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n";
    let world = repository(&[
        ("overlay/kustomization.yaml", "resources: [../base]\npatches: [{path: patch.yaml}]\n"),
        ("overlay/patch.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: other\n"),
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        ("base/a.yaml", config),
    ]);
    insta::assert_snapshot!(world.problems().await, @r#"
    KustomizeFailed
    overlay/kustomization.yaml: no resource matches strategic merge patch "ConfigMap.v1.[noGrp]/other.[noNs]": no matches for Id ConfigMap.v1.[noGrp]/other.[noNs]; failed to find unique target for patch ConfigMap.v1.[noGrp]/other.[noNs]
    "#);
    world.write("overlay/kustomization.yaml", "resources: [../base]\nresorces: []\n");
    insta::assert_snapshot!(world.problems().await, @r#"
    KustomizeFailed
    overlay/kustomization.yaml: invalid Kustomization: json: unknown field "resorces"
    "#);
    world.write("base/kustomization.yaml", "resources: [a.yaml, a.yaml]\n");
    world.write("overlay/kustomization.yaml", "resources: [../base]\n");
    insta::assert_snapshot!(world.problems().await, @r"
    KustomizeFailed
    base/kustomization.yaml: merging resources from 'a.yaml': may not add resource with an already registered id: ConfigMap.v1.[noGrp]/a.[noNs]
    ");
}

#[tokio::test]
async fn components_patches_and_generators_are_applied() {
    let world = repository(&[
        (
            "overlay/kustomization.yaml",
            "resources: [../base]\ncomponents: [../extra]\npatches:\n- path: patch.yaml\n- target: {kind: ConfigMap, name: a}\n  patch: '[{\"op\": \"add\", \"path\": \"/data/json\", \"value\": \"patched\"}]'\nconfigMapGenerator:\n- name: made\n  files: [settings.ini]\n  options: {disableNameSuffixHash: true}\nsecretGenerator:\n- name: hidden\n  literals: [a=b]\n  options: {disableNameSuffixHash: true}\n",
        ),
        (
            "overlay/patch.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {merged: 'yes'}\n",
        ),
        ("overlay/settings.ini", "on=1\n"),
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        ("base/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {base: '1'}\n"),
        (
            "extra/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [b.yaml]\nlabels:\n- pairs: {part: extra}\n",
        ),
        ("extra/b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"),
    ]);
    insta::assert_snapshot!(world.rows().await, @r"
    ConfigMap/shop/a overlay
    ConfigMap/shop/b overlay
    ConfigMap/shop/made overlay
    Secret/shop/hidden overlay
    ");
    let a = world.body("ConfigMap/shop/a").await;
    assert_eq!(a["data"], serde_json::json!({"base": "1", "json": "patched", "merged": "yes"}));
    assert_eq!(a["metadata"]["labels"]["part"], "extra");
    assert_eq!(world.body("ConfigMap/shop/made").await["data"]["settings.ini"], "on=1\n");
}

#[tokio::test]
async fn remote_bases_and_charts_are_refused_by_name() {
    let world = repository(&[(
        "overlay/kustomization.yaml",
        "resources:\n- github.com/example/base?ref=v1\nhelmCharts:\n- name: redis\n  repo: https://charts.example\n  version: 1.0.0\n",
    )]);
    insta::assert_snapshot!(world.problems().await, @r#"
    KustomizeFailed
    overlay/kustomization.yaml:3: helmCharts are not rendered, as kustomize may start no program here: make the chart an app of its own, or commit what "kustomize build --enable-helm" prints
    overlay/kustomization.yaml:2: github.com/example/base?ref=v1 is not in the repository: commit it, as nothing is downloaded here
    "#);
}
