//! `App` in version `v1alpha1`.
//!
//! `spec` is what people ask for, and the agent never writes it; `status` is what is, and only the
//! agent writes it. [`AppSpec::ask`] reads the former, [`AppStatus::of`] makes the latter from a
//! [`Report`]. The field names are part of the admission policy for approvals.

mod unattended;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired;
use crate::plan::Action;
use crate::report::{self, Outcome, Recorded, Report, shortened};
use crate::sync::event::{Approval, Ask, Pin};

/// Finished syncs that a status remembers.
pub const MAX_HISTORY: usize = 20;

/// Characters that one message may have; longer ones are cut.
const MAX_MESSAGE: usize = 1_024;

/// Characters that the message of one object row may have: a hundred of them stay small.
const MAX_ROW_MESSAGE: usize = 256;

/// What people ask of an app.
#[derive(CustomResource, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "skiff.dev",
    version = "v1alpha1",
    kind = "App",
    namespaced,
    doc = "One app that Skiff keeps equal to Git: people write the spec, the agent writes the status.",
    status = "AppStatus",
    derive = "PartialEq",
    category = "gitops",
    annotation("helm.sh/resource-policy", "keep"),
    crates(kube_core = "kube_core"),
    printcolumn = r#"{"name":"Sync","type":"string","jsonPath":".status.sync"}"#,
    printcolumn = r#"{"name":"Health","type":"string","jsonPath":".status.health"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.revision.name"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase","priority":1}"#,
    printcolumn = r#"{"name":"Objects","type":"integer","jsonPath":".status.counts.total","priority":1}"#,
    printcolumn = r#"{"name":"Applied","type":"string","jsonPath":".status.applied.name","priority":1}"#,
    printcolumn = r#"{"name":"Repository","type":"string","jsonPath":".status.revision.url","priority":1}"#,
    printcolumn = r#"{"name":"Plan","type":"string","jsonPath":".status.plan.digest","priority":1}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AppSpec {
    /// The plan that may be applied, and who said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRequest>,
    /// Set while nothing may be written for this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Changed, to anything else, to ask for a sync now; usually a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub sync: Option<String>,
    /// The release that the app goes back to and stays at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<PinRequest>,
}

/// A person's word that an app goes back to a release of its history and stays there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PinRequest {
    /// The release's render as `status.history[].render` shows it.
    #[schemars(regex(pattern = r"^[0-9a-f]{32}$"))]
    pub release: String,
    /// For people; shown wherever the app is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub reason: String,
}

/// A person's word on one plan.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequest {
    /// The plan's digest as `status.plan.digest` shows it: nothing else is applied.
    #[schemars(regex(pattern = r"^[0-9a-f]{32}$"))]
    pub digest: String,
    /// The person, as the API server knows them.
    #[schemars(length(min = 1, max = 256))]
    pub by: String,
}

/// Why an app is paused.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// For people; shown wherever the app is.
    #[schemars(length(max = 1024))]
    pub reason: String,
}

impl AppSpec {
    /// Returns what the machine understands of it. An approval or a pin whose digest cannot be one is none.
    pub fn ask(&self) -> Ask {
        let approval = self.approval.as_ref().and_then(|request| {
            let digest = request.digest.parse().ok()?;
            Some(Approval { digest, by: request.by.clone() })
        });
        Ask {
            approval,
            paused: self.pause.as_ref().map(|pause| pause.reason.clone()),
            sync: self.sync.clone(),
            pin: self.pin.as_ref().and_then(|request| {
                let release = request.release.parse().ok()?;
                Some(Pin { release, reason: request.reason.clone() })
            }),
        }
    }
}

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
    /// What the recorded objects were assigned by; a changed configuration does not prune them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
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

impl AppStatus {
    /// Returns the status that shows `report` on an app of this environment. A condition that is as it was in `previous` keeps the
    /// time of its last change.
    pub fn of(environment: &str, report: &Report, previous: Option<&Self>, now: Timestamp) -> Self {
        let known = previous.map_or(&[][..], |previous| &previous.conditions);
        Self {
            environment: environment.to_owned(),
            sync: report.sync.word().to_owned(),
            health: report.health.word().to_owned(),
            phase: report.phase.to_owned(),
            message: shortened(&headline(report), MAX_ROW_MESSAGE),
            revision: report.revision.as_ref().map(Revision::of),
            applied: report.applied.as_ref().map(Revision::of),
            assignment: report.assignment.as_ref().map(Assignment::of),
            plan: report.plan.as_ref().map(PlanSummary::of),
            waiting_for: report.waiting_for.iter().map(|text| shortened(text, MAX_ROW_MESSAGE)).collect(),
            conditions: report
                .conditions
                .iter()
                .map(|condition| Condition::of(condition, known, now))
                .collect(),
            counts: Counts::of(report.objects),
            objects: report.rows.iter().take(report::MAX_ROWS).map(ObjectRow::of).collect(),
            history: report.history.iter().take(MAX_HISTORY).map(HistoryEntry::of).collect(),
            pinned: report.pinned.as_ref().map(Pinned::of),
            window: report.window.map(|report::WindowReport { open, until }| WindowState { open, until }),
            synced_for: report.synced_for.clone(),
        }
    }
}

impl AppStatus {
    /// Returns the revision that was last taken from Git.
    pub fn newest(&self) -> Option<desired::Revision> {
        self.revision.as_ref().or(self.applied.as_ref()).map(Revision::read)
    }

    /// Returns what an agent that starts anew takes from the status that the one before it left.
    pub fn recorded(&self) -> Recorded {
        Recorded {
            applied: self.applied.as_ref().map(Revision::read),
            assignment: self.assignment.as_ref().map(Assignment::read),
            history: self.history.iter().filter_map(HistoryEntry::read).collect(),
            synced_for: self.synced_for.clone(),
        }
    }
}

/// Returns the one line that a list of apps has room for: what the app waits for, else what is wrong.
fn headline(report: &Report) -> String {
    if !report.waiting_for.is_empty() {
        return report.waiting_for.join("; ");
    }
    let unready = report.conditions.iter().find(|condition| condition.kind == "Ready" && !condition.status);
    if let Some(unready) = unready.filter(|condition| !condition.message.is_empty()) {
        return unready.message.clone();
    }
    let troubled = report.rows.iter().find(|row| !row.message.is_empty());
    troubled.map_or_else(String::new, |row| {
        let place = row.namespace.as_deref().map_or_else(String::new, |namespace| format!("{namespace}/"));
        format!("{}/{place}{}: {}", row.kind, row.name, row.message)
    })
}

impl Revision {
    fn of(revision: &desired::Revision) -> Self {
        Self {
            name: revision.to_string(),
            url: revision.url.clone(),
            reference: revision.reference.clone(),
            commit: revision.commit.clone(),
            author: shortened(&revision.author, MAX_ROW_MESSAGE),
            subject: shortened(&revision.subject, MAX_ROW_MESSAGE),
            committed_at: revision.committed_at,
            chart: revision.chart.as_ref().map(ChartRelease::of),
        }
    }
}

impl ChartRelease {
    fn of(chart: &desired::ChartRelease) -> Self {
        let desired::ChartRelease { repository, name, version, digest } = chart.clone();
        Self { repository, name, version, digest }
    }

    fn read(&self) -> desired::ChartRelease {
        let Self { repository, name, version, digest } = self.clone();
        desired::ChartRelease { repository, name, version, digest }
    }
}

impl Revision {
    fn read(&self) -> desired::Revision {
        desired::Revision {
            url: self.url.clone(),
            reference: self.reference.clone(),
            commit: self.commit.clone(),
            author: self.author.clone(),
            subject: self.subject.clone(),
            committed_at: self.committed_at,
            traceparent: None,
            chart: self.chart.as_ref().map(ChartRelease::read),
        }
    }
}

impl Assignment {
    fn of(assignment: &desired::Assignment) -> Self {
        let desired::Assignment { environment, url, path, facts } = assignment.clone();
        Self { environment, url, path, facts }
    }

    fn read(&self) -> desired::Assignment {
        let Self { environment, url, path, facts } = self.clone();
        desired::Assignment { environment, url, path, facts }
    }
}

impl PlanSummary {
    fn of(plan: &report::PlanReport) -> Self {
        let count = |wanted| plan.counts.iter().filter(|(action, _)| *action == wanted).map(|(_, n)| n).sum();
        Self {
            digest: plan.digest.to_string(),
            created: count(Action::Created),
            configured: count(Action::Configured),
            recreated: count(Action::Recreated),
            pruned: count(Action::Pruned),
            unchanged: count(Action::Unchanged),
            held: count(Action::Held),
            failed: count(Action::Failed),
            changes: plan.changes.iter().map(PlannedChange::of).collect(),
            approved_by: plan.approved_by.clone(),
        }
    }
}

impl Pinned {
    fn of(pinned: &report::PinReport) -> Self {
        Self {
            release: pinned.release.to_string(),
            revision: pinned.revision.as_ref().map(ToString::to_string).unwrap_or_default(),
            reason: pinned.reason.clone(),
        }
    }
}

impl PlannedChange {
    fn of(change: &report::PlannedChange) -> Self {
        let report::PlannedChange { action, id, adopts } = change;
        Self { action: action.word().to_owned(), object: id.to_string(), adopts: *adopts }
    }
}

impl Condition {
    fn of(condition: &report::Condition, known: &[Self], now: Timestamp) -> Self {
        let status = if condition.status { "True" } else { "False" };
        let before = known.iter().find(|known| known.kind == condition.kind && known.status == status);
        Self {
            kind: condition.kind.to_owned(),
            status: status.to_owned(),
            reason: condition.reason.clone(),
            message: shortened(&condition.message, MAX_MESSAGE),
            last_transition_time: before.map_or(now, |before| before.last_transition_time),
        }
    }
}

impl Counts {
    fn of(counts: report::ObjectCounts) -> Self {
        let report::ObjectCounts { total, healthy, out_of_sync, drifted, held, failed } = counts;
        Self { total, healthy, out_of_sync, drifted, held, failed }
    }
}

impl ObjectRow {
    fn of(row: &report::ObjectReport) -> Self {
        Self {
            group: row.group.clone(),
            kind: row.kind.clone(),
            namespace: row.namespace.clone(),
            name: row.name.clone(),
            sync: row.sync.word().to_owned(),
            health: row.health.word().to_owned(),
            message: shortened(&row.message, MAX_ROW_MESSAGE),
        }
    }
}

impl HistoryEntry {
    fn of(entry: &report::HistoryEntry) -> Self {
        Self {
            number: entry.number,
            revision: Revision::of(&entry.revision),
            assignment: Assignment::of(&entry.assignment),
            render: entry.render.to_string(),
            seen_at: entry.seen_at,
            applied_at: entry.applied_at,
            healthy_at: entry.healthy_at,
            approved_by: entry.approved_by.clone(),
            outcome: entry.outcome.word().to_owned(),
            counts: entry.counts.iter().map(|(action, count)| (action.word().to_owned(), *count)).collect(),
            pinned: entry.pinned,
            stored: entry.stored.clone(),
            without: entry.without.iter().map(ToString::to_string).collect(),
        }
    }

    /// Reads an entry back; one that another version wrote and that cannot be read is left out.
    fn read(&self) -> Option<report::HistoryEntry> {
        Some(report::HistoryEntry {
            number: self.number,
            revision: self.revision.read(),
            assignment: self.assignment.read(),
            render: self.render.parse().ok()?,
            seen_at: self.seen_at,
            applied_at: self.applied_at,
            healthy_at: self.healthy_at,
            approved_by: self.approved_by.clone(),
            outcome: Outcome::read(&self.outcome)?,
            counts: self
                .counts
                .iter()
                .filter_map(|(word, count)| Some((Action::read(word)?, *count)))
                .collect(),
            pinned: self.pinned,
            stored: self.stored.clone(),
            without: self.without.iter().map(|digest| digest.parse().ok()).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests;
