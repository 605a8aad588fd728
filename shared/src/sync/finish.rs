//! Answers: a request is over only by its answer, never by what a watch shows.

use jiff::Timestamp;

use super::backoff::{self, Pace};
use super::effect::{Effect, Notice};
use super::event::{Answer, AppliedAnswer, Cause, Failure, Observation, Refusal, Token};
use super::row::{Flight, Op, RowIx, Task};
use super::state::{Machine, Open};
use crate::inventory::Record;
use crate::plan::Action;

impl Machine {
    pub(super) fn finished(
        &mut self,
        token: Token,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        match self.open.remove(&token) {
            Some(Open::Row(ix)) => self.row_finished(ix, result, now, out),
            Some(Open::Save(slot)) => self.saved(slot, result, now, out),
            Some(Open::Keep(slot)) => self.kept(slot, result, now, out),
            // An answer that was told twice.
            None => {}
        }
    }

    fn row_finished(
        &mut self,
        ix: RowIx,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(Flight { op, parked, .. }) = self.row(ix).flight.take() else { return };
        match (op, result) {
            (Op::DryRun, result) => self.checked(ix, result, now),
            (Op::Inspect, result) => self.inspected(ix, result, now, out),
            (Op::Diagnose, Ok(Answer::DryRun { owned, .. })) => self.diagnosed(ix, owned.as_ref(), now),
            (Op::Diagnose, _) => {}
            (Op::Get, Ok(Answer::Got(observation))) => self.looked_up(ix, observation, now, out),
            (Op::Get, Ok(_)) => {}
            (Op::Get, Err(_)) => {
                let at = self.pace(ix, None, Pace::Quick, now);
                self.retry_at(ix, at);
                self.lookups.insert(ix);
            }
            (Op::Examine, result) => self.examined(ix, result, now, out),
            (Op::Delete, result) => self.deleted(ix, result, now, out),
            (Op::Adopt, Ok(_)) => {
                self.row(ix).task = Task::Write { adopts: false };
                self.due.insert(ix);
            }
            (Op::Apply { heals, .. }, Ok(Answer::Applied(answer))) => {
                self.applied(ix, *answer, heals, now, out);
            }
            (Op::Apply { .. }, Ok(_)) => {}
            (Op::Adopt, Err(failure)) => self.write_failed(ix, failure, false, now, out),
            (Op::Apply { heals, .. }, Err(failure)) => self.write_failed(ix, failure, heals, now, out),
        }
        if let Some(observation) = parked {
            self.judge(ix, observation, now, out);
        }
    }

    /// Takes the result of a GET: it is the truth of now, also where a watch is behind.
    fn looked_up(&mut self, ix: RowIx, observation: Observation, now: Timestamp, out: &mut Vec<Effect>) {
        match observation {
            Observation::Absent(_) => self.absent(ix, now, out),
            present @ Observation::Present(_) => self.judge(ix, present, now, out),
        }
    }

    fn applied(
        &mut self,
        ix: RowIx,
        answer: AppliedAnswer,
        heals: bool,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let was = self.rows[ix.get()].is_ready();
        let row = self.row(ix);
        let before = std::mem::replace(&mut row.record, Record::Settled(answer.applied.clone()));
        if heals || row.drift.is_some() {
            self.healed(ix, &answer, &before, now, out);
        }
        let row = self.row(ix);
        let mut seen = answer.seen;
        seen.entries = None;
        row.seen = Some(seen);
        if !heals {
            row.task = Task::None;
            out.push(Effect::Notice(Notice::Written { id: row.id.clone(), action: action_of(&before) }));
        }
        if let Some(trouble) = &mut row.trouble {
            (trouble.attempts, trouble.cause) = (0, None);
        }
        self.tally(ix, was);
        self.answered(ix);
        if before != self.rows[ix.get()].record {
            self.mark_dirty(ix, now);
        }
        self.changed(now);
    }

    fn write_failed(
        &mut self,
        ix: RowIx,
        failure: Failure,
        heals: bool,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.answered(ix);
        let (cause, pace) = match failure {
            Failure::Fenced => {
                out.push(Effect::StopWork);
                return;
            }
            Failure::Rejected(cause) => (cause, Pace::Slow),
            Failure::NotFound(cause) | Failure::Replaced(cause) | Failure::Unavailable(cause) => {
                (cause, Pace::Quick)
            }
            Failure::Throttled(after) => {
                let paced = self.pace(ix, None, Pace::Quick, now);
                let at = after.map_or(paced, |after| paced.max(now + after));
                return self.try_again(ix, at, heals);
            }
            Failure::NotSent => {
                let at = self.pace(ix, None, Pace::Quick, now);
                return self.try_again(ix, at, heals);
            }
            Failure::Unknown(message) => {
                (Cause { reason: Refusal::ServerError, code: 0, message }, Pace::Quick)
            }
        };
        let at = self.pace(ix, Some(cause.clone()), pace, now);
        let row = self.row(ix);
        let attempt = row.trouble().attempts;
        let id = row.id.clone();
        if let Some(run) = &mut self.run
            && run.failures.len() < 20
            && attempt == 1
        {
            run.failures.push((id.to_string(), cause.reason.word(), cause.message.clone()));
        }
        out.push(Effect::Notice(Notice::WriteFailed { id, cause, attempt }));
        self.try_again(ix, at, heals);
        self.changed(now);
    }

    /// Counts a failed attempt and returns when the next one may start.
    pub(super) fn pace(&mut self, ix: RowIx, cause: Option<Cause>, pace: Pace, now: Timestamp) -> Timestamp {
        let row = self.row(ix);
        let id = row.id.clone();
        let trouble = row.trouble();
        trouble.attempts += 1;
        if cause.is_some() {
            trouble.cause = cause;
        }
        now + backoff::pause(&id, trouble.attempts, pace)
    }

    fn try_again(&mut self, ix: RowIx, at: Timestamp, heals: bool) {
        if heals {
            self.heals.insert(ix);
        }
        self.retry_at(ix, at);
    }

    /// Notes the first answer to a write of the sync, whatever it was: the place may go on.
    pub(super) fn answered(&mut self, ix: RowIx) {
        if let Some(run) = &mut self.run {
            run.unanswered.remove(&ix);
        }
    }
}

fn action_of(before: &Record) -> Action {
    match before {
        Record::Settled(_) => Action::Configured,
        Record::Claimed | Record::None => Action::Created,
    }
}
