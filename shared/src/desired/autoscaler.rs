//! Autoscalers: whose replicas they decide.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::yields::{Field, Yields};
use super::{Desired, DesiredRow};
use crate::inventory::Record;
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

/// What is known of the live autoscalers of a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Autoscaled {
    /// The objects whose replicas they decide.
    pub targets: BTreeSet<ObjectId>,
    /// Namespaces whose autoscalers cannot be seen at the moment: what is known of them is old, or nothing.
    pub dark: BTreeSet<Arc<str>>,
}

/// Who decides replicas, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Scaled<'a> {
    /// The targets of autoscalers that the app brings.
    pub rendered: &'a BTreeSet<&'a ObjectId>,
    /// The live autoscalers; `None` while nobody knows them.
    pub live: Option<&'a Autoscaled>,
}

impl Scaled<'_> {
    /// Returns what of a wanted object is left to others: what the app says, and replicas that an autoscaler decides.
    /// While nobody knows the live ones, what was left to them when the object was last applied still is, and so are the
    /// replicas of an object that may have been there before: to let go of them for a while resets nothing.
    pub fn yields_of(&self, wanted: &DesiredRow, record: &Record) -> Option<Arc<Yields>> {
        if wanted.hook.is_some() {
            // It is created for each run, as Git has it.
            return None;
        }
        let replicas = Field::replicas();
        let is_dark =
            |known: &Autoscaled| wanted.id.namespace().is_some_and(|home| known.dark.contains(home));
        let by_live = match (self.live, record.applied()) {
            (Some(known), _) if known.targets.contains(&wanted.id) => true,
            (Some(known), _) if !is_dark(known) => false,
            (_, Some(applied)) => {
                applied.yields.as_ref().is_some_and(|yields| yields.fields.contains(&replicas))
            }
            (_, None) => wanted.declares_replicas,
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

/// Whether an object has the field that autoscalers decide.
pub fn declares_replicas(object: &Map<String, Value>) -> bool {
    object.get("spec").and_then(|spec| spec.get("replicas")).is_some()
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
