//! Taking over: the newest wanted set becomes the rows, and a plan is made of them.

mod ends;
mod rows;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::effect::{Effect, Notice};
use super::row::{Hold, RowIx, Task};
use super::state::{Machine, Phase, SecureState, ShardState};
use crate::desired::{Assignment, Desired, ObjectOptions, Revision};
use crate::hook::Release;
use crate::inventory::{Record, shard_count};
use crate::object::ObjectId;
use crate::plan::{self, Candidate, Held, HeldReason, Inputs, Plan, order};
use crate::report::{self, Outcome};

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
        if self.ended {
            return;
        }
        self.course.follow(desired.clone());
        let desired = self.farewell(&desired);
        let held = self.show(&desired, is_newer && !same, now);
        self.give_up(now);
        if self.removal().is_some() && self.orphans() {
            return self.let_go(now);
        }
        let release = self.release_of(&desired);
        self.release = Some(release);
        for at in 0..self.hooks.len() {
            self.judge_run(self.hooks[at], now, out);
        }
        let plan = self.plan(&desired, release);
        self.begin(desired, plan, &held, now, out);
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
                options: ObjectOptions { found: row.options.found && !self.asked_for_sync(), ..row.options },
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
            removal: self.removal(),
            confirmed: &self.ask.prune,
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
        let is_over = plan.is_empty() && before.is_none() && self.hooks_left(&plan).is_empty();
        if is_over && !self.lacks_partings() {
            return self.nothing_to_do(&desired, now);
        }
        self.ensure_shards();
        let nothing_left = plan.is_empty();
        let run = self.new_run(desired, plan, before, now);
        self.run = Some(Box::new(run));
        if nothing_left {
            // Everything is written; the sync goes on to wait for health.
            self.blocked = None;
            self.phase = if self.need_partings() { Phase::Keeping } else { Phase::Applying };
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
        self.carried_out(now);
        self.phase = Phase::Idle;
    }

    /// Notes that the newest word to sync is carried out. What was found after a loss may be pruned from then on, as
    /// far as the other guards let it.
    pub(super) fn carried_out(&mut self, now: Timestamp) {
        if self.asked_for_sync() {
            for at in 0..self.rows.len() {
                if std::mem::take(&mut self.rows[at].options.found) {
                    self.mark_dirty(RowIx::of(at), now);
                }
            }
        }
        self.synced_for.clone_from(&self.ask.sync);
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
}
