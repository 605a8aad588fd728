//! The recorded state of an app, as the cluster keeps it.

use std::collections::{BTreeMap, BTreeSet};

use skiff_shared::desired::BodyDigest;
use skiff_shared::inventory::{Inventory, InventoryRow, Shard};
use skiff_shared::object::{Hashing, ObjectId};
use skiff_shared::sync::effect::{Release, ShardSlot};

/// Shards under compare-and-swap, and stored renders.
#[derive(Clone, Debug, Default)]
pub struct Store {
    pub shards: BTreeMap<ShardSlot, (u64, Shard)>,
    pub renders: BTreeMap<String, Vec<BodyDigest>>,
    revisions: u64,
}

impl Store {
    /// Stores a shard if it is still at the revision that the writer knows; returns the new one.
    pub fn save(&mut self, slot: ShardSlot, known: Option<u64>, shard: Shard) -> Option<u64> {
        let stored = self.shards.get(&slot).map(|(revision, _)| *revision);
        if stored != known {
            return None;
        }
        self.revisions += 1;
        self.shards.insert(slot, (self.revisions, shard));
        Some(self.revisions)
    }

    /// Stores bodies under names that their content gives, in two parts: one that did not change keeps its name,
    /// and several generations share it.
    pub fn keep(&mut self, bodies: &[BodyDigest]) -> Vec<String> {
        let (even, odd): (Vec<&BodyDigest>, Vec<&BodyDigest>) =
            bodies.iter().partition(|body| body.0[0].is_multiple_of(2));
        let named = [even, odd].into_iter().filter(|part| !part.is_empty()).map(|part| {
            let digest = part.iter().fold(Hashing::default(), |hashing, body| hashing.part(&body.0)).finish();
            (format!("render-{digest}"), part.into_iter().copied().collect())
        });
        let named: Vec<(String, Vec<BodyDigest>)> = named.collect();
        let names = named.iter().map(|(name, _)| name.clone()).collect();
        self.renders.extend(named);
        names
    }

    /// Reads a release back; `None` where a part of it is gone.
    pub fn recall(&self, release: &Release) -> Option<BTreeSet<BodyDigest>> {
        let parts: Option<Vec<&Vec<BodyDigest>>> =
            release.stored.iter().map(|name| self.renders.get(name)).collect();
        let bodies = parts?.into_iter().flatten().copied();
        Some(bodies.filter(|body| !release.without.contains(body)).collect())
    }

    pub fn forget(&mut self, names: &[String]) {
        for name in names {
            self.renders.remove(name);
        }
    }

    pub fn forget_shards(&mut self, below: u32) {
        self.shards.retain(|slot, _| slot.count >= below);
    }

    /// The count in force: the largest of which every shard is stored.
    fn count(&self) -> u32 {
        let mut stored: BTreeMap<u32, u32> = BTreeMap::new();
        for slot in self.shards.keys() {
            *stored.entry(slot.count).or_default() += 1;
        }
        stored.into_iter().rev().find(|(count, have)| count == have).map_or(0, |(count, _)| count)
    }

    pub fn load(&self) -> Inventory {
        let count = self.count();
        let shards = self.shards.iter().filter(|(slot, _)| slot.count == count);
        let shards = shards.map(|(_, (_, shard))| shard.clone()).collect();
        Inventory { count, shards, ..Inventory::default() }
    }

    /// Returns the revisions of all shards, as a reader learns them.
    pub fn revisions(&self) -> BTreeMap<ShardSlot, u64> {
        self.shards.iter().map(|(slot, (revision, _))| (*slot, *revision)).collect()
    }

    pub fn rows(&self) -> impl Iterator<Item = &InventoryRow> {
        let count = self.count();
        let shards = self.shards.iter().filter(move |(slot, _)| slot.count == count);
        shards.flat_map(|(_, (_, shard))| &shard.rows)
    }

    pub fn row(&self, id: &ObjectId) -> Option<&InventoryRow> {
        self.rows().find(|row| row.id == *id)
    }

    /// Returns the stored renders that shards name and that are gone.
    pub fn missing_renders(&self) -> Vec<&String> {
        let count = self.count();
        let shards = self.shards.iter().filter(move |(slot, _)| slot.count == count);
        let named = shards.flat_map(|(_, (_, shard))| shard.renders.iter().flatten());
        named.filter(|name| !self.renders.contains_key(*name)).collect()
    }
}
