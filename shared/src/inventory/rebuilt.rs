//! An inventory that was lost, found again by the marks on the objects.
//!
//! What is found is claimed: that it was applied is sure, and nothing else. What Git wants of it is applied once more, a
//! no-op; what Git does not want is never pruned without a person's word, because nobody knows whose it was.

use std::sync::Arc;

use super::{Inventory, InventoryRow, Record, shard_count, shard_of};
use crate::desired::ObjectOptions;
use crate::object::ObjectId;

/// An object that carries the marks of an app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub id: ObjectId,
    pub version: Arc<str>,
    /// As the live object's annotations say.
    pub wave: i32,
    pub options: ObjectOptions,
}

impl Inventory {
    /// Whether shards are gone that an app which was synced before must have.
    pub fn is_incomplete(&self) -> bool {
        self.count == 0 || self.missing > 0
    }

    /// Adds what was found and is not recorded; returns how many objects that are.
    pub fn rebuild(&mut self, found: Vec<Found>) -> usize {
        if self.count == 0 && !found.is_empty() {
            self.count = shard_count(found.len(), 0);
            self.shards.resize_with(self.count as usize, Default::default);
        }
        let mut added = 0;
        for Found { id, version, wave, options } in found {
            let Some(home) = self.shards.get_mut(shard_of(&id, self.count) as usize) else { continue };
            if home.rows.iter().any(|row| row.id == id) {
                continue;
            }
            added += 1;
            let options = ObjectOptions { found: true, ..options };
            home.rows.push(InventoryRow {
                id,
                version,
                wave,
                options,
                record: Record::Claimed,
                hook_run: None,
                recreation: None,
                parting: None,
            });
        }
        self.rebuilt |= added > 0;
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Interner;

    fn found(name: &str) -> Found {
        let id = Interner::default().object("", "ConfigMap", Some("shop"), name);
        let options = ObjectOptions { keep: true, ..ObjectOptions::default() };
        Found { id, version: "v1".into(), wave: 0, options }
    }

    #[test]
    fn what_is_found_is_claimed_and_what_is_recorded_stays() {
        let mut inventory = Inventory::default();
        assert!(inventory.is_incomplete());
        assert_eq!(inventory.rebuild(vec![found("a")]), 1);
        assert!(!inventory.is_incomplete());
        inventory.shards[0].rows[0].options.found = false;
        inventory.missing = 1;
        assert!(inventory.is_incomplete());
        assert_eq!(inventory.rebuild(vec![found("a"), found("b")]), 1);
        let marks: Vec<(&str, bool, bool)> = inventory.shards[0]
            .rows
            .iter()
            .map(|row| (row.id.name(), row.options.found, row.options.keep))
            .collect();
        assert_eq!(marks, [("a", false, true), ("b", true, true)]);
        assert!(inventory.shards[0].rows.iter().all(|row| row.record == Record::Claimed));
    }

    #[test]
    fn where_nothing_is_found_nothing_is_made_up() {
        let mut inventory = Inventory::default();
        assert_eq!((inventory.rebuild(Vec::new()), inventory.count), (0, 0));
    }
}
