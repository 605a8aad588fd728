//! Real repositories, where `SKIFF_INPUTS` names the folder that has them.

use std::collections::BTreeMap;

use skiff::render::OnDuplicate;
use skiff_shared::environment::{HelmOptions, Parameter, Renderer, RepoPath};

use super::{World, inputs, without_repositories, world};

/// Counts the rows of each kind.
async fn kinds(world: &World) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for row in world.render().await.rows {
        *kinds.entry(row.id.kind().kind.to_string()).or_default() += 1;
    }
    kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn kube_prometheus_renders_as_a_plain_folder_to_131_objects() {
    let Some(inputs) = inputs("kube-prometheus") else { return };
    let mut world = world(&[]);
    world.source = Some(inputs.join("kube-prometheus"));
    world.path = "manifests".to_owned();
    world.namespace = None;
    let rendered = world.render().await;
    assert_eq!(rendered.warnings, Vec::<String>::new());
    assert_eq!(rendered.rows.len(), 131);
    assert_eq!(rendered.rows.iter().filter(|row| row.provides.is_some()).count(), 10);
}

#[tokio::test]
async fn kube_prometheus_renders_as_a_kustomization_to_the_same_objects() {
    let Some(inputs) = inputs("kube-prometheus as a kustomization") else { return };
    let mut world = world(&[]).with_tools();
    world.source = Some(inputs.join("kube-prometheus"));
    let built = world.render().await;
    world.path = "manifests".to_owned();
    let plain = world.render().await;
    let ids = |rows: &[skiff_shared::desired::DesiredRow]| -> Vec<String> {
        rows.iter().map(|row| row.id.to_string()).collect()
    };
    assert_eq!(ids(&built.rows), ids(&plain.rows));
    let differing = built.rows.iter().zip(&plain.rows).filter(|(built, plain)| built.body != plain.body);
    let differing: Vec<String> = differing.map(|(built, _)| built.id.to_string()).collect();
    assert_eq!(differing, Vec::<String>::new());
}

fn sentiment(folder: &str, environment: &str) -> Option<World> {
    let inputs = inputs(&format!("{folder}, {environment}"))?;
    let mut world = world(&[]).with_tools();
    world.source = Some(inputs.join(folder));
    world.path = "helm/mlops-sentiment".to_owned();
    world.namespace = Some("mlops".to_owned());
    let file = |name: &str| RepoPath::parse(&format!("helm/mlops-sentiment/{name}")).unwrap();
    world.renderer = Renderer::Helm(HelmOptions {
        release_name: Some("mlops-sentiment".to_owned()),
        value_files: vec![file("values.yaml"), file(&format!("values-{environment}.yaml"))],
        parameters: vec![Parameter {
            name: "image.tag".to_owned(),
            value: "develop".to_owned(),
            force_string: false,
        }],
        ..HelmOptions::default()
    });
    Some(world)
}

#[tokio::test]
async fn repaired_chart_renders_in_all_environments() {
    // Three of the documents are tests of charts that it depends on.
    for (environment, documents) in [("dev", 59 - 3), ("staging", 61 - 3), ("prod", 61 - 3)] {
        let Some(mut world) = sentiment("kubesentiment-repaired", environment) else { return };
        world.on_duplicate = OnDuplicate::LastWins;
        let rendered = world.render().await;
        let twice = rendered.warnings.iter().filter(|warning| warning.contains("is declared twice")).count();
        let hooks = rendered.warnings.iter().filter(|warning| warning.contains("is a hook")).count();
        assert_eq!(rendered.rows.len() + twice + hooks, documents, "{:#?}", rendered.warnings);
        if environment == "dev" {
            insta::assert_snapshot!(rendered.warnings.join("\n"), @r#"
            helm/mlops-sentiment/templates/init-container-configmap.yaml: line 16 of what it renders: the key "app.kubernetes.io/component" is there twice: the last one is taken
            helm/mlops-sentiment/templates/persistent-volume.yaml: line 16 of what it renders: the key "app.kubernetes.io/component" is there twice: the last one is taken
            ServiceAccount/mlops/mlops-sentiment-alertmanager is declared twice: helm/mlops-sentiment/charts/alertmanager/templates/serviceaccount.yaml and helm/mlops-sentiment/charts/prometheus/charts/alertmanager/templates/serviceaccount.yaml; the two are the same: remove one
            ConfigMap/mlops/mlops-sentiment-alertmanager is declared twice: helm/mlops-sentiment/charts/alertmanager/templates/configmap.yaml and helm/mlops-sentiment/charts/prometheus/charts/alertmanager/templates/configmap.yaml, and they differ: the last one is taken; remove the other
            Service/mlops/mlops-sentiment-alertmanager is declared twice: helm/mlops-sentiment/charts/alertmanager/templates/services.yaml and helm/mlops-sentiment/charts/prometheus/charts/alertmanager/templates/services.yaml; the two are the same: remove one
            Service/mlops/mlops-sentiment-alertmanager-headless is declared twice: helm/mlops-sentiment/charts/alertmanager/templates/services.yaml and helm/mlops-sentiment/charts/prometheus/charts/alertmanager/templates/services.yaml; the two are the same: remove one
            StatefulSet/mlops/mlops-sentiment-alertmanager is declared twice: helm/mlops-sentiment/charts/alertmanager/templates/statefulset.yaml and helm/mlops-sentiment/charts/prometheus/charts/alertmanager/templates/statefulset.yaml, and they differ: the last one is taken; remove the other
            "#);
            insta::assert_snapshot!(kinds(&world).await, @r"
            ClusterRole 3
            ClusterRoleBinding 3
            ConfigMap 7
            DaemonSet 1
            Deployment 5
            DestinationRule 1
            Ingress 1
            Namespace 1
            NetworkPolicy 2
            PersistentVolumeClaim 3
            PodDisruptionBudget 1
            PrometheusRule 1
            Role 1
            RoleBinding 1
            Secret 2
            Service 8
            ServiceAccount 7
            ServiceMonitor 1
            StatefulSet 1
            VirtualService 1
            ");
        }
    }
}

#[tokio::test]
async fn duplicates_of_the_repaired_chart_are_refused_by_name() {
    let Some(world) = sentiment("kubesentiment-repaired", "dev") else { return };
    insta::assert_snapshot!(world.problems().await, @r"
    DuplicateObject
    helm/mlops-sentiment/charts/prometheus/charts/alertmanager/templates/configmap.yaml: ConfigMap/mlops/mlops-sentiment-alertmanager is declared twice: helm/mlops-sentiment/charts/alertmanager/templates/configmap.yaml and helm/mlops-sentiment/charts/prometheus/charts/alertmanager/templates/configmap.yaml, and they differ: remove one
    helm/mlops-sentiment/charts/prometheus/charts/alertmanager/templates/statefulset.yaml: StatefulSet/mlops/mlops-sentiment-alertmanager is declared twice: helm/mlops-sentiment/charts/alertmanager/templates/statefulset.yaml and helm/mlops-sentiment/charts/prometheus/charts/alertmanager/templates/statefulset.yaml, and they differ: remove one
    ");
}

#[tokio::test]
async fn chart_as_committed_is_refused_with_each_of_its_faults() {
    let Some(world) = sentiment("kubesentiment", "dev") else { return };
    insta::assert_snapshot!(without_repositories(&world.problems().await), @r#"
    HelmFailed
    helm/mlops-sentiment/Chart.yaml:20: dependency "prometheus" 25.8.0 of a repository is not in charts/: run "helm dependency build" and commit charts/, or let the agent fetch it (render.fetchDependencies)
    helm/mlops-sentiment/Chart.yaml:24: dependency "grafana" 7.0.19 of a repository is not in charts/: run "helm dependency build" and commit charts/, or let the agent fetch it (render.fetchDependencies)
    helm/mlops-sentiment/Chart.yaml:28: dependency "alertmanager" 1.7.0 of a repository is not in charts/: run "helm dependency build" and commit charts/, or let the agent fetch it (render.fetchDependencies)
    helm/mlops-sentiment/templates/prometheusrule.yaml:24: undefined variable "$labels"
    helm/mlops-sentiment/templates/grafana-dashboard.yaml:105: function "method" not defined
    "#);
}
