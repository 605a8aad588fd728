//! Pruning: objects that left Git are deleted in the mirrored order, each looked at right before.
//!
//! Forget last: the inventory drops an object only when the server has confirmed that it is gone.

use jiff::Timestamp;

use super::backoff::Pace;
use super::effect::{Effect, Notice};
use super::event::{Answer, Cause, Failure, Observation, Refusal};
use super::row::{Op, RowIx, Task};
use super::state::{Machine, Phase};
use crate::inventory::Record;

impl Machine {
    pub(super) fn advance_pruning(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if !self.may_write(now) {
            return;
        }
        self.repeat_prunes(now, out);
        while self.has_room() {
            let Some(run) = &mut self.run else { return };
            let Some(prune) = run.plan.prunes.get(run.pruned) else { break };
            if prune.step != run.prune_step && !run.going.is_empty() {
                break;
            }
            if !prune.early
                && run.plan.prunes.get(run.pruned.wrapping_sub(1)).is_some_and(|before| before.early)
            {
                let unready = run.unready.values().any(|count| *count > 0);
                if unready {
                    break;
                }
            }
            run.prune_step = prune.step;
            let id = prune.id.clone();
            let Some(ix) = self.index.get(&id).copied() else {
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

    fn repeat_prunes(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let due: Vec<RowIx> = self.due.iter().copied().collect();
        for ix in due {
            let row = &self.rows[ix.get()];
            if row.flight.is_some() || !self.has_room() {
                continue;
            }
            self.due.remove(&ix);
            if row.task == Task::Prune && self.rows[ix.get()].is_due(now) {
                self.examine(ix, out);
            }
        }
    }

    /// Goes back to waiting for health, or ends the stage when the last object is gone.
    fn end_pruning(&mut self, now: Timestamp) {
        let Some(run) = &mut self.run else { return };
        let waits_for_health = run.pruned < run.plan.prunes.len() && run.going.is_empty();
        let done = run.pruned == run.plan.prunes.len() && run.going.is_empty();
        if done {
            run.close_stage("prune", now);
        }
        if done || waits_for_health && run.unready.values().any(|count| *count > 0) {
            self.phase = Phase::Applying;
        }
    }

    /// Looks at an object right before it is deleted.
    fn examine(&mut self, ix: RowIx, out: &mut Vec<Effect>) {
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
        if self.rows[ix.get()].task != Task::Prune {
            return;
        }
        match result {
            Ok(Answer::Got(Observation::Absent(_))) => self.gone(ix, now, out),
            Ok(Answer::Got(Observation::Present(seen))) => {
                let uid = seen.uid.clone();
                let (ours, owned, deleting) = (seen.is_ours, seen.has_owner, seen.deleting);
                let was = self.rows[ix.get()].is_ready();
                self.row(ix).seen = Some(*seen);
                self.tally(ix, was);
                if deleting {
                    self.row(ix).task = Task::AwaitGone;
                } else if !ours || owned {
                    // It is somebody else's now: forgotten, not deleted.
                    self.forget(ix, now);
                } else if self.may_write(now) {
                    let target = self.rows[ix.get()].target();
                    let token = self.depart(ix, Op::Delete);
                    out.push(Effect::Delete(token, target, uid));
                } else {
                    let at = self.pace(ix, None, Pace::Quick, now);
                    self.retry_at(ix, at);
                }
            }
            Ok(_) => {}
            Err(Failure::NotFound(cause)) if cause.reason == Refusal::KindMissing => self.gone(ix, now, out),
            Err(_) => {
                let at = self.pace(ix, None, Pace::Quick, now);
                self.retry_at(ix, at);
            }
        }
    }

    pub(super) fn deleted(
        &mut self,
        ix: RowIx,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(Answer::Deleted { gone: true }) => self.gone(ix, now, out),
            Ok(_) => {
                self.row(ix).task = Task::AwaitGone;
                // The watch tells of the end; where its event came before this answer, a GET does.
                self.lookups.insert(ix);
            }
            Err(failure) => {
                let (cause, pace) = match failure {
                    Failure::Rejected(cause) => (Some(cause), Pace::Slow),
                    Failure::NotFound(cause) | Failure::Replaced(cause) | Failure::Unavailable(cause) => {
                        (Some(cause), Pace::Quick)
                    }
                    Failure::Throttled(_) | Failure::Fenced | Failure::NotSent => (None, Pace::Quick),
                    Failure::Unknown(message) => {
                        (Some(Cause { reason: Refusal::ServerError, code: 0, message }), Pace::Quick)
                    }
                };
                if let Some(cause) = cause.clone() {
                    let row = self.row(ix);
                    let attempt = row.trouble().attempts + 1;
                    let id = row.id.clone();
                    out.push(Effect::Notice(Notice::WriteFailed { id, cause, attempt }));
                }
                let at = self.pace(ix, cause, pace, now);
                self.retry_at(ix, at);
                self.changed(now);
            }
        }
    }

    /// Handles the confirmed end of an object that was to be pruned.
    pub(super) fn gone(&mut self, ix: RowIx, now: Timestamp, out: &mut Vec<Effect>) {
        let id = self.rows[ix.get()].id.clone();
        out.push(Effect::Notice(Notice::Pruned { id }));
        self.forget(ix, now);
    }

    fn forget(&mut self, ix: RowIx, now: Timestamp) {
        let was = self.rows[ix.get()].is_ready();
        let row = self.row(ix);
        row.record = Record::None;
        row.task = Task::None;
        row.seen = None;
        row.drift = None;
        row.trouble = None;
        self.tally(ix, was);
        if let Some(run) = &mut self.run {
            run.going.remove(&ix);
        }
        self.mark_dirty(ix, now);
        self.changed(now);
    }
}
