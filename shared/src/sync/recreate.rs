//! Recreation: an object whose change the API server refuses is deleted and created anew.
//!
//! Only where the object asks for it, and only when the proof holds: a refusal says neither by its reason nor by its
//! words whether a field cannot be changed or is simply wrong, but an object that could be created under another name
//! is right in itself. The delete follows a look at the object and carries its uid, as when pruning.

use jiff::Timestamp;

use super::backoff::Pace;
use super::effect::Effect;
use super::event::{Answer, Cause, Failure, Observation, Refusal};
use super::row::{Op, RowIx};
use super::state::Machine;
use crate::inventory::Record;

impl Machine {
    /// Asks for the proof that an object which the server refuses is right in itself, if the object is ours and asks to
    /// be recreated; returns whether it does.
    pub(super) fn doubts_refusal(&mut self, ix: RowIx, cause: &Cause) -> bool {
        let row = &self.rows[ix.get()];
        let is_settled = matches!(row.record, Record::Settled(_));
        let is_ours =
            !row.is_hook() && row.seen.as_ref().map_or(is_settled, |seen| seen.is_ours && !seen.has_owner);
        let doubts = row.options.recreate && cause.reason == Refusal::Invalid && is_ours;
        if let Some(run) = self.run.as_mut().filter(|_| doubts) {
            run.doubted.insert(ix, cause.clone());
            run.checks.push_back(ix);
        }
        doubts
    }

    /// Whether the sync has to delete what stands in the place of a row before it is created.
    pub(super) fn recreates(&self, ix: RowIx) -> bool {
        self.run.as_ref().is_some_and(|run| run.recreations.contains(&ix)) && !self.rows[ix.get()].absent
    }

    /// Looks at an object right before it is deleted to be created anew.
    pub(super) fn inspect_outdated(&mut self, ix: RowIx, out: &mut Vec<Effect>) {
        let target = self.rows[ix.get()].target();
        let token = self.depart(ix, Op::Reexamine);
        out.push(Effect::Get(token, target));
    }

    pub(super) fn reexamined(
        &mut self,
        ix: RowIx,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(Answer::Got(Observation::Absent(_))) => self.absent(ix, now, out),
            Ok(Answer::Got(Observation::Present(mut seen))) => {
                seen.at.watch = self.generation(ix).max(seen.at.watch);
                let (uid, deleting) = (seen.uid.clone(), seen.deleting);
                let may_go = seen.is_ours && !seen.has_owner;
                self.accept(ix, *seen, now);
                if !may_go {
                    // It was taken from us: the next plan leaves it, and healing may bring it back.
                    self.replan = true;
                } else if deleting || !self.may_write(now) || !self.recreates(ix) {
                    self.put_off(ix, &Failure::NotSent, now);
                } else {
                    let (target, propagation) = (self.rows[ix.get()].target(), self.propagation_of(ix));
                    let token = self.depart(ix, Op::Remove);
                    out.push(Effect::Delete(token, target, uid, propagation));
                }
            }
            Ok(_) => {}
            Err(failure) => self.put_off(ix, &failure, now),
        }
    }

    /// Takes the answer to the delete of an object that is created anew.
    pub(super) fn removed(
        &mut self,
        ix: RowIx,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(answer) => {
                let was = self.rows[ix.get()].is_ready();
                let row = self.row(ix);
                // What was applied is no more: its end is no drift.
                row.record = Record::Claimed;
                row.drift = None;
                if let Some(seen) = &mut row.seen {
                    seen.deleting = true;
                }
                if let Some(run) = &mut self.run {
                    run.found.remove(&ix);
                }
                self.tally(ix, was);
                self.mark_dirty(ix, now);
                if answer == (Answer::Deleted { gone: true }) {
                    self.absent(ix, now, out);
                } else {
                    self.due.insert(ix);
                }
                self.changed(now);
            }
            // Gone, or another one: the next look tells.
            Err(Failure::NotFound(_) | Failure::Replaced(_)) => _ = self.due.insert(ix),
            Err(failure) => {
                let row = self.row(ix);
                row.trouble().failed = row.wanted;
                self.write_failed(ix, failure, now, out);
            }
        }
    }

    /// Takes the answer to a proof: what could be created is recreated, what could not is refused for what it was
    /// refused for first.
    pub(super) fn proved(
        &mut self,
        ix: RowIx,
        first: Cause,
        result: Result<Answer, Failure>,
        now: Timestamp,
    ) {
        match result {
            Ok(_) => {
                if let Some(run) = &mut self.run {
                    run.recreations.insert(ix);
                }
                self.passed(ix);
            }
            Err(Failure::Rejected(_) | Failure::NotFound(_)) => self.refused(ix, first),
            Err(failure) if self.row(ix).trouble().checks + 1 < super::preflight::TRIES => {
                if let Some(run) = &mut self.run {
                    run.doubted.insert(ix, first);
                }
                self.check_again(ix, &failure, now);
            }
            Err(_) => self.refused(ix, first),
        }
    }

    /// Waits for the end of what is on its way to it.
    pub(super) fn await_end(&mut self, ix: RowIx, now: Timestamp) {
        // The watch tells of its end; where that was lost, a GET does.
        let at = self.pace(ix, None, Pace::Quick, now);
        if !self.run.as_ref().is_some_and(|run| run.recreations.contains(&ix)) {
            self.answered(ix);
        }
        self.lookups.insert(ix);
        self.retry_at(ix, at);
    }
}
