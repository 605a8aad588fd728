//! Applying: writes go out place by place, waves wait for the health of those before them.

use jiff::Timestamp;

use super::effect::{Effect, Urgency, WithFields};
use super::row::{Op, RowIx, Task};
use super::state::{Machine, Phase, Run};
use crate::plan::order::Place;
use crate::policy::PruneWhen;
use crate::report::Outcome;

impl Machine {
    pub(super) fn advance_applying(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.may_write(now) {
            self.repeat_writes(now, out);
            self.start_writes(now, out);
        }
        let Some(run) = &mut self.run else { return };
        if !run.is_written() {
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
            if !run.may_enter(write.place) {
                return;
            }
            run.place = Some(write.place);
            let (id, kind, version) = (write.id.clone(), write.id.kind().clone(), write.version.clone());
            let Some(ix) = self.index.get(&id).copied() else {
                run.cursor += 1;
                continue;
            };
            if self.rows[ix.get()].flight.is_some() {
                // A heal of the same object is open; its answer brings us back here.
                return;
            }
            run.cursor += 1;
            if self.apis.served(&kind, &version) {
                run.unanswered.insert(ix);
                self.start_write(ix, now, out);
            } else {
                run.awaiting_kind.push(ix);
            }
        }
    }

    /// Starts again what failed before and what waited for its kind.
    fn repeat_writes(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let due: Vec<RowIx> = self.due.iter().copied().collect();
        for ix in due {
            if !self.has_room() {
                return;
            }
            let row = &self.rows[ix.get()];
            if row.flight.is_some() {
                continue;
            }
            self.due.remove(&ix);
            if !matches!(self.rows[ix.get()].task, Task::Write { .. }) || !self.rows[ix.get()].is_due(now) {
                continue;
            }
            let row = &self.rows[ix.get()];
            if self.apis.served(row.id.kind(), &row.version) {
                self.start_write(ix, now, out);
            } else if let Some(run) = &mut self.run {
                run.awaiting_kind.push(ix);
            }
        }
    }

    fn start_write(&mut self, ix: RowIx, now: Timestamp, out: &mut Vec<Effect>) {
        let row = &self.rows[ix.get()];
        if row.seen.as_ref().is_some_and(|seen| seen.deleting) {
            // Never applied to while it is going: that could complete somebody's delete.
            let at = self.pace(ix, None, super::backoff::Pace::Quick, now);
            self.answered(ix);
            return self.retry_at(ix, at);
        }
        let row = &self.rows[ix.get()];
        let (Some(body), target) = (row.wanted, row.target()) else { return };
        if row.task == (Task::Write { adopts: true }) {
            let token = self.depart(ix, Op::Adopt);
            out.push(Effect::Adopt(token, target));
            return;
        }
        let fields = if row.drift.is_some() { WithFields::Yes } else { WithFields::No };
        let token = self.depart(ix, Op::Apply { body, heals: false });
        out.push(Effect::Apply(token, target, body, Urgency::Apply, fields));
    }

    /// Everything is written: early prunes go at once, the others when their time has come.
    fn after_writes(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let when = self.policy.prune.when;
        let Some(run) = &mut self.run else { return };
        let healthy = run.is_ready(i32::MAX);
        let early = run.next_prune_is_early();
        let nothing_failed = run.unready.values().all(|count| *count == 0) || self.all_written();
        let Some(run) = &mut self.run else { return };
        let may_prune = healthy || early || (when == PruneWhen::Applied && nothing_failed);
        if !run.plan.prunes.is_empty() && run.pruned < run.plan.prunes.len() {
            if may_prune {
                run.stage_began = now;
                self.phase = Phase::Pruning;
            }
            return;
        }
        if healthy && run.going.is_empty() {
            self.complete(now, out);
        }
    }

    /// Whether every write of the sync has been answered with success.
    fn all_written(&self) -> bool {
        !self.rows.iter().any(|row| matches!(row.task, Task::Write { .. }))
    }

    /// The sync is done: everything is written, healthy and pruned.
    pub(super) fn complete(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(run) = self.run.take() else { return };
        self.applied = Some(run.desired.revision.clone());
        self.synced_for.clone_from(&self.ask.sync);
        self.phase = Phase::Idle;
        self.end_run(*run, Outcome::Success, now, out);
    }
}

impl Run {
    /// Whether a write at `place` may start: the place before it has been answered, and the waves
    /// before it are healthy.
    fn may_enter(&self, place: Place) -> bool {
        match self.place {
            Some(current) if current == place => true,
            Some(current) if current.wave == place.wave => self.unanswered.is_empty(),
            Some(_) | None => self.unanswered.is_empty() && self.is_ready(place.wave),
        }
    }

    /// Whether all wanted objects of waves before `wave` are ready.
    fn is_ready(&self, wave: i32) -> bool {
        let waves = self.unready.range(..wave).map(|(_, count)| count);
        let last = self.unready.get(&wave).filter(|_| wave == i32::MAX);
        waves.chain(last).all(|count| *count == 0)
    }

    /// Whether every write has been started and answered at least once.
    fn is_written(&self) -> bool {
        self.cursor == self.plan.writes.len() && self.unanswered.is_empty() && self.awaiting_kind.is_empty()
    }

    fn next_prune_is_early(&self) -> bool {
        self.plan.prunes.get(self.pruned).is_some_and(|prune| prune.early)
    }
}
