//! Jobs and CronJobs.
//!
//! Where we differ from Argo CD:
//! - a condition of a Job counts only while it is `True`: Argo CD takes a Job that was suspended and goes on
//!   (`Suspended` is `False`) for a finished one;
//! - a CronJob without a status is one that was not scheduled yet, not one in progress: nothing would ever end that.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::condition::{Condition, Conditions};
use super::{Assessment, Observed, Unreadable, read};

pub(super) fn job(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let status: Conditions<'_> = read(object.status, "status")?;
    let find = |kind: &str| status.conditions.iter().find(|condition| condition.is(kind, "True"));
    Ok(if let Some(failed) = find("Failed") {
        Assessment::degraded(failed.words())
    } else if find("Complete").is_some() {
        Assessment::HEALTHY
    } else if find("Suspended").is_some() {
        Assessment::suspended("suspended")
    } else {
        // Failing is certain here, but pods are still running.
        let failing = find("FailureTarget").map_or("not finished", Condition::words);
        Assessment::progressing(failing)
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CronSpec {
    suspend: bool,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct CronStatus {
    active: Vec<IgnoredAny>,
    last_schedule_time: Option<Timestamp>,
    last_successful_time: Option<Timestamp>,
}

pub(super) fn cron_job(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let spec: CronSpec = read(object.spec, "spec")?;
    if spec.suspend {
        return Ok(Assessment::suspended("suspended"));
    }
    let status: CronStatus = read(object.status, "status")?;
    let is_running = !status.active.is_empty();
    Ok(match (status.last_schedule_time, status.last_successful_time) {
        (None, _) => Assessment::healthy("not scheduled yet"),
        // Whether it failed or runs for the first time cannot be told.
        (Some(_), None) => Assessment::healthy("has never completed"),
        (Some(scheduled), Some(succeeded)) if succeeded < scheduled && !is_running => {
            Assessment::degraded("the last run did not succeed")
        }
        _ => Assessment::HEALTHY,
    })
}
