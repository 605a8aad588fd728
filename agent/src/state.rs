//! State in the cluster: inventory shards, stored renders and the `App` objects.
//!
//! An adapter: it stores what the machine decided and reads it back after a restart. Nothing else in
//! the agent writes to the agent's own namespace, the Lease apart.

mod dissolve;
mod failure;
mod leftovers;
mod pack;
mod release;
mod renders;
mod shards;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use skiff_shared::api::v1alpha1::{App, AppSpec, AppStatus, SyncPolicy};
use skiff_shared::desired::Revision;
use skiff_shared::inventory::ShardError;
use skiff_shared::managed_fields::FIELD_MANAGER;
use skiff_shared::policy::Policy;
use skiff_shared::report::Report;
use skiff_shared::retention::Size;
use skiff_shared::sync::effect::ShardSlot;
use skiff_shared::sync::event::Failure;
use tokio::sync::RwLock;

use self::failure::within;
pub use self::leftovers::Removed;
use self::shards::Version;
use crate::cluster::ClusterError;

const DEADLINE: Duration = Duration::from_secs(10);
const ZSTD_LEVEL: i32 = 3;
const SHARD_KEY: &str = "shard.json.zst";
const RENDER_KEY: &str = "bodies.zst";

/// Labels of state objects. They do not carry `skiff.dev/instance`, which watches select by.
const LABEL_APP: &str = "skiff.dev/state-of";
pub const LABEL_AGENT: &str = "skiff.dev/agent";
pub const LABEL_KIND: &str = "skiff.dev/state";
/// The annotation of a stored render that says how many bytes it has, so that they are counted without being read.
const ANNOTATION_BYTES: &str = "skiff.dev/bytes";
/// The label of an `App` that names the environment that it was made for.
const LABEL_ENVIRONMENT: &str = "skiff.dev/environment";

/// Where the state of one agent lives.
pub struct State {
    shards: Api<ConfigMap>,
    renders: Api<Secret>,
    apps: Api<App>,
    instance: String,
    versions: Mutex<HashMap<(String, ShardSlot), Version>>,
    statuses: Mutex<HashMap<String, AppStatus>>,
    /// Stored renders that this process has stored or found stored: a shard names them, or is about to.
    kept: Mutex<HashSet<String>>,
    /// The stored renders, as far as this process has counted them.
    sizes: Mutex<HashMap<String, Size>>,
    /// Shared by what stores renders, held alone by what removes those that nobody names.
    storing: RwLock<()>,
    /// Apps that are no more: a late status does not make their `App` anew.
    ended: Mutex<HashSet<String>>,
    /// Something was left behind that nobody names.
    littered: AtomicBool,
}

/// An app of an agent that ran before.
pub struct KnownApp {
    pub name: String,
    /// The revision that was last taken from Git.
    pub revision: Option<Revision>,
    /// What the agent did by itself.
    pub policy: Option<Policy>,
}

/// A status that the `App` has now.
pub struct Published {
    /// Of the `App`; `None` where nothing had to be written.
    pub uid: Option<String>,
    /// The status that it had; `None` where it has just been made.
    pub before: Option<AppStatus>,
    pub status: AppStatus,
}

/// An app that nobody looks after, and the status that says so.
pub struct Unattended {
    pub app: String,
    status: AppStatus,
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
    #[error("no answer in {} s to reading stored render {name}", DEADLINE.as_secs())]
    RenderDeadline { name: String },
    #[error("failed to list all {what}: {failure:?}")]
    ListAll { what: &'static str, failure: Failure },
    #[error("stored render {name} is damaged")]
    Damaged { name: String, source: std::io::Error },
    #[error("the inventory is lost, and its objects cannot be looked for")]
    Lost(#[source] ClusterError),
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
            kept: Mutex::default(),
            sizes: Mutex::default(),
            storing: RwLock::default(),
            ended: Mutex::default(),
            littered: AtomicBool::default(),
        }
    }

    fn statuses(&self) -> MutexGuard<'_, HashMap<String, AppStatus>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Returns the `App` objects of this agent.
    async fn own_apps(&self) -> Result<Vec<App>, Failure> {
        let params = ListParams::default().labels(&format!("{LABEL_AGENT}={}", self.instance));
        Ok(within(self.apps.list(&params)).await?.items)
    }

    /// Returns the apps that an environment had when the agent last ran.
    pub async fn known_apps(&self, environment: &str) -> Result<Vec<KnownApp>, Failure> {
        let of_it = self.own_apps().await?.into_iter().filter(|app| environment_of(app) == environment);
        let known = |app: App| {
            let status = app.status.unwrap_or_default();
            let policy = status.policy.map(SyncPolicy::read);
            Some(KnownApp { name: app.metadata.name?, revision: status.newest(), policy })
        };
        Ok(of_it.filter_map(known).collect())
    }

    /// Returns the apps of this agent that are in none of the configured environments and do not say so yet.
    pub async fn unattended(
        &self,
        configured: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<Vec<Unattended>, Failure> {
        let apps = self.own_apps().await?.into_iter();
        let others = apps.filter(|app| !configured.contains(environment_of(app)));
        let news = others.filter_map(|app| {
            let environment = environment_of(&app).to_owned();
            let status = AppStatus { environment, ..app.status? };
            Some(Unattended { app: app.metadata.name?, status: status.unattended(now)? })
        });
        Ok(news.collect())
    }

    /// Tells on an app's object that nobody looks after it.
    pub async fn tell_unattended(&self, unattended: &Unattended) -> Result<(), Failure> {
        let Unattended { app, status } = unattended;
        self.statuses().remove(app);
        match self.apply_status(app, status).await {
            Err(Failure::NotFound(_)) => Ok(()),
            told => told.map(drop),
        }
    }

    /// Writes a status, and returns the uid of the `App` that has it now.
    async fn apply_status(&self, app: &str, status: &AppStatus) -> Result<String, Failure> {
        let patch = serde_json::json!({
            "apiVersion": "skiff.dev/v1alpha1", "kind": "App", "metadata": {"name": app}, "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patched = within(self.apps.patch_status(app, &params, &Patch::Apply(&patch))).await?;
        Ok(patched.metadata.uid.unwrap_or_default())
    }

    /// Writes an app's status: one request, nothing where nothing changed. Returns nothing of an app that is no more.
    pub async fn publish(
        &self,
        app: &str,
        environment: &str,
        report: &Report,
        now: Timestamp,
    ) -> Result<Option<Published>, Failure> {
        let mut before = self.statuses().get(app).cloned();
        let status = AppStatus::of(environment, report, before.as_ref(), now);
        if before.as_ref() == Some(&status) {
            return Ok(Some(Published { uid: None, before, status }));
        }
        let patched = self.apply_status(app, &status).await;
        let uid = match patched {
            Err(Failure::NotFound(_)) if self.has_ended(app) => return Ok(None),
            Err(Failure::NotFound(_)) => {
                // Somebody deleted the App: its objects are orphaned, not lost; it comes back empty.
                self.statuses().remove(app);
                before = None;
                self.create_app(app, environment).await?;
                self.apply_status(app, &status).await?
            }
            patched => patched?,
        };
        self.statuses().insert(app.to_owned(), status.clone());
        Ok(Some(Published { uid: Some(uid), before, status }))
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

/// Returns the environment that has an app. An app may move to another one, which its status says: the agent may not
/// write the label of an `App` that is there.
pub fn environment_of(app: &App) -> &str {
    let labels = app.metadata.labels.as_ref();
    let label = || labels.and_then(|labels| labels.get(LABEL_ENVIRONMENT)).map_or("", String::as_str);
    let status = app.status.as_ref().map(|status| status.environment.as_str());
    status.filter(|environment| !environment.is_empty()).unwrap_or_else(label)
}
