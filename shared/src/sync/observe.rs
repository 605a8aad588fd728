//! Observations: what a watch or a GET says of an object, judged against the last answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::effect::{Drift, DriftKind, Effect, Notice};
use super::event::{Blind, Observation, Point, Seen};
use super::row::{Drifted, Proof, Row, RowIx, Task};
use super::state::{Machine, Phase};
use super::waits::FIGHT;
use super::yielding::LetGo;
use crate::desired::ApplyWhen;
use crate::health::{Assessment, Health};
use crate::inventory::{Applied, Record};
use crate::managed_fields::{Mark, Verdict, blame, field_set_of, judge};
use crate::object::{GroupKind, ObjectId};
use crate::plan::HeldReason;

impl Machine {
    pub(super) fn observed(
        &mut self,
        id: &ObjectId,
        observation: Observation,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(ix) = self.index.get(id).copied() else {
            if matches!(self.phase, Phase::Standby | Phase::Loading) {
                self.early.insert(id.clone(), observation);
            }
            return;
        };
        if let Some(flight) = &mut self.row(ix).flight {
            let newer = flight
                .parked
                .as_ref()
                .is_none_or(|parked| !is_older(observation_point(&observation), parked));
            if newer {
                flight.parked = Some(observation);
            }
            return;
        }
        self.judge(ix, observation, now, out);
    }

    /// Notes that a list is complete: rows of the kind that it did not show are looked up. A claimed row
    /// is about to be written, whatever stands there.
    pub(super) fn relisted(&mut self, kind: &Arc<GroupKind>, watch: u32) {
        self.watches.insert(kind.clone(), watch);
        self.unlisted.remove(kind);
        for (at, row) in self.rows.iter().enumerate() {
            let shown = row.seen.as_ref().is_some_and(|seen| seen.at.watch >= watch);
            let ours = matches!(row.record, Record::Settled(_)) || row.task == Task::AwaitGone;
            if row.id.kind() == kind && ours && !shown {
                self.lookups.insert(RowIx::of(at));
            }
        }
    }

    /// Notes where objects of a kind cannot be seen.
    pub(super) fn blinded(&mut self, kind: Arc<GroupKind>, places: Vec<Blind>, now: Timestamp) {
        // No list of it will come for now, so no report waits for one.
        self.unlisted.remove(&kind);
        if places.is_empty() {
            self.blind.remove(&kind);
        } else {
            self.blind.insert(kind, places);
        }
        self.changed(now);
    }

    /// Looks at the objects of some kinds: what they were judged by is another now.
    pub(super) fn look_at_kinds(&mut self, kinds: &BTreeSet<GroupKind>) {
        let concerned = |row: &Row| row.seen.is_some() && kinds.contains(&**row.id.kind());
        let seen = self.rows.iter().enumerate().filter(|(_, row)| concerned(row));
        self.lookups.extend(seen.map(|(at, _)| RowIx::of(at)));
    }

    /// The watch generation that an answer is as new as: the last complete list, or what has been shown
    /// of a newer one.
    pub(super) fn generation(&self, ix: RowIx) -> u32 {
        let row = &self.rows[ix.get()];
        let listed = self.watches.get(row.id.kind()).copied().unwrap_or_default();
        row.seen.as_ref().map_or(listed, |seen| seen.at.watch.max(listed))
    }

    /// Judges an observation of a row that has no request open.
    pub(super) fn judge(
        &mut self,
        ix: RowIx,
        observation: Observation,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        match observation {
            Observation::Present(seen) => self.present(ix, *seen, now, out),
            Observation::Absent(point) => {
                let row = self.row(ix);
                let stale = row.seen.as_ref().is_some_and(|seen| is_before(point, seen.at));
                if !stale && row.record != Record::None {
                    // A label that was taken away looks the same: a GET tells.
                    self.lookups.insert(ix);
                }
            }
        }
    }

    /// Judges what a watch shows of an object that is there.
    pub(super) fn present(&mut self, ix: RowIx, seen: Seen, now: Timestamp, out: &mut Vec<Effect>) {
        let row = self.row(ix);
        if row.seen.as_ref().is_some_and(|before| is_before(seen.at, before.at)) {
            return;
        }
        if row.record.applied().is_some_and(|applied| seen.at.rv < applied.rv) {
            // A newer list that was taken before our last answer, or a store that was restored: a GET tells.
            self.lookups.insert(ix);
            return;
        }
        self.learn(ix, seen, now, out);
    }

    /// Takes a state of the object as the truth of now.
    pub(super) fn learn(&mut self, ix: RowIx, seen: Seen, now: Timestamp, out: &mut Vec<Effect>) {
        if self.rows[ix.get()].is_hook() {
            return self.learn_of_hook(ix, seen, now, out);
        }
        let row = self.row(ix);
        let verdict = match &row.record {
            Record::Settled(applied) => judge_settled(applied, row.seen.as_ref(), &seen),
            Record::Claimed | Record::None => Verdict::Same,
        };
        let (deleting, watched) = (seen.deleting, seen.is_ours);
        let is_yielding = row.letting_go != LetGo::None;
        let expected = row.yields_as_recorded() && !row.yields_to_managers();
        self.accept(ix, seen, now);
        if deleting {
            // It is going: nothing is applied to it, the end of it is the event to act on. Without our label
            // no watch tells of that.
            if !watched {
                self.look_again(ix, now);
            }
            return;
        }
        match verdict {
            // What it yields may be others' already, and our entry is about to be another.
            Verdict::Same | Verdict::Changed | Verdict::Ambiguous if is_yielding => {}
            Verdict::Same => self.as_applied(ix, now),
            // Our entry may have let go of it before the record could say so, or a manager has taken what is its own.
            Verdict::Changed if !expected => self.ambiguous(ix, now),
            Verdict::Changed => self.drifted(ix, DriftKind::Changed, now, out),
            Verdict::Replaced => {
                self.row(ix).letting_go = LetGo::None;
                self.drifted(ix, DriftKind::Replaced, now, out);
            }
            Verdict::Ambiguous => self.ambiguous(ix, now),
        }
    }

    /// The same of a hook, whose health is its result and which nobody heals.
    fn learn_of_hook(&mut self, ix: RowIx, seen: Seen, now: Timestamp, out: &mut Vec<Effect>) {
        let (deleting, ours) = (seen.deleting, seen.is_ours);
        self.accept(ix, seen, now);
        if deleting && !ours {
            self.look_again(ix, now);
        }
        self.judge_run(ix, now, out);
        if !ours && !deleting && self.rows[ix.get()].task == Task::None {
            // It is somebody else's now, and to be looked at as such before it is run again.
            self.forget_hook(ix, now);
        }
    }

    /// Takes an observation as the newest and keeps the tallies right.
    pub(super) fn accept(&mut self, ix: RowIx, mut seen: Seen, now: Timestamp) {
        let row = &mut self.rows[ix.get()];
        let before = (row.is_ready(), row.seen.as_ref().map(|seen| seen.health.clone()));
        let tool = (seen.tool, row.co_manager());
        if row.drift.is_none() && !differs(row, &seen) {
            seen.entries = None;
        }
        if row.recreation.as_ref().is_some_and(|begun| begun.uid != seen.uid) {
            // Something else stands there already.
            row.recreation = None;
        }
        row.seen = Some(seen);
        row.absent = false;
        let after = (row.is_ready(), row.seen.as_ref().map(|seen| seen.health.clone()));
        if after.0 && !before.0 || rolls_on(before.1.as_ref(), after.1.as_ref()) {
            self.progressed(now);
        }
        if before != after || tool.0 != tool.1 {
            self.changed(now);
        }
        self.tally(ix, before.0);
    }

    /// Corrects the count of unready rows after a change of the row; `was` is its state before.
    pub(super) fn tally(&mut self, ix: RowIx, was: bool) {
        let row = &self.rows[ix.get()];
        let (is, turn) = (row.is_ready(), (row.phase, row.wave));
        let Some(run) = &mut self.run else { return };
        if was == is {
            return;
        }
        let count = run.unready.entry(turn).or_default();
        *count = if is { count.saturating_sub(1) } else { *count + 1 };
    }

    /// Ends a drift that an observation takes back. One of the content stays until a request has compared it:
    /// what others write afterwards looks as if nothing of ours was touched.
    fn as_applied(&mut self, ix: RowIx, now: Timestamp) {
        let row = self.row(ix);
        match row.drift.as_ref().map(|drift| drift.proof) {
            None | Some(Proof::Open) => return,
            Some(Proof::Content) => {
                self.heals.insert(ix);
                return;
            }
            Some(Proof::Seen) => row.drift = None,
        }
        if row.trouble.as_ref().is_some_and(|trouble| trouble.contested.is_some()) {
            self.expect_peace(ix, now);
        }
        self.heals.remove(&ix);
        self.changed(now);
    }

    /// Records a drift and sends it on to be healed.
    pub(super) fn drifted(&mut self, ix: RowIx, kind: DriftKind, now: Timestamp, out: &mut Vec<Effect>) {
        let row = self.row(ix);
        if row.held_reason().is_some_and(HeldReason::is_somebody_elses) {
            // It is theirs to change; if it comes back, it is looked up.
            return;
        }
        let is_free = match row.options.apply {
            ApplyWhen::Always | ApplyWhen::Merge => false,
            ApplyWhen::Once => kind != DriftKind::Deleted,
            ApplyWhen::Never => true,
        };
        if is_free {
            return;
        }
        let known = row.drift.as_ref().is_some_and(|drift| drift.what.kind == kind && !drift.is_open());
        let what = Drift { id: row.id.clone(), kind, paths: Vec::new(), actor: actor_of(row) };
        let seen_at = row.drift.as_ref().map_or(now, |drift| drift.seen_at);
        row.drift = Some(Box::new(Drifted { what: what.clone(), seen_at, proof: Proof::Seen }));
        if !known {
            self.strike(ix, now, out);
            out.push(Effect::Notice(Notice::Drifted(what)));
        }
        self.heals.insert(ix);
        self.unblock(ix, kind, now);
        self.changed(now);
    }

    /// Tries a refused plan again at once when an object that it was refused for is gone: that may be how a person
    /// makes room for a change of an immutable field. Healing would put the old object back.
    fn unblock(&mut self, ix: RowIx, kind: DriftKind, now: Timestamp) {
        let id = &self.rows[ix.get()].id;
        if let Some(blocked) = &mut self.blocked
            && kind != DriftKind::Changed
            && blocked.problems.iter().any(|(refused, _)| refused == id)
        {
            blocked.retry_at = Some(now);
        }
    }

    /// Has the content compared: by a heal, or by a dry run where drift is only shown.
    fn ambiguous(&mut self, ix: RowIx, now: Timestamp) {
        let row = self.row(ix);
        if row.drift.is_none() {
            let what = Drift { id: row.id.clone(), kind: DriftKind::Changed, paths: Vec::new(), actor: None };
            row.drift = Some(Box::new(Drifted { what, seen_at: now, proof: Proof::Open }));
        }
        self.heals.insert(ix);
    }

    /// Counts drifts that follow a heal closely, and lets the object rest when there are many.
    fn strike(&mut self, ix: RowIx, now: Timestamp, out: &mut Vec<Effect>) {
        let row = self.row(ix);
        let manager =
            row.drift.as_ref().and_then(|drift| drift.what.actor.as_ref().map(|actor| actor.manager.clone()));
        let id = row.id.clone();
        let again = undoes_heal(row);
        let trouble = row.trouble();
        let soon = trouble.healed_at.is_some_and(|healed| now.duration_since(healed) < FIGHT);
        let fights = soon && again;
        trouble.strikes = if fights { trouble.strikes + 1 } else { 1 };
        let hold = super::backoff::hold(&id, trouble.strikes);
        if hold.is_zero() {
            return;
        }
        let until = now + hold;
        let manager = manager.or_else(|| trouble.contested.clone()).unwrap_or_else(|| "unknown".to_owned());
        trouble.contested = Some(manager.clone());
        self.retry_at(ix, until);
        out.push(Effect::Notice(Notice::Contested { id, manager, since: now, until }));
        self.changed(now);
    }

    /// Handles the confirmed absence of an object.
    pub(super) fn absent(&mut self, ix: RowIx, now: Timestamp, out: &mut Vec<Effect>) {
        let (was, health) = (self.rows[ix.get()].is_ready(), self.rows[ix.get()].health());
        let row = self.row(ix);
        if matches!(row.task, Task::AwaitGone | Task::Prune) {
            return self.gone(ix, now, out);
        }
        if row.is_hook() {
            return self.hook_is_absent(ix, now, out);
        }
        let failed = row.trouble.as_ref().is_some_and(|trouble| trouble.failed == row.wanted);
        let awaited = row.seen.is_some() || !failed;
        (row.seen, row.absent, row.letting_go) = (None, true, LetGo::None);
        if matches!(row.task, Task::Writing { .. }) && awaited {
            // What the write waited for is over.
            row.trouble().not_before = None;
            self.due.insert(ix);
        }
        self.tally(ix, was);
        let row = &self.rows[ix.get()];
        if row.health() != health {
            self.changed(now);
        }
        if self.rows[ix.get()].recreation.is_some() {
            return self.makes_room(ix, now);
        }
        let row = &self.rows[ix.get()];
        let is_missed = row.wanted.is_some() || self.heals_from_record();
        if is_missed && matches!(row.record, Record::Settled(_)) {
            self.drifted(ix, DriftKind::Deleted, now, out);
        }
    }
}

fn observation_point(observation: &Observation) -> Point {
    match observation {
        Observation::Present(seen) => seen.at,
        Observation::Absent(point) => *point,
    }
}

fn is_older(point: Point, parked: &Observation) -> bool {
    is_before(point, observation_point(parked))
}

/// Whether `a` is a state before `b`. A newer list generation always wins: resource versions go back
/// when a store is restored.
pub(super) fn is_before(a: Point, b: Point) -> bool {
    a.watch < b.watch || (a.watch == b.watch && a.rv < b.rv)
}

fn differs(row: &Row, seen: &Seen) -> bool {
    match &row.record {
        Record::Settled(applied) => applied.uid != seen.uid || applied.fields.ours != seen.fields.ours,
        Record::Claimed | Record::None => false,
    }
}

/// Whether an object that is not there yet says that it has come nearer: what flaps between ill and not ill has not.
fn rolls_on(before: Option<&Assessment>, after: Option<&Assessment>) -> bool {
    let is_rolling = |health: &&Assessment| health.health == Health::Progressing;
    let (Some(before), Some(after)) = (before.filter(is_rolling), after.filter(is_rolling)) else {
        return false;
    };
    before != after
}

/// Whether the drift of a row takes back what its last heal did: other fields are not what the fight is about.
fn undoes_heal(row: &Row) -> bool {
    let (Some(healed), Some(drift)) =
        (row.trouble.as_ref().and_then(|trouble| trouble.healed.as_ref()), &row.drift)
    else {
        return false;
    };
    if healed.kind != DriftKind::Changed || drift.what.kind != DriftKind::Changed {
        return healed.kind != DriftKind::Changed && drift.what.kind != DriftKind::Changed;
    }
    let entries = row.seen.as_ref().and_then(|seen| seen.entries.as_ref());
    let Some(Ok(have)) = entries.map(|entries| field_set_of(entries)) else { return true };
    // Without paths somebody applied other values under our name: that can be about anything.
    healed.paths.is_empty() || healed.paths.iter().any(|path| !have.contains(path))
}

/// Decides what an observation of a settled object means: drift is a change of our own managedFields
/// entry, and another uid is drift.
fn judge_settled(applied: &Applied, before: Option<&Seen>, seen: &Seen) -> Verdict {
    if before.is_some_and(|before| {
        before.at.rv == seen.at.rv && before.uid == seen.uid && before.at.rv == applied.rv
    }) {
        return Verdict::Same;
    }
    let recorded =
        Mark { uid: &applied.uid.0, rv: applied.rv, generation: applied.generation, fields: applied.fields };
    judge(
        &recorded,
        &Mark { uid: &seen.uid.0, rv: seen.at.rv, generation: seen.generation, fields: seen.fields },
    )
}

/// Names who holds the fields that we lost, as far as the observation tells.
fn actor_of(row: &Row) -> Option<crate::managed_fields::Actor> {
    let entries = row.seen.as_ref()?.entries.as_ref()?;
    let since = row.record.applied()?.fields.ours.map_or(0, |ours| ours.time);
    blame(entries, &[], since).ok().flatten()
}
