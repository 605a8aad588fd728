//! Workloads of the group `apps`.
//!
//! The rules are Argo CD's, which are those of `kubectl rollout status`. Where pods cannot be made (quota, admission),
//! the message is what the controller says of it and not the number of pods that are not there.

use serde::Deserialize;

use super::condition::{Condition, find};
use super::{Assessment, Observed, Unreadable, read};

const NOT_OBSERVED: &str = "its controller has not seen the newest generation yet";

/// The fields of the four specs that rules read.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    replicas: Option<i64>,
    paused: bool,
    update_strategy: UpdateStrategy,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct UpdateStrategy {
    #[serde(rename = "type")]
    kind: String,
    rolling_update: Option<RollingUpdate>,
}

impl UpdateStrategy {
    /// Pods are replaced when a person deletes them, so nothing is on its way.
    fn is_on_delete(&self) -> bool {
        self.kind == "OnDelete"
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RollingUpdate {
    partition: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ReplicaStatus<'a> {
    observed_generation: i64,
    replicas: i64,
    updated_replicas: i64,
    ready_replicas: i64,
    available_replicas: i64,
    #[serde(borrow)]
    current_revision: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    update_revision: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    conditions: Vec<Condition<'a>>,
}

impl ReplicaStatus<'_> {
    /// Returns what stops the controller from making pods.
    fn failure(&self) -> Option<&str> {
        let failure = find(&self.conditions, "ReplicaFailure")?;
        (failure.status == "True").then(|| failure.words())
    }

    fn waiting(&self, otherwise: String) -> Assessment {
        Assessment::progressing(self.failure().map_or(otherwise, str::to_owned))
    }
}

pub(super) fn deployment(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let spec: Spec = read(object.spec, "spec")?;
    let status: ReplicaStatus<'_> = read(object.status, "status")?;
    let wanted = spec.replicas.unwrap_or(1);
    let (all, updated, available) = (status.replicas, status.updated_replicas, status.available_replicas);
    if spec.paused {
        return Ok(Assessment::suspended("paused"));
    }
    if object.generation > status.observed_generation {
        return Ok(Assessment::progressing(NOT_OBSERVED));
    }
    let progress = find(&status.conditions, "Progressing");
    if let Some(late) = progress.filter(|condition| condition.reason == "ProgressDeadlineExceeded") {
        return Ok(Assessment::degraded(status.failure().unwrap_or(late.words())));
    }
    Ok(if updated < wanted {
        status.waiting(format!("{updated} of {wanted} replicas are updated"))
    } else if all > updated {
        status.waiting(format!("{} old replicas are still to go", all - updated))
    } else if available < updated {
        status.waiting(format!("{available} of {updated} updated replicas are available"))
    } else {
        Assessment::HEALTHY
    })
}

pub(super) fn stateful_set(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let spec: Spec = read(object.spec, "spec")?;
    let status: ReplicaStatus<'_> = read(object.status, "status")?;
    let wanted = spec.replicas.unwrap_or(1);
    let (updated, ready) = (status.updated_replicas, status.ready_replicas);
    if status.observed_generation == 0 || object.generation > status.observed_generation {
        return Ok(Assessment::progressing(NOT_OBSERVED));
    }
    if ready < wanted {
        return Ok(Assessment::progressing(format!("{ready} of {wanted} replicas are ready")));
    }
    if spec.update_strategy.is_on_delete() {
        return Ok(Assessment::HEALTHY);
    }
    // A partition of zero is the server's default and means all; below a partition the old revision stays on purpose.
    if let Some(partition) = spec.update_strategy.rolling_update.and_then(|update| update.partition) {
        let wanted = (wanted - partition).max(0);
        return Ok(if updated < wanted {
            Assessment::progressing(format!("{updated} of {wanted} replicas are updated"))
        } else {
            Assessment::HEALTHY
        });
    }
    Ok(if status.update_revision == status.current_revision {
        Assessment::HEALTHY
    } else {
        Assessment::progressing(format!("{updated} of {wanted} replicas are updated"))
    })
}

pub(super) fn replica_set(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let spec: Spec = read(object.spec, "spec")?;
    let status: ReplicaStatus<'_> = read(object.status, "status")?;
    let (wanted, available) = (spec.replicas.unwrap_or(1), status.available_replicas);
    Ok(if object.generation > status.observed_generation {
        Assessment::progressing(NOT_OBSERVED)
    } else if let Some(failure) = status.failure() {
        Assessment::degraded(failure)
    } else if available < wanted {
        Assessment::progressing(format!("{available} of {wanted} replicas are available"))
    } else {
        Assessment::HEALTHY
    })
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct DaemonStatus {
    observed_generation: i64,
    desired_number_scheduled: i64,
    updated_number_scheduled: i64,
    number_available: i64,
}

pub(super) fn daemon_set(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let spec: Spec = read(object.spec, "spec")?;
    let status: DaemonStatus = read(object.status, "status")?;
    let (wanted, updated, available) =
        (status.desired_number_scheduled, status.updated_number_scheduled, status.number_available);
    Ok(if object.generation > status.observed_generation {
        Assessment::progressing(NOT_OBSERVED)
    } else if spec.update_strategy.is_on_delete() {
        Assessment::HEALTHY
    } else if updated < wanted {
        Assessment::progressing(format!("{updated} of {wanted} pods are updated"))
    } else if available < wanted {
        Assessment::progressing(format!("{available} of {wanted} pods are available"))
    } else {
        Assessment::HEALTHY
    })
}
