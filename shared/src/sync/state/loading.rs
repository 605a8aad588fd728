//! Loading: the recorded state becomes the rows, and what watches have shown meanwhile is judged anew.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Load, Machine, Phase, SecureState, ShardState};
use crate::object::ObjectId;
use crate::report::Recorded;
use crate::sync::effect::Effect;
use crate::sync::event::Loaded;
use crate::sync::row::{Proof, Row, RowIx};
use crate::sync::waits::Timer;

impl Machine {
    /// Takes over what the app's status remembers, of this agent or of the one that worked before it.
    fn remember(&mut self, recorded: Recorded) {
        let Recorded { applied, assignment, history, synced_for } = recorded;
        self.assignment = assignment.map(Arc::new).or_else(|| self.assignment.take());
        if applied.is_none() {
            // Nothing was published yet, or somebody deleted the App: what this process knows stays.
            return;
        }
        self.released = applied.as_ref().map(|revision| revision.commit.clone());
        self.applied = applied;
        self.history = history.into();
        self.synced_for = synced_for;
    }

    pub(super) fn ask_for_state(&mut self, out: &mut Vec<Effect>) {
        self.load = Load::Asked;
        self.ask_is_newer = false;
        out.push(Effect::Load);
    }

    /// Takes the recorded state over. What watches have shown stays and is judged anew.
    pub(super) fn loaded(&mut self, loaded: Loaded, now: Timestamp, out: &mut Vec<Effect>) {
        let load = std::mem::replace(&mut self.load, Load::Idle);
        if self.phase != Phase::Loading {
            return;
        }
        if load == Load::Outdated {
            return self.ask_for_state(out);
        }
        let Loaded { inventory, recorded, ask } = loaded;
        self.remember(recorded);
        if !self.ask_is_newer {
            self.asked(ask, now);
        }
        let before = std::mem::take(&mut self.rows);
        self.index.clear();
        self.unfinished.clear();
        self.heals.clear();
        self.due.clear();
        let doubted = self.take_doubts(&before);
        let before: HashMap<ObjectId, Row> = before.into_iter().map(|row| (row.id.clone(), row)).collect();
        self.shards = vec![ShardState::default(); inventory.count as usize];
        for (shard, state) in inventory.shards.into_iter().zip(&mut self.shards) {
            (state.renders, state.kept) = (shard.renders, shard.kept);
            for stored in shard.rows {
                let ix = RowIx::of(self.rows.len());
                self.index.insert(stored.id.clone(), ix);
                self.rows.push(Row::of(stored));
            }
        }
        if inventory.rebuilt {
            // What was found again is on record before anything of it is written.
            for shard in &mut self.shards {
                shard.claim = SecureState::Needed;
                shard.dirty.get_or_insert(now);
            }
        }
        self.find_hooks();
        let kinds: BTreeSet<_> = self.rows.iter().map(|row| row.id.kind().clone()).collect();
        out.extend(kinds.into_iter().map(Effect::Watch));
        self.phase = Phase::Idle;
        self.next = self.next.take().or_else(|| self.desired.take());
        self.loaded_at = Some(now);
        let listed = |row: &&Row| !self.watches.contains_key(row.id.kind());
        self.unlisted = self.rows.iter().filter(listed).map(|row| row.id.kind().clone()).collect();
        self.carry_over(before, now, out);
        let begun = self.rows.iter().enumerate().filter(|(_, row)| row.recreation.is_some());
        self.lookups.extend(begun.map(|(at, _)| RowIx::of(at)));
        // What a watch has told while nothing was looked up would not be told again.
        self.lookups.extend(doubted.iter().filter_map(|id| self.index.get(id).copied()));
        for (id, observation) in std::mem::take(&mut self.early) {
            self.observed(&id, observation, now, out);
        }
        for at in 0..self.rows.len() {
            self.doubt(RowIx::of(at));
        }
        self.changed(now);
    }

    /// Ends all waiting and returns the objects that were to be looked up.
    fn take_doubts(&mut self, rows: &[Row]) -> Vec<ObjectId> {
        let waiting = std::mem::take(&mut self.timers);
        let waiting = waiting.into_iter().filter(|(_, _, timer)| *timer == Timer::Lookup);
        let mut doubted = std::mem::take(&mut self.lookups);
        doubted.extend(waiting.map(|(_, ix, _)| ix));
        doubted.into_iter().map(|ix| rows[ix.get()].id.clone()).collect()
    }

    /// Judges what was seen before the recorded state was read again.
    fn carry_over(&mut self, mut before: HashMap<ObjectId, Row>, now: Timestamp, out: &mut Vec<Effect>) {
        for at in 0..self.rows.len() {
            let ix = RowIx::of(at);
            let Some(Row { seen, mut trouble, wanted, hook, drift, .. }) = before.remove(&self.rows[at].id)
            else {
                continue;
            };
            if let Some(trouble) = &mut trouble {
                trouble.not_before = None;
            }
            self.rows[at].trouble = trouble;
            // Until the plan is made anew, what was wanted is wanted: drift is not forgotten.
            self.rows[at].wanted = wanted;
            self.rows[at].hook = hook;
            // An observation that is judged anew shows the others again.
            self.rows[at].drift = drift.filter(|drift| drift.proof != Proof::Seen);
            match seen {
                Some(seen) => self.present(ix, seen, now, out),
                None => self.doubt(ix),
            }
        }
    }
}
