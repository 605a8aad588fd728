//! Settling: what the answers changed is recorded, shard by shard.
//!
//! A lost settle costs one no-op apply after a restart; a lost claim would leak an object, so claims
//! are awaited (see `secure`) and settles are gathered.

use jiff::{SignedDuration, Timestamp};

use super::effect::{Effect, Notice, ShardSlot, StatePart};
use super::event::{Answer, Cause, Failure, Refusal, Token, WITHHELD};
use super::row::{Row, RowIx};
use super::state::{Machine, Open, Phase, SecureState, ShardState};
use crate::inventory::Shard;

impl Machine {
    pub(super) fn mark_dirty(&mut self, ix: RowIx, now: Timestamp) {
        let at = self.shard_index(ix);
        if let Some(shard) = self.shards.get_mut(at) {
            shard.dirty.get_or_insert(now);
        }
    }

    /// Returns where a row's shard is; there may be none at all before anything is recorded.
    pub(super) fn shard_index(&self, ix: RowIx) -> usize {
        self.rows[ix.get()].shard_hash as usize % self.shards.len().max(1)
    }

    /// Returns when a shard must be stored at the latest; `None` when it is as stored or under way.
    pub(super) fn shard_due(&self, shard: &ShardState) -> Option<Timestamp> {
        let dirty = shard.dirty?;
        if shard.saving.is_some() {
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
        if !self.has_lease(now) {
            return;
        }
        let ends = self.draining && self.rows_in_flight() == 0;
        // A claim is stored in its own time; nothing is stored beside it.
        if matches!(self.phase, Phase::Keeping | Phase::Claiming) && !ends {
            return;
        }
        for index in 0..self.shards.len() {
            let shard = &self.shards[index];
            let is_due = self.shard_due(shard).is_some_and(|due| due <= now);
            let waits = shard.not_before.is_some_and(|at| at > now);
            let now_or_never = ends && shard.dirty.is_some() && shard.saving.is_none() && !waits;
            if is_due || now_or_never {
                self.save(index, out);
            }
        }
    }

    /// Sends the present state of a shard to be stored.
    pub(super) fn save(&mut self, index: usize, out: &mut Vec<Effect>) -> Token {
        let slot = self.slot(index);
        let rows = self.rows.iter().filter(|row| row.shard_hash % slot.count == slot.index);
        let rows = rows.filter(|row| row.is_stored()).map(Row::stored).collect();
        let is_settled = self.newest_render_suffices(slot);
        let shard = &mut self.shards[index];
        if is_settled && shard.claim == SecureState::Done && shard.renders.len() > 1 {
            shard.dropping.extend(shard.renders.drain(1..).flatten());
        }
        let content = Shard { rows, renders: shard.renders.clone(), kept: shard.kept };
        shard.dirty = None;
        let token = self.token(Open::Save(slot));
        self.shards[index].saving = Some(token);
        out.push(Effect::Save(token, slot, Box::new(content)));
        token
    }

    /// Takes the answer to the storing of a shard.
    pub(super) fn saved(
        &mut self,
        token: Token,
        slot: ShardSlot,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if slot.count as usize != self.shards.len() {
            // The answer for a number of shards that is no more.
            if result == Err(Failure::Fenced) {
                self.fenced(now, out);
            }
            return;
        }
        let shard = &mut self.shards[slot.index as usize];
        if shard.saving == Some(token) {
            shard.saving = None;
        }
        match result {
            Ok(_) => {
                let was_told = shard.lasting_trouble().is_some();
                shard.stored(StatePart::Inventory);
                if shard.claim == SecureState::Sent(token) {
                    shard.claim = SecureState::Done;
                }
                if was_told {
                    self.changed(now);
                }
                self.forget_renders(slot, out);
            }
            Err(failure) => {
                if shard.claim == SecureState::Sent(token) {
                    shard.claim = SecureState::Needed;
                }
                shard.dirty.get_or_insert(now);
                self.storing_failed((slot, StatePart::Inventory), &failure, now, out);
            }
        }
    }

    /// Lets go of stored renders that the shard just stored does not name any more.
    fn forget_renders(&mut self, slot: ShardSlot, out: &mut Vec<Effect>) {
        if self.is_storing_renders() || matches!(self.phase, Phase::Keeping) {
            // What is being stored may be found to be there already; it must not go meanwhile.
            return;
        }
        let dropped = std::mem::take(&mut self.shards[slot.index as usize].dropping);
        // A shard that is not yet stored without it still names it, and a release may.
        let unused: Vec<String> =
            dropped.into_iter().filter(|name| !self.is_stored_render_named(name)).collect();
        if !unused.is_empty() {
            out.push(Effect::Forget(unused));
        }
    }

    /// Waits a while after state could not be stored; another agent's hand ends the work.
    pub(super) fn storing_failed(
        &mut self,
        (slot, what): (ShardSlot, StatePart),
        failure: &Failure,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if *failure == Failure::Fenced {
            return self.fenced(now, out);
        }
        let Some(shard) = self.shards.get_mut(slot.index as usize) else { return };
        shard.attempts += 1;
        let wait = 200_i64.saturating_mul(1 << shard.attempts.min(8));
        shard.not_before = Some(now + SignedDuration::from_millis(wait));
        if let Some(cause) = cause_of(what, failure) {
            shard.trouble = Some((what, cause.clone()));
            out.push(Effect::Notice(Notice::StateNotStored { what, cause, attempt: shard.attempts }));
        }
        self.changed(now);
    }
}

/// Returns why a part of the state was not stored; `None` where the agent has not sent it.
pub(super) fn cause_of(what: StatePart, failure: &Failure) -> Option<Cause> {
    let passing =
        |code, message: &str| Cause { reason: Refusal::ServerError, code, message: message.to_owned() };
    let cause = match failure {
        Failure::Rejected(cause)
        | Failure::NotFound(cause)
        | Failure::Replaced(cause)
        | Failure::Unavailable(cause) => cause.clone(),
        Failure::Throttled(_) => passing(429, "the API server is too busy"),
        Failure::Unknown(message) => passing(0, message),
        Failure::Fenced | Failure::NotSent => return None,
    };
    // Rendered objects lie in a Secret, which a refusal may quote; these two are about rights and amounts.
    let quotes =
        what == StatePart::Render && !matches!(cause.reason, Refusal::Forbidden | Refusal::QuotaExceeded);
    Some(if quotes { Cause { message: WITHHELD.to_owned(), ..cause } } else { cause })
}
