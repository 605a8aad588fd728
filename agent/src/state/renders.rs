//! Stored renders: immutable Secrets that hold the bodies of a shard's rows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use skiff_shared::desired::BodyDigest;
use skiff_shared::inventory::Inventory;
use skiff_shared::managed_fields::FIELD_MANAGER;
use skiff_shared::retention::Size;
use skiff_shared::sync::event::Failure;

use super::failure::{packing, within};
use super::{ANNOTATION_BYTES, DEADLINE, RENDER_KEY, State, StateError, pack};
use crate::store::Store;

impl State {
    /// Brings the bodies that the inventory names back to the disk, as far as they are not there.
    pub async fn restore(&self, inventory: &Inventory, store: &Store) -> Result<(), StateError> {
        for shard in &inventory.shards {
            let recorded = shard.rows.iter().filter_map(|row| Some(row.record.applied()?.body));
            let begun = shard.rows.iter().filter_map(|row| Some(row.recreation.as_ref()?.body));
            let mut missing: BTreeSet<BodyDigest> = recorded
                .chain(begun)
                .filter(|body| !store.get(*body).is_ok_and(|found| found.is_some()))
                .collect();
            for name in shard.renders.iter().flatten() {
                if missing.is_empty() {
                    break;
                }
                for restored in self.restore_one(name, store).await? {
                    missing.remove(&restored);
                }
            }
            if !missing.is_empty() {
                tracing::warn!(
                    missing = missing.len(),
                    "stored renders lack bodies: their objects are healed once Git has been read"
                );
            }
        }
        Ok(())
    }

    async fn restore_one(&self, name: &str, store: &Store) -> Result<Vec<BodyDigest>, StateError> {
        let found = tokio::time::timeout(DEADLINE, self.renders.get_opt(name)).await;
        let found = found
            .map_err(|_| StateError::RenderDeadline { name: name.to_owned() })?
            .map_err(|source| StateError::Render { name: name.to_owned(), source })?;
        let Some(packed) = found.and_then(|secret| secret.data?.remove(RENDER_KEY)) else {
            return Ok(Vec::new());
        };
        let bodies = pack::unpack(&packed.0)
            .map_err(|source| StateError::Damaged { name: name.to_owned(), source })?;
        let mut restored = Vec::with_capacity(bodies.len());
        for body in bodies {
            let digest =
                store.put(&body).map_err(|source| StateError::Disk { name: name.to_owned(), source })?;
            restored.push(digest);
        }
        Ok(restored)
    }

    /// Stores bodies in immutable Secrets named after their content and returns the names.
    pub async fn keep(
        &self,
        app: &str,
        bodies: Vec<BodyDigest>,
        store: Arc<Store>,
    ) -> Result<Vec<String>, Failure> {
        // Reading and compressing thousands of bodies is no work for the threads that heal.
        let packed = tokio::task::spawn_blocking(move || pack::pack(&bodies, &store)).await;
        let packs = packed.map_err(|_| Failure::NotSent)?.map_err(|error| packing(&error))?;
        let _storing = self.storing.read().await;
        let mut names = Vec::with_capacity(packs.len());
        for packed in packs {
            let name = format!("skiff-render-{app}-{}", packed.digest);
            let packed_bytes = packed.bytes.len() as u64;
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    labels: Some(self.labels(app, "render")),
                    annotations: Some([(ANNOTATION_BYTES.to_owned(), packed.bytes.len().to_string())].into()),
                    ..ObjectMeta::default()
                },
                immutable: Some(true),
                data: Some(BTreeMap::from([(RENDER_KEY.to_owned(), ByteString(packed.bytes))])),
                ..Secret::default()
            };
            let params =
                PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            self.kept().insert(name.clone());
            let size = Size { app: app.into(), bytes: packed_bytes };
            self.counted().insert(name.clone(), size);
            match within(self.renders.create(&params, &secret)).await {
                // The name is the content's digest: what is there is the same.
                Ok(_) | Err(Failure::Replaced(_)) => names.push(name),
                Err(failure) => return Err(failure),
            }
        }
        Ok(names)
    }

    /// Removes stored renders that nothing names any more; what stays is removed with the other leftovers.
    pub async fn forget_renders(&self, app: &str, names: &[String]) {
        for name in names {
            self.kept().remove(name);
            self.counted().remove(name);
            match within(self.renders.delete(name, &DeleteParams::default())).await {
                Ok(_) | Err(Failure::NotFound(_)) => {}
                Err(error) => {
                    self.littered.store(true, Ordering::Relaxed);
                    tracing::debug!(app, name, ?error, "failed to remove a stored render");
                }
            }
        }
    }

    /// Returns what each stored render takes, as far as this process has stored or listed them.
    pub fn sizes(&self) -> HashMap<String, Size> {
        self.counted().clone()
    }

    pub(super) fn counted(&self) -> MutexGuard<'_, HashMap<String, Size>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, HashSet<String>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
