//! Preflight: every object that will be written is first sent as a server-side dry run, and all
//! errors are reported together.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::backoff::{self, Pace};
use super::effect::{Content, DryRunIn, Effect, Notice, WithFields};
use super::event::{Answer, Cause, Failure, Observation, Refusal, Seen};
use super::heal::next_after;
use super::row::{Hold, Op, RowIx, Task};
use super::state::{Blocked, Machine, Phase, Run};
use crate::desired::ApplyWhen;
use crate::inventory::Record;
use crate::managed_fields::ForeignOwner;
use crate::object::{GroupKind, ObjectId};
use crate::plan::{Action, Held, HeldReason, Preflight, Write};
use crate::policy::{Adopt, OnInvalid};
use crate::report::{MAX_FAILURES, Outcome};

/// Dry runs of one object that may fail in passing before it is written without one.
pub(super) const TRIES: u32 = 3;

/// What becomes of an object that exists without being recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Adoption {
    /// It carries our label: an earlier write of ours whose record is not complete.
    Ours,
    TakenOver,
    /// It is left to its owner.
    Refused {
        owner: String,
    },
}

impl Machine {
    /// Readies the dry runs. After a refusal the refused objects come first, and the rest only if they pass.
    pub(super) fn enter_preflight(&mut self) {
        self.phase = Phase::Preflight;
        let Some(run) = &mut self.run else { return };
        run.approved_by = None;
        let refused: BTreeSet<RowIx> = self
            .blocked
            .iter()
            .flat_map(|blocked| &blocked.problems)
            .filter_map(|(id, _)| self.index.get(id).copied())
            .collect();
        let mut met = BTreeSet::new();
        for write in run.plan.all_writes() {
            let Some(ix) = self.index.get(&write.id).copied() else { continue };
            if !met.insert(ix) {
                // A hook of several phases is the same object in each.
                continue;
            }
            if !write.is_hook {
                run.unwritten.insert(ix);
            }
            if write.preflight == Preflight::Substitute {
                run.substitutes.insert(ix);
            }
            // What is checked in a namespace depends on whether that is there.
            let first = refused.is_empty() || refused.contains(&ix) || write.id.is("", "Namespace");
            let row = &self.rows[ix.get()];
            let served = self.apis.served(write.id.kind(), &write.version);
            match write.preflight {
                // Also what asks not to be checked is not taken from others unasked.
                Preflight::Skip if served && !matches!(row.record, Record::Settled(_)) => {
                    run.unchecked.insert(ix);
                    self.inspect.insert(ix);
                }
                Preflight::Skip => {}
                Preflight::DryRun | Preflight::Substitute if first => {
                    run.checks.push_back(ix);
                    run.unchecked.insert(ix);
                }
                Preflight::DryRun | Preflight::Substitute => run.rest.push(ix),
            }
        }
        // Where none of the refused is in this plan, there is nothing to wait for.
        if run.unchecked.is_empty() {
            run.check_rest();
        }
    }

    pub(super) fn advance_preflight(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.draining {
            return;
        }
        self.start_inspections(out);
        let Some(run) = &mut self.run else { return };
        let due = std::mem::take(&mut self.due);
        for ix in due {
            if run.unchecked.contains(&ix) && !run.checks.contains(&ix) && !self.inspect.contains(&ix) {
                run.checks.push_back(ix);
            }
        }
        for _ in 0..self.run.as_ref().map_or(0, |run| run.checks.len()) {
            let Some(run) = self.run.as_mut().filter(|_| self.open.len() < self.limits.in_flight) else {
                break;
            };
            let Some(ix) = run.checks.pop_front() else { break };
            if !run.unchecked.contains(&ix) || self.inspect.contains(&ix) {
                // Another answer has settled it meanwhile.
                continue;
            }
            let home = self.home_of(ix);
            let Some(run) = &mut self.run else { break };
            let open = |ix: RowIx| run.unchecked.contains(&ix);
            if self.rows[ix.get()].flight.is_some() || home.is_some_and(open) {
                // A heal or a look-up is open, or where it can be checked is not known: it follows the answer.
                run.checks.push_back(ix);
            } else {
                self.check(ix, out);
            }
        }
        if self.run.as_ref().is_some_and(|run| run.unchecked.is_empty()) {
            self.judge_preflight(now, out);
        }
    }

    fn check(&mut self, ix: RowIx, out: &mut Vec<Effect>) {
        let row = &self.rows[ix.get()];
        let Some(body) = row.wanted else { return };
        let target = row.target();
        let home = self.home_of(ix);
        // The record does not know of a Namespace that others have created: objects may be in it.
        let substitute = self.run.as_ref().is_some_and(|run| {
            run.substitutes.contains(&ix) && home.is_some_and(|home| run.absent.contains(&home))
        });
        let doubted = self.run.as_ref().is_some_and(|run| run.doubted.contains_key(&ix));
        let place = match (doubted, substitute) {
            (true, _) => DryRunIn::Aside,
            (false, true) => DryRunIn::Substitute,
            (false, false) => DryRunIn::Place,
        };
        let token = self.depart(ix, Op::DryRun);
        // Also what is left to others later is sent at the creation, and must be valid.
        out.push(Effect::DryRun(token, target, Content::whole(body), place, WithFields::No));
    }

    /// Takes the answer to a dry run.
    pub(super) fn checked(&mut self, ix: RowIx, result: Result<Answer, Failure>, now: Timestamp) {
        if self.phase != Phase::Preflight {
            return;
        }
        if let Some(first) = self.run.as_mut().and_then(|run| run.doubted.remove(&ix)) {
            return self.proved(ix, first, result, now);
        }
        let is_settled = matches!(self.rows[ix.get()].record, Record::Settled(_));
        match result {
            Err(Failure::Rejected(cause)) if self.doubts_refusal(ix, &cause) => {}
            // A claim does not say that the object was written, nor that it was taken over.
            Ok(Answer::DryRun { exists: true, .. }) if !is_settled => {
                self.inspect.insert(ix);
            }
            Ok(Answer::DryRun { exists: false, .. }) => self.found_absent(ix),
            Ok(_) => self.passed(ix),
            Err(Failure::Rejected(cause) | Failure::NotFound(cause)) => self.refused(ix, cause),
            Err(failure @ (Failure::Throttled(_) | Failure::NotSent)) => self.check_again(ix, &failure, now),
            Err(
                failure @ (Failure::Replaced(_)
                | Failure::Unavailable(_)
                | Failure::Unknown(_)
                | Failure::Fenced),
            ) => {
                if self.row(ix).trouble().checks + 1 < TRIES {
                    self.check_again(ix, &failure, now);
                } else if is_settled {
                    self.passed(ix);
                } else {
                    // It is written without a check, but not taken from others without a look.
                    self.inspect.insert(ix);
                }
            }
        }
    }

    /// Checks once more after an answer that says nothing about the object.
    pub(super) fn check_again(&mut self, ix: RowIx, failure: &Failure, now: Timestamp) {
        let paced = self.pause_check(ix, Pace::Quick, now);
        let at = match failure {
            Failure::Throttled(Some(after)) => paced.max(now + *after),
            _ => paced,
        };
        self.retry_at(ix, at);
    }

    /// Ends a check. What a write has failed of is not over by that: only the next write can tell.
    fn found_absent(&mut self, ix: RowIx) {
        if let Some(run) = &mut self.run {
            run.absent.insert(ix);
        }
        self.row(ix).absent = true;
        self.passed(ix);
    }

    pub(super) fn passed(&mut self, ix: RowIx) {
        if let Some(trouble) = &mut self.row(ix).trouble {
            trouble.checks = 0;
            if std::mem::take(&mut trouble.refused) {
                (trouble.attempts, trouble.cause) = (0, None);
            }
        }
        if let Some(run) = &mut self.run {
            run.unchecked.remove(&ix);
        }
    }

    pub(super) fn refused(&mut self, ix: RowIx, cause: Cause) {
        let home_is_wanted = self.home_is_wanted(ix);
        let Some(run) = &mut self.run else { return };
        run.unchecked.remove(&ix);
        match cause.reason {
            Refusal::KindMissing => _ = run.missing.insert(ix),
            // The Namespace went away and is put back: the write is repeated until it is there.
            Refusal::NamespaceMissing if home_is_wanted => {}
            Refusal::SchemaInvalid | Refusal::Invalid => _ = run.rejected.insert(ix, cause),
            _ if run.substitutes.contains(&ix) => {}
            _ => _ = run.rejected.insert(ix, cause),
        }
    }

    /// Whether the object's Namespace is itself wanted by the app.
    fn home_is_wanted(&self, ix: RowIx) -> bool {
        self.home_of(ix).is_some_and(|home| self.rows[home.get()].wanted.is_some())
    }

    /// Returns the row of the object's Namespace, if the app has it.
    fn home_of(&self, ix: RowIx) -> Option<RowIx> {
        let namespace = self.rows[ix.get()].id.namespace()?;
        let home = ObjectId::new(Arc::new(GroupKind::new("", "Namespace")), None, namespace);
        self.index.get(&home).copied()
    }

    /// Starts the GETs of objects that exist without being recorded.
    fn start_inspections(&mut self, out: &mut Vec<Effect>) {
        let mut after = None;
        while self.has_room()
            && let Some(ix) = next_after(&self.inspect, after)
        {
            after = Some(ix);
            if self.rows[ix.get()].flight.is_some() {
                continue;
            }
            self.inspect.remove(&ix);
            let target = self.rows[ix.get()].target();
            let token = self.depart(ix, Op::Inspect);
            out.push(Effect::Get(token, target));
        }
    }

    pub(super) fn inspected(&mut self, ix: RowIx, result: Result<Answer, Failure>, now: Timestamp) {
        if self.phase != Phase::Preflight {
            return;
        }
        match result {
            Ok(Answer::Got(Observation::Present(mut seen))) => {
                let adoption = self.decide_adoption(ix, &seen);
                if !matches!(adoption, Adoption::Refused { .. }) {
                    // No watch shows it before it carries our label.
                    seen.at.watch = self.generation(ix).max(seen.at.watch);
                    self.accept(ix, *seen, now);
                }
                if let Some(run) = &mut self.run {
                    run.adoptions.insert(ix, adoption);
                }
                self.passed(ix);
            }
            Ok(_) => self.found_absent(ix),
            Err(Failure::NotFound(cause)) => self.refused(ix, cause),
            Err(failure) => self.check_again(ix, &failure, now),
        }
    }

    /// Decides whether an object that exists may be taken over.
    fn decide_adoption(&self, ix: RowIx, seen: &Seen) -> Adoption {
        let is_hook = self.rows[ix.get()].hook.is_some();
        let foreign = |owner: &ForeignOwner| Adoption::Refused { owner: owner.to_string() };
        match (&seen.foreign, self.policy.adopt) {
            (Some(owner @ ForeignOwner::Skiff { .. }), _) => foreign(owner),
            _ if seen.is_ours => Adoption::Ours,
            (_, Adopt::Never) => {
                Adoption::Refused { owner: "somebody else (sync.adopt is \"never\")".to_owned() }
            }
            (Some(owner), Adopt::IfUnowned) => foreign(owner),
            // To take a finished object over would be to take its work for done.
            (None, Adopt::IfUnowned) if is_hook => {
                Adoption::Refused { owner: "somebody else, and may have run already".to_owned() }
            }
            (None, Adopt::IfUnowned) | (_, Adopt::Always) => Adoption::TakenOver,
        }
    }

    /// Takes the result of another look at an object that was left to its owner: what is free now is planned.
    pub(super) fn looked_at_owner(&mut self, ix: RowIx, result: &Result<Answer, Failure>, now: Timestamp) {
        let verdict = match result {
            Ok(Answer::Got(Observation::Present(seen))) => self.decide_adoption(ix, seen),
            Ok(Answer::Got(Observation::Absent(_))) => Adoption::TakenOver,
            Ok(_) | Err(_) => return self.look_at_owner(ix, now),
        };
        let before = self.rows[ix.get()].held_reason();
        match (verdict, before) {
            (Adoption::Refused { owner }, Some(HeldReason::NotAdopted { owner: before }))
                if owner == *before =>
            {
                self.look_at_owner(ix, now);
            }
            (_, Some(HeldReason::AlreadyThere))
                if matches!(result, Ok(Answer::Got(Observation::Present(_)))) =>
            {
                self.look_at_owner(ix, now);
            }
            _ => {
                self.found(ix);
                self.replan = true;
            }
        }
    }

    /// Everything asked for is answered: the plan is complete, or what was refused stops it.
    fn judge_preflight(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
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
            if recreations.contains(&ix) {
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

impl Run {
    /// Asks for the checks that waited for those of the refused objects.
    fn check_rest(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.unchecked.extend(rest.iter().copied());
        self.checks.extend(rest);
    }
}
