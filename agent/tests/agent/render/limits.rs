//! Objects outside of what the agent's file allows the environment.

use skiff_shared::limits::{Allowed, ClusterScoped, Limits};

use super::world;

fn only(patterns: &[&str]) -> Allowed {
    Allowed::only(patterns.iter().map(|pattern| (*pattern).to_owned()).collect()).unwrap()
}

#[tokio::test]
async fn every_object_outside_of_a_limit_is_named_with_its_file() {
    let mut world = world(&[
        ("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fine}\n"),
        (
            "b.yaml",
            "apiVersion: v1
kind: Secret
metadata: {name: token, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: all}
",
        ),
    ]);
    world.create_namespace = true;
    world.limits = Limits {
        environment: "staging".to_owned(),
        namespaces: only(&["!kube-*", "!shop"]),
        kinds: only(&["ConfigMap", "rbac.authorization.k8s.io/*"]),
        cluster_scoped: ClusterScoped::Refused,
        ..Limits::default()
    };
    insta::assert_snapshot!(world.problems().await, @r#"
    OutsideLimits
    a.yaml:1: ConfigMap/fine: namespace "shop" is outside of limits.namespaces of environment "staging" in the agent's file
    b.yaml:1: Secret/kube-system/token: kind "Secret" is outside of limits.kinds of environment "staging" in the agent's file
    b.yaml:1: Secret/kube-system/token: namespace "kube-system" is outside of limits.namespaces of environment "staging" in the agent's file
    b.yaml:5: ClusterRole/all: it belongs to the whole cluster, which limits.clusterScoped of environment "staging" in the agent's file forbids
    createNamespace: Namespace/shop: kind "Namespace" is outside of limits.kinds of environment "staging" in the agent's file
    createNamespace: Namespace/shop: namespace "shop" is outside of limits.namespaces of environment "staging" in the agent's file
    "#);
}
