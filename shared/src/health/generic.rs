//! All kinds without a rule of their own: the rule of kstatus.
//!
//! Argo CD calls such an object healthy as soon as it exists, unless one of its scripts knows the kind. kstatus reads
//! `status.observedGeneration` and the conditions `Reconciling`, `Stalled` and `Ready`, which most controllers set.
//! We go one step further: a `Ready` that speaks of an older generation is no news yet. A status of any other shape
//! is not judged.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::condition::{Condition, find};
use super::{Assessment, Observed, Unreadable};

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status<'a> {
    /// A number; some controllers write it as text.
    observed_generation: Value,
    #[serde(borrow)]
    conditions: Option<&'a RawValue>,
}

pub(super) fn any(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let raw = object.status.map_or("{}", RawValue::get);
    let status: Status<'_> = serde_json::from_str(raw).unwrap_or_default();
    let conditions = status.conditions.map_or("[]", RawValue::get);
    let conditions: Vec<Condition<'_>> = serde_json::from_str(conditions).unwrap_or_default();
    Ok(judge(object.generation, number(&status.observed_generation), &conditions))
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn judge(generation: i64, observed: Option<i64>, conditions: &[Condition<'_>]) -> Assessment {
    let is_behind = |observed: Option<i64>| observed.is_some_and(|observed| observed < generation);
    if is_behind(observed) {
        return Assessment::progressing("its controller has not seen the newest generation yet");
    }
    let abnormal = |kind: &str| find(conditions, kind).filter(|condition| condition.status == "True");
    if let Some(stalled) = abnormal("Stalled") {
        return Assessment::degraded(stalled.words());
    }
    if let Some(reconciling) = abnormal("Reconciling") {
        return Assessment::progressing(reconciling.words());
    }
    match find(conditions, "Ready") {
        Some(ready) if is_behind(ready.observed_generation) => {
            Assessment::progressing("its controller has not judged the newest generation yet")
        }
        Some(ready) if ready.status != "True" => Assessment::progressing(ready.words()),
        _ => Assessment::HEALTHY,
    }
}
