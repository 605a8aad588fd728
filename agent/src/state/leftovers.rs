//! What a crash or a refused deletion left behind: renders that no shard names, and shards that were outgrown.
//!
//! Stored renders hold Secrets as Git declares them: one that nobody names must not stay.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Preconditions};
use skiff_shared::inventory;
use skiff_shared::retention::Size;
use skiff_shared::sync::effect::ShardSlot;
use skiff_shared::sync::event::Failure;

use super::failure::within;
use super::shards::{complete_count, slot_of, unpack};
use super::{ANNOTATION_BYTES, LABEL_AGENT, LABEL_APP, LABEL_KIND, State, StateError, pack};
use crate::cluster::next_page;

/// Secrets that one page of their metadata has.
const SECRETS_AT_ONCE: u32 = 500;

/// Shards that are read at once: a few hundred KiB.
const SHARDS_AT_ONCE: u32 = 20;

/// What was left behind and is gone now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Removed {
    pub renders: usize,
    pub shards: usize,
}

/// An object that may have to go, and the life of it that was seen.
struct Stored {
    name: String,
    uid: Option<String>,
}

/// The shards of one app, and what each of them names.
#[derive(Default)]
struct AppShards(BTreeMap<ShardSlot, (Stored, Vec<String>)>);

impl State {
    /// Says that something may have been left behind: another process may have worked on the state.
    pub fn suspect(&self) {
        self.littered.store(true, Ordering::Relaxed);
    }

    /// Whether something may have been left behind since the last time that nothing was.
    pub fn is_littered(&self) -> bool {
        self.littered.load(Ordering::Relaxed)
    }

    /// Removes stored renders that neither a shard nor a release names, and shards whose rows all stand in newer ones.
    ///
    /// Apps may store meanwhile: what this process has stored is left to the app that knows of it, and the shards are
    /// read after the renders, so that a render seen here was named by then or is one of those. `may_write` says before
    /// each removal whether this is still the one agent at work. An inventory that cannot be read ends it: what that
    /// names is not known.
    pub async fn remove_leftovers(&self, may_write: impl Fn() -> bool) -> Result<Removed, StateError> {
        self.littered.store(false, Ordering::Relaxed);
        let removed = self.remove(may_write).await;
        if removed.is_err() {
            self.suspect();
        }
        removed
    }

    async fn remove(&self, may_write: impl Fn() -> bool) -> Result<Removed, StateError> {
        let mut removed = Removed::default();
        let renders = self.list_renders().await?;
        let mut named: HashSet<String> = HashSet::new();
        // A release of the past that an app can go back to is named by its App alone.
        named.extend(self.list_releases().await?);
        for (app, AppShards(shards)) in self.list_shards().await? {
            let complete = complete_count(shards.keys().copied()).unwrap_or(0);
            for (slot, (shard, renders)) in shards {
                if slot.count >= complete {
                    named.extend(renders);
                } else if may_write() && self.remove_shard(&app, slot, &shard).await {
                    removed.shards += 1;
                }
            }
        }
        for render in renders.iter().filter(|render| !named.contains(&render.name)) {
            // Nobody finds it stored, and relies on that, between the look and the removal.
            let _alone = self.storing.write().await;
            let is_kept = self.kept().contains(&render.name);
            if !is_kept && may_write() && self.remove_render(render).await {
                self.counted().remove(&render.name);
                removed.renders += 1;
            }
        }
        Ok(removed)
    }

    /// Returns the stored renders of this agent, without what is in them.
    async fn list_renders(&self) -> Result<Vec<Stored>, StateError> {
        let mut params = self.all_of("render").limit(SECRETS_AT_ONCE);
        let mut found = Vec::new();
        loop {
            let page = within(self.renders.list_metadata(&params)).await;
            let page = page.map_err(|failure| StateError::ListAll { what: "stored renders", failure })?;
            for secret in page.items {
                self.count(&secret.metadata);
                found.extend(Stored::of(secret.metadata));
            }
            match next_page(&params, &page.metadata) {
                Some(next) => params = next,
                None => return Ok(found),
            }
        }
    }

    /// Notes how large a stored render is; one that does not say so has as much as one is meant to hold at most.
    fn count(&self, secret: &ObjectMeta) {
        let (Some(name), Some(labels)) = (&secret.name, &secret.labels) else { return };
        let stated = secret.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION_BYTES));
        let bytes = stated.and_then(|bytes| bytes.parse().ok()).unwrap_or(pack::LIMIT as u64);
        let app = labels.get(LABEL_APP).map_or("", String::as_str).into();
        self.counted().insert(name.clone(), Size { app, bytes });
    }

    /// Returns the shards of every app of this agent, also of those that it does not drive.
    async fn list_shards(&self) -> Result<BTreeMap<String, AppShards>, StateError> {
        let mut params = self.all_of("inventory").limit(SHARDS_AT_ONCE);
        let mut apps: BTreeMap<String, AppShards> = BTreeMap::new();
        loop {
            let page = within(self.shards.list(&params)).await;
            let page = page.map_err(|failure| StateError::ListAll { what: "inventories", failure })?;
            for shard in page.items {
                apps.entry(label(&shard, LABEL_APP)).or_default().add(shard)?;
            }
            match next_page(&params, &page.metadata) {
                Some(next) => params = next,
                None => return Ok(apps),
            }
        }
    }

    /// Returns the stored renders that releases of any app are made of.
    async fn list_releases(&self) -> Result<Vec<String>, StateError> {
        let apps = self.own_apps().await;
        let apps = apps.map_err(|failure| StateError::ListAll { what: "apps", failure })?;
        let statuses = apps.into_iter().filter_map(|app| app.status);
        let history = statuses.flat_map(|status| status.history);
        Ok(history.flat_map(|entry| entry.stored).collect())
    }

    fn all_of(&self, kind: &str) -> ListParams {
        ListParams::default().labels(&format!("{LABEL_AGENT}={},{LABEL_KIND}={kind}", self.instance))
    }

    async fn remove_render(&self, render: &Stored) -> bool {
        let gone = within(self.renders.delete(&render.name, &render.this_life())).await;
        self.is_removed(&render.name, gone.map(drop))
    }

    async fn remove_shard(&self, app: &str, slot: ShardSlot, shard: &Stored) -> bool {
        let gone = within(self.shards.delete(&shard.name, &shard.this_life())).await;
        self.versions().remove(&(app.to_owned(), slot));
        self.is_removed(&shard.name, gone.map(drop))
    }

    fn is_removed(&self, name: &str, gone: Result<(), Failure>) -> bool {
        match gone {
            Ok(()) => return true,
            Err(Failure::NotFound(_)) => {}
            Err(failure) => {
                self.suspect();
                tracing::warn!(name, ?failure, "failed to remove what was left of earlier state");
            }
        }
        false
    }
}

impl AppShards {
    fn add(&mut self, shard: ConfigMap) -> Result<(), StateError> {
        let app = label(&shard, LABEL_APP);
        let packed = unpack(&shard)?;
        let Some(stored) = Stored::of(shard.metadata) else { return Ok(()) };
        let Some(slot) = slot_of(&stored.name, &app) else { return Ok(()) };
        let renders = inventory::stored_renders(&packed);
        let renders = renders.map_err(|source| StateError::Shard { name: stored.name.clone(), source })?;
        self.0.insert(slot, (stored, renders));
        Ok(())
    }
}

impl Stored {
    fn of(metadata: ObjectMeta) -> Option<Self> {
        Some(Self { name: metadata.name?, uid: metadata.uid })
    }

    /// Asks to remove no other object that has taken the name since.
    fn this_life(&self) -> DeleteParams {
        DeleteParams::default().preconditions(Preconditions { uid: self.uid.clone(), resource_version: None })
    }
}

fn label(shard: &ConfigMap, name: &str) -> String {
    let labels = shard.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(name)).cloned().unwrap_or_default()
}
