//! A live object as it comes from the API server, reduced while it is read.
//!
//! Only what drift, health, adoption and pruning need is kept; data of a ConfigMap or Secret is never
//! even copied. The whole `managedFields` are text until somebody asks for them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use skiff_shared::api::{APP_LABEL, INSTANCE_LABEL};
use skiff_shared::desired::annotations::{FLUX_RECONCILE, HOLD_UNTIL};
use skiff_shared::health::{self, Assessment, Observed};
use skiff_shared::inventory::Uid;
use skiff_shared::managed_fields::{Entry, Fields, ForeignOwner, Marks, Tool, foreign_owner};
use skiff_shared::object::GroupKind;
use skiff_shared::sync::event::{Point, Seen};

use crate::expr::{HealthBook, Subject};

/// Prefixes of the annotations by which other tools mark what is theirs.
const MARKS: [&str; 2] = ["argocd.argoproj.io/", "meta.helm.sh/"];

/// Annotations that say how long an object is to be left alone.
const READ: [&str; 2] = [HOLD_UNTIL, FLUX_RECONCILE];

/// An object, reduced.
#[derive(Clone, Deserialize)]
pub(super) struct Live {
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    spec: Option<Box<RawValue>>,
    #[serde(default)]
    status: Option<Box<RawValue>>,
}

#[derive(Clone, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub name: Box<str>,
    pub namespace: Option<Box<str>>,
    pub uid: Box<str>,
    /// 0 where there is none: what a dry run would create has none.
    #[serde(deserialize_with = "number")]
    pub resource_version: u64,
    pub generation: i64,
    deletion_timestamp: Option<IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    owner_references: Vec<IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "marks")]
    annotations: BTreeMap<String, String>,
    managed_fields: Option<Box<RawValue>>,
}

/// Whether the whole managedFields go with an observation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Entries,
    /// While a list is read: ten thousand objects, and nearly all of them are as they should be.
    Digests,
}

/// Who looks, and at what.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub kind: &'a GroupKind,
    /// Our value of the instance label.
    pub instance: &'a str,
    /// How kinds of apps say how they are.
    pub health: &'a HealthBook,
}

impl Live {
    /// Returns the object as an observation.
    pub fn seen(&self, view: View<'_>, watch: u32, keep: Keep) -> Result<Seen, serde_json::Error> {
        let Metadata { resource_version, generation, .. } = self.metadata;
        let entries = match keep {
            Keep::Entries => Some(Arc::from(self.entries()?)),
            Keep::Digests => None,
        };
        let managers = self.managers()?;
        Ok(Seen {
            at: Point { watch, rv: resource_version },
            uid: Uid(self.metadata.uid.clone()),
            generation,
            fields: self.fields()?,
            health: self.assess(view),
            deleting: self.metadata.deletion_timestamp.is_some(),
            has_owner: !self.metadata.owner_references.is_empty(),
            is_ours: self.metadata.labels.get(INSTANCE_LABEL).is_some_and(|label| label == view.instance),
            hold_until: self.hold_until(),
            foreign: self.foreign(&managers, view.instance),
            tool: managers.iter().find_map(|manager| Tool::of(manager)),
            entries,
        })
    }

    /// Returns until when the object is to be left as it is; without an end where the time cannot be read, as whoever wrote
    /// it believes that it holds.
    fn hold_until(&self) -> Option<Timestamp> {
        let annotations = &self.metadata.annotations;
        let disabled = |value: &String| value.eq_ignore_ascii_case("disabled");
        if annotations.get(FLUX_RECONCILE).is_some_and(disabled) {
            return Some(Timestamp::MAX);
        }
        Some(annotations.get(HOLD_UNTIL)?.trim().parse().unwrap_or(Timestamp::MAX))
    }

    /// Returns the app that the object says it is of.
    pub fn app(&self) -> Option<&str> {
        self.metadata.labels.get(APP_LABEL).map(String::as_str)
    }

    /// Returns the whole managedFields.
    pub fn entries(&self) -> Result<Vec<Entry>, serde_json::Error> {
        self.metadata.read_managed()
    }

    /// Returns the managedFields reduced to digests.
    pub fn fields(&self) -> Result<Fields, serde_json::Error> {
        self.metadata.read_managed()
    }

    /// Reads the spec; the default where there is none.
    pub fn read_spec<T: DeserializeOwned + Default>(&self) -> Result<T, serde_json::Error> {
        self.spec.as_ref().map_or_else(|| Ok(T::default()), |spec| serde_json::from_str(spec.get()))
    }

    fn foreign(&self, managers: &[Cow<'_, str>], instance: &str) -> Option<ForeignOwner> {
        let Metadata { labels, annotations, .. } = &self.metadata;
        let managers: Vec<&str> = managers.iter().map(|manager| &**manager).collect();
        foreign_owner(&Marks { labels, annotations, managers: &managers, instance })
    }

    /// Returns who has fields of the object itself.
    fn managers(&self) -> Result<Vec<Cow<'_, str>>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow, default)]
            manager: Cow<'a, str>,
            #[serde(borrow, default)]
            subresource: Cow<'a, str>,
        }
        let Some(list) = &self.metadata.managed_fields else { return Ok(Vec::new()) };
        let named: Vec<Named<'_>> = serde_json::from_str(list.get())?;
        let of_object = named.into_iter().filter(|entry| entry.subresource.is_empty());
        Ok(of_object.map(|entry| entry.manager).collect())
    }

    fn assess(&self, view: View<'_>) -> Assessment {
        let custom = self.app().filter(|_| self.metadata.deletion_timestamp.is_none());
        let custom = custom.and_then(|app| view.health.assess(app, view.kind, &self.subject()));
        custom.unwrap_or_else(|| self.assess_as_built_in(view.kind))
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            namespace: self.metadata.namespace.as_deref(),
            name: &self.metadata.name,
            generation: self.metadata.generation,
            labels: &self.metadata.labels,
            spec: self.spec.as_deref(),
            status: self.status.as_deref(),
        }
    }

    fn assess_as_built_in(&self, kind: &GroupKind) -> Assessment {
        let object = Observed {
            generation: self.metadata.generation,
            deleting: self.metadata.deletion_timestamp.is_some(),
            annotations: &self.metadata.annotations,
            spec: self.spec.as_deref(),
            status: self.status.as_deref(),
        };
        health::assess(kind, &object)
    }
}

impl Metadata {
    fn read_managed<T: DeserializeOwned + Default>(&self) -> Result<T, serde_json::Error> {
        self.managed_fields.as_ref().map_or_else(|| Ok(T::default()), |list| serde_json::from_str(list.get()))
    }
}

/// Reads `null` as nothing: the lists of some answers are null where they are empty.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a number that is written as text.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| serde::de::Error::custom(format!("resourceVersion {text:?} is not a number")))
}

/// Reads the annotations that anyone here looks at, and passes over the others: one may be a whole old
/// manifest.
fn marks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    deserializer.deserialize_any(MarksVisitor)
}

struct MarksVisitor;

impl<'de> Visitor<'de> for MarksVisitor {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("annotations")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut kept = BTreeMap::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let read = MARKS.iter().any(|prefix| key.starts_with(prefix))
                || READ.contains(&&*key)
                || health::ANNOTATIONS.contains(&&*key);
            if read {
                kept.insert(key.into_owned(), map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(kept)
    }
}
