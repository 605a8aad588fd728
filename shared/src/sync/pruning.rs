//! Pruning: objects that left Git are deleted in the mirrored order, each looked at right before.
//!
//! Forget last: the inventory drops an object only when the server has confirmed that it is gone.

mod twin;

use std::sync::Arc;

use jiff::Timestamp;

use super::backoff::Pace;
use super::effect::{Effect, Notice};
use super::event::{Answer, Cause, Failure, Observation, Refusal};
use super::row::{Op, RowIx, Task};
use super::state::{Machine, Phase};
use crate::desired::Propagation;
use crate::inventory::{Record, Uid};
use crate::policy::PruneWhen;

impl Machine {
    pub(super) fn advance_pruning(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if !self.may_write(now) {
            return;
        }
        self.repeat(now, out);
        while self.has_room() {
            let may = self.may_prune();
            let Some(run) = &mut self.run else { return };
            let Some(prune) = run.plan.prunes.get(run.pruned) else { break };
            if !may || prune.step != run.prune_step && !run.going.is_empty() {
                break;
            }
            run.prune_step = prune.step;
            let Some(ix) = self.index.get(&prune.id).copied() else {
                run.pruned += 1;
                continue;
            };
            if self.rows[ix.get()].flight.is_some() {
                return;
            }
            run.pruned += 1;
            run.going.insert(ix);
            self.row(ix).task = Task::Prune;
            self.examine(ix, out);
        }
        self.end_pruning(now);
    }

    /// Whether the time of the next deletion has come.
    pub(super) fn may_prune(&self) -> bool {
        let Some(run) = &self.run else { return false };
        let Some(prune) = run.plan.prunes.get(run.pruned) else { return false };
        let applied = self.policy.prune.when == PruneWhen::Applied && run.unwritten.is_empty();
        !run.is_given_up() && !run.precedes_deletion() && (prune.early || applied || run.is_healthy())
    }

    /// Goes back to waiting for health, or ends the stage when the last object is gone.
    fn end_pruning(&mut self, now: Timestamp) {
        let may = self.may_prune();
        let Some(run) = &mut self.run else { return };
        if !run.going.is_empty() || may {
            return;
        }
        if run.pruned == run.plan.prunes.len() {
            run.close_stage("prune", now);
        }
        self.phase = Phase::Applying;
        self.changed(now);
    }

    /// Looks at an object right before it is deleted.
    pub(super) fn examine(&mut self, ix: RowIx, out: &mut Vec<Effect>) {
        let target = self.rows[ix.get()].target();
        let token = self.depart(ix, Op::Examine);
        out.push(Effect::Get(token, target));
    }

    pub(super) fn examined(
        &mut self,
        ix: RowIx,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        match self.rows[ix.get()].task {
            Task::Prune => {}
            Task::Run(_) => return self.looked_at_place(ix, result, now, out),
            Task::None | Task::Write { .. } | Task::Writing { .. } | Task::AwaitGone => return,
        }
        match result {
            Ok(Answer::Got(Observation::Absent(_))) => self.gone(ix, now, out),
            Ok(Answer::Got(Observation::Present(mut seen))) => {
                seen.at.watch = self.generation(ix).max(seen.at.watch);
                let (uid, deleting) = (seen.uid.clone(), seen.deleting);
                let is_ours = seen.may_go();
                self.accept(ix, *seen, now);
                if !is_ours && self.rows[ix.get()].is_hook() {
                    self.forget_hook(ix, now);
                } else if !is_ours {
                    // It is somebody else's now: forgotten, not deleted.
                    self.forget(ix, now);
                } else if let Some(twin) = self.twin(ix, &uid) {
                    self.spare(ix, twin, now, out);
                } else if deleting {
                    self.row(ix).task = Task::AwaitGone;
                    self.changed(now);
                } else {
                    self.delete(ix, uid, now, out);
                }
            }
            Ok(_) => {}
            Err(Failure::NotFound(cause)) if cause.reason == Refusal::KindMissing => {
                self.unserved(ix, cause, now, out);
            }
            Err(failure) => self.put_off(ix, &failure, now),
        }
    }

    /// Handles an object whose version is not served: only where no version is, the kind is gone and its objects
    /// with it.
    fn unserved(&mut self, ix: RowIx, cause: Cause, now: Timestamp, out: &mut Vec<Effect>) {
        let kind = self.rows[ix.get()].id.kind().clone();
        let version = self.apis.kinds.get(&kind).and_then(|served| served.versions.first());
        match version.map(|version| Arc::from(&**version)) {
            Some(version) if version != self.rows[ix.get()].version => {
                self.row(ix).version = version;
                self.examine(ix, out);
            }
            None if !self.apis.incomplete.contains(&kind.group) => self.gone(ix, now, out),
            _ => self.put_off(ix, &Failure::NotFound(cause), now),
        }
    }

    /// Deletes what was just looked at, unless a newer word speaks against it: then it is planned anew.
    fn delete(&mut self, ix: RowIx, uid: Uid, now: Timestamp, out: &mut Vec<Effect>) {
        let in_force = self.phase == Phase::Pruning && !self.wants_takeover(now) && self.is_time_of(ix);
        if in_force && self.may_write(now) || self.may_delete_hook(ix, now) {
            self.start_delete(ix, uid, out);
        } else {
            self.put_off(ix, &Failure::NotSent, now);
        }
    }

    pub(super) fn propagation_of(&self, ix: RowIx) -> Propagation {
        let asked = self.ask.delete.map(|deletion| deletion.cascade);
        let of_app = asked.unwrap_or(self.policy.prune.propagation);
        self.rows[ix.get()].options.propagation.unwrap_or(of_app)
    }

    pub(super) fn start_delete(&mut self, ix: RowIx, uid: Uid, out: &mut Vec<Effect>) {
        let (target, propagation) = (self.rows[ix.get()].target(), self.propagation_of(ix));
        let token = self.depart(ix, Op::Delete);
        out.push(Effect::Delete(token, target, uid, propagation));
    }

    /// Whether an object may go now: something may have fallen ill since it was looked at.
    fn is_time_of(&self, ix: RowIx) -> bool {
        let id = &self.rows[ix.get()].id;
        let Some(run) = &self.run else { return false };
        let early = run.plan.prunes.iter().any(|prune| prune.early && prune.id == *id);
        !run.precedes_deletion()
            && (early || run.is_healthy() || self.policy.prune.when == PruneWhen::Applied)
    }

    pub(super) fn deleted(
        &mut self,
        ix: RowIx,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let makes_room = matches!(self.rows[ix.get()].task, Task::Run(_));
        match result {
            Ok(Answer::Deleted { gone: true }) if makes_room => self.has_room_for(ix),
            Ok(_) if makes_room => self.look_again(ix, now),
            Ok(Answer::Deleted { gone: true }) => self.gone(ix, now, out),
            Ok(_) => {
                // The watch tells of the end, also where its event came before this answer.
                self.row(ix).task = Task::AwaitGone;
                self.changed(now);
            }
            Err(Failure::Fenced) => self.fenced(now, out),
            Err(failure @ (Failure::Throttled(_) | Failure::NotSent)) => self.put_off(ix, &failure, now),
            Err(failure) => self.delete_failed(ix, failure, now, out),
        }
    }

    fn delete_failed(&mut self, ix: RowIx, failure: Failure, now: Timestamp, out: &mut Vec<Effect>) {
        let (cause, pace) = match failure {
            Failure::Rejected(cause) => {
                let pace = Pace::after(cause.reason);
                (cause, pace)
            }
            // Gone, or another one: the next look tells, at once.
            Failure::NotFound(_) | Failure::Replaced(_) => {
                self.due.insert(ix);
                return;
            }
            Failure::Unavailable(cause) => (cause, Pace::Quick),
            Failure::Unknown(message) => {
                (Cause { reason: Refusal::ServerError, code: 0, message }, Pace::Quick)
            }
            Failure::Throttled(_) | Failure::NotSent | Failure::Fenced => return,
        };
        let at = self.pace(ix, Some(cause.clone()), pace, now);
        let row = self.row(ix);
        let attempt = row.trouble().attempts;
        let id = row.id.clone();
        out.push(Effect::Notice(Notice::WriteFailed { id, cause, attempt }));
        self.retry_at(ix, at);
    }

    /// Handles the confirmed end of an object that was to be pruned.
    pub(super) fn gone(&mut self, ix: RowIx, now: Timestamp, out: &mut Vec<Effect>) {
        if self.rows[ix.get()].is_hook() {
            return self.forget_hook(ix, now);
        }
        let id = self.rows[ix.get()].id.clone();
        out.push(Effect::Notice(Notice::Pruned { id }));
        self.forget(ix, now);
    }

    /// Drops an object from the record; its row stays until the next plan.
    pub(super) fn forget(&mut self, ix: RowIx, now: Timestamp) {
        let was = self.rows[ix.get()].is_ready();
        let row = self.row(ix);
        row.record = Record::None;
        row.recreation = None;
        row.task = Task::None;
        row.seen = None;
        row.drift = None;
        row.trouble = None;
        self.tally(ix, was);
        if let Some(run) = &mut self.run {
            run.going.remove(&ix);
        }
        self.mark_dirty(ix, now);
        self.progressed(now);
        self.changed(now);
    }
}
