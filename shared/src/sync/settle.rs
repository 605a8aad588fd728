//! Settling: what the answers changed is recorded, shard by shard.
//!
//! A lost settle costs one no-op apply after a restart; a lost claim would leak an object, so claims
//! are awaited (see `secure`) and settles are gathered.

use jiff::{SignedDuration, Timestamp};

use super::effect::{Effect, ShardSlot};
use super::event::{Answer, Failure};
use super::row::{RowIx, Task};
use super::state::{Machine, Open, Phase, SecureState, ShardState};
use crate::inventory::{Record, Shard, shard_of};

/// Stored renders of a shard that are kept: the one in force and two before it.
const GENERATIONS: usize = 3;

impl Machine {
    pub(super) fn mark_dirty(&mut self, ix: RowIx, now: Timestamp) {
        let count = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return;
        }
        let shard = shard_of(&self.rows[ix.get()].id, count) as usize;
        self.shards[shard].dirty.get_or_insert(now);
    }

    /// Returns when a shard must be stored at the latest; `None` when it is as stored or under way.
    pub(super) fn shard_due(&self, shard: &ShardState) -> Option<Timestamp> {
        let dirty = shard.dirty?;
        if shard.saving {
            return None;
        }
        let syncing = self.run.as_ref().is_some_and(|run| run.applied_at.is_none());
        let wait = match self.phase {
            Phase::Standby | Phase::Loading => return None,
            _ if syncing => self.limits.settle_during_sync,
            Phase::Applying => SignedDuration::ZERO,
            _ => self.limits.settle_after,
        };
        let due = dirty + wait;
        Some(shard.not_before.map_or(due, |not_before| due.max(not_before)))
    }

    pub(super) fn settle(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        // A claim is stored in its own time; nothing is stored beside it.
        if matches!(self.phase, Phase::Keeping | Phase::Claiming) {
            return;
        }
        let ends = self.run.is_none() && self.rows_in_flight() == 0;
        for slot in self.slots() {
            let shard = &self.shards[slot.index as usize];
            let due = self.shard_due(shard);
            let waits = shard.not_before.is_some_and(|at| at > now);
            let now_or_never = shard.dirty.is_some() && !shard.saving && self.draining && ends && !waits;
            if due.is_some_and(|due| due <= now) || now_or_never {
                self.save(slot, out);
            }
        }
    }

    /// Sends the present state of a shard to be stored.
    pub(super) fn save(&mut self, slot: ShardSlot, out: &mut Vec<Effect>) {
        let rows = self.rows.iter().filter(|row| shard_of(&row.id, slot.count) == slot.index);
        let rows: Vec<_> = rows.filter(|row| row.record != Record::None).collect();
        let settled = rows.iter().all(|row| row.task == Task::None);
        let rows = rows.iter().map(|row| row.stored()).collect();
        let shard = &mut self.shards[slot.index as usize];
        if settled && shard.claim == SecureState::Done && shard.renders.len() > GENERATIONS {
            shard.dropping.extend(shard.renders.drain(GENERATIONS..).flatten());
        }
        let content = Shard { rows, renders: shard.renders.clone() };
        shard.saving = true;
        shard.dirty = None;
        let token = self.token(Open::Save(slot));
        out.push(Effect::Save(token, slot, Box::new(content)));
    }

    /// Takes the answer to the storing of a shard.
    pub(super) fn saved(
        &mut self,
        slot: ShardSlot,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(shard) = self.shards.get_mut(slot.index as usize) else { return };
        shard.saving = false;
        match result {
            Ok(_) => {
                (shard.attempts, shard.not_before) = (0, None);
                if shard.claim == SecureState::Sent {
                    shard.claim = SecureState::Done;
                } else {
                    self.forget_renders(slot, out);
                }
            }
            Err(failure) => {
                if shard.claim == SecureState::Sent {
                    shard.claim = SecureState::Needed;
                }
                shard.dirty.get_or_insert(now);
                self.storing_failed(slot, failure, now, out);
            }
        }
    }

    /// Lets go of stored renders that the shard just stored does not name any more.
    fn forget_renders(&mut self, slot: ShardSlot, out: &mut Vec<Effect>) {
        let dropped = std::mem::take(&mut self.shards[slot.index as usize].dropping);
        let used = |name: &String| {
            self.shards.iter().any(|shard| shard.renders.iter().flatten().any(|used| used == name))
        };
        let unused: Vec<String> = dropped.into_iter().filter(|name| !used(name)).collect();
        if !unused.is_empty() {
            out.push(Effect::Forget(unused));
        }
    }

    /// Waits a while after state could not be stored; another agent's hand ends the work.
    pub(super) fn storing_failed(
        &mut self,
        slot: ShardSlot,
        failure: Failure,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if failure == Failure::Fenced {
            out.push(Effect::StopWork);
        }
        let shard = &mut self.shards[slot.index as usize];
        shard.attempts += 1;
        let wait = 200_i64.saturating_mul(1 << shard.attempts.min(8));
        shard.not_before = Some(now + SignedDuration::from_millis(wait));
        self.changed(now);
    }
}
