//! Recreation: an object whose change the API server refuses is deleted and created anew.
//!
//! Only where the object asks for it, nothing guards it, and the proof holds: a refusal says neither by its reason nor by
//! its words whether a field cannot be changed or is simply wrong, but an object that could be created under another name
//! is right in itself. The proof is older than the delete by as long as a person or a wave was waited for, so it is
//! renewed. The delete follows a look at the object and carries its uid, as when pruning: only the very object that was
//! refused goes, never one that came since.

use jiff::Timestamp;

use super::backoff::Pace;
use super::effect::{Content, DryRunIn, Effect, WithFields};
use super::event::{Answer, Cause, Failure, Observation, Refusal};
use super::heal::next_after;
use super::row::{Op, RowIx};
use super::state::Machine;
use crate::desired::BodyDigest;
use crate::inventory::{Record, Uid};
use crate::plan::prune::recreation_guard;

/// A refusal that may be one of the change alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Doubt {
    /// What was refused.
    pub cause: Cause,
    /// The object that could not be changed, if it may be deleted for that.
    pub uid: Option<Uid>,
}

impl Machine {
    /// Asks for the proof that an object which the server refuses is right in itself, if the object is ours and asks to
    /// be recreated, or if what it was refused for may be what is about to be left to others; returns whether it does.
    pub(super) fn doubts_refusal(&mut self, ix: RowIx, cause: &Cause) -> bool {
        let row = &self.rows[ix.get()];
        let ours = match &row.seen {
            Some(seen) => Some(&seen.uid).filter(|_| seen.may_go()),
            None => row.record.applied().map(|applied| &applied.uid),
        };
        let lets_go = row.yields.is_some() && !row.leaves_already();
        let uid = ours.filter(|_| row.options.recreate && !lets_go).cloned();
        let doubts = cause.reason == Refusal::Invalid && !row.is_hook() && (lets_go || uid.is_some());
        if let Some(run) = self.run.as_mut().filter(|_| doubts) {
            run.doubted.insert(ix, Doubt { cause: cause.clone(), uid });
            run.checks.push_back(ix);
        }
        doubts
    }

    /// Takes the answer to a proof: what could be created is recreated, what could not is refused for what it was
    /// refused for first.
    pub(super) fn proved(
        &mut self,
        ix: RowIx,
        doubt: Doubt,
        result: Result<Answer, Failure>,
        now: Timestamp,
    ) {
        match result {
            Ok(_) => self.recreate(ix, doubt),
            Err(Failure::Rejected(_) | Failure::NotFound(_)) => self.refused(ix, doubt.cause),
            Err(failure) if self.row(ix).trouble().checks + 1 < super::preflight::TRIES => {
                if let Some(run) = &mut self.run {
                    run.doubted.insert(ix, doubt);
                }
                self.check_again(ix, &failure, now);
            }
            Err(_) => self.refused(ix, doubt.cause),
        }
    }

    /// Plans a recreation, unless something guards the object.
    fn recreate(&mut self, ix: RowIx, doubt: Doubt) {
        let row = &self.rows[ix.get()];
        let Doubt { cause, uid } = doubt;
        let Some(uid) = uid else {
            // The write tells, when our entry has let go of what is left to others.
            return self.exists(ix);
        };
        if let Some(why) = recreation_guard(&row.id, row.options, &self.policy) {
            let message = format!(
                "it cannot be changed, and is not deleted to be created anew: {why}; take the change back, or delete it by hand ({})",
                cause.message
            );
            return self.refused(ix, Cause { reason: Refusal::NotRecreated, message, ..cause });
        }
        if let Some(run) = &mut self.run {
            run.recreations.insert(ix, uid);
        }
        self.passed(ix);
    }

    /// Whether the sync has to delete what stands in the place of a row before it is created.
    pub(super) fn recreates(&self, ix: RowIx) -> bool {
        self.run.as_ref().is_some_and(|run| run.recreations.contains_key(&ix)) && !self.rows[ix.get()].absent
    }

    /// Asks once more, right before an object is deleted, whether it could be created.
    pub(super) fn prove(&mut self, ix: RowIx, body: BodyDigest, out: &mut Vec<Effect>) {
        let target = self.rows[ix.get()].target();
        let token = self.depart(ix, Op::Prove);
        out.push(Effect::DryRun(token, target, Content::whole(body), DryRunIn::Aside, WithFields::No));
    }

    /// Takes the answer to the renewed proof: what cannot be created any more is not deleted.
    pub(super) fn proved_again(
        &mut self,
        ix: RowIx,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(_) => {
                let target = self.rows[ix.get()].target();
                let token = self.depart(ix, Op::Reexamine);
                out.push(Effect::Get(token, target));
            }
            Err(failure) => self.recreation_failed(ix, failure, now, out),
        }
    }

    /// Deletes what was just looked at, if it is the object that could not be changed.
    pub(super) fn reexamined(
        &mut self,
        ix: RowIx,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let mut seen = match result {
            Ok(Answer::Got(Observation::Present(seen))) => seen,
            Ok(Answer::Got(Observation::Absent(_))) => return self.absent(ix, now, out),
            Ok(_) => return,
            Err(failure) => return self.put_off(ix, &failure, now),
        };
        seen.at.watch = self.generation(ix).max(seen.at.watch);
        let (uid, deleting, may_go) = (seen.uid.clone(), seen.deleting, seen.may_go());
        let is_meant = self.run.as_ref().is_some_and(|run| run.recreations.get(&ix) == Some(&uid));
        self.accept(ix, *seen, now);
        if !is_meant || !may_go {
            // Another one stands there, be it ours or not, or it was taken from us: what to do with it is planned anew.
            self.replan = true;
        } else if deleting || !self.may_write(now) {
            self.put_off(ix, &Failure::NotSent, now);
        } else {
            let (target, propagation) = (self.rows[ix.get()].target(), self.propagation_of(ix));
            let token = self.depart(ix, Op::Remove);
            out.push(Effect::Delete(token, target, uid, propagation));
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
                self.is_no_more(ix, now);
                if let Some(seen) = &mut self.row(ix).seen {
                    seen.deleting = true;
                }
                self.tally(ix, was);
                if answer == (Answer::Deleted { gone: true }) {
                    self.absent(ix, now, out);
                } else {
                    self.due.insert(ix);
                }
                self.changed(now);
            }
            // Gone, or another one: the next look tells.
            Err(Failure::NotFound(_) | Failure::Replaced(_)) => _ = self.due.insert(ix),
            Err(failure) => self.recreation_failed(ix, failure, now, out),
        }
    }

    fn recreation_failed(&mut self, ix: RowIx, failure: Failure, now: Timestamp, out: &mut Vec<Effect>) {
        let row = self.row(ix);
        row.trouble().failed = row.wanted;
        self.write_failed(ix, failure, now, out);
    }

    /// Takes over that what stood in the place of a recorded recreation is gone.
    pub(super) fn makes_room(&mut self, ix: RowIx, now: Timestamp) {
        self.unfinished.insert(ix);
        if matches!(self.rows[ix.get()].record, Record::Settled(_)) {
            self.is_no_more(ix, now);
        }
    }

    /// What was applied is no more: its end is no drift, and what is created in its place takes nothing from others.
    fn is_no_more(&mut self, ix: RowIx, now: Timestamp) {
        let row = self.row(ix);
        (row.record, row.drift) = (Record::Claimed, None);
        if let Some(run) = &mut self.run {
            run.found.remove(&ix);
        }
        self.mark_dirty(ix, now);
    }

    /// Creates what was deleted to be created anew where the sync that did so goes on no more: it was superseded or is
    /// blocked, or another process has begun it.
    pub(super) fn finish_recreations(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let mut after = None;
        while self.has_room()
            && self.may_write(now)
            && let Some(ix) = next_after(&self.unfinished, after)
        {
            after = Some(ix);
            let row = &self.rows[ix.get()];
            let Some(begun) = &row.recreation else {
                self.unfinished.remove(&ix);
                continue;
            };
            if !row.absent || row.flight.is_some() || !self.may_put_back(ix, now) {
                continue;
            }
            let (target, body) = (row.target(), begun.body);
            self.row(ix).absent = false;
            let token = self.depart(ix, Op::Apply { body, heals: true });
            out.push(Effect::Create(token, target, body));
        }
    }

    /// Waits for the end of what is on its way to it.
    pub(super) fn await_end(&mut self, ix: RowIx, now: Timestamp) {
        // The watch tells of its end; where that was lost, a GET does.
        let at = self.pace(ix, None, Pace::Quick, now);
        if !self.run.as_ref().is_some_and(|run| run.recreations.contains_key(&ix)) {
            self.answered(ix);
        }
        self.lookups.insert(ix);
        self.retry_at(ix, at);
    }
}
