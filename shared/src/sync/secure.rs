//! Before the first write: the gate, then the bodies and the claims are stored in the cluster.
//!
//! Claim first: the inventory names an object before it is written, so that a crash leaks nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::effect::{Effect, Notice, ShardSlot};
use super::event::{Answer, Failure};
use super::state::{Machine, Open, Phase, SecureState};
use crate::desired::BodyDigest;
use crate::gate;
use crate::inventory::{Record, shard_of};
use crate::object::GroupKind;
use crate::plan::Action;
use crate::report::Outcome;

impl Machine {
    /// Asks whether the plan may go, and readies what must be stored first.
    pub(super) fn advance_gate(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(run) = &mut self.run else { return };
        if run.plan.is_empty() {
            let Some(run) = self.run.take() else { return };
            self.applied = Some(run.desired.revision.clone());
            self.end_run(*run, Outcome::Success, now, out);
            self.phase = Phase::Idle;
            return;
        }
        match gate::decide(self.policy.mode, &self.ask, run.digest) {
            gate::Verdict::Go { approved_by } => run.approved_by = approved_by,
            gate::Verdict::Wait(_) => {
                if !run.announced {
                    run.announced = true;
                    out.push(Effect::Notice(Notice::WaitingForApproval { digest: run.digest.to_string() }));
                    self.changed(now);
                }
                return;
            }
        }
        if self.draining {
            return;
        }
        if run.announced {
            run.close_stage("approve", now);
        }
        out.push(Effect::Notice(Notice::SyncStarted {
            revision: run.desired.revision.to_string(),
            writes: run.plan.count(Action::Created) + run.plan.count(Action::Configured),
            prunes: run.plan.count(Action::Pruned),
            held: run.plan.count(Action::Held),
        }));
        run.stage_began = now;
        self.need_securing(out);
        self.phase = Phase::Keeping;
        self.changed(now);
    }

    /// Marks the shards whose bodies or claims must be stored for this plan.
    fn need_securing(&mut self, out: &mut Vec<Effect>) {
        let count = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let Some(run) = &self.run else { return };
        let mut kinds: BTreeSet<Arc<GroupKind>> = BTreeSet::new();
        for write in &run.plan.writes {
            kinds.insert(write.id.kind().clone());
            let shard = &mut self.shards[shard_of(&write.id, count) as usize];
            shard.keep = SecureState::Needed;
            let Some(ix) = self.index.get(&write.id).copied() else { continue };
            let row = &mut self.rows[ix.get()];
            if row.record == Record::None {
                row.record = Record::Claimed;
                shard.claim = SecureState::Needed;
            }
        }
        out.extend(kinds.into_iter().map(Effect::Watch));
    }

    pub(super) fn advance_keeping(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if !self.may_write(now) {
            return;
        }
        for slot in self.slots() {
            let shard = &self.shards[slot.index as usize];
            let waits = shard.not_before.is_some_and(|at| at > now);
            if shard.keep == SecureState::Needed && !waits && self.has_room() {
                let bodies = self.bodies_of(slot);
                let token = self.token(Open::Keep(slot));
                self.shards[slot.index as usize].keep = SecureState::Sent;
                out.push(Effect::Keep(token, slot, bodies));
            }
        }
        if self.shards.iter().all(|shard| shard.keep == SecureState::Done) {
            self.phase = Phase::Claiming;
        }
    }

    /// Returns the bodies that a shard's rows are, or are about to be, in the cluster.
    fn bodies_of(&self, slot: ShardSlot) -> Vec<BodyDigest> {
        let rows = self.rows.iter().filter(|row| shard_of(&row.id, slot.count) == slot.index);
        let bodies: BTreeSet<BodyDigest> =
            rows.filter(|row| !row.held && row.record != Record::None).filter_map(|row| row.wanted).collect();
        bodies.into_iter().collect()
    }

    /// Takes the answer to the storing of bodies.
    pub(super) fn kept(
        &mut self,
        slot: ShardSlot,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(shard) = self.shards.get_mut(slot.index as usize) else { return };
        match result {
            Ok(Answer::Kept(names)) => {
                shard.keep = SecureState::Done;
                (shard.attempts, shard.not_before) = (0, None);
                if shard.renders.first() != Some(&names) {
                    shard.renders.retain(|generation| *generation != names);
                    shard.renders.insert(0, names);
                }
            }
            Ok(_) => shard.keep = SecureState::Done,
            Err(failure) => {
                shard.keep = SecureState::Needed;
                self.storing_failed(slot, failure, now, out);
            }
        }
    }

    pub(super) fn advance_claiming(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if !self.may_write(now) {
            return;
        }
        for slot in self.slots() {
            let shard = &self.shards[slot.index as usize];
            let waits = shard.not_before.is_some_and(|at| at > now);
            if shard.claim == SecureState::Needed && !shard.saving && !waits && self.has_room() {
                self.shards[slot.index as usize].claim = SecureState::Sent;
                self.save(slot, out);
            }
        }
        if self.shards.iter().all(|shard| shard.claim == SecureState::Done) {
            if self.outgrown {
                self.outgrown = false;
                out.push(Effect::ForgetShards {
                    below: u32::try_from(self.shards.len()).unwrap_or(u32::MAX),
                });
            }
            self.phase = Phase::Applying;
        }
    }

    pub(super) fn slots(&self) -> Vec<ShardSlot> {
        let count = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        (0..count).map(|index| ShardSlot { index, count }).collect()
    }
}
