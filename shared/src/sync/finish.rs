//! Answers: a request is over only by its answer, never by what a watch shows.

use jiff::Timestamp;

use super::backoff::Pace;
use super::effect::{Effect, Notice};
use super::event::{Answer, AppliedAnswer, Cause, Failure, Observation, Refusal, Token};
use super::fail::{Failed, Why};
use super::row::{Flight, Op, RowIx, Task};
use super::state::{Machine, Open};
use super::yielding::LetGo;
use crate::hook::Ended;
use crate::inventory::Record;
use crate::plan::{Action, HeldReason};
use crate::report::MAX_FAILURES;

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
            Some(Open::Save(slot)) => self.saved(token, slot, result, now, out),
            Some(Open::Keep(slot)) => self.kept(token, slot, result, now, out),
            Some(Open::Show) => self.part_stored(token, result, now, out),
            Some(Open::Pin) => self.pinned(token, result, now),
            Some(Open::Dissolve) => self.dissolved(&result, now, out),
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
        // Status, history, spans and logs are read by many who may not read Secrets.
        let is_secret = self.rows[ix.get()].id.is("", "Secret");
        let result = if is_secret { result.map_err(Failure::withheld) } else { result };
        match (op, result) {
            (Op::DryRun, result) => self.checked(ix, result, now),
            (Op::Inspect, result) => self.inspected(ix, result, now),
            (Op::Diagnose, result) => self.diagnosed(ix, result, now, out),
            (Op::Get, result) => self.looked_up(ix, result, now, out),
            (Op::Examine, result) => self.examined(ix, result, now, out),
            (Op::Delete, result) => self.deleted(ix, result, now, out),
            (Op::Prove, result) => self.proved_again(ix, result, now, out),
            (Op::Reexamine, result) => self.reexamined(ix, result, now, out),
            (Op::Remove, result) => self.removed(ix, result, now, out),
            (Op::Adopt, Ok(_)) => {
                self.row(ix).task = Task::Writing { adopts: false };
                self.due.insert(ix);
            }
            (Op::Release, Ok(answer)) => self.released(ix, answer),
            (Op::Apply { heals, .. }, Ok(Answer::Applied(answer))) => {
                self.applied(ix, *answer, heals, now, out);
            }
            (Op::Apply { .. }, Ok(_)) => {}
            (Op::Apply { heals: false, .. }, Err(Failure::Replaced(cause))) => {
                self.yields_anew(ix);
                self.occupied(ix, cause, now);
            }
            (Op::Adopt | Op::Release | Op::Apply { .. }, Err(failure)) => {
                let row = self.row(ix);
                if matches!(row.task, Task::Writing { .. }) {
                    row.trouble().failed = row.wanted;
                }
                if row.recreation.is_some() {
                    // Whether it was created is not known.
                    self.lookups.insert(ix);
                }
                if op == Op::Release || op != Op::Adopt && !matches!(failure, Failure::Rejected(_)) {
                    self.yields_anew(ix);
                }
                self.write_failed(ix, failure, now, out);
            }
        }
        if let Some(observation) = parked {
            self.judge(ix, observation, now, out);
        }
    }

    /// Takes the result of a GET: it is the truth of now, also where a watch is behind.
    fn looked_up(
        &mut self,
        ix: RowIx,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let held = self.rows[ix.get()].held_reason();
        if matches!(held, Some(HeldReason::NotAdopted { .. } | HeldReason::AlreadyThere)) {
            return self.looked_at_owner(ix, &result, now);
        }
        let gone = matches!(&result, Err(Failure::NotFound(cause)) if cause.reason == Refusal::KindMissing);
        match result {
            Ok(Answer::Got(Observation::Present(mut seen))) => {
                seen.at.watch = self.generation(ix).max(seen.at.watch);
                if seen.is_ours || !seen.deleting {
                    self.found(ix);
                }
                let row = self.row(ix);
                if !seen.is_ours && !seen.deleting && matches!(row.record, Record::Claimed) {
                    // Somebody else's stands where ours is to be written: preflight decides whose it is to be.
                    self.replan = true;
                }
                self.learn(ix, *seen, now, out);
            }
            Ok(Answer::Got(Observation::Absent(_))) => {
                self.found(ix);
                self.absent(ix, now, out);
            }
            Ok(_) => {}
            Err(_) if gone => self.absent(ix, now, out),
            Err(_) => self.look_again(ix, now),
        }
    }

    pub(super) fn found(&mut self, ix: RowIx) {
        if let Some(trouble) = &mut self.row(ix).trouble {
            trouble.lookups = 0;
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
        let yields = self.left_by(ix, heals);
        let is_complete = yields.is_none() || answer.applied.leaves(yields.as_ref());
        let row = self.row(ix);
        let before = std::mem::replace(&mut row.record, Record::Settled(answer.applied.clone()));
        let was_told = row.letting_go.has_created();
        row.letting_go = match yields {
            // What others decide is left out by another apply.
            Some(yields) if !is_complete => LetGo::Due { yields, created: true },
            _ => LetGo::None,
        };
        let begun = row.recreation.take_if(|begun| begun.uid != answer.applied.uid);
        let finished = begun.is_some() && heals;
        if heals || row.drift.is_some() {
            self.healed(ix, &answer, &before, now, out);
        }
        let watch = self.generation(ix);
        let row = self.row(ix);
        let mut seen = answer.seen;
        // A list that began before the answer cannot be newer, also where it is not complete yet.
        seen.at.watch = watch.max(seen.at.watch);
        seen.entries = None;
        row.seen = Some(seen);
        let recreated = !heals && self.run.as_mut().is_some_and(|run| run.recreations.remove(&ix).is_some());
        // What nobody said yes to has changed under the plan.
        let unplanned = heals && before.applied().is_none_or(|before| before.yields != answer.applied.yields);
        self.replan |= unplanned && is_complete;
        let row = self.row(ix);
        if finished {
            let (id, action) = (row.id.clone(), Action::Recreated);
            out.push(Effect::Notice(Notice::Written { id, action }));
        }
        if !heals {
            if !was_told {
                let action = if recreated { Action::Recreated } else { action_of(&before) };
                out.push(Effect::Notice(Notice::Written { id: row.id.clone(), action }));
            }
            if is_complete {
                row.task = Task::None;
                if let Some(run) = &mut self.run {
                    run.unwritten.remove(&ix);
                }
            }
        }
        if let Some(trouble) = &mut self.row(ix).trouble {
            (trouble.attempts, trouble.failed, trouble.cause) = (0, None, None);
        }
        if !is_complete {
            self.go_on_yielding(ix);
        }
        self.tally(ix, was);
        self.answered(ix);
        if before != self.rows[ix.get()].record {
            self.mark_dirty(ix, now);
        }
        self.progressed(now);
        self.judge_run(ix, now, out);
        self.changed(now);
    }

    pub(super) fn write_failed(
        &mut self,
        ix: RowIx,
        failure: Failure,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.answered(ix);
        if let (Failure::NotFound(_), Some(run)) = (&failure, &mut self.run) {
            // Its namespace is gone, and the object that was found with it.
            run.found.remove(&ix);
        }
        let (cause, pace) = match failure {
            Failure::Fenced => return self.fenced(now, out),
            Failure::Rejected(cause) => {
                let pace = Pace::after(cause.reason);
                (cause, pace)
            }
            Failure::NotFound(cause) | Failure::Replaced(cause) | Failure::Unavailable(cause) => {
                (cause, Pace::Quick)
            }
            Failure::Throttled(_) | Failure::NotSent => return self.put_off(ix, &failure, now),
            Failure::Unknown(message) => {
                (Cause { reason: Refusal::ServerError, code: 0, message }, Pace::Quick)
            }
        };
        let at = self.pace(ix, Some(cause.clone()), pace, now);
        let row = self.row(ix);
        let attempt = row.trouble().attempts;
        let id = row.id.clone();
        if let Some(run) = &mut self.run
            && run.failures.len() < MAX_FAILURES
            && attempt == 1
        {
            run.failures.push((id.to_string(), cause.reason.word(), cause.message.clone()));
        }
        let message = format!("{id}: {}: {}", cause.reason.word(), cause.message);
        out.push(Effect::Notice(Notice::WriteFailed { id, cause: cause.clone(), attempt }));
        self.retry_at(ix, at);
        match self.rows[ix.get()].task {
            _ if pace == Pace::Quick => {}
            Task::Run(_) => self.hook_ended(ix, Ended::Failed(cause.message), now, out),
            Task::Writing { .. } => self.fail(Failed { why: Why::Refused, message }, now, out),
            Task::None | Task::Write { .. } | Task::Prune | Task::AwaitGone => {}
        }
    }

    /// Waits after an answer that says nothing about the object, as long as the server asks for.
    pub(super) fn put_off(&mut self, ix: RowIx, failure: &Failure, now: Timestamp) {
        let paced = self.pace(ix, None, Pace::Quick, now);
        let at = match failure {
            Failure::Throttled(Some(after)) => paced.max(now + *after),
            _ => paced,
        };
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
