//! Preflight: every object that will be written is first sent as a server-side dry run, and all
//! errors are reported together.

mod adoption;
mod verdict;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::backoff::Pace;
use super::effect::{Content, DryRunIn, Effect, WithFields};
use super::event::{Answer, Cause, Failure, Refusal};
use super::row::{Op, RowIx};
use super::run::Run;
use super::state::{Machine, Phase};
use crate::inventory::Record;
use crate::object::{GroupKind, ObjectId};
use crate::plan::Preflight;

/// Dry runs of one object that may fail in passing before it is written without one.
pub(super) const TRIES: u32 = 3;

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
        let leaves = place == DryRunIn::Place && !row.absent && row.leaves_already();
        // What is left to others only later is sent at the creation, and must be valid.
        let (yields, releases) = match place {
            _ if leaves => (row.yields.clone(), None),
            DryRunIn::Place | DryRunIn::Substitute => (None, row.yields.clone()),
            DryRunIn::Aside => (None, None),
        };
        let token = self.depart(ix, Op::DryRun);
        let content = Content { yields, releases, ..Content::whole(body) };
        out.push(Effect::DryRun(token, target, content, place, WithFields::No));
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
            Ok(Answer::DryRun { exists: false, .. }) => self.found_absent(ix),
            Ok(_) => self.exists(ix),
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

    /// Ends the check of an object that is there. A claim does not say that it was written, nor that it was taken over.
    pub(super) fn exists(&mut self, ix: RowIx) {
        if matches!(self.rows[ix.get()].record, Record::Settled(_)) {
            self.passed(ix);
        } else {
            self.inspect.insert(ix);
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
}

impl Run {
    /// Asks for the checks that waited for those of the refused objects.
    fn check_rest(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.unchecked.extend(rest.iter().copied());
        self.checks.extend(rest);
    }
}
