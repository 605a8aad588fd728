//! Preflight: every object that will be written is first sent as a server-side dry run, and all
//! errors are reported together.

use jiff::Timestamp;

use super::backoff::{self, Pace};
use super::effect::{DryRunIn, Effect, Notice, WithFields};
use super::event::{Answer, Cause, Failure, Observation, Refusal, Seen};
use super::row::{Op, RowIx, Task};
use super::state::{Blocked, Machine, Phase};
use crate::inventory::Record;
use crate::managed_fields::ForeignOwner;
use crate::object::ObjectId;
use crate::plan::{Action, Held, HeldReason, Preflight};
use crate::policy::{Adopt, OnInvalid};
use crate::report::Outcome;

/// Dry runs of one object that may fail in passing before it is written without one.
const TRIES: u32 = 3;

impl Machine {
    pub(super) fn enter_preflight(&mut self) {
        self.phase = Phase::Preflight;
        let Some(run) = &mut self.run else { return };
        for write in &run.plan.writes {
            let Some(ix) = self.index.get(&write.id).copied() else { continue };
            if write.preflight != Preflight::Skip {
                run.checks.push_back(ix);
                run.unchecked.insert(ix);
            }
            if write.preflight == Preflight::Substitute {
                run.substitutes.insert(ix);
            }
        }
    }

    pub(super) fn advance_preflight(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.draining {
            return;
        }
        let due: Vec<RowIx> = self.due.iter().copied().collect();
        for ix in due {
            self.due.remove(&ix);
            if let Some(run) = &mut self.run
                && run.unchecked.contains(&ix)
            {
                run.checks.push_back(ix);
            }
        }
        while self.has_room() {
            let Some(ix) = self.run.as_mut().and_then(|run| run.checks.pop_front()) else { break };
            if self.rows[ix.get()].flight.is_some() {
                // A heal or a look-up is open: the check follows its answer.
                if let Some(run) = &mut self.run {
                    run.checks.push_back(ix);
                }
                break;
            }
            self.check(ix, out);
        }
        if self.run.as_ref().is_some_and(|run| run.unchecked.is_empty()) {
            self.judge_preflight(now, out);
        }
    }

    fn check(&mut self, ix: RowIx, out: &mut Vec<Effect>) {
        let row = &self.rows[ix.get()];
        let Some(body) = row.wanted else { return };
        let target = row.target();
        let substitute = self.run.as_ref().is_some_and(|run| run.substitutes.contains(&ix));
        let place = if substitute { DryRunIn::Substitute } else { DryRunIn::Place };
        let token = self.depart(ix, Op::DryRun);
        out.push(Effect::DryRun(token, target, body, place, WithFields::No));
    }

    /// Takes the answer to a dry run.
    pub(super) fn checked(&mut self, ix: RowIx, result: Result<Answer, Failure>, now: Timestamp) {
        if self.phase != Phase::Preflight {
            return;
        }
        match result {
            Ok(Answer::DryRun { exists, .. }) if exists && self.rows[ix.get()].record == Record::None => {
                self.inspect.insert(ix);
            }
            Ok(_) => self.passed(ix),
            Err(Failure::Rejected(cause) | Failure::NotFound(cause)) => self.refused(ix, cause),
            Err(Failure::Throttled(after)) => {
                let paced = self.pace(ix, None, Pace::Quick, now);
                self.retry_at(ix, after.map_or(paced, |after| paced.max(now + after)));
            }
            Err(Failure::NotSent) => {
                let at = self.pace(ix, None, Pace::Quick, now);
                self.retry_at(ix, at);
            }
            Err(Failure::Replaced(_) | Failure::Unavailable(_) | Failure::Unknown(_) | Failure::Fenced) => {
                let at = self.pace(ix, None, Pace::Quick, now);
                if self.row(ix).trouble().attempts < TRIES {
                    self.retry_at(ix, at);
                } else {
                    self.row(ix).trouble = None;
                    self.passed(ix);
                }
            }
        }
    }

    fn passed(&mut self, ix: RowIx) {
        if let Some(run) = &mut self.run {
            run.unchecked.remove(&ix);
        }
    }

    fn refused(&mut self, ix: RowIx, cause: Cause) {
        let Some(run) = &mut self.run else { return };
        run.unchecked.remove(&ix);
        let counts = !run.substitutes.contains(&ix)
            || matches!(cause.reason, Refusal::SchemaInvalid | Refusal::Invalid);
        if counts {
            run.rejected.insert(ix, cause);
        }
    }

    /// Starts the GETs of objects that exist without being recorded.
    pub(super) fn start_inspections(&mut self, out: &mut Vec<Effect>) {
        while self.has_room() {
            let Some(ix) = self.inspect.pop_first() else { return };
            if self.rows[ix.get()].flight.is_some() {
                self.inspect.insert(ix);
                return;
            }
            let target = self.rows[ix.get()].target();
            let token = self.depart(ix, Op::Inspect);
            out.push(Effect::Get(token, target));
        }
    }

    pub(super) fn inspected(
        &mut self,
        ix: RowIx,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if self.phase != Phase::Preflight {
            return;
        }
        match result {
            Ok(Answer::Got(Observation::Present(seen))) => {
                self.decide_adoption(ix, &seen, out);
                self.passed(ix);
            }
            Ok(_) => self.passed(ix),
            Err(_) => {
                let at = self.pace(ix, None, Pace::Quick, now);
                self.retry_at(ix, at);
            }
        }
    }

    /// Decides whether an object that exists may be taken over.
    fn decide_adoption(&mut self, ix: RowIx, seen: &Seen, out: &mut Vec<Effect>) {
        let policy = self.policy.adopt;
        let refusal = match (&seen.foreign, policy) {
            (Some(foreign @ ForeignOwner::Skiff { .. }), _) => Some(foreign.to_string()),
            _ if seen.is_ours => None,
            (_, Adopt::Never) => Some("somebody else (sync.adopt is \"never\")".to_owned()),
            (Some(foreign), Adopt::IfUnowned) => Some(foreign.to_string()),
            (None, Adopt::IfUnowned) | (_, Adopt::Always) => None,
        };
        let id = self.rows[ix.get()].id.clone();
        let Some(run) = &mut self.run else { return };
        let Some(at) = run.plan.writes.iter().position(|write| write.id == id) else { return };
        if let Some(owner) = refusal {
            run.plan.writes.remove(at);
            let reason = HeldReason::NotAdopted { owner };
            run.plan.held.push(Held { id: id.clone(), reason: reason.clone() });
            let was = self.rows[ix.get()].is_ready();
            let row = self.row(ix);
            (row.held, row.task) = (true, Task::None);
            self.tally(ix, was);
            self.held.push((id.clone(), reason.clone()));
            out.push(Effect::Notice(Notice::Held { id, reason }));
            return;
        }
        let write = &mut run.plan.writes[at];
        write.action = Action::Configured;
        write.adopts = !seen.is_ours;
        self.row(ix).task = Task::Write { adopts: !seen.is_ours };
    }

    fn judge_preflight(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(run) = &mut self.run else { return };
        run.close_stage("plan", now);
        run.digest = run.plan.digest();
        let rejected = std::mem::take(&mut run.rejected);
        if rejected.is_empty() {
            self.blocked = None;
            self.phase = Phase::Gated;
            return;
        }
        let problems: Vec<(ObjectId, Cause)> =
            rejected.into_iter().map(|(ix, cause)| (self.rows[ix.get()].id.clone(), cause)).collect();
        match self.policy.on_invalid {
            OnInvalid::Block => self.block(problems, now, out),
            OnInvalid::Skip => self.skip(problems, now, out),
        }
    }

    /// Gives the plan up before its first write; it is checked again later.
    fn block(&mut self, problems: Vec<(ObjectId, Cause)>, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(mut run) = self.run.take() else { return };
        let before = self.blocked.take();
        let again =
            before.as_ref().is_some_and(|before| before.digest == run.digest && before.problems == problems);
        let attempts = before.filter(|_| again).map_or(1, |before| before.attempts + 1);
        let (first, cause) = &problems[0];
        let retry_at = now + backoff::pause(first, attempts, Pace::Slow);
        if !again {
            for (id, cause) in problems.iter().take(20) {
                run.failures.push((id.to_string(), cause.reason.word(), cause.message.clone()));
                out.push(Effect::Notice(Notice::WriteFailed {
                    id: id.clone(),
                    cause: cause.clone(),
                    attempt: 0,
                }));
            }
            let count = u32::try_from(problems.len()).unwrap_or(u32::MAX);
            let first = format!("{first}: {}", cause.message);
            out.push(Effect::Notice(Notice::SyncBlocked { problems: count, first }));
            let digest = run.digest;
            self.end_run(*run, Outcome::Blocked, now, out);
            self.blocked = Some(Blocked { problems, attempts, retry_at, digest });
        } else {
            self.blocked = Some(Blocked { problems, attempts, retry_at, digest: run.digest });
        }
        for row in &mut self.rows {
            row.task = Task::None;
        }
        self.phase = Phase::Idle;
        self.changed(now);
    }

    /// Takes the refused objects out of the plan and goes on with the rest.
    fn skip(&mut self, problems: Vec<(ObjectId, Cause)>, now: Timestamp, out: &mut Vec<Effect>) {
        for (id, cause) in problems {
            let Some(ix) = self.index.get(&id).copied() else { continue };
            let was = self.rows[ix.get()].is_ready();
            let at = self.pace(ix, Some(cause.clone()), Pace::Slow, now);
            self.retry_at(ix, at);
            let row = self.row(ix);
            (row.held, row.task) = (true, Task::None);
            self.tally(ix, was);
            if let Some(run) = &mut self.run {
                run.plan.writes.retain(|write| write.id != id);
                run.failures.push((id.to_string(), cause.reason.word(), cause.message.clone()));
            }
            out.push(Effect::Notice(Notice::WriteFailed { id, cause, attempt: 0 }));
        }
        if let Some(run) = &mut self.run {
            run.digest = run.plan.digest();
        }
        self.phase = Phase::Gated;
    }
}
