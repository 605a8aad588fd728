//! The end of preflight: the plan is complete, or what was refused stops it.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::desired::ApplyWhen;
use crate::object::ObjectId;
use crate::plan::adoption::Adoption;
use crate::plan::{Action, Held, HeldReason, Write};
use crate::policy::OnInvalid;
use crate::report::{MAX_FAILURES, Outcome};
use crate::sync::backoff::{self, Pace};
use crate::sync::effect::{Effect, Notice};
use crate::sync::event::{Cause, Refusal};
use crate::sync::row::{Hold, RowIx, Task};
use crate::sync::state::{Blocked, Machine, Phase};

impl Machine {
    /// Everything asked for is answered: the plan is complete, or what was refused stops it.
    pub(super) fn judge_preflight(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(run) = &mut self.run else { return };
        let goes_on = run.rejected.is_empty() || self.policy.on_invalid == OnInvalid::Skip;
        if goes_on && !run.rest.is_empty() {
            run.check_rest();
            return self.advance_preflight(now, out);
        }
        run.close_stage("plan", now);
        self.resolve(now, out);
        let Some(run) = &mut self.run else { return };
        run.digest = run.plan.digest();
        let rejected = std::mem::take(&mut run.rejected);
        let problems: Vec<(ObjectId, Cause)> =
            rejected.into_iter().map(|(ix, cause)| (self.rows[ix.get()].id.clone(), cause)).collect();
        let shared = self.shared_with_others();
        if !shared.is_empty() {
            return self.block(problems.into_iter().chain(shared).collect(), now, out);
        }
        if problems.is_empty() {
            self.blocked = None;
        } else {
            match self.policy.on_invalid {
                OnInvalid::Block => return self.block(problems, now, out),
                OnInvalid::Skip => self.skip(problems, now, out),
            }
        }
        self.phase = Phase::Gated;
        self.heal_again();
        self.changed(now);
    }

    /// Returns the objects that other apps have, where the policy lets them block the plan.
    fn shared_with_others(&self) -> Vec<(ObjectId, Cause)> {
        let Some(run) = self.run.as_ref().filter(|_| self.policy.fail_on_shared) else { return Vec::new() };
        let shared = run.plan.held.iter().filter(|held| matches!(held.reason, HeldReason::Conflict { .. }));
        shared
            .map(|held| {
                let message = held.reason.to_string();
                (held.id.clone(), Cause { reason: Refusal::Conflict, code: 0, message })
            })
            .collect()
    }

    /// Brings into the plan what the server told of objects that exist and of kinds that do not.
    fn resolve(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(run) = &mut self.run else { return };
        let adoptions = std::mem::take(&mut run.adoptions);
        let missing = std::mem::take(&mut run.missing);
        let recreations = run.recreations.clone();
        let mut held: Vec<(RowIx, HeldReason)> = Vec::new();
        let (index, rows, found) = (&self.index, &mut self.rows, &mut run.found);
        let mut resolve = |write: &mut Write| {
            let Some(ix) = index.get(&write.id).copied() else { return false };
            if missing.contains(&ix) {
                let (kind, version) = (write.id.kind().clone(), write.version.clone());
                held.push((ix, HeldReason::MissingKind { kind, version }));
                return false;
            }
            let adoption = adoptions.get(&ix);
            if matches!(adoption, Some(Adoption::TakenOver | Adoption::Ours)) {
                found.insert(ix);
            }
            match adoption {
                Some(Adoption::Refused { owner }) => {
                    held.push((ix, HeldReason::NotAdopted { owner: owner.clone() }));
                    return false;
                }
                Some(Adoption::TakenOver) if rows[ix.get()].options.apply == ApplyWhen::Once => {
                    held.push((ix, HeldReason::AlreadyThere));
                    return false;
                }
                Some(Adoption::TakenOver) => (write.action, write.adopts) = (Action::Configured, true),
                Some(Adoption::Ours) => write.action = Action::Configured,
                None => {}
            }
            if recreations.contains_key(&ix) {
                write.action = Action::Recreated;
            }
            if !write.is_hook {
                rows[ix.get()].task = Task::Write { adopts: write.adopts };
            }
            true
        };
        run.plan.writes.retain_mut(&mut resolve);
        run.plan.on_failure.retain_mut(resolve);
        held.sort_by_key(|(ix, _)| *ix);
        held.dedup_by_key(|(ix, _)| *ix);
        for (ix, reason) in held {
            if matches!(reason, HeldReason::MissingKind { .. }) {
                // Discovery said that it is served: the two will agree soon.
                let at = self.pace(ix, None, Pace::Quick, now);
                self.row(ix).trouble().refused = true;
                self.retry_at(ix, at);
            }
            if matches!(reason, HeldReason::NotAdopted { .. } | HeldReason::AlreadyThere) {
                self.look_at_owner(ix, now);
            }
            let id = self.rows[ix.get()].id.clone();
            self.hold(ix, Hold::Plan(Box::new(reason.clone())));
            if let Some(run) = &mut self.run {
                run.plan.held.push(Held { id: id.clone(), reason: reason.clone() });
            }
            out.push(Effect::Notice(Notice::Held { id, reason }));
        }
    }

    /// Takes a row out of the sync.
    fn hold(&mut self, ix: RowIx, hold: Hold) {
        let was = self.rows[ix.get()].is_ready();
        let row = self.row(ix);
        (row.held, row.task) = (Some(hold), Task::None);
        self.tally(ix, was);
        if let Some(run) = &mut self.run {
            run.unwritten.remove(&ix);
        }
    }

    /// Gives the plan up before its first write; it is checked again later.
    fn block(&mut self, problems: Vec<(ObjectId, Cause)>, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(mut run) = self.run.take() else { return };
        let before = self.blocked.take();
        let again = before.as_ref().is_some_and(|before| before.problems == problems);
        let attempts = before.filter(|_| again).map_or(1, |before| before.attempts + 1);
        let (first, cause) = &problems[0];
        let quick = problems.iter().all(|(_, cause)| Pace::after(cause.reason) == Pace::Quick);
        let pace = if quick { Pace::Quick } else { Pace::Slow };
        let retry_at = now + backoff::pause(first, attempts, pace);
        if !again {
            for (id, cause) in problems.iter().take(MAX_FAILURES) {
                run.failures.push((id.to_string(), cause.reason.word(), cause.message.clone()));
                let (id, cause) = (id.clone(), cause.clone());
                out.push(Effect::Notice(Notice::WriteFailed { id, cause, attempt: 0 }));
            }
            let count = u32::try_from(problems.len()).unwrap_or(u32::MAX);
            let first = format!("{first}: {}", cause.message);
            out.push(Effect::Notice(Notice::SyncBlocked { problems: count, first }));
            self.end_run(*run, Outcome::Blocked, now, out);
        }
        self.blocked = Some(Blocked { problems, attempts, retry_at: Some(retry_at) });
        for row in &mut self.rows {
            row.task = Task::None;
        }
        self.phase = Phase::Idle;
        self.heal_again();
        self.changed(now);
    }

    /// Takes the refused objects out of the plan and goes on with the rest.
    fn skip(&mut self, problems: Vec<(ObjectId, Cause)>, now: Timestamp, out: &mut Vec<Effect>) {
        let refused: HashSet<&ObjectId> = problems.iter().map(|(id, _)| id).collect();
        if let Some(run) = &mut self.run {
            run.plan.writes.retain(|write| !refused.contains(&write.id));
            run.plan.on_failure.retain(|write| !refused.contains(&write.id));
            run.digest = run.plan.digest();
        }
        for (id, cause) in problems {
            let Some(ix) = self.index.get(&id).copied() else { continue };
            let pace = Pace::after(cause.reason);
            let at = self.pace(ix, Some(cause.clone()), pace, now);
            self.row(ix).trouble().refused = true;
            self.retry_at(ix, at);
            self.hold(ix, Hold::Refused);
            if let Some(run) = self.run.as_mut().filter(|run| run.failures.len() < MAX_FAILURES) {
                run.failures.push((id.to_string(), cause.reason.word(), cause.message.clone()));
            }
            out.push(Effect::Notice(Notice::WriteFailed { id, cause, attempt: 0 }));
        }
    }
}
