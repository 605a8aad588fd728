//! What the cluster says it serves.

use serde_json::json;
use skiff::cluster::discovery::discover;
use skiff_harness::cluster::User;
use skiff_shared::object::GroupKind;

use super::{World, until};

#[tokio::test]
async fn kinds_versions_and_helm_capabilities_come_from_three_requests() {
    let world = World::new("discovery").await;
    let connection = super::connect(&world.cluster, User::Dev).await;
    let mark = world.cluster.audit().mark().unwrap();
    let found = discover(&connection).await.unwrap();
    let asked = world.cluster.audit().since(mark, User::Dev.name()).unwrap();
    let mine = asked.iter().filter(|entry| entry.user_agent.starts_with("skiff/"));
    let mut uris: Vec<_> = mine.map(|entry| entry.uri.as_str()).collect();
    uris.sort_unstable();
    assert_eq!(uris, ["/api", "/apis", "/version"]);

    assert_eq!(found.kube_version, "v1.37.2");
    let deployment = &found.apis.kinds[&GroupKind::new("apps", "Deployment")];
    assert_eq!((&*deployment.plural, deployment.namespaced), ("deployments", true));
    let autoscaler = &found.apis.kinds[&GroupKind::new("autoscaling", "HorizontalPodAutoscaler")];
    assert_eq!(autoscaler.versions.iter().map(|version| &**version).collect::<Vec<_>>(), ["v2", "v1"]);
    for name in
        ["v1", "v1/ConfigMap", "apps/v1", "apps/v1/Deployment", "autoscaling/v1/HorizontalPodAutoscaler"]
    {
        assert!(found.api_versions.iter().any(|have| have == name), "{name} is missing");
    }
    assert!(
        !found.apis.kinds.contains_key(&GroupKind::new("authorization.k8s.io", "SelfSubjectAccessReview"))
    );
}

#[tokio::test]
async fn a_group_whose_server_is_away_is_told_as_incomplete() {
    let world = World::new("discovery-away").await;
    world
        .apply(json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": { "name": "v1.away.example" },
            "spec": {
                "group": "away.example",
                "version": "v1",
                "groupPriorityMinimum": 1000,
                "versionPriority": 10,
                "insecureSkipTLSVerify": true,
                "service": { "name": "nobody", "namespace": "default" },
            },
        }))
        .await;
    until("the group is listed as incomplete", async || {
        let found = discover(&world.connection).await.unwrap();
        found.apis.incomplete.iter().any(|group| &**group == "away.example").then_some(())
    })
    .await;
    world.kubectl(User::Admin, &["delete", "apiservice", "v1.away.example"]);
}
