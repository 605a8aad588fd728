//! A sync begins with what came before it, and ends with an entry of the history.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use crate::desired::{Desired, Interval};
use crate::hook::SyncPhase;
use crate::plan::Plan;
use crate::plan::order::Turn;
use crate::report::{HistoryEntry, Outcome, Stage};
use crate::sync::effect::Effect;
use crate::sync::row::RowIx;
use crate::sync::run::Run;
use crate::sync::state::Machine;

/// Releases that the history keeps.
const HISTORY: usize = 10;

impl Machine {
    pub(super) fn new_run(
        &mut self,
        desired: Arc<Desired>,
        plan: Plan,
        before: Option<Box<Run>>,
        now: Timestamp,
    ) -> Run {
        let cause = self.cause_of(&desired.revision);
        let release = self.release_of(&desired);
        let same = before.as_ref().filter(|before| before.release.id == release.id);
        let failed = same.and_then(|before| before.failed.clone());
        let progressed = same.map_or(now, |before| before.progressed);
        let (began, stages, announced, failures, approved_by) = match before {
            Some(before) => {
                (before.began, before.stages, before.announced, before.failures, before.approved_by)
            }
            None => (now, source_stages(&desired), false, Vec::new(), None),
        };
        let digest = plan.digest();
        let hooks = self.hooks_left(&plan);
        Run {
            digest,
            plan,
            desired,
            release,
            cause,
            began,
            progressed,
            stage_began: now,
            stages,
            checks: VecDeque::new(),
            unchecked: BTreeSet::new(),
            rest: Vec::new(),
            missing: BTreeSet::new(),
            adoptions: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            substitutes: BTreeSet::new(),
            found: BTreeSet::new(),
            absent: BTreeSet::new(),
            rejected: BTreeMap::new(),
            doubted: BTreeMap::new(),
            recreations: BTreeMap::new(),
            cursor: 0,
            place: None,
            unanswered: BTreeSet::new(),
            awaiting_kind: BTreeSet::new(),
            unready: self.unready_by_wave(),
            hooks,
            claiming: BTreeSet::new(),
            unlooked: BTreeSet::new(),
            failed,
            pruned: 0,
            prune_step: 0,
            going: BTreeSet::new(),
            approved_by,
            applied_at: None,
            announced,
            failures,
        }
    }

    /// Counts the wanted rows that are not ready, by wave.
    pub(in crate::sync) fn unready_by_wave(&self) -> BTreeMap<Turn, u32> {
        let mut unready = BTreeMap::new();
        for row in self.rows.iter().filter(|row| !row.is_ready()) {
            *unready.entry((row.phase, row.wave)).or_default() += 1;
        }
        unready
    }

    /// Returns the runs of hooks that are left in this release, those after a failure apart; none where nothing is done.
    pub(super) fn hooks_left(&self, plan: &Plan) -> BTreeSet<(SyncPhase, i32, RowIx)> {
        if plan.stays {
            return BTreeSet::new();
        }
        let runs = self.hooks.iter().flat_map(|ix| {
            let wave = self.rows[ix.get()].wave;
            self.left(*ix).iter().map(move |phase| (phase, wave, *ix))
        });
        runs.filter(|(phase, ..)| *phase != SyncPhase::SyncFail).collect()
    }

    /// Ends a sync; one that has failed was told of when it did.
    pub(in crate::sync) fn end_run(
        &mut self,
        mut run: Run,
        outcome: Outcome,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if run.failed.is_none() || outcome == Outcome::Success {
            self.tell_end(&mut run, outcome, now, out);
        }
    }

    /// Sends the facts of a sync to telemetry and into the history.
    pub(in crate::sync) fn tell_end(
        &mut self,
        run: &mut Run,
        outcome: Outcome,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let last = if outcome == Outcome::Success { "health" } else { "apply" };
        if run.applied_at.is_some() || outcome != Outcome::Success {
            run.close_stage(last, now);
        }
        let revision = run.desired.revision.clone();
        let (stored, without) = if outcome == Outcome::Success && self.removal().is_none() {
            self.stored_now()
        } else {
            Default::default()
        };
        let entry = HistoryEntry {
            number: self.next_entry(),
            revision: revision.clone(),
            assignment: run.desired.assignment.clone(),
            render: run.desired.render,
            seen_at: run.desired.seen_at,
            applied_at: run.applied_at,
            healthy_at: (outcome == Outcome::Success).then_some(now),
            approved_by: run.approved_by.clone(),
            outcome,
            counts: run.counts(),
            pinned: self.course.is_pinned(),
            stored,
            without,
        };
        self.history.push_front(entry);
        self.keep_newest_releases();
        self.history.truncate(HISTORY);
        if outcome != Outcome::Blocked {
            self.released = Some(revision.commit.clone());
        }
        out.push(Effect::Finished(Box::new(run.record(outcome, now))));
        self.changed(now);
    }
}

/// Returns the spans of what came before the machine.
fn source_stages(desired: &Desired) -> Vec<Stage> {
    let stage = |name, interval: Option<Interval>| {
        interval.map(|interval| Stage { name, interval, events: Vec::new() })
    };
    [stage("fetch", desired.fetched), stage("render", desired.rendered)].into_iter().flatten().collect()
}
