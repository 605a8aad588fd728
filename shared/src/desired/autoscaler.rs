//! Autoscalers: whose replicas they decide.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::yields::{Field, Yields};
use super::{Desired, DesiredRow};
use crate::object::{GroupKind, ObjectId, split_api_version};

/// The kind whose objects decide others' replicas.
pub const GROUP: &str = "autoscaling";
pub const KIND: &str = "HorizontalPodAutoscaler";

/// What an autoscaler scales, in its own namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    pub group: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
}

/// Returns what an object with this `spec` scales; `None` where it is no autoscaler, or does not say.
pub fn target<'a>(id: &ObjectId, spec: &'a Value) -> Option<Target<'a>> {
    if !id.is(GROUP, KIND) {
        return None;
    }
    let target = spec.get("scaleTargetRef")?;
    let text = |field: &str| target.get(field).and_then(Value::as_str);
    let (group, _) = split_api_version(text("apiVersion").unwrap_or_default());
    Some(Target { group, kind: text("kind")?, name: text("name")? })
}

/// Who decides replicas, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Scaled<'a> {
    /// The targets of autoscalers that the app brings.
    pub rendered: &'a BTreeSet<&'a ObjectId>,
    /// The targets of live autoscalers; `None` while nobody knows them.
    pub live: Option<&'a BTreeSet<ObjectId>>,
}

impl Scaled<'_> {
    /// Returns what of a wanted object is left to others: what the app says, and replicas that an autoscaler decides.
    /// While nobody knows the live ones, what was left to them when the object was last applied still is.
    pub fn yields_of(&self, wanted: &DesiredRow, recorded: Option<&Yields>) -> Option<Arc<Yields>> {
        if wanted.hook.is_some() {
            // It is created for each run, as Git has it.
            return None;
        }
        let replicas = Field::replicas();
        let by_live = match self.live {
            Some(targets) => targets.contains(&wanted.id),
            None => recorded.is_some_and(|yields| yields.fields.contains(&replicas)),
        };
        let named = wanted.yields.as_ref().is_some_and(|yields| yields.fields.contains(&replicas));
        if named || !(by_live || self.rendered.contains(&wanted.id)) {
            return wanted.yields.clone();
        }
        let mut yields = wanted.yields.as_deref().cloned().unwrap_or_default();
        yields.fields.insert(replicas);
        yields.shared()
    }
}

/// Returns the objects that autoscalers of an app scale.
pub fn rendered(desired: &Desired) -> BTreeSet<&ObjectId> {
    desired.rows.iter().filter_map(|row| row.scales.as_ref()).collect()
}

/// Returns the kind of autoscalers.
pub fn kind() -> GroupKind {
    GroupKind::new(GROUP, KIND)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::Interner;

    #[test]
    fn target_is_in_the_group_of_its_version() {
        let id = |kind: &str| Interner::default().object(GROUP, kind, Some("shop"), "web");
        let spec = json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}});
        let found = Target { group: "apps", kind: "Deployment", name: "web" };
        assert_eq!(target(&id(KIND), &spec), Some(found));
        assert_eq!(target(&id("Scale"), &spec), None);
        assert_eq!(target(&id(KIND), &json!({})), None);
    }
}
