//! Before the first write: the gate, then the bodies and the claims are stored in the cluster.
//!
//! Claim first: the inventory names an object before it is written, so that a crash leaks nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::effect::{Effect, Notice, ShardSlot, StatePart};
use super::event::{Answer, Failure, Token};
use super::row::Row;
use super::run::Run;
use super::state::{Machine, Open, Phase, SecureState, ShardState};
use crate::desired::BodyDigest;
use crate::gate::depend::Standings;
use crate::gate::{self, window::Opening};
use crate::inventory::{Record, Recreation};
use crate::managed_fields::Fields;
use crate::object::{Digest, GroupKind, Hashing, ObjectId};
use crate::plan::{Action, Plan, Write};
use crate::policy::Binds;

/// What a person has approved, as far as it still has to be carried out.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    /// The digest that was approved.
    digest: Digest,
    render: Digest,
    /// What may be written, `None` for what may be pruned.
    entries: HashMap<ObjectId, Option<Allowed>>,
}

/// How far an approved write may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Allowed {
    body: BodyDigest,
    /// Take the object over from others.
    adopts: bool,
    /// Delete the object first.
    recreates: bool,
    /// What is left to others.
    yields: Option<Digest>,
}

impl Allowed {
    fn by(write: &Write) -> Self {
        let yields = write.yields.as_ref().map(|yields| yields.digest());
        let recreates = write.action == Action::Recreated;
        Self { body: write.body, adopts: write.adopts, recreates, yields }
    }

    /// Whether a write asks for no more than what is allowed.
    fn covers(self, write: &Write) -> bool {
        let asked = Self::by(write);
        let is_same = self.body == asked.body && self.yields == asked.yields;
        is_same && self.adopts >= asked.adopts && self.recreates >= asked.recreates
    }
}

impl Granted {
    fn of(plan: &Plan, digest: Digest, render: Digest) -> Self {
        let writes = plan.all_writes().map(|write| (write.id.clone(), Some(Allowed::by(write))));
        let prunes = plan.prunes.iter().map(|prune| (prune.id.clone(), None));
        Self { digest, render, entries: writes.chain(prunes).collect() }
    }

    /// Whether `plan` asks for nothing else than what was approved.
    fn covers(&self, plan: &Plan) -> bool {
        let written = |write: &Write| {
            self.entries.get(&write.id).is_some_and(|allowed| allowed.is_some_and(|it| it.covers(write)))
        };
        plan.all_writes().all(written)
            && plan.prunes.iter().all(|prune| self.entries.get(&prune.id) == Some(&None))
    }
}

/// Returns the digest over the bodies of a shard; `None` for none at all.
pub(super) fn content_of(bodies: &BTreeSet<BodyDigest>) -> Option<Digest> {
    let hashing = bodies.iter().fold(Hashing::default(), |hashing, body| hashing.part(&body.0));
    (!bodies.is_empty()).then(|| hashing.finish())
}

/// Renders of a shard that are stored one after the other before the next one holds everything that they are needed
/// for: syncs that do not come to their end would add one each, without any bound.
const GENERATIONS: usize = 3;

/// Returns what the row is wanted to be and, where it is held, what it is: what is not written now stays so, and must
/// not be lost.
fn bodies_of_row(row: &Row) -> impl Iterator<Item = BodyDigest> {
    let held = row.held.as_ref().and_then(|_| applied_body(row));
    row.wanted.into_iter().chain(held)
}

/// Says which object stands there, and what of it is ours.
fn live_state(row: &Row) -> String {
    let ours = |fields: Fields| fields.ours.map(|owned| owned.digest);
    let seen = row.seen.as_ref().map(|seen| (&seen.uid, ours(seen.fields)));
    format!("{} {seen:?}", row.id)
}

fn applied_body(row: &Row) -> Option<BodyDigest> {
    row.record.applied().map(|applied| applied.body)
}

/// Whether the next render of a shard holds also what rows still are and are no longer wanted to be.
fn gathers(shard: &ShardState) -> bool {
    shard.renders.len() >= GENERATIONS
}

impl Machine {
    /// Asks whether the plan may go, and readies what must be stored first.
    pub(super) fn advance_gate(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let verdict = self.verdict();
        let digest = self.run.as_ref().map(|run| self.digest_of(run));
        let approved = digest.filter(|digest| self.words().on(*digest).is_some());
        let Some(run) = &mut self.run else { return };
        if run.plan.is_empty() {
            // What is not written now is held; what was written before may still become healthy.
            self.phase = if self.need_partings() { Phase::Keeping } else { Phase::Applying };
            return;
        }
        match verdict {
            Some(gate::Verdict::Go { approved_by }) => {
                self.told_wait = None;
                run.approved_by = approved_by;
                if let Some(digest) = approved.filter(|_| run.approved_by.is_some()) {
                    let granted = Granted::of(&run.plan, digest, run.desired.render);
                    self.granted = Some(Box::new(granted));
                    self.spend_tags(digest);
                }
            }
            Some(gate::Verdict::Wait(wait)) => return self.wait(wait, now, out),
            None => return,
        }
        if !self.may_write(now) {
            return;
        }
        let Some(run) = &mut self.run else { return };
        if run.announced {
            run.close_stage("approve", now);
        }
        out.push(Effect::Notice(Notice::SyncStarted {
            revision: Box::new(run.desired.revision.clone()),
            writes: u32::try_from(run.plan.writes.len()).unwrap_or(u32::MAX),
            prunes: run.plan.count(Action::Pruned),
            held: run.plan.count(Action::Held),
        }));
        run.stage_began = now;
        self.need_securing(out);
        self.phase = Phase::Keeping;
        self.changed(now);
    }

    /// Tells what the plan waits for, once for each thing.
    fn wait(&mut self, wait: gate::Wait, now: Timestamp, out: &mut Vec<Effect>) {
        if self.told_wait.as_ref() == Some(&wait) {
            return;
        }
        if let (gate::Wait::Approval { digest, .. }, Some(run)) = (&wait, &mut self.run) {
            if !run.announced {
                run.announced = true;
                out.push(Effect::Notice(Notice::WaitingForApproval { digest: digest.to_string() }));
            }
        } else {
            let (reason, message) = (wait.word(), wait.to_string());
            out.push(Effect::Notice(Notice::Waiting { reason, message }));
        }
        self.told_wait = Some(wait);
        self.changed(now);
    }

    /// What the gate says of the plan; the rest of an approved plan goes on without another word.
    pub(super) fn verdict(&self) -> Option<gate::Verdict> {
        let run = self.run.as_ref()?;
        let words = self.words();
        let in_force = |granted: &&Granted| {
            words.began_with(granted.digest).is_some()
                && granted.render == run.desired.render
                && granted.covers(&run.plan)
        };
        let granted = self.granted.as_deref().filter(in_force);
        let alone = Standings::default();
        Some(gate::decide(&gate::Question {
            mode: self.policy.mode,
            words,
            digest: granted.map_or_else(|| self.digest_of(run), |granted| granted.digest),
            revision: self.revision.as_ref().unwrap_or(&run.desired.revision),
            opening: self.opening.unwrap_or(Opening::ALWAYS),
            // What goes waits for nobody that comes first.
            dependencies: if self.removal().is_some() { &alone } else { &self.standings },
            by_person: self.asked_for_sync() || self.ask.pin.is_some() || self.ask.delete.is_some(),
            is_rest: granted.is_some(),
        }))
    }

    /// Returns the digest that an approval of the sync's plan names. Where it binds to what is live, drift is part of it,
    /// but for what nobody can hold still.
    pub(super) fn digest_of(&self, run: &Run) -> Digest {
        if self.policy.approval.binds == Binds::Plan {
            return run.digest;
        }
        let contested = |row: &Row| row.trouble.as_ref().is_some_and(|trouble| trouble.contested.is_some());
        let drifted = self.rows.iter().filter(|row| row.drift.as_ref().is_some_and(|drift| !drift.is_open()));
        let mut drifted: Vec<String> = drifted.filter(|row| !contested(row)).map(live_state).collect();
        drifted.sort_unstable();
        let live = drifted.iter().fold(Hashing::default(), |hashing, state| hashing.part(state.as_bytes()));
        if drifted.is_empty() { run.digest } else { live.part(&run.digest.0).finish() }
    }

    /// Returns the approved plan whose rest may go on.
    pub(super) fn granted_plan(&self) -> Option<Digest> {
        self.granted.as_ref().map(|granted| granted.digest)
    }

    /// Marks the shards whose bodies or claims must be stored for this plan.
    fn need_securing(&mut self, out: &mut Vec<Effect>) {
        let mut unclaimed = self.release.map(|release| self.open_release(release)).unwrap_or_default();
        let Some(run) = &self.run else { return };
        let mut kinds: BTreeSet<Arc<GroupKind>> = BTreeSet::new();
        // A hook is claimed when its turn comes, for the phase whose turn it is.
        for write in run.plan.writes.iter().filter(|write| !write.is_hook) {
            kinds.insert(write.id.kind().clone());
            let Some(ix) = self.index.get(&write.id).copied() else { continue };
            let row = &mut self.rows[ix.get()];
            if row.record == Record::None {
                row.record = Record::Claimed;
                unclaimed.push(ix);
            }
            if let (Action::Recreated, Some(uid)) = (write.action, run.recreations.get(&ix)) {
                let begins = Box::new(Recreation { body: write.body, uid: uid.clone() });
                if row.recreation.as_ref() != Some(&begins) {
                    row.recreation = Some(begins);
                    self.unfinished.insert(ix);
                    unclaimed.push(ix);
                }
            }
        }
        for ix in unclaimed {
            self.need_claim(ix);
        }
        for (shard, bodies) in self.contents().iter().enumerate() {
            let shard = &mut self.shards[shard];
            // A render that holds more or less than the set could not be gone back to.
            if shard.kept != content_of(bodies) {
                shard.keep = SecureState::Needed;
            }
        }
        out.extend(kinds.into_iter().map(Effect::Watch));
    }

    /// Whether hooks of the app's deletion are not stored as Git has them now. An app that has left Git has them from
    /// there alone.
    pub(super) fn lacks_partings(&self) -> bool {
        let is_first = self.shards.is_empty() && self.removal().is_none();
        is_first && self.rows.iter().any(|row| row.parting.is_some())
            || !self.shards_lacking_partings().is_empty()
    }

    /// Marks the shards that lack them, where the plan has nothing to write; returns whether there are any.
    pub(super) fn need_partings(&mut self) -> bool {
        let lacking = self.shards_lacking_partings();
        for at in &lacking {
            self.shards[*at].keep = SecureState::Needed;
        }
        !lacking.is_empty()
    }

    fn shards_lacking_partings(&self) -> Vec<usize> {
        let count = self.shards.len();
        let parting = self.rows.iter().filter(|row| row.parting.is_some() && count > 0);
        let parting: BTreeSet<usize> = parting.map(|row| row.shard_hash as usize % count).collect();
        if parting.is_empty() || self.removal().is_some() {
            return Vec::new();
        }
        let contents = self.contents();
        let lacks = |at: &usize| self.shards[*at].kept != content_of(&contents[*at]);
        parting.into_iter().filter(lacks).collect()
    }

    pub(super) fn advance_keeping(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if !self.may_write(now) {
            return;
        }
        for index in 0..self.shards.len() {
            let shard = &self.shards[index];
            let waits = shard.not_before.is_some_and(|at| at > now);
            if shard.keep == SecureState::Needed && !waits && self.has_room() {
                let slot = self.slot(index);
                let bodies = self.bodies_of(slot);
                // What is not confirmed is stored again by the next sync.
                self.shards[index].kept = content_of(&bodies);
                let token = self.token(Open::Keep(slot));
                self.shards[index].keep = SecureState::Sent(token);
                out.push(Effect::Keep(token, slot, bodies.into_iter().collect()));
            }
        }
        if self.shards.iter().all(|shard| shard.keep == SecureState::Done) {
            self.phase = Phase::Claiming;
        }
    }

    /// Returns the bodies that each shard's render has to hold, in one pass over the rows.
    fn contents(&self) -> Vec<BTreeSet<BodyDigest>> {
        let count = self.shards.len();
        let mut contents = vec![BTreeSet::new(); count];
        for row in &self.rows {
            let at = row.shard_hash as usize % count;
            contents[at].extend(bodies_of_row(row));
            contents[at].extend(applied_body(row).filter(|_| gathers(&self.shards[at])));
        }
        contents
    }

    /// Returns the bodies that a shard's render has to hold.
    fn bodies_of(&self, slot: ShardSlot) -> BTreeSet<BodyDigest> {
        let rows = self.rows.iter().filter(|row| row.shard_hash % slot.count == slot.index);
        let gathers = gathers(&self.shards[slot.index as usize]);
        rows.flat_map(|row| bodies_of_row(row).chain(applied_body(row).filter(|_| gathers))).collect()
    }

    /// Whether a shard's newest stored render alone holds every body that its rows are healed with.
    pub(super) fn newest_render_suffices(&self, slot: ShardSlot) -> bool {
        let rows = || self.rows.iter().filter(|row| row.shard_hash % slot.count == slot.index);
        let is_held =
            |row: &Row| row.held.is_some() || applied_body(row).is_none_or(|it| Some(it) == row.wanted);
        rows().all(is_held)
            && self.shards[slot.index as usize].kept == content_of(&rows().flat_map(bodies_of_row).collect())
    }

    /// Takes the answer to the storing of bodies.
    pub(super) fn kept(
        &mut self,
        token: Token,
        slot: ShardSlot,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let is_current = slot.count as usize == self.shards.len();
        let Some(shard) = self.shards.get_mut(if is_current { slot.index as usize } else { 0 }) else {
            return;
        };
        match result {
            Ok(Answer::Kept(names)) if is_current => {
                let was_told = shard.lasting_trouble().is_some();
                shard.stored(StatePart::Render);
                if shard.keep == SecureState::Sent(token) {
                    shard.keep = SecureState::Done;
                }
                if shard.renders.first() != Some(&names) {
                    if gathers(shard) {
                        // Nothing was written while it was stored: it holds whatever the older ones were kept for.
                        shard.dropping.extend(shard.renders.drain(..).flatten());
                    }
                    shard.renders.retain(|generation| *generation != names);
                    shard.renders.insert(0, names);
                    shard.dirty.get_or_insert(now);
                }
                if was_told {
                    self.changed(now);
                }
            }
            // Stored for a number of shards that is no more: nothing will name it.
            Ok(Answer::Kept(names)) => shard.dropping.extend(names),
            Ok(_) => {}
            Err(failure) => {
                if shard.keep == SecureState::Sent(token) {
                    shard.keep = SecureState::Needed;
                }
                shard.kept = None;
                self.storing_failed((slot, StatePart::Render), &failure, now, out);
            }
        }
    }

    pub(super) fn advance_claiming(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if !self.may_write(now) {
            return;
        }
        self.send_claims(now, out);
        if self.shards.iter().all(|shard| shard.claim == SecureState::Done) {
            if self.outgrown {
                self.outgrown = false;
                out.push(Effect::ForgetShards {
                    below: u32::try_from(self.shards.len()).unwrap_or(u32::MAX),
                });
            }
            self.phase = Phase::Applying;
            // What drifted meanwhile and is written only by a later wave does not wait for that.
            self.heal_again();
        }
    }

    pub(super) fn slot(&self, index: usize) -> ShardSlot {
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        ShardSlot { index: number(index), count: number(self.shards.len()) }
    }
}
