//! What an app is; only the agent writes it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SyncPolicy;

/// What an app is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AppStatus {
    /// The environment of the agent's configuration that has the app.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub environment: String,
    /// `Synced`, `OutOfSync` or `Unknown`.
    pub sync: String,
    /// `Healthy`, `Progressing`, `Degraded`, `Suspended`, `Missing` or `Unknown`.
    pub health: String,
    /// What the agent does at the moment.
    pub phase: String,
    /// What it waits for or what is wrong, in one line; empty where all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The revision last taken from Git.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// The revision that the cluster was last made equal to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Revision>,
    /// The app list of the newest revision has the app no more.
    #[serde(skip_serializing_if = "is_false")]
    pub unlisted: bool,
    /// What the recorded objects were assigned by; a changed configuration does not prune them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
    /// How the app is synced: what the agent's file says, made stricter where the app asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<SyncPolicy>,
    /// The plan that is being applied or waits for approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSummary>,
    /// What the app waits for, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The release that a person pinned the app to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Pinned>,
    /// Whether plans may go now, as far as the windows of the agent's file are concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowState>,
    /// The last `spec.sync` that has been carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synced_for: Option<String>,
    pub counts: Counts,
    /// The objects that are not as they should be, the worst first; at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectRow>,
    /// The last syncs, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
}

/// A state of the source.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Revision {
    /// `main@sha1:4f2c9a…`, for people.
    pub name: String,
    /// Repository URL, without credentials.
    pub url: String,
    /// Branch or tag; empty where the source names a commit.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reference: String,
    /// Object format and id.
    pub commit: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub committed_at: Option<Timestamp>,
    /// The `Traceparent:` trailer of the commit, if it is valid: its trace is the release's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The chart of a chart repository that the app is rendered from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartRelease>,
}

/// One version of a chart, as a chart repository gave it out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChartRelease {
    /// The chart repository's URL.
    pub repository: String,
    pub name: String,
    pub version: String,
    /// SHA-256 of the archive.
    pub digest: String,
}

/// The environment and the path that the configuration assigns.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Assignment {
    pub environment: String,
    /// Repository URL, without credentials.
    pub url: String,
    /// From the repository's root; empty for the root itself.
    pub path: String,
    /// Digest of the cluster's name, labels and variables.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub facts: String,
}

/// A plan in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanSummary {
    /// What an approval names.
    pub digest: String,
    pub created: u32,
    pub configured: u32,
    pub recreated: u32,
    pub pruned: u32,
    pub unchanged: u32,
    pub held: u32,
    pub failed: u32,
    /// What is done to which object, what destroys something first; at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<PlannedChange>,
    /// The person whose approval is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// What the plan leads to, while it waits for an approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<StoredSet>,
}

/// A rendered set, as it is stored beside the `App`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StoredSet {
    /// The set's digest.
    pub render: String,
    /// The Secrets that hold it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<String>,
}

/// What a plan does to one object.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlannedChange {
    /// `created`, `configured`, `recreated` or `pruned`.
    pub action: String,
    /// `Kind/namespace/name`.
    pub object: String,
    /// The object exists and is taken over.
    #[serde(skip_serializing_if = "is_false")]
    pub adopts: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The release that an app is pinned to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Pinned {
    /// Its render, as `spec.pin` names it.
    pub release: String,
    /// Its revision, for people; empty where the history does not have it any more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub revision: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What the windows say at the moment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WindowState {
    pub open: bool,
    /// When that is over; absent where no such time is foreseen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
}

/// A condition as Kubernetes has them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    pub reason: String,
    #[serde(default)]
    pub message: String,
    /// When `status` last changed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
}

/// All objects of an app in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    pub total: u32,
    pub healthy: u32,
    pub out_of_sync: u32,
    pub drifted: u32,
    pub held: u32,
    pub failed: u32,
}

/// One object.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRow {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    pub sync: String,
    pub health: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The word for why it is left alone, if it is; the message says it in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Its uid, where it left Git and is deleted only by a person's word: `spec.prune` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prunable: Option<String>,
}

/// One sync of the past.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Counts up; what `skiff rollback` names it by.
    #[serde(default)]
    pub number: u64,
    pub revision: Revision,
    /// What assigned the app then.
    #[serde(default)]
    pub assignment: Assignment,
    /// Digest of the rendered set.
    pub render: String,
    /// When the agent saw the commit.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub seen_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub applied_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub healthy_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// `success`, `failure` before the first write, `failed` after it, `cancellation` or `running`.
    pub outcome: String,
    /// Objects by what happened to them: `created`, `configured`, `pruned` and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u32>,
    /// The app was pinned to it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pinned: bool,
    /// The Secrets that hold its objects, as long as the app can go back to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<String>,
    /// Bodies in them that are not part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
}
