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
    base/twice.yaml:5: duplicate key "name" (first at line 4)
    base/broken.yaml:5: mapping values are not allowed in this context
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
