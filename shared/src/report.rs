//! What is told to the outside: the state of an app, and the record of a finished sync.
//!
//! Last in the pipeline. Values only: the publisher turns a [`Report`] into the `App` object's status,
//! telemetry turns a [`RunRecord`] into spans and metrics.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::desired::{Assignment, BodyDigest, Interval, Revision};
use crate::gate::Wait;
use crate::health::Health;
use crate::inventory::Uid;
use crate::object::{Digest, ObjectId};
use crate::plan::Action;
use crate::policy::Policy;

/// Failures that the record of a sync names at most.
pub const MAX_FAILURES: usize = 20;

/// Rows that a status shows at most, the worst first.
pub const MAX_ROWS: usize = 100;

/// Whether the cluster is as Git says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncStatus {
    Synced,
    OutOfSync,
    Unknown,
}

impl SyncStatus {
    pub fn word(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::OutOfSync => "OutOfSync",
            Self::Unknown => "Unknown",
        }
    }
}

/// The state of an app as a person or a program would want to read it.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    pub sync: SyncStatus,
    pub health: Health,
    /// The revision last taken from Git.
    pub revision: Option<Revision>,
    /// The revision that the cluster was last made equal to.
    pub applied: Option<Revision>,
    /// What the recorded objects were assigned by.
    pub assignment: Option<Assignment>,
    /// How the app is synced.
    pub policy: Policy,
    pub phase: &'static str,
    /// What the app waits for, in words; empty when it waits for nothing.
    pub waiting_for: Vec<String>,
    /// The gate that stops the plan, if one does.
    pub gate: Option<Wait>,
    /// The app list of the newest revision has the app no more.
    pub unlisted: bool,
    pub plan: Option<PlanReport>,
    pub conditions: Vec<Condition>,
    pub objects: ObjectCounts,
    /// How many objects are held back, by the word of the reason.
    pub held: BTreeMap<&'static str, u32>,
    /// The worst first, at most [`MAX_ROWS`].
    pub rows: Vec<ObjectReport>,
    pub history: Vec<HistoryEntry>,
    /// The release that a person pinned the app to.
    pub pinned: Option<PinReport>,
    /// What the windows say; `None` without windows.
    pub window: Option<WindowReport>,
    /// The last word to sync that has been carried out.
    pub synced_for: Option<String>,
}

/// Whether plans may go now, as far as the windows are concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowReport {
    pub open: bool,
    /// When that is over; `None` where no such time is foreseen.
    pub until: Option<Timestamp>,
}

/// The release that an app is pinned to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PinReport {
    /// Digest of its rendered set.
    pub release: Digest,
    /// `None` where the history does not have it any more.
    pub revision: Option<Revision>,
    pub reason: String,
    /// Git's newest revision has another set.
    pub differs: bool,
    /// Why the release cannot be followed.
    pub problem: Option<String>,
}

impl std::fmt::Display for PinReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.revision {
            Some(revision) => write!(f, "pinned to {revision}")?,
            None => write!(f, "pinned to release {}", self.release)?,
        }
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        match (&self.problem, self.differs) {
            (Some(problem), _) => write!(f, ": {problem}"),
            (None, true) => f.write_str(": newer commits are not applied until `skiff resume`"),
            (None, false) => Ok(()),
        }
    }
}

/// The plan that is being applied or waits for approval.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanReport {
    pub digest: Digest,
    pub counts: Vec<(Action, u32)>,
    /// What is done to which object, what destroys something first; at most [`MAX_ROWS`].
    pub changes: Vec<PlannedChange>,
    /// The person whose approval is in force.
    pub approved_by: Option<String>,
    /// What it leads to, while it waits for an approval and as far as it is stored.
    pub set: Option<StoredSet>,
}

/// A rendered set in stored renders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredSet {
    /// The set's digest.
    pub render: Digest,
    /// Names of the stored renders.
    pub stored: Vec<String>,
}

/// What a plan does to one object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedChange {
    pub action: Action,
    pub id: ObjectId,
    /// It exists and is taken over.
    pub adopts: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ObjectCounts {
    pub total: u32,
    pub healthy: u32,
    pub out_of_sync: u32,
    pub drifted: u32,
    pub held: u32,
    pub failed: u32,
}

/// One object of a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectReport {
    pub group: String,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    pub sync: SyncStatus,
    pub health: Health,
    /// Why it is not as it should be; empty when it is.
    pub message: String,
    /// Why it is left alone, if it is: the reason's word.
    pub held: Option<&'static str>,
    /// The object, where a person's word could let it be deleted.
    pub prunable: Option<Uid>,
}

/// A condition in Kubernetes' sense, without the transition time, which the publisher keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    pub kind: &'static str,
    pub status: bool,
    pub reason: String,
    pub message: String,
}

/// One finished sync in the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryEntry {
    /// Counts up; what people name it by.
    pub number: u64,
    pub revision: Revision,
    /// What assigned the app then.
    pub assignment: Assignment,
    /// Digest of the rendered set.
    pub render: Digest,
    pub seen_at: Timestamp,
    pub applied_at: Option<Timestamp>,
    pub healthy_at: Option<Timestamp>,
    pub approved_by: Option<String>,
    pub outcome: Outcome,
    pub counts: Vec<(Action, u32)>,
    /// The app was pinned to it.
    pub pinned: bool,
    /// Names of the stored renders that hold it, as long as the app can go back to it.
    pub stored: Vec<String>,
    /// Bodies in them that are not part of it.
    pub without: Vec<BodyDigest>,
}

/// How a sync ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Everything applied and healthy.
    Success,
    /// Refused before the first write.
    Blocked,
    /// A hook failed, an object was refused at its write, or nothing went on any more.
    Failed,
    /// A newer revision took over.
    Superseded,
    /// Still under way.
    Running,
}

impl Outcome {
    /// The word of the history.
    pub fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Blocked => "failure",
            Self::Failed => "failed",
            Self::Superseded => "cancellation",
            Self::Running => "running",
        }
    }
}

impl Outcome {
    /// The value of `cicd.pipeline.result` where the conventions have one.
    pub fn result(self) -> &'static str {
        if self.is_failure() { Self::Blocked.word() } else { self.word() }
    }

    pub fn is_failure(self) -> bool {
        matches!(self, Self::Blocked | Self::Failed)
    }

    /// Reads an outcome's word.
    pub fn read(word: &str) -> Option<Self> {
        let all = [Self::Success, Self::Blocked, Self::Failed, Self::Superseded, Self::Running];
        all.into_iter().find(|outcome| outcome.word() == word)
    }
}

/// What a status remembers for the agent's next start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recorded {
    pub applied: Option<Revision>,
    pub assignment: Option<Assignment>,
    pub history: Vec<HistoryEntry>,
    pub synced_for: Option<String>,
}

/// Why a sync ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The first time that this app sees this commit.
    Release,
    /// The same commit again: policy, kinds or a person's word changed, or a retry.
    Resync,
}

/// A finished sync with its true times.
#[derive(Clone, PartialEq, Debug)]
pub struct RunRecord {
    pub revision: Revision,
    pub cause: Cause,
    pub outcome: Outcome,
    pub stages: Vec<Stage>,
    pub began: Timestamp,
    pub ended: Timestamp,
    pub counts: Vec<(Action, u32)>,
    /// Objects that were refused or failed: id, reason word, message; at most [`MAX_FAILURES`].
    pub failures: Vec<(String, &'static str, String)>,
    pub approved_by: Option<String>,
}

/// One span of a sync.
#[derive(Clone, PartialEq, Debug)]
pub struct Stage {
    /// `fetch render plan approve apply hook prune health`.
    pub name: &'static str,
    pub interval: Interval,
    /// Things worth a span event: time, name, text.
    pub events: Vec<(Timestamp, String)>,
}

/// Returns a text of at most `limit` characters, two thirds of them from its beginning and the others from its end:
/// an API server quotes what it refuses, and says at the very end why.
pub fn shortened(text: &str, limit: usize) -> String {
    const GAP: &str = " … ";
    let length = text.chars().count();
    if length <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub(GAP.chars().count());
    let head = room * 2 / 3;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - (room - head)).collect();
    format!("{start}{GAP}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        let text = format!("spec.template: Invalid value: {}: field is immutable", "x".repeat(5_000));
        let short = shortened(&text, 60);
        assert_eq!(short, "spec.template: Invalid value: xxxxxxxx …  field is immutable");
        assert_eq!(short.chars().count(), 60);
        assert_eq!(shortened("as it is", 60), "as it is");
    }
}
