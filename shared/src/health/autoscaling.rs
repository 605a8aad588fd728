//! HorizontalPodAutoscalers, of all versions.
//!
//! As in Argo CD, only named reasons are failures; all of them are looked for before a condition says that it is well.

use super::condition::{Condition, Conditions};
use super::{Assessment, Observed, Unreadable, read};

/// Carries the conditions of an autoscaler that is read as `autoscaling/v1`.
pub(super) const CONDITIONS_OF_V1: &str = "autoscaling.alpha.kubernetes.io/conditions";

const FAILURES: [(&str, &str); 8] = [
    ("AbleToScale", "FailedGetScale"),
    ("AbleToScale", "FailedUpdateScale"),
    ("ScalingActive", "FailedGetResourceMetric"),
    ("ScalingActive", "FailedGetObjectMetric"),
    ("ScalingActive", "FailedGetPodsMetric"),
    ("ScalingActive", "FailedGetExternalMetric"),
    ("ScalingActive", "FailedComputeMetricsReplicas"),
    ("ScalingActive", "InvalidSelector"),
];

pub(super) fn autoscaler(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let status: Conditions<'_> = read(object.status, "status")?;
    let Some(annotation) = object.annotations.get(CONDITIONS_OF_V1) else {
        return Ok(judge(&status.conditions));
    };
    let conditions: Vec<Condition<'_>> = serde_json::from_str(annotation)
        .map_err(|source| Unreadable { part: "the annotation with its conditions", source })?;
    Ok(judge(&conditions))
}

fn judge(conditions: &[Condition<'_>]) -> Assessment {
    let is_failure = |condition: &&Condition<'_>| FAILURES.contains(&(&*condition.kind, &*condition.reason));
    let is_well = |condition: &Condition<'_>| {
        condition.is("AbleToScale", "True") || condition.is("ScalingLimited", "True")
    };
    if let Some(failure) = conditions.iter().find(is_failure) {
        Assessment::degraded(failure.words())
    } else if conditions.iter().any(is_well) {
        Assessment::HEALTHY
    } else {
        Assessment::progressing("waits for its first measurement")
    }
}
