//! Failing: what ends a sync badly, and the hooks that run then.
//!
//! A failed hook ends its release: nothing of it is written any more until a new set or a person's word comes. An object
//! that is refused, or that does not become healthy, fails the sync too, and goes on being tried: if it comes right, so
//! does the sync. Either way SyncFail hooks run once, and everything that was applied goes on being healed.

use jiff::Timestamp;

use super::effect::{Effect, Notice};
use super::row::{RowIx, Task};
use super::run::Run;
use super::state::{Machine, Phase};
use crate::hook::{HookRun, SyncPhase};
use crate::plan::Plan;
use crate::report::{self, Outcome};

/// Why a sync has failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failed {
    pub why: Why,
    pub message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// For good, as far as this release is concerned.
    Hook,
    /// The API server refuses an object.
    Refused,
    /// Nothing has come nearer to its end for as long as the policy allows.
    Stalled,
}

impl Why {
    /// The word of the condition `Ready`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Hook => "HookFailed",
            Self::Refused => "ApplyFailed",
            Self::Stalled => "SyncTimedOut",
        }
    }
}

impl Machine {
    /// Fails the sync under way and tells so, once.
    pub(super) fn fail(&mut self, failed: Failed, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(mut run) = self.run.take() else { return };
        let is_news = run.failed.is_none();
        if is_news || failed.why == Why::Hook {
            run.failed = Some(failed.clone());
        }
        if is_news {
            out.push(Effect::Notice(Notice::SyncFailed { message: failed.message }));
            self.tell_end(&mut run, Outcome::Failed, now, out);
            run.cause = report::Cause::Resync;
        }
        self.run = Some(run);
        self.changed(now);
    }

    /// Returns when the sync has failed if nothing moves until then.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let run = self.run.as_ref().filter(|run| run.failed.is_none())?;
        let counts = matches!(self.phase, Phase::Applying | Phase::Pruning);
        let timeout = self.policy.timeout;
        (counts && !timeout.is_zero() && self.ask.paused.is_none()).then(|| run.progressed + timeout)
    }

    /// Notes that the sync has come nearer to its end.
    pub(super) fn progressed(&mut self, now: Timestamp) {
        if let Some(run) = &mut self.run {
            run.progressed = now;
        }
    }

    /// Fails a sync that has stood still for too long.
    pub(super) fn watch_deadline(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.deadline().is_none_or(|at| at > now) || !self.may_write(now) {
            return;
        }
        let waiting = self.waiting_for().join("; ");
        let message = format!("no progress for {:#}; waiting for {waiting}", self.policy.timeout);
        self.fail(Failed { why: Why::Stalled, message }, now, out);
    }

    /// Returns the failure that a hook's run on record is to the present release.
    pub(super) fn recorded_failure(&self) -> Option<Failed> {
        let release = self.release?;
        let rows = self.hooks.iter().map(|ix| &self.rows[ix.get()]).filter(|row| row.hook.is_some());
        let mut failures = rows.filter_map(|row| {
            let run = row.hook_run.as_deref().filter(|run| run.release == release.id)?;
            let message = format!("the {} hook {} failed: {}", run.phase?, row.id, run.failure()?);
            Some(Failed { why: Why::Hook, message })
        });
        failures.next()
    }

    /// Goes on with a release that a hook has failed, as far as there is something to go on with.
    pub(super) fn begin_failed(&mut self, failed: Failed, run: Run, now: Timestamp, out: &mut Vec<Effect>) {
        let last = self.history.front();
        let is_told =
            last.is_some_and(|last| last.outcome == Outcome::Failed && last.render == run.desired.render);
        let before = run.failed.or_else(|| is_told.then(|| failed.clone()));
        let plan = Plan { writes: Vec::new(), prunes: Vec::new(), ..run.plan };
        // There is no preflight in which they would have been looked at.
        let unlooked = self.hooks.iter().copied().collect();
        self.run = Some(Box::new(Run { plan, unlooked, failed: before, ..run }));
        self.fail(failed, now, out);
        self.blocked = None;
        self.phase = Phase::Applying;
        if self.after_failure().is_empty() {
            self.give_up_release(now);
        }
    }

    /// The SyncFail hooks that have not ended in this release, by wave.
    fn after_failure(&self) -> Vec<(i32, RowIx)> {
        let open = self
            .hooks
            .iter()
            .filter(|ix| self.rows[ix.get()].held.is_none() && self.left(**ix).contains(SyncPhase::SyncFail));
        let mut open: Vec<_> = open.map(|ix| (self.rows[ix.get()].wave, *ix)).collect();
        open.sort_unstable();
        open
    }

    /// Whether a SyncFail hook has begun and not ended; the sync may have come right meanwhile.
    pub(super) fn cleans_up(&self) -> bool {
        let has_failed = self.run.as_ref().is_some_and(|run| run.failed.is_some());
        has_failed
            && self.hooks.iter().any(|ix| {
                let row = &self.rows[ix.get()];
                let begun = row.hook_run.as_ref().is_some_and(|run| {
                    run.phase == Some(SyncPhase::SyncFail) && run.ended.is_none() && self.is_of_release(run)
                });
                begun && row.hook.is_some() && row.held.is_none()
            })
    }

    fn is_of_release(&self, run: &HookRun) -> bool {
        self.release.is_some_and(|release| release.id == run.release)
    }

    /// Runs the SyncFail hooks of a failed sync, wave by wave; ends what a hook has failed when they have ended.
    pub(super) fn advance_failed(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(failed) = self.run.as_ref().and_then(|run| run.failed.clone()) else { return };
        let is_final = failed.why == Why::Hook;
        let is_another = |ix: &&RowIx| {
            let row = &self.rows[ix.get()];
            let phase = row.hook_run.as_ref().and_then(|run| run.phase);
            row.is_running() && phase != Some(SyncPhase::SyncFail) && !self.left(**ix).is_empty()
        };
        if is_final && self.hooks.iter().any(|ix| is_another(&ix)) {
            // What cleans up comes after what it cleans up behind.
            return;
        }
        let open = self.after_failure();
        let Some((first, _)) = open.first().copied() else {
            if is_final {
                self.give_up_release(now);
            }
            return;
        };
        for (_, ix) in open.into_iter().take_while(|(wave, _)| *wave == first) {
            let row = &self.rows[ix.get()];
            let is_idle = row.flight.is_none() && row.task == Task::None && !row.is_running();
            if is_idle && self.has_room() && self.may_write(now) {
                self.row(ix).task = Task::Run(SyncPhase::SyncFail);
                self.write(ix, now, out);
            }
        }
    }

    /// Ends the work on a release that a hook has failed; what was applied is healed from now on as ever.
    fn give_up_release(&mut self, now: Timestamp) {
        let Some(run) = self.run.take() else { return };
        self.failed = run.failed;
        self.synced_for.clone_from(&self.ask.sync);
        self.granted = None;
        for row in &mut self.rows {
            row.task = Task::None;
        }
        self.phase = Phase::Idle;
        self.heal_again();
        self.changed(now);
    }
}
