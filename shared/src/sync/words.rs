//! Words from outside: Git, people, the config, the Lease and discovery.

use std::sync::Arc;

use jiff::Timestamp;

use super::effect::{Effect, Notice};
use super::event::{Ask, LeaseTerm};
use super::row::RowIx;
use super::state::{Load, Machine, Phase};
use super::yielding::LetGo;
use crate::desired::{Desired, Interval, Listing, Revision, Unrendered};
use crate::gate::window::{self, Opening};
use crate::inventory::Record;
use crate::object::ApiSet;
use crate::plan::HeldReason;
use crate::report::{MAX_FAILURES, Outcome, RunRecord, Stage};

impl Machine {
    pub(super) fn wanted(&mut self, desired: Arc<Desired>, now: Timestamp) {
        self.unrendered = None;
        self.revision = Some(desired.revision.clone());
        self.ended &= desired.listing != Listing::Listed;
        self.told_by_git(desired);
        self.changed(now);
    }

    pub(super) fn unmoved(&mut self, revision: Revision, now: Timestamp) {
        if self.revision.as_ref() == Some(&revision) && self.unrendered.is_none() {
            return;
        }
        self.unrendered = None;
        if self.run.is_none() && self.blocked.is_none() && self.applied.is_some() && self.follows_git() {
            self.applied = Some(revision.clone());
        }
        self.revision = Some(revision);
        self.changed(now);
    }

    pub(super) fn render_failed(
        &mut self,
        revision: Revision,
        why: Unrendered,
        tried: Interval,
        out: &mut Vec<Effect>,
    ) {
        let failed = (revision, why);
        if self.unrendered.as_ref() == Some(&failed) {
            return;
        }
        let (revision, why) = &failed;
        let record = self.failed_render(revision, why, tried);
        out.push(Effect::Notice(Notice::RenderFailed {
            revision: Box::new(revision.clone()),
            why: why.clone(),
        }));
        out.push(Effect::Finished(Box::new(record)));
        self.replan |= self.removal().is_some();
        self.unrendered = Some(failed);
    }

    /// Returns the record of a sync that ended before there was a plan.
    fn failed_render(&self, revision: &Revision, why: &Unrendered, tried: Interval) -> RunRecord {
        let failures = why.problems.iter().take(MAX_FAILURES);
        RunRecord {
            revision: revision.clone(),
            cause: self.cause_of(revision),
            outcome: Outcome::Blocked,
            stages: vec![Stage { name: "render", interval: tried, events: Vec::new() }],
            began: tried.start,
            ended: tried.end,
            counts: Vec::new(),
            failures: failures
                .map(|problem| (problem.place.clone(), why.reason, problem.message.clone()))
                .collect(),
            approved_by: None,
        }
    }

    pub(super) fn source_failed(
        &mut self,
        reason: String,
        message: String,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let problem = (reason, message);
        if self.source_problem.as_ref() == Some(&problem) {
            return;
        }
        let (reason, message) = problem.clone();
        out.push(Effect::Notice(Notice::SourceFailed { reason, message }));
        self.source_problem = Some(problem);
        if self.heals_from_record() {
            // What drifted or vanished before this was known was left for Git's word.
            for at in 0..self.rows.len() {
                self.doubt(RowIx::of(at));
            }
        }
        self.changed(now);
    }

    pub(super) fn source_ok(&mut self, now: Timestamp) {
        if self.source_problem.take().is_some() {
            self.changed(now);
        }
    }

    pub(super) fn config_refused(&mut self, problem: Option<String>, now: Timestamp) {
        if self.config_problem != problem {
            self.config_problem = problem;
            self.changed(now);
        }
    }

    /// Heals a row that is known to have drifted, and looks up one that a complete list did not show.
    pub(super) fn doubt(&mut self, ix: RowIx) {
        let row = &self.rows[ix.get()];
        let listed = self.watches.contains_key(row.id.kind());
        if row.recreation.is_some() {
            self.unfinished.insert(ix);
        }
        if row.drift.is_some() || row.letting_go != LetGo::None {
            self.heals.insert(ix);
        } else if row.seen.is_none() && listed && matches!(row.record, Record::Settled(_)) {
            self.lookups.insert(ix);
        }
    }

    /// Looks at the windows when something about them may have changed.
    pub(super) fn look_at_windows(&mut self, now: Timestamp) {
        let holds = |opening: &Opening| opening.until.is_none_or(|until| until > now);
        if self.opening.as_ref().is_some_and(holds) {
            return;
        }
        let healed = self.may_heal();
        let now_open = window::opening(&self.policy.windows, now);
        if self.opening.replace(now_open).unwrap_or(Opening::ALWAYS) != now_open {
            self.changed(now);
        }
        if self.may_heal() && !healed {
            self.heal_again();
        }
    }

    /// Whether the windows let drift be healed now.
    pub(super) fn may_heal(&self) -> bool {
        let opening = self.opening.unwrap_or(Opening::ALWAYS);
        opening.heals || opening.manual && self.asked_for_sync()
    }

    pub(super) fn asked(&mut self, ask: Ask, now: Timestamp) {
        if ask == self.ask {
            return;
        }
        if ask.sync != self.ask.sync && ask.sync.is_some() {
            self.replan = true;
            for row in &mut self.rows {
                row.trouble = None;
            }
            self.heal_again();
        }
        if ask.pin != self.ask.pin {
            self.pin_asked();
        }
        // What is wanted is another thing then.
        self.replan |= ask.delete != self.ask.delete || ask.prune != self.ask.prune;
        if ask.paused != self.ask.paused {
            // The time of a pause is nobody's delay.
            self.progressed(now);
        }
        self.ask = ask;
        self.changed(now);
    }

    /// Gives every drifted row its chance anew.
    pub(super) fn heal_again(&mut self) {
        let drifted = self.rows.iter().enumerate().filter(|(_, row)| row.drift.is_some());
        self.heals.extend(drifted.map(|(at, _)| RowIx::of(at)));
    }

    pub(super) fn apis_changed(&mut self, apis: Arc<ApiSet>) {
        if *self.apis == *apis {
            return;
        }
        let fewer_gaps = apis.incomplete.len() < self.apis.incomplete.len();
        let concerns = |row: &super::Row| match row.held_reason() {
            Some(HeldReason::MissingKind { kind, version }) => apis.served(kind, version),
            Some(HeldReason::IncompleteDiscovery) => fewer_gaps,
            Some(_) => false,
            // A kind that was taken away: its objects are held, not healed in vain.
            None => row.wanted.is_some() && self.lost(row, &apis),
        };
        self.replan |= self.rows.iter().any(concerns);
        self.apis = apis;
        self.heal_again();
        if let Some(run) = &mut self.run {
            let awaiting = std::mem::take(&mut run.awaiting_kind);
            run.unanswered.extend(awaiting.iter().copied());
            self.due.extend(awaiting);
        }
    }

    fn lost(&self, row: &super::Row, apis: &ApiSet) -> bool {
        self.apis.served(row.id.kind(), &row.version) && !apis.served(row.id.kind(), &row.version)
    }

    pub(super) fn leased(&mut self, term: LeaseTerm, now: Timestamp) {
        self.lease = term;
        if term == LeaseTerm::Lost && self.load == Load::Asked {
            self.load = Load::Outdated;
        }
        if term == LeaseTerm::Lost && self.phase != Phase::Standby {
            self.phase = Phase::Standby;
            self.run = None;
            self.changed(now);
        }
    }

    /// The recorded state is not as we left it: another agent is at work, and this one stops.
    pub(super) fn fenced(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        out.push(Effect::StopWork);
        self.leased(LeaseTerm::Lost, now);
    }
}
