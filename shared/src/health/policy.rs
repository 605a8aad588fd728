//! PodDisruptionBudgets.
//!
//! As in Argo CD: too few pods is a state that a budget is made for, and no fault of it.

use super::condition::{Condition, Conditions};
use super::{Assessment, Observed, Unreadable, read};

pub(super) fn budget(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let status: Conditions<'_> = read(object.status, "status")?;
    let is_failed =
        |condition: &&Condition<'_>| condition.status == "False" && condition.reason != "InsufficientPods";
    Ok(if let Some(failed) = status.conditions.iter().find(is_failed) {
        Assessment::degraded(failed.words())
    } else if status.conditions.is_empty() {
        Assessment::progressing("not looked at yet")
    } else {
        Assessment::HEALTHY
    })
}
