//! A sync under way, and the facts of it that are told when it ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::event::Cause;
use super::fail::Failed;
use super::recreate::Doubt;
use super::row::RowIx;
use crate::desired::{Desired, Interval};
use crate::hook::{Release, SyncPhase};
use crate::inventory::Uid;
use crate::object::Digest;
use crate::plan::adoption::Adoption;
use crate::plan::order::{Place, Turn};
use crate::plan::{Action, Plan};
use crate::report::{self, MAX_FAILURES, Outcome, RunRecord, Stage};

/// A sync under way.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub plan: Plan,
    pub digest: Digest,
    pub desired: Arc<Desired>,
    pub release: Release,
    pub cause: report::Cause,
    pub began: Timestamp,
    /// When it last came nearer to its end.
    pub progressed: Timestamp,
    pub stage_began: Timestamp,
    pub stages: Vec<Stage>,
    /// Rows whose dry run has not been sent yet.
    pub checks: VecDeque<RowIx>,
    /// Rows whose dry run has not been answered for good.
    pub unchecked: BTreeSet<RowIx>,
    /// Rows to be checked after those that were refused the last time.
    pub rest: Vec<RowIx>,
    /// Rows whose namespace comes with this plan, as far as the record tells.
    pub substitutes: BTreeSet<RowIx>,
    /// Rows that the server has been found not to have.
    pub absent: BTreeSet<RowIx>,
    pub rejected: BTreeMap<RowIx, Cause>,
    /// Refused rows that are right in themselves if the proof holds, with what they were refused for.
    pub doubted: BTreeMap<RowIx, Doubt>,
    /// Rows that are deleted and created anew, and have not been yet; with the object that goes.
    pub recreations: BTreeMap<RowIx, Uid>,
    /// Rows whose kind the server turned out not to serve.
    pub missing: BTreeSet<RowIx>,
    /// Rows without a settled record whose object was found and may be written over.
    pub found: BTreeSet<RowIx>,
    /// Objects that exist without being recorded, and what becomes of them.
    pub adoptions: BTreeMap<RowIx, Adoption>,
    /// Rows that are not yet written as planned.
    pub unwritten: BTreeSet<RowIx>,
    /// Writes of `plan` that have been started.
    pub cursor: usize,
    pub place: Option<Place>,
    /// Rows of the current place without a first answer.
    pub unanswered: BTreeSet<RowIx>,
    /// Rows whose kind is not served yet.
    pub awaiting_kind: BTreeSet<RowIx>,
    /// Wanted rows that are not ready, by wave.
    pub unready: BTreeMap<Turn, u32>,
    /// Runs of hooks that have not succeeded, those after a failure apart; with their wave.
    pub hooks: BTreeSet<(SyncPhase, i32, RowIx)>,
    /// Hooks whose turn has come and whose claim is not stored yet.
    pub claiming: BTreeSet<RowIx>,
    /// Hooks in whose place nobody has looked.
    pub unlooked: BTreeSet<RowIx>,
    /// Why it has failed, if it has.
    pub failed: Option<Failed>,
    /// Prunes of `plan` that have been started.
    pub pruned: usize,
    pub prune_step: u32,
    pub going: BTreeSet<RowIx>,
    pub approved_by: Option<String>,
    pub applied_at: Option<Timestamp>,
    pub announced: bool,
    pub failures: Vec<(String, &'static str, String)>,
}

impl Run {
    pub(super) fn counts(&self) -> Vec<(Action, u32)> {
        let actions = [
            Action::Created,
            Action::Configured,
            Action::Unchanged,
            Action::Recreated,
            Action::Pruned,
            Action::Held,
        ];
        actions
            .into_iter()
            .map(|action| (action, self.plan.count(action)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Ends the present stage under `name` and begins the next.
    pub(super) fn close_stage(&mut self, name: &'static str, now: Timestamp) {
        self.stage(name).interval.end = now;
        self.stage_began = now;
    }

    /// Returns a stage, which begins with the present one if it has not begun yet.
    pub(super) fn stage(&mut self, name: &'static str) -> &mut Stage {
        let at = self.stages.iter().position(|stage| stage.name == name).unwrap_or_else(|| {
            let interval = Interval { start: self.stage_began, end: self.stage_began };
            self.stages.push(Stage { name, interval, events: Vec::new() });
            self.stages.len() - 1
        });
        &mut self.stages[at]
    }

    /// Returns what failed, and what is wanted and was not written at all.
    fn all_failures(&self) -> Vec<(String, &'static str, String)> {
        let unwritten = self.plan.held.iter().filter(|held| held.reason.leaves_unwritten());
        let unwritten =
            unwritten.map(|held| (held.id.to_string(), held.reason.word(), held.reason.to_string()));
        self.failures.iter().cloned().chain(unwritten).take(MAX_FAILURES).collect()
    }

    pub(super) fn record(&self, outcome: Outcome, now: Timestamp) -> RunRecord {
        let first = self.stages.first().map_or(self.began, |stage| stage.interval.start);
        RunRecord {
            revision: self.desired.revision.clone(),
            cause: self.cause,
            outcome,
            stages: self.stages.clone(),
            began: first.min(self.began),
            ended: now,
            counts: self.counts(),
            failures: self.all_failures(),
            approved_by: self.approved_by.clone(),
        }
    }
}
