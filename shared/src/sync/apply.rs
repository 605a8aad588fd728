//! Applying: writes go out place by place, waves wait for the health of those before them.

use jiff::Timestamp;

use super::backoff::Pace;
use super::effect::{Effect, Urgency};
use super::event::Cause as EventCause;
use super::fail::Why;
use super::heal::next_after;
use super::row::{Op, RowIx, Task};
use super::run::Run;
use super::state::{Machine, Phase};
use crate::desired::ApplyWhen;
use crate::hook::SyncPhase;
use crate::inventory::Record;
use crate::plan::order::{Place, Turn};
use crate::report::{Cause, Outcome};

impl Machine {
    pub(super) fn advance_applying(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.may_write(now) {
            self.store_claims(now, out);
            self.repeat(now, out);
            self.start_writes(now, out);
        }
        self.advance_written(now, out);
        self.advance_failed(now, out);
        if self.may_write(now) {
            self.store_claims(now, out);
        }
    }

    /// Goes on when every object is written: to what is pruned, to the last hooks, and to the end.
    fn advance_written(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(run) = &mut self.run else { return };
        if !run.is_applied() || run.is_given_up() {
            return;
        }
        if run.applied_at.is_none() {
            run.applied_at = Some(now);
            run.close_stage("apply", now);
            self.changed(now);
        }
        self.after_writes(now, out);
    }

    /// Starts the writes whose turn has come, up to the next barrier.
    fn start_writes(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        while self.has_room() {
            let Some(run) = &mut self.run else { return };
            let Some(write) = run.plan.writes.get(run.cursor) else { return };
            if run.is_given_up() || !run.may_enter(write.place) {
                return;
            }
            run.place = Some(write.place);
            let Some(ix) = self.index.get(&write.id).copied() else {
                run.cursor += 1;
                continue;
            };
            let row = &mut self.rows[ix.get()];
            if row.flight.is_some() {
                // A heal of the same object is open; its answer brings us back here.
                return;
            }
            run.cursor += 1;
            row.task = if write.is_hook {
                Task::Run(write.place.phase)
            } else {
                Task::Writing { adopts: write.adopts }
            };
            // What failed before this plan was made is tried again in its own time.
            if !row.rests(now) {
                run.unanswered.insert(ix);
                self.write(ix, now, out);
            }
        }
    }

    /// Starts again what failed before and what waited for its kind or its end.
    pub(super) fn repeat(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let mut after = None;
        let is_given_up = self.run.as_ref().is_some_and(|run| run.is_given_up());
        while self.has_room()
            && let Some(ix) = next_after(&self.due, after)
        {
            after = Some(ix);
            let row = &self.rows[ix.get()];
            if row.flight.is_some() {
                continue;
            }
            self.due.remove(&ix);
            if !row.is_due(now) {
                continue;
            }
            match row.task {
                Task::Writing { .. } if is_given_up && !row.has_begun() => {}
                Task::Writing { .. } | Task::Run(_) => self.write(ix, now, out),
                Task::Prune => self.examine(ix, out),
                Task::None | Task::Write { .. } | Task::AwaitGone => {}
            }
        }
    }

    /// Sends a row's write, or lets it wait for its kind, or for the end of what stands in its place.
    pub(super) fn write(&mut self, ix: RowIx, now: Timestamp, out: &mut Vec<Effect>) {
        let row = &self.rows[ix.get()];
        let (Some(body), target) = (row.wanted, row.target()) else { return };
        if !self.apis.served(target.id.kind(), &target.version) {
            self.answered(ix);
            if let Some(run) = &mut self.run {
                run.awaiting_kind.insert(ix);
            }
            return self.changed(now);
        }
        if row.is_deleting() {
            // Never applied to while it is going: that could complete somebody's delete.
            return self.await_end(ix, now);
        }
        if self.recreates(ix) {
            return self.prove(ix, body, out);
        }
        if let Task::Run(phase) = row.task
            && !self.may_create(ix, phase, out)
        {
            return;
        }
        let row = &self.rows[ix.get()];
        if row.task == (Task::Writing { adopts: true }) && row.options.apply != ApplyWhen::Merge {
            let token = self.depart(ix, Op::Adopt);
            out.push(Effect::Adopt(token, target));
            return;
        }
        self.send_body(ix, body, Urgency::Apply, out);
    }

    /// Whether the row's object is to come into being: what others have put there since it was looked for, hours
    /// or days ago where a person or a wave was waited for, is not written over unasked.
    pub(super) fn creates(&self, ix: RowIx) -> bool {
        let is_settled = matches!(self.rows[ix.get()].record, Record::Settled(_));
        !is_settled && self.run.as_ref().is_some_and(|run| !run.found.contains(&ix))
    }

    /// Something stands where the object was to be created: whose it is to be is decided by a new plan.
    pub(super) fn occupied(&mut self, ix: RowIx, cause: EventCause, now: Timestamp) {
        if let (Task::Run(_), Some(run)) = (self.rows[ix.get()].task, &mut self.run) {
            // It may be the hook itself, whose first answer was lost.
            run.unlooked.insert(ix);
            self.due.insert(ix);
            return;
        }
        let at = self.pace(ix, Some(cause), Pace::Quick, now);
        self.retry_at(ix, at);
        self.replan = true;
    }

    /// Everything is written: early prunes go at once, the others when their time has come.
    fn after_writes(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.may_prune() {
            if let Some(run) = &mut self.run {
                run.stage_began = now;
            }
            self.phase = Phase::Pruning;
            return self.changed(now);
        }
        let cleans_up = self.cleans_up();
        let is_over = |run: &Run| run.is_written() && run.is_pruned() && run.hooks.is_empty() && !cleans_up;
        if self.run.as_ref().is_some_and(|run| is_over(run) && run.is_healthy()) {
            self.complete(now, out);
        }
    }

    /// The sync is done: everything is written, healthy and pruned.
    pub(super) fn complete(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(run) = self.run.take() else { return };
        self.applied = Some(self.revision_of(&run.desired));
        self.carried_out(now);
        self.granted = None;
        self.phase = Phase::Idle;
        if run.plan.is_empty() && run.cause == Cause::Resync {
            // Everything was held again: nothing has happened that a history should tell.
            return self.changed(now);
        }
        self.end_run(*run, Outcome::Success, now, out);
    }
}

impl Run {
    /// Whether a write at `place` may start: the place before it has been answered, and the waves
    /// before it are healthy.
    pub(super) fn may_enter(&self, place: Place) -> bool {
        match self.place {
            Some(current) if current == place => true,
            Some(current) if current.turn() == place.turn() => self.unanswered.is_empty(),
            Some(_) | None => self.unanswered.is_empty() && self.is_ready(place.turn()),
        }
    }

    /// Whether everything before `turn` is done: wanted objects ready, hooks run, and before PostSync also what left
    /// Git is gone.
    fn is_ready(&self, turn: Turn) -> bool {
        let (phase, wave) = turn;
        let ran = self.hooks.range(..(phase, wave, RowIx(0))).next().is_none();
        let pruned = phase < SyncPhase::PostSync || self.is_pruned();
        ran && pruned && self.unready.range(..turn).all(|(_, count)| *count == 0)
    }

    /// Whether every prune of the plan is done.
    fn is_pruned(&self) -> bool {
        self.pruned == self.plan.prunes.len() && self.going.is_empty()
    }

    /// Whether a hook has failed, so that nothing else of the release is written.
    pub(super) fn is_given_up(&self) -> bool {
        self.failed.as_ref().is_some_and(|failed| failed.why == Why::Hook)
    }

    /// Whether a hook before the deletion of the app has not succeeded.
    pub(super) fn precedes_deletion(&self) -> bool {
        self.hooks.iter().any(|(phase, ..)| *phase == SyncPhase::PreDelete)
    }

    /// Whether all wanted objects are ready, and all hooks before PostSync have run.
    pub(super) fn is_healthy(&self) -> bool {
        let ran = self.hooks.iter().all(|(phase, ..)| *phase >= SyncPhase::PostSync);
        ran && self.unready.values().all(|count| *count == 0)
    }

    /// Whether every write has been started and answered at least once.
    fn is_written(&self) -> bool {
        self.cursor == self.plan.writes.len() && self.is_answered()
    }

    /// Whether that is so of every write before PostSync.
    fn is_applied(&self) -> bool {
        let next = self.plan.writes.get(self.cursor);
        next.is_none_or(|write| write.place.phase >= SyncPhase::PostSync) && self.is_answered()
    }

    fn is_answered(&self) -> bool {
        self.unanswered.is_empty() && self.awaiting_kind.is_empty()
    }
}
