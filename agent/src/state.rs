//! State in the cluster: inventory shards, stored renders and the `App` objects.
//!
//! An adapter: it stores what the machine decided and reads it back after a restart. Nothing else in
//! the agent writes to the agent's own namespace, the Lease apart.

mod pack;
mod release;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use skiff_shared::api::v1alpha1::{App, AppSpec, AppStatus};
use skiff_shared::desired::{BodyDigest, Revision};
use skiff_shared::inventory::{Inventory, Shard, ShardError};
use skiff_shared::managed_fields::FIELD_MANAGER;
use skiff_shared::object::Interner;
use skiff_shared::report::Report;
use skiff_shared::sync::effect::ShardSlot;
use skiff_shared::sync::event::{Cause, Failure, Refusal};

use crate::store::Store;

const DEADLINE: Duration = Duration::from_secs(10);
const ZSTD_LEVEL: i32 = 3;
const SHARD_KEY: &str = "shard.json.zst";
const RENDER_KEY: &str = "bodies.zst";

/// Labels of state objects. They do not carry `skiff.dev/instance`, which watches select by.
const LABEL_APP: &str = "skiff.dev/state-of";
pub const LABEL_AGENT: &str = "skiff.dev/agent";
const LABEL_KIND: &str = "skiff.dev/state";
/// The label of an `App` that names its environment.
pub const LABEL_ENVIRONMENT: &str = "skiff.dev/environment";

/// Where the state of one agent lives.
pub struct State {
    shards: Api<ConfigMap>,
    renders: Api<Secret>,
    apps: Api<App>,
    instance: String,
    versions: Mutex<HashMap<(String, ShardSlot), Version>>,
    statuses: Mutex<HashMap<String, AppStatus>>,
}

/// An app of an agent that ran before.
pub struct KnownApp {
    pub name: String,
    /// The revision that was last taken from Git.
    pub revision: Option<Revision>,
}

/// What is known of a stored shard's version: the compare of compare-and-swap.
#[derive(Clone)]
enum Version {
    Known(String),
    /// Our last write was not answered: it may have happened.
    Doubtful {
        before: Option<String>,
        sent: Vec<u8>,
    },
}

/// Recorded state that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("failed to list the inventory of app {app:?}")]
    List { app: String, source: kube::Error },
    #[error("no answer in {} s to reading the state of app {app:?}", DEADLINE.as_secs())]
    Deadline { app: String },
    #[error("inventory {name} cannot be unpacked")]
    Unpack { name: String, source: std::io::Error },
    #[error("inventory {name} cannot be read")]
    Shard { name: String, source: ShardError },
    #[error("failed to read stored render {name}")]
    Render { name: String, source: kube::Error },
    #[error("stored render {name} is damaged")]
    Damaged { name: String, source: std::io::Error },
    #[error("failed to read the App object: {0:?}")]
    App(Failure),
    #[error("failed to keep a body of stored render {name} on disk")]
    Disk { name: String, source: std::io::Error },
}

impl State {
    pub fn new(client: &kube::Client, namespace: &str, instance: &str) -> Self {
        Self {
            shards: Api::namespaced(client.clone(), namespace),
            renders: Api::namespaced(client.clone(), namespace),
            apps: Api::namespaced(client.clone(), namespace),
            instance: instance.to_owned(),
            versions: Mutex::default(),
            statuses: Mutex::default(),
        }
    }

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
            let bytes = stored.binary_data.as_ref().and_then(|data| data.get(SHARD_KEY));
            let bytes = zstd::decode_all(bytes.map(|bytes| bytes.0.as_slice()).unwrap_or_default())
                .map_err(|source| StateError::Unpack { name: name.clone(), source })?;
            let shard = Shard::decode(&bytes, &mut interner.lock().unwrap_or_else(PoisonError::into_inner))
                .map_err(|source| StateError::Shard { name, source })?;
            found.insert(slot, shard);
            if let Some(version) = stored.metadata.resource_version {
                self.know(app, slot, Version::Known(version));
            }
        }
        Ok(merge(found))
    }

    /// Brings the bodies that the inventory names back to the disk, as far as they are not there.
    pub async fn restore(&self, inventory: &Inventory, store: &Store) -> Result<(), StateError> {
        for shard in &inventory.shards {
            let recorded = shard.rows.iter().filter_map(|row| row.record.applied());
            let mut missing: BTreeSet<BodyDigest> = recorded
                .map(|applied| applied.body)
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
        let found = self.renders.get_opt(name).await;
        let found = found.map_err(|source| StateError::Render { name: name.to_owned(), source })?;
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
        let written = match before {
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
            Err(other) => Err(other),
        }
    }

    fn versions(&self) -> MutexGuard<'_, HashMap<(String, ShardSlot), Version>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn statuses(&self) -> MutexGuard<'_, HashMap<String, AppStatus>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut names = Vec::with_capacity(packs.len());
        for packed in packs {
            let name = format!("skiff-render-{app}-{}", packed.digest);
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    labels: Some(self.labels(app, "render")),
                    ..ObjectMeta::default()
                },
                immutable: Some(true),
                data: Some(BTreeMap::from([(RENDER_KEY.to_owned(), ByteString(packed.bytes))])),
                ..Secret::default()
            };
            let params =
                PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            match within(self.renders.create(&params, &secret)).await {
                // The name is the content's digest: what is there is the same.
                Ok(_) | Err(Failure::Replaced(_)) => names.push(name),
                Err(failure) => return Err(failure),
            }
        }
        Ok(names)
    }

    /// Removes stored renders that nothing names any more; what stays is found and removed later.
    pub async fn forget_renders(&self, app: &str, names: &[String]) {
        for name in names {
            if let Err(error) = within(self.renders.delete(name, &DeleteParams::default())).await {
                tracing::debug!(app, name, ?error, "failed to remove a stored render");
            }
        }
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
                Err(error) => tracing::debug!(app, name, ?error, "failed to remove an outgrown shard"),
            }
        }
    }

    /// Returns the app's object, if it is there.
    pub async fn find_app(&self, app: &str) -> Result<Option<App>, Failure> {
        let found = within(self.apps.get_opt(app)).await?;
        if let Some(status) = found.as_ref().and_then(|found| found.status.clone()) {
            self.statuses().insert(app.to_owned(), status);
        }
        Ok(found)
    }

    /// Makes the app's object, unless somebody else just has.
    async fn create_app(&self, app: &str, environment: &str) -> Result<(), Failure> {
        let mut fresh = App::new(app, AppSpec::default());
        fresh.metadata.labels = Some(BTreeMap::from([
            (LABEL_AGENT.to_owned(), self.instance.clone()),
            (LABEL_ENVIRONMENT.to_owned(), environment.to_owned()),
        ]));
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match within(self.apps.create(&params, &fresh)).await {
            Ok(_) | Err(Failure::Replaced(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Returns the apps that an environment had when the agent last ran.
    pub async fn known_apps(&self, environment: &str) -> Result<Vec<KnownApp>, Failure> {
        let selector = format!("{LABEL_AGENT}={},{LABEL_ENVIRONMENT}={environment}", self.instance);
        let listed = within(self.apps.list(&ListParams::default().labels(&selector))).await?;
        let known = |app: App| {
            let revision = app.status.and_then(|status| status.newest());
            Some(KnownApp { name: app.metadata.name?, revision })
        };
        Ok(listed.items.into_iter().filter_map(known).collect())
    }

    /// Writes an app's status: one request, nothing where nothing changed.
    pub async fn publish(
        &self,
        app: &str,
        environment: &str,
        report: &Report,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let previous = self.statuses().get(app).cloned();
        let status = AppStatus::of(report, previous.as_ref(), now);
        if previous.as_ref() == Some(&status) {
            return Ok(());
        }
        let patch = serde_json::json!({
            "apiVersion": "skiff.dev/v1alpha1", "kind": "App", "metadata": {"name": app}, "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patched = within(self.apps.patch_status(app, &params, &Patch::Apply(&patch))).await;
        if let Err(Failure::NotFound(_)) = patched {
            // Somebody deleted the App: its objects are orphaned, not lost; it comes back empty.
            self.statuses().remove(app);
            self.create_app(app, environment).await?;
            within(self.apps.patch_status(app, &params, &Patch::Apply(&patch))).await?;
        } else {
            patched?;
        }
        self.statuses().insert(app.to_owned(), status);
        Ok(())
    }

    fn labels(&self, app: &str, kind: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            (LABEL_APP.to_owned(), app.to_owned()),
            (LABEL_AGENT.to_owned(), self.instance.clone()),
            (LABEL_KIND.to_owned(), kind.to_owned()),
            ("app.kubernetes.io/managed-by".to_owned(), "skiff".to_owned()),
        ])
    }
}

fn shard_name(app: &str, slot: ShardSlot) -> String {
    format!("skiff-inventory-{app}-{}-{}", slot.count, slot.index)
}

fn slot_of(name: &str, app: &str) -> Option<ShardSlot> {
    let rest = name.strip_prefix("skiff-inventory-")?.strip_prefix(app)?.strip_prefix('-')?;
    let (count, index) = rest.split_once('-')?;
    Some(ShardSlot { count: count.parse().ok()?, index: index.parse().ok()? })
}

/// Puts shards together; rows of a smaller count are taken only where the newer shards lack them.
fn merge(mut found: BTreeMap<ShardSlot, Shard>) -> Inventory {
    let Some(count) = found.keys().map(|slot| slot.count).max() else { return Inventory::default() };
    let older: Vec<Shard> =
        found.extract_if(.., |slot, _| slot.count < count).map(|(_, shard)| shard).collect();
    let mut shards: Vec<Shard> =
        (0..count).map(|index| found.remove(&ShardSlot { index, count }).unwrap_or_default()).collect();
    for shard in older {
        for row in shard.rows {
            let home = &mut shards[skiff_shared::inventory::shard_of(&row.id, count) as usize];
            if !home.rows.iter().any(|have| have.id == row.id) {
                home.rows.push(row);
            }
        }
        if let Some(first) = shards.first_mut() {
            first.renders.extend(shard.renders);
        }
    }
    Inventory { count, shards }
}

/// Runs a request under the deadline and classes its failure.
async fn within<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failure_of(&error)),
        Err(_) => Err(Failure::Unknown(format!("no answer in {} s", DEADLINE.as_secs()))),
    }
}

/// Classes a failure of a request to the agent's own state.
fn failure_of(error: &kube::Error) -> Failure {
    let kube::Error::Api(status) = error else { return Failure::Unknown(error.to_string()) };
    let cause = |reason| Cause { reason, code: status.code, message: status.message.clone() };
    match status.code {
        404 => Failure::NotFound(cause(Refusal::Unclassified)),
        409 => Failure::Replaced(cause(Refusal::Conflict)),
        429 => Failure::Throttled(None),
        500.. => Failure::Unavailable(cause(Refusal::ServerError)),
        403 => Failure::Rejected(cause(Refusal::Forbidden)),
        413 => Failure::Rejected(cause(Refusal::TooLarge)),
        _ => Failure::Rejected(cause(Refusal::Unclassified)),
    }
}

fn packing(error: &std::io::Error) -> Failure {
    let cause = Cause { reason: Refusal::Unclassified, code: 0, message: error.to_string() };
    Failure::Unavailable(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shards_are_read_back() {
        let slot = ShardSlot { index: 3, count: 64 };
        assert_eq!(slot_of(&shard_name("shop-web", slot), "shop-web"), Some(slot));
        assert_eq!(slot_of(&shard_name("shop-web", slot), "shop"), None);
    }
}
