//! Inventory shards: one ConfigMap each, replaced only where nobody else has touched it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use skiff_shared::inventory::{self, Inventory, Shard};
use skiff_shared::managed_fields::FIELD_MANAGER;
use skiff_shared::object::Interner;
use skiff_shared::sync::effect::ShardSlot;
use skiff_shared::sync::event::{Failure, Refusal};

use super::failure::{packing, within};
use super::{DEADLINE, LABEL_AGENT, LABEL_APP, LABEL_KIND, SHARD_KEY, State, StateError, ZSTD_LEVEL};

/// What is known of a stored shard's version: the compare of compare-and-swap.
#[derive(Clone)]
pub(super) enum Version {
    Known(String),
    /// Our last write was not answered: it may have happened.
    Doubtful {
        before: Option<String>,
        sent: Vec<u8>,
    },
}

impl State {
    /// Reads an app's inventory; where shards of two counts are stored, the larger count is the newer.
    pub async fn load(&self, app: &str, interner: &Mutex<Interner>) -> Result<Inventory, StateError> {
        let selector = format!("{LABEL_AGENT}={},{LABEL_APP}={app},{LABEL_KIND}=inventory", self.instance);
        let params = ListParams::default().labels(&selector);
        let listed = tokio::time::timeout(DEADLINE, self.shards.list(&params));
        let listed = listed
            .await
            .map_err(|_| StateError::Deadline { app: app.to_owned() })?
            .map_err(|source| StateError::List { app: app.to_owned(), source })?;
        let mut found: BTreeMap<ShardSlot, Shard> = BTreeMap::new();
        self.versions().retain(|(of, _), _| of != app);
        for stored in listed.items {
            let name = stored.metadata.name.clone().unwrap_or_default();
            let Some(slot) = slot_of(&name, app) else { continue };
            let bytes = unpack(&stored)?;
            let shard = Shard::decode(&bytes, &mut interner.lock().unwrap_or_else(PoisonError::into_inner))
                .map_err(|source| StateError::Shard { name, source })?;
            found.insert(slot, shard);
            if let Some(version) = stored.metadata.resource_version {
                self.know(app, slot, Version::Known(version));
            }
        }
        Ok(merge(found))
    }

    /// Stores one shard: created where it was not, replaced only where nobody else has touched it.
    pub async fn save(&self, app: &str, slot: ShardSlot, shard: &Shard) -> Result<(), Failure> {
        let packed =
            zstd::encode_all(shard.encode().as_slice(), ZSTD_LEVEL).map_err(|error| packing(&error))?;
        let before = self.settle_doubt(app, slot).await?;
        let stored = ConfigMap {
            metadata: ObjectMeta {
                name: Some(shard_name(app, slot)),
                labels: Some(self.labels(app, "inventory")),
                resource_version: before.clone(),
                ..ObjectMeta::default()
            },
            binary_data: Some(BTreeMap::from([(SHARD_KEY.to_owned(), ByteString(packed.clone()))])),
            ..ConfigMap::default()
        };
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let name = shard_name(app, slot);
        let written = match &before {
            Some(_) => within(self.shards.replace(&name, &params, &stored)).await,
            None => within(self.shards.create(&params, &stored)).await,
        };
        match written {
            Ok(written) => {
                if let Some(version) = written.metadata.resource_version {
                    self.know(app, slot, Version::Known(version));
                }
                Ok(())
            }
            Err(Failure::Unknown(message)) => {
                self.know(app, slot, Version::Doubtful { before, sent: packed });
                Err(Failure::Unknown(message))
            }
            Err(Failure::Replaced(_)) => Err(Failure::Fenced),
            Err(Failure::Unavailable(cause)) if before.is_some() && cause.reason == Refusal::Conflict => {
                Err(Failure::Fenced)
            }
            Err(other) => Err(other),
        }
    }

    pub(super) fn versions(&self) -> MutexGuard<'_, HashMap<(String, ShardSlot), Version>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the version to compare with, after finding out what became of an unanswered write.
    async fn settle_doubt(&self, app: &str, slot: ShardSlot) -> Result<Option<String>, Failure> {
        let known = {
            let versions = self.versions();
            versions.get(&(app.to_owned(), slot)).cloned()
        };
        let (before, sent) = match known {
            None => return Ok(None),
            Some(Version::Known(version)) => return Ok(Some(version)),
            Some(Version::Doubtful { before, sent }) => (before, sent),
        };
        let found = within(self.shards.get_opt(&shard_name(app, slot))).await?;
        let Some(found) = found else {
            return if before.is_none() { Ok(None) } else { Err(Failure::Fenced) };
        };
        let version = found.metadata.resource_version.clone();
        let is_sent = found
            .binary_data
            .as_ref()
            .and_then(|data| data.get(SHARD_KEY))
            .is_some_and(|have| have.0 == sent);
        if is_sent || version == before { Ok(version) } else { Err(Failure::Fenced) }
    }

    fn know(&self, app: &str, slot: ShardSlot, version: Version) {
        let mut versions = self.versions();
        versions.insert((app.to_owned(), slot), version);
    }

    /// Removes the shards of counts below `below`: their rows stand in the newer shards.
    pub async fn forget_shards(&self, app: &str, below: u32) {
        let old: Vec<ShardSlot> = {
            let versions = self.versions();
            versions
                .keys()
                .filter(|(of, slot)| of == app && slot.count < below)
                .map(|(_, slot)| *slot)
                .collect()
        };
        for slot in old {
            let name = shard_name(app, slot);
            match within(self.shards.delete(&name, &DeleteParams::default())).await {
                Ok(_) | Err(Failure::NotFound(_)) => {
                    let mut versions = self.versions();
                    versions.remove(&(app.to_owned(), slot));
                }
                Err(error) => {
                    self.littered.store(true, Ordering::Relaxed);
                    tracing::debug!(app, name, ?error, "failed to remove an outgrown shard");
                }
            }
        }
    }
}

fn shard_name(app: &str, slot: ShardSlot) -> String {
    format!("skiff-inventory-{app}-{}-{}", slot.count, slot.index)
}

/// Returns the content of a stored shard.
pub(super) fn unpack(stored: &ConfigMap) -> Result<Vec<u8>, StateError> {
    let packed = stored.binary_data.as_ref().and_then(|data| data.get(SHARD_KEY));
    zstd::decode_all(packed.map(|packed| packed.0.as_slice()).unwrap_or_default()).map_err(|source| {
        let name = stored.metadata.name.clone().unwrap_or_default();
        StateError::Unpack { name, source }
    })
}

pub(super) fn slot_of(name: &str, app: &str) -> Option<ShardSlot> {
    let rest = name.strip_prefix("skiff-inventory-")?.strip_prefix(app)?.strip_prefix('-')?;
    let (count, index) = rest.split_once('-')?;
    Some(ShardSlot { count: count.parse().ok()?, index: index.parse().ok()? })
}

/// Returns the count below which shards are out of date. Once all shards of a count are stored, every row stands in
/// them; before that, some rows stand only in those of a smaller count.
pub(super) fn complete_count(slots: impl IntoIterator<Item = ShardSlot>) -> Option<u32> {
    let mut stored: BTreeMap<u32, u32> = BTreeMap::new();
    for slot in slots.into_iter().filter(|slot| slot.index < slot.count) {
        *stored.entry(slot.count).or_default() += 1;
    }
    stored.into_iter().rev().find(|(count, stored)| count == stored).map(|(count, _)| count)
}

/// Puts shards together; rows of a smaller count are taken only where the newer shards lack them, and none where
/// those are complete: a row that they lack has been pruned since.
fn merge(mut found: BTreeMap<ShardSlot, Shard>) -> Inventory {
    let Some(count) = found.keys().map(|slot| slot.count).max() else { return Inventory::default() };
    let complete = complete_count(found.keys().copied());
    let stored = found.keys().filter(|slot| slot.count == count && slot.index < count).count();
    let missing = if complete.is_some() { 0 } else { count - u32::try_from(stored).unwrap_or(count) };
    let complete = complete.unwrap_or(0);
    found.retain(|slot, _| slot.count >= complete);
    let older: Vec<Shard> =
        found.extract_if(.., |slot, _| slot.count < count).map(|(_, shard)| shard).collect();
    let mut shards: Vec<Shard> =
        (0..count).map(|index| found.remove(&ShardSlot { index, count }).unwrap_or_default()).collect();
    for shard in older {
        for row in shard.rows {
            let home = &mut shards[inventory::shard_of(&row.id, count) as usize];
            if !home.rows.iter().any(|have| have.id == row.id) {
                home.rows.push(row);
            }
        }
        if let Some(first) = shards.first_mut() {
            first.renders.extend(shard.renders);
        }
    }
    Inventory { count, shards, missing, rebuilt: false }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skiff_shared::desired::ObjectOptions;
    use skiff_shared::inventory::{InventoryRow, Record, shard_of};
    use skiff_shared::object::ObjectId;

    use super::*;

    #[test]
    fn names_of_shards_are_read_back() {
        let slot = ShardSlot { index: 3, count: 64 };
        assert_eq!(slot_of(&shard_name("shop-web", slot), "shop-web"), Some(slot));
        assert_eq!(slot_of(&shard_name("shop-web", slot), "shop"), None);
    }

    fn id(name: &str) -> ObjectId {
        Interner::default().object("", "ConfigMap", Some("shop"), name)
    }

    /// Returns the shard of these objects that is stored in a slot.
    fn stored(slot: ShardSlot, names: &[&str]) -> (ShardSlot, Shard) {
        let row = |id: ObjectId| InventoryRow {
            id,
            version: Arc::from("v1"),
            wave: 0,
            options: ObjectOptions::default(),
            record: Record::Claimed,
            hook_run: None,
            recreation: None,
            parting: None,
        };
        let of_slot = |id: &ObjectId| shard_of(id, slot.count) == slot.index;
        let rows = names.iter().map(|name| id(name)).filter(of_slot).map(row).collect();
        (slot, Shard { rows, renders: Vec::new(), kept: None })
    }

    fn merged(found: impl IntoIterator<Item = (ShardSlot, Shard)>) -> Vec<String> {
        let inventory = merge(found.into_iter().collect());
        let rows = inventory.shards.iter().flat_map(|shard| &shard.rows);
        let mut names: Vec<String> = rows.map(|row| row.id.name().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn rows_of_outgrown_shards_count_only_until_the_newer_ones_are_all_stored() {
        let old = ShardSlot { index: 0, count: 1 };
        let [first, second] = [0, 1].map(|index| ShardSlot { index, count: 2 });
        let before = ["a", "b", "c", "d", "pruned"];
        let after = ["a", "b", "c", "d"];
        let half = [stored(old, &before), stored(first, &before)];
        assert_eq!(merged(half), before, "a crash between the claims loses nothing");
        let all = [stored(old, &before), stored(first, &after), stored(second, &after)];
        assert_eq!(merged(all), after, "what is left of the old shard brings nothing back");
    }
}
