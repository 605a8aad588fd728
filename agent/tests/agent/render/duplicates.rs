//! The same object twice in one render.

use skiff::render::OnDuplicate;

use super::{World, world};

fn config(value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  key: {value}\n")
}

fn twice(first: &str, last: &str) -> World {
    world(&[("base/a.yaml", &config(first)), ("prod/a.yaml", &config(last))])
}

#[tokio::test]
async fn identical_ones_are_one_with_a_warning() {
    insta::assert_snapshot!(twice("one", "one").rows().await, @r"
    ConfigMap/shop/a base/a.yaml:1
    warning: ConfigMap/shop/a is declared twice: base/a.yaml:1 and prod/a.yaml:1; the two are the same: remove one
    ");
}

#[tokio::test]
async fn different_ones_are_refused_with_both_places() {
    insta::assert_snapshot!(twice("one", "two").problems().await, @r"
    DuplicateObject
    prod/a.yaml:1: ConfigMap/shop/a is declared twice: base/a.yaml:1 and prod/a.yaml:1, and they differ: remove one
    ");
}

#[tokio::test]
async fn last_one_is_taken_where_the_app_asks_for_it() {
    let mut world = twice("one", "two");
    world.on_duplicate = OnDuplicate::LastWins;
    insta::assert_snapshot!(world.rows().await, @r"
    ConfigMap/shop/a prod/a.yaml:1
    warning: ConfigMap/shop/a is declared twice: base/a.yaml:1 and prod/a.yaml:1, and they differ: the last one is taken; remove the other
    ");
    assert_eq!(world.body("ConfigMap/shop/a").await["data"]["key"], "two");
}

#[tokio::test]
async fn last_one_is_taken_also_when_the_kind_was_unknown_at_first() {
    let zone =
        |size: &str| format!("apiVersion: example.com/v1\nkind: Zone\nmetadata: {{name: z}}\nspec: {size}\n");
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: zones.example.com}\nspec: {group: example.com, names: {kind: Zone}, scope: Cluster}\n";
    let mut world = world(&[("1.yaml", &zone("1")), ("2.yaml", definition), ("3.yaml", &zone("3"))]);
    world.on_duplicate = OnDuplicate::LastWins;
    assert_eq!(world.body("Zone/z").await["spec"], 3);
}
