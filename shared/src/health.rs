//! The health of a live object, in Argo CD's words.
//!
//! Place in the pipeline: *observe*. The watcher reads an object, asks [`assess`] and drops it; only the
//! [`Assessment`] is kept. [`needs`] tells the watcher which parts of a kind have to be read at all.
//!
//! The built-in kinds follow Argo CD's rules, each file says where we differ and why. All other kinds follow kstatus
//! (`health/generic.rs`); Argo CD has no opinion on most of them. Three differences are the same everywhere:
//! - an object that cannot be read is `Unknown` and says what is wrong with it, as in Argo CD, but a status of an
//!   unknown kind that has another shape than usual is no mistake;
//! - `Healthy` says why only where that is news, because ten thousand rows keep what it says;
//! - kinds are matched by group and kind, never by version.
//!
//! Nothing here knows a cluster, a clock or other objects; `Missing` is for the caller, who knows that there is none.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::object::GroupKind;

mod apps;
mod autoscaling;
mod batch;
mod condition;
mod core;
mod extension;
mod generic;
mod networking;
mod pod;
mod policy;

/// How an object or an app is, from best to worst: the order in which an app takes over the state of its objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Health {
    Healthy,
    /// Stopped on purpose, such as a paused Deployment.
    Suspended,
    /// Not there yet, and it may get there by itself.
    Progressing,
    /// There is no such object.
    Missing,
    /// It failed, or it did not get there in its time.
    Degraded,
    /// It cannot be told.
    Unknown,
}

impl Health {
    /// Returns the worse of two.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        self.max(other)
    }

    /// Returns the word that people read.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Suspended => "Suspended",
            Self::Progressing => "Progressing",
            Self::Missing => "Missing",
            Self::Degraded => "Degraded",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The health of one object, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assessment {
    pub health: Health,
    pub message: Option<String>,
}

impl Assessment {
    /// There is nothing to say but that it is well.
    pub const HEALTHY: Self = Self { health: Health::Healthy, message: None };

    fn new(health: Health, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self { health, message: (!message.is_empty()).then_some(message) }
    }

    fn healthy(message: impl Into<String>) -> Self {
        Self::new(Health::Healthy, message)
    }

    fn suspended(message: impl Into<String>) -> Self {
        Self::new(Health::Suspended, message)
    }

    fn progressing(message: impl Into<String>) -> Self {
        Self::new(Health::Progressing, message)
    }

    fn degraded(message: impl Into<String>) -> Self {
        Self::new(Health::Degraded, message)
    }
}

/// What of a live object decides its health.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// `metadata.generation`; 0 where the kind has none.
    pub generation: i64,
    /// Whether it has a `metadata.deletionTimestamp`.
    pub deleting: bool,
    /// At least those of [`ANNOTATIONS`] that it has.
    pub annotations: &'a BTreeMap<String, String>,
    /// May be left out where [`needs`] says so.
    pub spec: Option<&'a RawValue>,
    /// May be left out where [`needs`] says so.
    pub status: Option<&'a RawValue>,
}

/// The annotations that rules read.
pub const ANNOTATIONS: [&str; 3] = [core::PROVISIONER_BETA, core::PROVISIONER, autoscaling::CONDITIONS_OF_V1];

/// Whether a part of an object has to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Needed,
    Unused,
}

/// The parts of an object that its health depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    pub spec: Part,
    pub status: Part,
}

impl Needs {
    /// Returns whether metadata alone decides, so that a metadata-only watch is enough.
    #[must_use]
    pub fn is_metadata_only(self) -> bool {
        self == NOTHING
    }
}

const NOTHING: Needs = Needs { spec: Part::Unused, status: Part::Unused };
const STATUS: Needs = Needs { spec: Part::Unused, status: Part::Needed };
const SPEC_AND_STATUS: Needs = Needs { spec: Part::Needed, status: Part::Needed };

/// A part of an object that does not have the shape its kind promises.
#[derive(Debug, thiserror::Error)]
#[error("{part} cannot be read")]
struct Unreadable {
    part: &'static str,
    source: serde_json::Error,
}

type Rule = fn(&Observed<'_>) -> Result<Assessment, Unreadable>;

/// Returns which parts of the kind's objects [`assess`] reads.
#[must_use]
pub fn needs(kind: &GroupKind) -> Needs {
    rule(kind).0
}

/// Returns the health of an object that exists.
#[must_use]
pub fn assess(kind: &GroupKind, object: &Observed<'_>) -> Assessment {
    if object.deleting {
        return Assessment::progressing("being deleted");
    }
    let unknown = |unreadable: Unreadable| {
        Assessment::new(Health::Unknown, format!("{unreadable}: {}", unreadable.source))
    };
    rule(kind).1(object).unwrap_or_else(unknown)
}

fn rule(kind: &GroupKind) -> (Needs, Rule) {
    match (&*kind.group, &*kind.kind) {
        ("apps", "Deployment") => (SPEC_AND_STATUS, apps::deployment),
        ("apps", "StatefulSet") => (SPEC_AND_STATUS, apps::stateful_set),
        ("apps", "DaemonSet") => (SPEC_AND_STATUS, apps::daemon_set),
        ("apps", "ReplicaSet") => (SPEC_AND_STATUS, apps::replica_set),
        ("batch", "Job") => (STATUS, batch::job),
        ("batch", "CronJob") => (SPEC_AND_STATUS, batch::cron_job),
        ("", "Pod") => (SPEC_AND_STATUS, pod::pod),
        ("", "Service") => (SPEC_AND_STATUS, core::service),
        ("", "PersistentVolumeClaim") => (STATUS, core::claim),
        ("", "PersistentVolume") => (STATUS, core::volume),
        ("", "Namespace") => (STATUS, core::namespace),
        ("networking.k8s.io" | "extensions", "Ingress") => (STATUS, networking::ingress),
        ("autoscaling", "HorizontalPodAutoscaler") => (STATUS, autoscaling::autoscaler),
        ("policy", "PodDisruptionBudget") => (STATUS, policy::budget),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => (STATUS, extension::definition),
        ("apiregistration.k8s.io", "APIService") => (STATUS, extension::api_service),
        _ if is_without_status(kind) => (NOTHING, exists),
        _ => (STATUS, generic::any),
    }
}

fn exists(_: &Observed<'_>) -> Result<Assessment, Unreadable> {
    Ok(Assessment::HEALTHY)
}

/// Built-in kinds that have no status, or none that says how they are.
fn is_without_status(kind: &GroupKind) -> bool {
    match &*kind.group {
        "" => matches!(
            &*kind.kind,
            "ConfigMap"
                | "Secret"
                | "ServiceAccount"
                | "Endpoints"
                | "Event"
                | "LimitRange"
                | "PodTemplate"
                | "ResourceQuota"
        ),
        "admissionregistration.k8s.io" => &*kind.kind != "ValidatingAdmissionPolicy",
        "apps" => &*kind.kind == "ControllerRevision",
        "networking.k8s.io" => matches!(&*kind.kind, "NetworkPolicy" | "IngressClass" | "IPAddress"),
        "scheduling.k8s.io" => &*kind.kind == "PriorityClass",
        "rbac.authorization.k8s.io"
        | "coordination.k8s.io"
        | "discovery.k8s.io"
        | "events.k8s.io"
        | "node.k8s.io" => true,
        "storage.k8s.io" => &*kind.kind != "VolumeAttachment",
        _ => false,
    }
}

/// Reads a part of an object into the few fields that a rule needs; one that is not there has their defaults.
fn read<'a, T>(raw: Option<&'a RawValue>, part: &'static str) -> Result<T, Unreadable>
where
    T: Deserialize<'a> + Default,
{
    raw.map_or_else(|| Ok(T::default()), |raw| serde_json::from_str(raw.get()))
        .map_err(|source| Unreadable { part, source })
}

#[cfg(test)]
mod tests;
