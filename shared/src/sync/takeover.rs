//! Taking over: the newest wanted set becomes the rows, and a plan is made of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::effect::{Effect, Notice};
use super::row::{Hold, Row, RowIx, Task};
use super::state::{Machine, Phase, Run, SecureState, ShardState};
use super::yielding::LetGo;
use crate::desired::autoscaler::{self, Scaled};
use crate::desired::{Assignment, Desired, Interval, Revision};
use crate::hook::{Release, SyncPhase};
use crate::inventory::{Record, shard_count};
use crate::object::ObjectId;
use crate::plan::order::{self, Turn};
use crate::plan::{self, Candidate, Held, HeldReason, Inputs, Plan};
use crate::report::{self, HistoryEntry, Outcome, Stage};

/// Releases that the history keeps.
const HISTORY: usize = 10;

impl Machine {
    /// Whether something changed that a new plan must take into account.
    pub(super) fn wants_takeover(&self, now: Timestamp) -> bool {
        let retries =
            self.blocked.as_ref().is_some_and(|blocked| blocked.retry_at.is_some_and(|at| at <= now));
        let replans = self.desired.is_some() && (self.replan || retries);
        !self.draining && (self.next.is_some() || replans)
    }

    /// Makes the newest set the wanted one and plans; no request for a row may be open.
    pub(super) fn take_over(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.replan = false;
        let newer = self.next.take();
        let is_newer = newer.is_some();
        let Some(desired) = newer.or_else(|| self.desired.clone()) else { return };
        let same = self.desired.as_ref().is_some_and(|before| before.render == desired.render);
        if let Some(run) = self.run.take_if(|_| is_newer && !same) {
            self.end_run(*run, Outcome::Superseded, now, out);
        }
        if is_newer && !same {
            self.blocked = None;
        }
        if let Some(blocked) = &mut self.blocked {
            // This is the retry: the next one is due when this one has been judged.
            blocked.retry_at = None;
        }
        self.desired = Some(desired.clone());
        self.course.follow(desired.clone());
        let held = self.show(&desired, is_newer && !same, now);
        self.give_up(now);
        let release = self.release_of(&desired);
        self.release = Some(release);
        for at in 0..self.hooks.len() {
            self.judge_run(self.hooks[at], now, out);
        }
        let plan = self.plan(&desired, release);
        self.begin(desired, plan, &held, now, out);
    }

    /// Brings the rows in line with the wanted set; returns why rows were held before. Rows that are
    /// neither wanted nor recorded go.
    fn show(&mut self, desired: &Desired, renewed: bool, now: Timestamp) -> HashMap<ObjectId, Hold> {
        let mut held = HashMap::new();
        for row in &mut self.rows {
            row.wanted = None;
            row.hook = None;
            row.task = Task::None;
            if let Some(hold) = row.held.take() {
                held.insert(row.id.clone(), hold);
            }
            if renewed {
                row.trouble = None;
            }
        }
        let (rendered, live) = (autoscaler::rendered(desired), self.autoscaled.clone());
        let scaled = Scaled { rendered: &rendered, live: live.as_deref() };
        let is_pinned = self.course.is_pinned();
        for wanted in &desired.rows {
            let ix = self.index.get(&wanted.id).copied().unwrap_or_else(|| {
                let ix = RowIx::of(self.rows.len());
                self.index.insert(wanted.id.clone(), ix);
                self.rows.push(Row::new(wanted.id.clone(), wanted.version.clone()));
                ix
            });
            let row = self.row(ix);
            row.wanted = Some(wanted.body);
            row.wave = wanted.wave;
            let recorded = row.record != Record::None;
            if recorded && (&row.version, row.options) != (&wanted.version, wanted.options) {
                // What Git says of its pruning holds also if it is never written so.
                self.mark_dirty(ix, now);
            }
            let row = self.row(ix);
            let mut yields = scaled.yields_of(wanted, row.recorded_yields());
            if let Some(recorded) = row.recorded_yields().filter(|_| is_pinned && wanted.hook.is_none()) {
                // A stored release does not say what its app left to others.
                let mut all = yields.as_deref().cloned().unwrap_or_default();
                all.extend(recorded);
                yields = all.shared();
            }
            row.version = wanted.version.clone();
            row.options = wanted.options;
            row.hook.clone_from(&wanted.hook);
            if wanted.hook.is_some() {
                row.drift = None;
            }
            row.yields = yields;
            if std::mem::take(&mut row.release) != LetGo::None {
                // What was not judged on that way is judged now.
                self.lookups.insert(ix);
            }
            if wanted.hook.is_none() && self.row(ix).hook_run.take().is_some() {
                self.mark_dirty(ix, now);
            }
        }
        self.compact(now);
        held
    }

    /// Drops rows that nothing speaks of any more and renames the others wherever they are named.
    fn compact(&mut self, now: Timestamp) {
        let speaks = Row::is_known;
        for at in 0..self.rows.len() {
            if !speaks(&self.rows[at]) && self.rows[at].is_stored() {
                self.mark_dirty(RowIx::of(at), now);
            }
        }
        let mut next = 0;
        let mut renamed = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            renamed.push(speaks(row).then(|| RowIx::of(next)));
            next += usize::from(speaks(row));
        }
        if next < self.rows.len() {
            self.rows.retain(speaks);
            self.index =
                self.rows.iter().enumerate().map(|(at, row)| (row.id.clone(), RowIx::of(at))).collect();
            let timers = std::mem::take(&mut self.timers).into_iter();
            self.timers =
                timers.filter_map(|(at, ix, timer)| Some((at, renamed[ix.get()]?, timer))).collect();
            let lookups = std::mem::take(&mut self.lookups).into_iter();
            self.lookups = lookups.filter_map(|ix| renamed[ix.get()]).collect();
        }
        self.find_hooks();
        self.heals.clear();
        self.due.clear();
        self.inspect.clear();
        for at in 0..self.rows.len() {
            self.doubt(RowIx::of(at));
        }
    }

    /// Forgets what another app has now: its record names the object, so ours need not.
    fn give_up(&mut self, now: Timestamp) {
        let had = self.claims.conflicts.keys().filter_map(|id| self.index.get(id).copied());
        for ix in had.collect::<Vec<_>>() {
            if self.rows[ix.get()].record != Record::None {
                self.forget(ix, now);
            }
        }
    }

    fn plan(&self, desired: &Desired, release: Release) -> Plan {
        let wanted: HashMap<&ObjectId, _> = desired.rows.iter().map(|row| (&row.id, row)).collect();
        let candidates: Vec<Candidate<'_>> = self
            .rows
            .iter()
            .map(|row| Candidate {
                id: &row.id,
                version: &row.version,
                wanted: wanted.get(&row.id).copied(),
                record: &row.record,
                options: row.options,
                wave: row.wave,
                yields: row.yields.as_ref(),
                rewrite: row.drift.is_some() && !self.policy.self_heal && self.asked_for_sync(),
                hook_run: row.hook_run.as_deref(),
            })
            .collect();
        let inputs = Inputs {
            desired,
            candidates: &candidates,
            apis: &self.apis,
            policy: &self.policy,
            claims: &self.claims,
            assigned_before: self.assigned_before(desired),
            release,
        };
        let plan = plan::plan(&inputs);
        debug_assert_eq!(plan::check::check(&inputs, &plan), Vec::<String>::new());
        plan
    }

    /// Returns what the recorded objects were assigned by, if it is not what assigns the app now and no
    /// person has asked for a sync since.
    fn assigned_before(&self, desired: &Desired) -> Option<&Arc<Assignment>> {
        let before = self.assignment.as_ref()?;
        (!before.is_same(&desired.assignment) && !self.asked_for_sync()).then_some(before)
    }

    /// Takes over what assigns the app now, unless objects of the assignment before are still held.
    fn assign(&mut self, plan: &Plan, desired: &Desired) {
        let is_old = |held: &Held| {
            matches!(held.reason, HeldReason::AssignmentChanged { .. } | HeldReason::FactsChanged)
        };
        if !plan.held.iter().any(is_old) && self.assignment.as_deref() != Some(&desired.assignment) {
            self.assignment = Some(Arc::new(desired.assignment.clone()));
        }
    }

    /// Whether a person asked for a sync that has not run since: it also puts back drift.
    pub(super) fn asked_for_sync(&self) -> bool {
        self.ask.sync.is_some() && self.ask.sync != self.synced_for
    }

    fn begin(
        &mut self,
        desired: Arc<Desired>,
        plan: Plan,
        before: &HashMap<ObjectId, Hold>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.assign(&plan, &desired);
        self.note_held(&plan, before, out);
        let places = order::places(&desired);
        for row in &desired.rows {
            if let Some(ix) = self.index.get(&row.id).copied().filter(|_| row.hook.is_none()) {
                (self.row(ix).phase, self.row(ix).wave) = places.of(row).turn();
            }
        }
        for write in plan.writes.iter().filter(|write| !write.is_hook) {
            if let Some(ix) = self.index.get(&write.id).copied() {
                self.row(ix).task = Task::Write { adopts: false };
            }
        }
        self.changed(now);
        let before = self.run.take();
        self.failed = None;
        if let Some(failed) = self.recorded_failure() {
            let run = self.new_run(desired, plan, before, now);
            return self.begin_failed(failed, run, now, out);
        }
        if plan.is_empty() && before.is_none() && self.hooks_left().is_empty() {
            return self.nothing_to_do(&desired, now);
        }
        self.ensure_shards();
        let nothing_left = plan.is_empty();
        let run = self.new_run(desired, plan, before, now);
        self.run = Some(Box::new(run));
        if nothing_left {
            // Everything is written; the sync goes on to wait for health.
            self.blocked = None;
            self.phase = Phase::Applying;
        } else {
            self.enter_preflight();
        }
    }

    /// Returns the newest revision that has what this set has: later commits may have touched nothing of it.
    pub(super) fn revision_of(&self, desired: &Desired) -> Revision {
        let newest = self.revision.as_ref().filter(|_| self.next.is_none() && self.follows_git());
        newest.unwrap_or(&desired.revision).clone()
    }

    fn nothing_to_do(&mut self, desired: &Desired, now: Timestamp) {
        self.blocked = None;
        for ix in self.release.map(|release| self.open_release(release)).unwrap_or_default() {
            self.mark_dirty(ix, now);
        }
        self.applied = Some(self.revision_of(desired));
        self.released = Some(desired.revision.commit.clone());
        self.synced_for.clone_from(&self.ask.sync);
        self.phase = Phase::Idle;
    }

    /// Says why a sync to this revision runs: the first one to a commit is its release.
    pub(super) fn cause_of(&self, revision: &Revision) -> report::Cause {
        // Going back to a commit is not its release, of which there is one.
        if self.released.as_ref() == Some(&revision.commit) || self.course.is_pinned() {
            report::Cause::Resync
        } else {
            report::Cause::Release
        }
    }

    fn new_run(
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
            checks: std::collections::VecDeque::new(),
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
            recreations: BTreeSet::new(),
            cursor: 0,
            place: None,
            unanswered: BTreeSet::new(),
            awaiting_kind: BTreeSet::new(),
            unready: self.unready_by_wave(),
            hooks: self.hooks_left(),
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
    pub(super) fn unready_by_wave(&self) -> BTreeMap<Turn, u32> {
        let mut unready = BTreeMap::new();
        for row in self.rows.iter().filter(|row| !row.is_ready()) {
            *unready.entry((row.phase, row.wave)).or_default() += 1;
        }
        unready
    }

    /// Returns the runs of hooks that are left in this release, those after a failure apart.
    fn hooks_left(&self) -> BTreeSet<(SyncPhase, i32, RowIx)> {
        let runs = self.hooks.iter().flat_map(|ix| {
            let wave = self.rows[ix.get()].wave;
            self.left(*ix).iter().map(move |phase| (phase, wave, *ix))
        });
        runs.filter(|(phase, ..)| *phase != SyncPhase::SyncFail).collect()
    }

    /// Looks up what another app had, or was about to have: nobody has watched here what it did to it.
    fn look_at_what_came_back(&mut self, plan: &Plan, before: &HashMap<ObjectId, Hold>) {
        let theirs = |hold: &Hold| matches!(hold, Hold::Plan(reason) if reason.is_somebody_elses());
        let still: BTreeSet<&ObjectId> =
            plan.held.iter().filter(|held| held.reason.is_somebody_elses()).map(|held| &held.id).collect();
        let back = before.iter().filter(|(id, hold)| theirs(hold) && !still.contains(id));
        let recorded = |ix: &RowIx| self.rows[ix.get()].record != Record::None;
        self.lookups.extend(back.filter_map(|(id, _)| self.index.get(id).copied()).filter(recorded));
        for id in still {
            if let Some(ix) = self.index.get(id).copied() {
                self.rows[ix.get()].drift = None;
            }
        }
    }

    /// Takes over the plan's held objects and tells of those that were not held before.
    fn note_held(&mut self, plan: &Plan, before: &HashMap<ObjectId, Hold>, out: &mut Vec<Effect>) {
        self.look_at_what_came_back(plan, before);
        for held in &plan.held {
            let hold = Hold::Plan(Box::new(held.reason.clone()));
            if before.get(&held.id) != Some(&hold) {
                out.push(Effect::Notice(Notice::Held { id: held.id.clone(), reason: held.reason.clone() }));
            }
            let Some(ix) = self.index.get(&held.id).copied() else { continue };
            let row = self.row(ix);
            row.held = Some(hold);
            if let Some(trouble) = &mut row.trouble {
                // Whatever it waited for is not what holds it now.
                trouble.not_before = None;
            }
        }
    }

    /// Makes room for the rows: shards are doubled, and all of them are then written anew.
    fn ensure_shards(&mut self) {
        let have = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let count = shard_count(self.rows.len(), have);
        if count == have {
            return;
        }
        // The renders of the smaller count stay referred to by the first of the new shards.
        let renders: Vec<String> =
            self.shards.iter().flat_map(|shard| shard.renders.iter().flatten().cloned()).collect();
        self.shards =
            vec![
                ShardState { claim: SecureState::Needed, keep: SecureState::Needed, ..ShardState::default() };
                count as usize
            ];
        if !renders.is_empty() {
            self.shards[0].renders = vec![renders];
        }
        self.outgrown = have > 0;
    }

    /// Ends a sync; one that has failed was told of when it did.
    pub(super) fn end_run(&mut self, mut run: Run, outcome: Outcome, now: Timestamp, out: &mut Vec<Effect>) {
        if run.failed.is_none() || outcome == Outcome::Success {
            self.tell_end(&mut run, outcome, now, out);
        }
    }

    /// Sends the facts of a sync to telemetry and into the history.
    pub(super) fn tell_end(
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
        let (stored, without) =
            if outcome == Outcome::Success { self.stored_now() } else { Default::default() };
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
