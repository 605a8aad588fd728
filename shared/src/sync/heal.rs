//! Healing: an object that drifted is applied again, alone and at once.

use std::collections::BTreeSet;
use std::ops::Bound;

use jiff::{SignedDuration, Timestamp};

use super::backoff::Pace;
use super::effect::{Content, Drift, DryRunIn, Effect, Notice, Urgency, WithFields};
use super::event::{Answer, AppliedAnswer, Failure, Seen};
use super::row::{Op, Proof, RowIx, Task};
use super::state::{Machine, Phase};
use super::waits::Timer;
use super::yielding::LetGo;
use crate::gate;
use crate::inventory::{Applied, Record};
use crate::managed_fields::{FieldSet, blame, drifted_paths, field_set_of};
use crate::plan::HeldReason;
use crate::plan::order::Turn;

/// A dry run tells a change of content by the time of our entry, which counts in seconds: it must not be sent
/// within the second of the apply.
const SECOND: SignedDuration = SignedDuration::from_secs(2);

impl Machine {
    /// Starts the heals that may start now. A row that the sync is about to write heals by that.
    pub(super) fn start_heals(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.finish_recreations(now, out);
        let may_write = self.may_write(now);
        if self.policy.self_heal && !(may_write && self.may_heal()) || self.draining {
            return;
        }
        let mut after = None;
        while self.has_room()
            && let Some(ix) = next_after(&self.heals, after)
        {
            after = Some(ix);
            if self.rows[ix.get()].flight.is_some() {
                continue;
            }
            let has_begun = self.rows[ix.get()].letting_go != LetGo::None;
            if has_begun && !may_write {
                continue;
            }
            self.heals.remove(&ix);
            if self.policy.self_heal || has_begun {
                self.start_heal(ix, now, out);
            } else {
                self.start_diagnosis(ix, now, out);
            }
        }
    }

    /// Asks by a dry run which fields a drift took, where it is not healed now, and whether there is one.
    fn start_diagnosis(&mut self, ix: RowIx, now: Timestamp, out: &mut Vec<Effect>) {
        let row = &self.rows[ix.get()];
        // What is left to others now and was not at the last apply is no drift, and the sync is about to write it.
        let comparable = row.seen.is_some() && row.yields_as_recorded();
        let (Some(applied), Some(drift), true) = (row.record.applied(), &row.drift, comparable) else {
            return;
        };
        let comparable = drift.seen_at + SECOND;
        if drift.is_open() && now < comparable {
            self.timers.insert((comparable, ix, Timer::Compare));
            return;
        }
        let content = Content { yields: applied.yields.clone(), ..Content::whole(applied.body) };
        let target = row.target();
        let token = self.depart(ix, Op::Diagnose);
        out.push(Effect::DryRun(token, target, content, DryRunIn::Place, WithFields::Yes));
    }

    /// Takes the answer to a diagnosis.
    pub(super) fn diagnosed(
        &mut self,
        ix: RowIx,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let (fields, owned) = match result {
            Ok(Answer::DryRun { fields, owned, .. }) => (fields, owned),
            Ok(_) => return,
            Err(failure) => return self.diagnose_again(ix, &failure, now),
        };
        let row = self.row(ix);
        row.trouble().checks = 0;
        let Some(mut drift) = row.drift.take() else { return };
        let same = row.record.applied().is_some_and(|applied| applied.fields.ours == fields.ours);
        if drift.proof != Proof::Seen && same {
            return self.changed(now);
        }
        if row.yields_to_managers() && row.seen.as_ref().is_some_and(|seen| seen.fields.ours == fields.ours) {
            // All that we lost is what is left to a manager: from here on this is what is ours.
            if let Record::Settled(applied) = &mut row.record {
                applied.fields.ours = fields.ours;
            }
            self.mark_dirty(ix, now);
            return self.changed(now);
        }
        drift.what = name_paths(drift.what, row.seen.as_ref(), owned.as_ref(), &row.record);
        if drift.is_open() {
            drift.proof = Proof::Content;
            out.push(Effect::Notice(Notice::Drifted(drift.what.clone())));
        }
        self.row(ix).drift = Some(drift);
        self.changed(now);
    }

    /// Compares later: an open question must not stay open.
    fn diagnose_again(&mut self, ix: RowIx, failure: &Failure, now: Timestamp) {
        let row = self.row(ix);
        if row.drift.as_ref().is_none_or(|drift| drift.proof == Proof::Seen) {
            return;
        }
        let pace = if matches!(failure, Failure::Rejected(_)) { Pace::Slow } else { Pace::Quick };
        let at = self.pause_check(ix, pace, now);
        self.timers.insert((at, ix, Timer::Compare));
    }

    /// Heals a row if nothing speaks against it; what does brings the row back when it is over.
    fn start_heal(&mut self, ix: RowIx, now: Timestamp, out: &mut Vec<Effect>) {
        let row = &self.rows[ix.get()];
        let Some(applied) = row.record.applied() else { return };
        let begun = row.drift.is_some() || row.letting_go != LetGo::None;
        if !begun || row.is_deleting() || !self.may_put_back(ix, now) {
            return;
        }
        if let Some(until) = row.held_until().filter(|until| *until > now && row.drift.is_some()) {
            if until != Timestamp::MAX {
                self.timers.insert((until, ix, Timer::Compare));
            }
            // It stays so for a while, and whoever looks wants to know what has changed.
            return self.start_diagnosis(ix, now, out);
        }
        let body = applied.body;
        self.send_body(ix, body, Urgency::Heal, out);
    }

    /// Whether an object may be written now beside the plan: it is ours and wanted, and the plan does not write it soon.
    pub(super) fn may_put_back(&self, ix: RowIx, now: Timestamp) -> bool {
        let row = &self.rows[ix.get()];
        let ours = row.wanted.is_some() || self.heals_from_record();
        let free = match row.task {
            Task::None => true,
            Task::Write { .. } => self.waits_long((row.phase, row.wave)),
            Task::Writing { .. } | Task::Run(_) | Task::Prune | Task::AwaitGone => false,
        };
        let served = self.apis.served(row.id.kind(), &row.version);
        ours && free && served && row.is_due(now) && !row.held_reason().is_some_and(is_not_ours)
    }

    /// Whether the plan's write of a row in this turn has to wait, for a person or for the health of others: that does
    /// not keep the object from being as it was. What is about to be written is not put back before.
    fn waits_long(&self, turn: Turn) -> bool {
        match self.phase {
            Phase::Gated => matches!(self.verdict(), Some(gate::Verdict::Wait(_))),
            Phase::Applying => {
                let Some(run) = &self.run else { return false };
                match run.place {
                    _ if run.is_given_up() => true,
                    Some(place) => turn > place.turn(),
                    None => run.plan.writes.get(run.cursor).is_some_and(|write| !run.may_enter(write.place)),
                }
            }
            _ => false,
        }
    }

    /// Looks up rows whose state is in doubt.
    pub(super) fn start_lookups(&mut self, out: &mut Vec<Effect>) {
        let mut after = None;
        while self.has_room()
            && let Some(ix) = next_after(&self.lookups, after)
        {
            after = Some(ix);
            if self.rows[ix.get()].flight.is_some() {
                continue;
            }
            self.lookups.remove(&ix);
            let target = self.rows[ix.get()].target();
            let token = self.depart(ix, Op::Get);
            out.push(Effect::Get(token, target));
        }
    }

    /// Closes a drift after the answer to its heal; `before` is the applied state that it had.
    pub(super) fn healed(
        &mut self,
        ix: RowIx,
        answer: &AppliedAnswer,
        before: &Record,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let row = self.row(ix);
        let Some(drift) = row.drift.take() else { return };
        if drift.is_open() && changed_nothing(before, row.seen.as_ref(), &answer.applied) {
            return;
        }
        let what = name_paths(drift.what, row.seen.as_ref(), answer.owned.as_ref(), before);
        let trouble = row.trouble();
        trouble.healed_at = Some(now);
        trouble.healed = Some(what.clone());
        if trouble.contested.is_some() {
            self.expect_peace(ix, now);
        }
        out.push(Effect::Notice(Notice::Healed { drift: what, seen_at: drift.seen_at, healed_at: now }));
        self.changed(now);
    }
}

/// Whether an apply that was sent in doubt found everything as it was.
///
/// A busy controller moves the resourceVersion between the observation and the answer by writing status; the
/// generation, where there is one, moves only with the spec.
fn changed_nothing(before: &Record, seen: Option<&Seen>, answer: &Applied) -> bool {
    let (Some(before), Some(seen)) = (before.applied(), seen) else { return false };
    let same_spec = answer.generation != 0 && answer.generation == seen.generation;
    let untouched = seen.at.rv == answer.rv || (same_spec && before.fields.ours == answer.fields.ours);
    before.uid == answer.uid && untouched
}

/// Returns the first row of a set after the one named.
pub(super) fn next_after(rows: &BTreeSet<RowIx>, after: Option<RowIx>) -> Option<RowIx> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    rows.range((from, Bound::Unbounded)).next().copied()
}

/// Whether an object is held because writing it would be wrong, and not only untimely.
fn is_not_ours(reason: &HeldReason) -> bool {
    matches!(
        reason,
        HeldReason::Conflict { .. }
            | HeldReason::NotAdopted { .. }
            | HeldReason::HandedOver { .. }
            | HeldReason::AlreadyThere
            | HeldReason::LeftAlone
    )
}

/// Fills in which fields were lost: what the heal gave back to us, less what we still had.
fn name_paths(
    mut drift: Drift,
    seen: Option<&super::event::Seen>,
    owned: Option<&FieldSet>,
    before: &Record,
) -> Drift {
    let (Some(entries), Some(owned)) = (seen.and_then(|seen| seen.entries.as_ref()), owned) else {
        return drift;
    };
    let had = field_set_of(entries).unwrap_or_default();
    drift.paths = drifted_paths(owned, &had);
    let since = before.applied().and_then(|applied| applied.fields.ours).map_or(0, |ours| ours.time);
    drift.actor = blame(entries, &drift.paths, since).ok().flatten().or(drift.actor);
    drift
}
