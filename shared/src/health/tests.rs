use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::{Health, Needs, Part, assess, needs};
use crate::object::GroupKind;

fn group_kind(text: &str) -> GroupKind {
    let (kind, group) = text.split_once('.').unwrap_or((text, ""));
    GroupKind::new(group, kind)
}

/// Assesses an object written as JSON with generation 2 unless it says otherwise; prints health and message.
fn health(kind: &str, json: &str) -> String {
    let object: Value = serde_json::from_str(json).expect("the test's object is valid JSON");
    let raw = |part: &str| {
        let value = object.get(part)?;
        Some(RawValue::from_string(value.to_string()).expect("a value prints as JSON"))
    };
    let (spec, status) = (raw("spec"), raw("status"));
    let annotations: BTreeMap<String, String> = object
        .get("annotations")
        .map(|annotations| serde_json::from_value(annotations.clone()).expect("texts"))
        .unwrap_or_default();
    let observed = super::Observed {
        generation: object.get("generation").and_then(Value::as_i64).unwrap_or(2),
        deleting: object.get("deleting").is_some(),
        annotations: &annotations,
        spec: spec.as_deref(),
        status: status.as_deref(),
    };
    let assessment = assess(&group_kind(kind), &observed);
    let message = assessment.message.map(|message| format!(": {message}")).unwrap_or_default();
    format!("{}{message}", assessment.health)
}

fn check(kind: &str, cases: &[(&str, &str)]) {
    for (object, expected) in cases {
        assert_eq!(health(kind, object), *expected, "{kind} {object}");
    }
}

#[test]
fn an_app_is_as_its_worst_object() {
    let worst = |all: &[Health]| all.iter().copied().fold(Health::Healthy, Health::worst);
    assert_eq!(worst(&[]), Health::Healthy);
    assert_eq!(worst(&[Health::Healthy, Health::Suspended]), Health::Suspended);
    assert_eq!(worst(&[Health::Progressing, Health::Suspended]), Health::Progressing);
    assert_eq!(worst(&[Health::Missing, Health::Progressing]), Health::Missing);
    assert_eq!(worst(&[Health::Degraded, Health::Missing]), Health::Degraded);
    assert_eq!(worst(&[Health::Degraded, Health::Unknown]), Health::Unknown);
}

#[test]
fn deployment() {
    check(
        "Deployment.apps",
        &[
            (r#"{}"#, "Progressing: its controller has not seen the newest generation yet"),
            (
                r#"{"spec":{"replicas":3},"status":{"observedGeneration":1,"replicas":3,"updatedReplicas":3,"availableReplicas":3}}"#,
                "Progressing: its controller has not seen the newest generation yet",
            ),
            (
                r#"{"spec":{"replicas":3},"status":{"observedGeneration":2,"replicas":3,"updatedReplicas":2,"availableReplicas":3}}"#,
                "Progressing: 2 of 3 replicas are updated",
            ),
            (
                r#"{"spec":{"replicas":3},"status":{"observedGeneration":2,"replicas":4,"updatedReplicas":3,"availableReplicas":4}}"#,
                "Progressing: 1 old replicas are still to go",
            ),
            (
                r#"{"spec":{"replicas":3},"status":{"observedGeneration":2,"replicas":3,"updatedReplicas":3,"availableReplicas":1}}"#,
                "Progressing: 1 of 3 updated replicas are available",
            ),
            (
                r#"{"spec":{"replicas":1},"status":{"observedGeneration":2,"conditions":[
                {"type":"ReplicaFailure","status":"True","reason":"FailedCreate","message":"exceeded quota: small"}]}}"#,
                "Progressing: exceeded quota: small",
            ),
            (
                r#"{"spec":{"replicas":1},"status":{"observedGeneration":2,"replicas":1,"updatedReplicas":1,"conditions":[
                {"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded","message":"timed out"}]}}"#,
                "Degraded: timed out",
            ),
            (r#"{"spec":{"paused":true,"replicas":1},"status":{}}"#, "Suspended: paused"),
            (r#"{"spec":{"replicas":0},"status":{"observedGeneration":2}}"#, "Healthy"),
            (
                r#"{"spec":{"replicas":3},"status":{"observedGeneration":2,"replicas":3,"updatedReplicas":3,"availableReplicas":3}}"#,
                "Healthy",
            ),
        ],
    );
}

#[test]
fn stateful_set() {
    check(
        "StatefulSet.apps",
        &[
            (r#"{}"#, "Progressing: its controller has not seen the newest generation yet"),
            (r#"{"generation":0}"#, "Progressing: its controller has not seen the newest generation yet"),
            (
                r#"{"spec":{"replicas":2},"status":{"observedGeneration":2,"readyReplicas":1}}"#,
                "Progressing: 1 of 2 replicas are ready",
            ),
            (
                r#"{"spec":{"replicas":2,"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":0}}},
                "status":{"observedGeneration":2,"readyReplicas":2,"updatedReplicas":1}}"#,
                "Progressing: 1 of 2 replicas are updated",
            ),
            (
                r#"{"spec":{"replicas":2,"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":1}}},
                "status":{"observedGeneration":2,"readyReplicas":2,"updatedReplicas":1,
                "currentRevision":"a","updateRevision":"b"}}"#,
                "Healthy",
            ),
            (
                r#"{"spec":{"replicas":2,"updateStrategy":{"type":"OnDelete"}},
                "status":{"observedGeneration":2,"readyReplicas":2,"currentRevision":"a","updateRevision":"b"}}"#,
                "Healthy",
            ),
            (
                r#"{"spec":{"replicas":2},"status":{"observedGeneration":2,"readyReplicas":2,"updatedReplicas":1,
                "currentRevision":"a","updateRevision":"b"}}"#,
                "Progressing: 1 of 2 replicas are updated",
            ),
            (
                r#"{"spec":{"replicas":2},"status":{"observedGeneration":2,"readyReplicas":2,"updatedReplicas":2,
                "currentRevision":"b","updateRevision":"b"}}"#,
                "Healthy",
            ),
        ],
    );
}

#[test]
fn daemon_set() {
    check(
        "DaemonSet.apps",
        &[
            (r#"{}"#, "Progressing: its controller has not seen the newest generation yet"),
            (
                r#"{"status":{"observedGeneration":2,"desiredNumberScheduled":3,"updatedNumberScheduled":1}}"#,
                "Progressing: 1 of 3 pods are updated",
            ),
            (
                r#"{"status":{"observedGeneration":2,"desiredNumberScheduled":3,"updatedNumberScheduled":3,"numberAvailable":2}}"#,
                "Progressing: 2 of 3 pods are available",
            ),
            (
                r#"{"spec":{"updateStrategy":{"type":"OnDelete"}},
                "status":{"observedGeneration":2,"desiredNumberScheduled":3,"updatedNumberScheduled":1}}"#,
                "Healthy",
            ),
            (r#"{"status":{"observedGeneration":2}}"#, "Healthy"),
            (
                r#"{"status":{"observedGeneration":2,"desiredNumberScheduled":3,"updatedNumberScheduled":3,"numberAvailable":3}}"#,
                "Healthy",
            ),
        ],
    );
}

#[test]
fn replica_set() {
    check(
        "ReplicaSet.apps",
        &[
            (r#"{}"#, "Progressing: its controller has not seen the newest generation yet"),
            (
                r#"{"spec":{"replicas":2},"status":{"observedGeneration":2,"availableReplicas":1}}"#,
                "Progressing: 1 of 2 replicas are available",
            ),
            (
                r#"{"spec":{"replicas":2},"status":{"observedGeneration":2,"conditions":[
                {"type":"ReplicaFailure","status":"True","reason":"FailedCreate"}]}}"#,
                "Degraded: FailedCreate",
            ),
            (r#"{"spec":{"replicas":2},"status":{"observedGeneration":2,"availableReplicas":2}}"#, "Healthy"),
        ],
    );
}

#[test]
fn job() {
    check(
        "Job.batch",
        &[
            (r#"{}"#, "Progressing: not finished"),
            (r#"{"status":{"active":1}}"#, "Progressing: not finished"),
            (
                r#"{"status":{"conditions":[{"type":"Complete","status":"True"},{"type":"SuccessCriteriaMet","status":"True"}]}}"#,
                "Healthy",
            ),
            (
                r#"{"status":{"conditions":[{"type":"FailureTarget","status":"True","message":"too many"}]}}"#,
                "Progressing: too many",
            ),
            (
                r#"{"status":{"conditions":[{"type":"Failed","status":"True","reason":"BackoffLimitExceeded","message":"too many"}]}}"#,
                "Degraded: too many",
            ),
            (r#"{"status":{"conditions":[{"type":"Suspended","status":"True"}]}}"#, "Suspended: suspended"),
            (
                r#"{"status":{"active":1,"conditions":[{"type":"Suspended","status":"False"}]}}"#,
                "Progressing: not finished",
            ),
        ],
    );
}

#[test]
fn cron_job() {
    check(
        "CronJob.batch",
        &[
            (r#"{}"#, "Healthy: not scheduled yet"),
            (r#"{"spec":{"suspend":true}}"#, "Suspended: suspended"),
            (r#"{"status":{"lastScheduleTime":"2026-11-23T07:00:00Z"}}"#, "Healthy: has never completed"),
            (
                r#"{"status":{"lastScheduleTime":"2026-11-23T07:00:00Z","lastSuccessfulTime":"2026-11-23T06:00:09Z"}}"#,
                "Degraded: the last run did not succeed",
            ),
            (
                r#"{"status":{"active":[{"name":"run"}],"lastScheduleTime":"2026-11-23T07:00:00Z",
                "lastSuccessfulTime":"2026-11-23T06:00:09Z"}}"#,
                "Healthy",
            ),
            (
                r#"{"status":{"lastScheduleTime":"2026-11-23T07:00:00Z","lastSuccessfulTime":"2026-11-23T07:00:09Z"}}"#,
                "Healthy",
            ),
        ],
    );
}

#[test]
fn pod() {
    check(
        "Pod",
        &[
            (r#"{}"#, "Progressing: not started"),
            (
                r#"{"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","message":"no node fits"}]}}"#,
                "Progressing: no node fits",
            ),
            (
                r#"{"spec":{"restartPolicy":"Always"},"status":{"phase":"Running"}}"#,
                "Progressing: running, not ready",
            ),
            (
                r#"{"spec":{"restartPolicy":"Always"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#,
                "Healthy",
            ),
            (
                r#"{"spec":{"restartPolicy":"Always"},"status":{"phase":"Pending","containerStatuses":[
                {"name":"web","state":{"waiting":{"reason":"ImagePullBackOff","message":"back-off pulling web:2"}}}]}}"#,
                "Degraded: back-off pulling web:2",
            ),
            (
                r#"{"spec":{"restartPolicy":"Always"},"status":{"phase":"Pending","initContainerStatuses":[
                {"name":"init","state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}}"#,
                "Degraded: container \"init\": CrashLoopBackOff",
            ),
            (
                r#"{"spec":{"restartPolicy":"Always"},"status":{"phase":"Pending","containerStatuses":[
                {"name":"web","state":{"waiting":{"reason":"ContainerCreating"}}}]}}"#,
                "Progressing: not started",
            ),
            (
                r#"{"spec":{"restartPolicy":"Always"},"status":{"phase":"Running","containerStatuses":[
                {"name":"web","state":{"running":{}},"lastState":{"terminated":{"reason":"OOMKilled","exitCode":137}}}]}}"#,
                "Degraded: container \"web\" ran out of memory",
            ),
            (
                r#"{"spec":{"restartPolicy":"Never"},"status":{"phase":"Pending","containerStatuses":[
                {"name":"hook","state":{"waiting":{"reason":"ImagePullBackOff"}}}]}}"#,
                "Progressing: not started",
            ),
            (
                r#"{"spec":{"restartPolicy":"OnFailure"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#,
                "Progressing: running, not ready",
            ),
            (r#"{"spec":{"restartPolicy":"Never"},"status":{"phase":"Succeeded"}}"#, "Healthy"),
            (
                r#"{"spec":{"restartPolicy":"Never"},"status":{"phase":"Failed","containerStatuses":[
                {"name":"hook","state":{"terminated":{"exitCode":3}}}]}}"#,
                "Degraded: container \"hook\" exited with code 3",
            ),
            (r#"{"status":{"phase":"Failed","message":"evicted"}}"#, "Degraded: evicted"),
            (r#"{"status":{"phase":"Unknown","message":"node lost"}}"#, "Unknown: node lost"),
        ],
    );
}

#[test]
fn service() {
    check(
        "Service",
        &[
            (r#"{"spec":{"type":"ClusterIP"}}"#, "Healthy"),
            (
                r#"{"spec":{"type":"LoadBalancer"},"status":{"loadBalancer":{}}}"#,
                "Progressing: has no address yet",
            ),
            (
                r#"{"spec":{"type":"LoadBalancer"},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}"#,
                "Healthy",
            ),
        ],
    );
}

#[test]
fn ingress() {
    check(
        "Ingress.networking.k8s.io",
        &[
            (r#"{}"#, "Progressing: has no address yet"),
            (r#"{"status":{"loadBalancer":{"ingress":[{"hostname":"lb.example"}]}}}"#, "Healthy"),
        ],
    );
}

#[test]
fn persistent_volume_claim() {
    check(
        "PersistentVolumeClaim",
        &[
            (r#"{}"#, "Progressing: not looked at yet"),
            (r#"{"status":{"phase":"Pending"}}"#, "Healthy: waits for its first consumer"),
            (
                r#"{"annotations":{"volume.kubernetes.io/storage-provisioner":"p"},"status":{"phase":"Pending"}}"#,
                "Progressing: its volume is being made",
            ),
            (r#"{"status":{"phase":"Bound"}}"#, "Healthy"),
            (r#"{"status":{"phase":"Lost"}}"#, "Degraded: its volume is lost"),
            (r#"{"status":{"phase":"Strange"}}"#, "Unknown: unknown phase \"Strange\""),
        ],
    );
}

#[test]
fn persistent_volume() {
    check(
        "PersistentVolume",
        &[
            (r#"{}"#, "Progressing: not looked at yet"),
            (r#"{"status":{"phase":"Available"}}"#, "Healthy"),
            (r#"{"status":{"phase":"Bound"}}"#, "Healthy"),
            (
                r#"{"status":{"phase":"Released"}}"#,
                "Healthy: released: its claim is gone, its content is still there",
            ),
            (r#"{"status":{"phase":"Failed","message":"no plugin"}}"#, "Degraded: no plugin"),
        ],
    );
}

#[test]
fn namespace() {
    check(
        "Namespace",
        &[
            (r#"{}"#, "Healthy"),
            (r#"{"status":{"phase":"Active"}}"#, "Healthy"),
            (r#"{"status":{"phase":"Terminating"}}"#, "Progressing: being deleted"),
        ],
    );
}

#[test]
fn horizontal_pod_autoscaler() {
    check(
        "HorizontalPodAutoscaler.autoscaling",
        &[
            (r#"{}"#, "Progressing: waits for its first measurement"),
            (
                r#"{"status":{"conditions":[{"type":"AbleToScale","status":"True","reason":"SucceededGetScale"},
                {"type":"ScalingActive","status":"False","reason":"FailedGetResourceMetric","message":"no metrics"}]}}"#,
                "Degraded: no metrics",
            ),
            (
                r#"{"status":{"conditions":[{"type":"AbleToScale","status":"True","reason":"ReadyForNewScale"},
                {"type":"ScalingActive","status":"True"},{"type":"ScalingLimited","status":"False"}]}}"#,
                "Healthy",
            ),
            (
                r#"{"annotations":{"autoscaling.alpha.kubernetes.io/conditions":
                "[{\"type\":\"AbleToScale\",\"status\":\"False\",\"reason\":\"FailedGetScale\",\"message\":\"no target\"}]"}}"#,
                "Degraded: no target",
            ),
            (
                r#"{"annotations":{"autoscaling.alpha.kubernetes.io/conditions":"{"}}"#,
                "Unknown: the annotation with its conditions cannot be read: invalid type: map, expected a sequence at line 1 column 0",
            ),
        ],
    );
}

#[test]
fn pod_disruption_budget() {
    check(
        "PodDisruptionBudget.policy",
        &[
            (r#"{}"#, "Progressing: not looked at yet"),
            (
                r#"{"status":{"conditions":[{"type":"DisruptionAllowed","status":"True","reason":"SufficientPods"}]}}"#,
                "Healthy",
            ),
            (
                r#"{"status":{"conditions":[{"type":"DisruptionAllowed","status":"False","reason":"InsufficientPods"}]}}"#,
                "Healthy",
            ),
            (
                r#"{"status":{"conditions":[{"type":"DisruptionAllowed","status":"False","reason":"SyncFailed","message":"no scale"}]}}"#,
                "Degraded: no scale",
            ),
        ],
    );
}

#[test]
fn custom_resource_definition() {
    check(
        "CustomResourceDefinition.apiextensions.k8s.io",
        &[
            (r#"{}"#, "Progressing: not established yet"),
            (
                r#"{"status":{"conditions":[{"type":"NamesAccepted","status":"True"},
                {"type":"Established","status":"False","reason":"Installing"}]}}"#,
                "Progressing: not established yet",
            ),
            (
                r#"{"status":{"conditions":[{"type":"NamesAccepted","status":"False","message":"\"apps\" is taken"}]}}"#,
                "Degraded: its names are not accepted: \"apps\" is taken",
            ),
            (
                r#"{"status":{"conditions":[{"type":"Established","status":"True"},
                {"type":"NonStructuralSchema","status":"True","message":"no type"}]}}"#,
                "Degraded: its schema is not structural: no type",
            ),
            (
                r#"{"status":{"conditions":[{"type":"Established","status":"False","reason":"Broken","message":"why"}]}}"#,
                "Degraded: not established: why",
            ),
            (
                r#"{"status":{"conditions":[{"type":"Terminating","status":"True"}]}}"#,
                "Progressing: being deleted",
            ),
            (
                r#"{"status":{"conditions":[{"type":"NamesAccepted","status":"True"},{"type":"Established","status":"True"}]}}"#,
                "Healthy",
            ),
        ],
    );
}

#[test]
fn api_service() {
    check(
        "APIService.apiregistration.k8s.io",
        &[
            (r#"{}"#, "Progressing: not looked at yet"),
            (
                r#"{"status":{"conditions":[{"type":"Available","status":"False","reason":"MissingEndpoints","message":"no endpoints"}]}}"#,
                "Progressing: no endpoints",
            ),
            (
                r#"{"status":{"conditions":[{"type":"Available","status":"True","reason":"Local"}]}}"#,
                "Healthy",
            ),
        ],
    );
}

#[test]
fn any_other_kind() {
    check(
        "Certificate.cert-manager.io",
        &[
            (r#"{}"#, "Healthy"),
            (r#"{"status":{"observedGeneration":2}}"#, "Healthy"),
            (
                r#"{"status":{"observedGeneration":1,"conditions":[{"type":"Ready","status":"True"}]}}"#,
                "Progressing: its controller has not seen the newest generation yet",
            ),
            (
                r#"{"status":{"observedGeneration":"1"}}"#,
                "Progressing: its controller has not seen the newest generation yet",
            ),
            (
                r#"{"status":{"conditions":[{"type":"Ready","status":"False","message":"no issuer"}]}}"#,
                "Progressing: no issuer",
            ),
            (
                r#"{"status":{"conditions":[{"type":"Ready","status":"Unknown","reason":"Pending"}]}}"#,
                "Progressing: Pending",
            ),
            (
                r#"{"status":{"conditions":[{"type":"Ready","status":"True","observedGeneration":1}]}}"#,
                "Progressing: its controller has not judged the newest generation yet",
            ),
            (
                r#"{"status":{"conditions":[{"type":"Reconciling","status":"True","message":"working"},
                {"type":"Ready","status":"True"}]}}"#,
                "Progressing: working",
            ),
            (
                r#"{"status":{"conditions":[{"type":"Ready","status":"False"},
                {"type":"Stalled","status":"True","message":"gave up"}]}}"#,
                "Degraded: gave up",
            ),
            (r#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#, "Healthy"),
            (r#"{"status":"fine"}"#, "Healthy"),
            (r#"{"status":{"conditions":{"Ready":true}}}"#, "Healthy"),
        ],
    );
}

#[test]
fn kinds_without_a_status_are_healthy_when_they_exist() {
    for kind in ["ConfigMap", "Secret", "Role.rbac.authorization.k8s.io", "StorageClass.storage.k8s.io"] {
        check(kind, &[("{}", "Healthy"), (r#"{"deleting":true}"#, "Progressing: being deleted")]);
        assert!(needs(&group_kind(kind)).is_metadata_only(), "{kind}");
    }
}

#[test]
fn watches_read_only_what_the_rules_need() {
    let (needed, unused) = (Part::Needed, Part::Unused);
    assert_eq!(needs(&group_kind("Deployment.apps")), Needs { spec: needed, status: needed });
    assert_eq!(needs(&group_kind("Job.batch")), Needs { spec: unused, status: needed });
    assert_eq!(needs(&group_kind("Certificate.cert-manager.io")), Needs { spec: unused, status: needed });
}

#[test]
fn what_is_being_deleted_is_in_progress_whatever_else_it_says() {
    check("Pod", &[(r#"{"deleting":true,"status":{"phase":"Failed"}}"#, "Progressing: being deleted")]);
}

#[test]
fn a_status_of_the_wrong_shape_is_unknown_and_says_why() {
    check(
        "Deployment.apps",
        &[(
            r#"{"status":{"replicas":"three"}}"#,
            "Unknown: status cannot be read: invalid type: string \"three\", expected i64 at line 1 column 19",
        )],
    );
}
