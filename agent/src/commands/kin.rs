//! An app's objects and what they own, read with the person's own rights: what `tree`, `events` and `logs` look at.

mod forest;
mod kinds;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use futures::stream::{self, StreamExt as _};
use skiff_shared::api::v1alpha1::{App, AppStatus, ObjectRow};
use skiff_shared::health::Assessment;
use skiff_shared::inventory::Record;
use skiff_shared::object::{ApiSet, GroupKind, Interner, ObjectId};
use skiff_shared::report::MAX_ROWS;
use skiff_shared::sync::event::Failure;

pub use self::forest::{NOTHING, Node, without_history};
use super::ask::Asked;
use crate::args::{AppArgs, DeepArgs};
use crate::cluster::discovery::discover;
use crate::cluster::look::{self, Looked, Part};
use crate::cluster::{Connection, words};
use crate::state::{LABEL_AGENT, State};

/// Requests side by side: a person looks, and the cluster has other work.
const ABREAST: usize = 8;

/// From so many objects of a kind and namespace on one list is read instead of each.
const WORTH_A_LIST: usize = 4;

/// One app of which the objects are looked at, once or again and again.
pub struct Family {
    asked: Asked,
    apis: ApiSet,
    deep: bool,
}

/// The objects at one moment.
pub struct Kin {
    /// The app's own objects, sorted, with what they own below them.
    pub roots: Vec<Node>,
    /// What could not be seen, and why.
    pub notes: Vec<String>,
}

/// Objects as far as they were found, and why others were not.
#[derive(Default)]
struct Found {
    objects: HashMap<ObjectId, Looked>,
    refused: HashMap<ObjectId, String>,
}

impl Family {
    /// Connects as the person, finds the app and asks what the cluster serves.
    pub async fn find(app: AppArgs, deep: DeepArgs) -> anyhow::Result<Self> {
        let asked = Asked::find(app).await?;
        let discovered = discover(&asked.connection).await.context("the cluster's kinds cannot be read")?;
        Ok(Self { asked, apis: discovered.apis, deep: deep.deep })
    }

    pub fn connection(&self) -> &Connection {
        &self.asked.connection
    }

    pub fn apis(&self) -> &ApiSet {
        &self.apis
    }

    pub fn app(&self) -> &App {
        &self.asked.app
    }

    /// Reads the app and its objects as they are now.
    pub async fn look(&self) -> anyhow::Result<Kin> {
        let app = self.asked.api().get(&self.asked.name).await.context("the App object cannot be read")?;
        let status = app.status.clone().unwrap_or_default();
        let mut notes = BTreeSet::new();
        let ids = self.objects(&app, &status, &mut notes).await?;
        let mut found = self.read(&ids, &app).await;
        let mut roots: Vec<Node> = ids.into_iter().map(|id| root(id, &mut found, &status)).collect();
        roots.sort_by(|a, b| a.id.cmp(&b.id));
        let children = self.children(&roots, &mut notes).await;
        forest::grow(&mut roots, children);
        Ok(Kin { roots, notes: notes.into_iter().collect() })
    }

    /// Returns the ids of the app's objects: of a small app they stand in its status, of a larger one in its inventory.
    async fn objects(
        &self,
        app: &App,
        status: &AppStatus,
        notes: &mut BTreeSet<String>,
    ) -> anyhow::Result<Vec<ObjectId>> {
        let interner = Mutex::new(Interner::default());
        let shown = || {
            let mut interner = Interner::default();
            let id =
                |row: &ObjectRow| interner.object(&row.group, &row.kind, row.namespace.as_deref(), &row.name);
            status.objects.iter().map(id).collect()
        };
        if status.objects.len() < MAX_ROWS {
            return Ok(shown());
        }
        let instance = app.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_AGENT));
        let instance = instance.context("the App object does not say which agent it is of")?;
        let state = State::new(self.connection().client(), &self.asked.namespace, instance);
        match state.load(&self.asked.name, &interner).await {
            Ok(inventory) => {
                let rows = inventory.shards.into_iter().flat_map(|shard| shard.rows);
                // Hooks that have run and are gone are on record without an object.
                Ok(rows.filter(|row| row.record != Record::None).map(|row| row.id).collect())
            }
            Err(error) => {
                notes.insert(format!(
                    "only the {MAX_ROWS} objects that most need a look are shown, as the inventory cannot be read: {}",
                    crate::telemetry::chain(&error)
                ));
                Ok(shown())
            }
        }
    }

    async fn read(&self, ids: &[ObjectId], app: &App) -> Found {
        let mut groups: BTreeMap<(Arc<GroupKind>, Option<&str>), Vec<&ObjectId>> = BTreeMap::new();
        for id in ids {
            groups.entry((id.kind().clone(), id.namespace())).or_default().push(id);
        }
        let selector = format!("skiff.dev/app={}", app.metadata.name.as_deref().unwrap_or_default());
        let parts = stream::iter(groups.into_iter().map(|(of, ids)| self.part(of, ids, &selector)));
        let parts: Vec<Found> = parts.buffer_unordered(ABREAST).collect().await;
        let mut all = Found::default();
        for part in parts {
            all.objects.extend(part.objects);
            all.refused.extend(part.refused);
        }
        all
    }

    /// Reads objects of one kind and namespace.
    async fn part(
        &self,
        (kind, namespace): (Arc<GroupKind>, Option<&str>),
        ids: Vec<&ObjectId>,
        selector: &str,
    ) -> Found {
        let mut found = Found::default();
        if ids.len() >= WORTH_A_LIST {
            let namespace = namespace.map(Arc::from);
            let part = Part { kind: &kind, namespace: namespace.as_ref(), selector };
            // What a refused list does not tell the single requests do.
            let listed = look::list(self.connection(), &self.apis, part).await.unwrap_or_default();
            let mut named: HashMap<String, Looked> = HashMap::new();
            named.extend(listed.into_iter().filter_map(|it| Some((it.metadata.name.clone()?, it))));
            let known = ids.iter().filter_map(|&id| Some((id.clone(), named.remove(id.name())?)));
            found.objects.extend(known);
        }
        for id in ids {
            if found.objects.contains_key(id) {
                continue;
            }
            match look::get(self.connection(), &self.apis, id).await {
                Ok(Some(object)) => drop(found.objects.insert(id.clone(), object)),
                Ok(None) => {}
                Err(failure) => drop(found.refused.insert(id.clone(), words(&failure))),
            }
        }
        found
    }

    /// Lists what may be children of the objects, in the namespaces that these are in.
    async fn children(&self, roots: &[Node], notes: &mut BTreeSet<String>) -> Vec<(ObjectId, Looked)> {
        let mut owners: BTreeMap<Arc<str>, BTreeSet<&GroupKind>> = BTreeMap::new();
        for root in roots.iter().filter(|root| root.object.is_some()) {
            if let Some(namespace) = root.id.namespace() {
                owners.entry(namespace.into()).or_default().insert(root.id.kind());
            }
        }
        let mut wanted: Vec<(Arc<str>, GroupKind)> = Vec::new();
        for (namespace, kinds) in owners {
            let below = if self.deep {
                let namespaced = self.apis.kinds.iter().filter(|(_, served)| served.namespaced);
                namespaced.map(|(kind, _)| kind.clone()).collect()
            } else {
                kinds::below(kinds, &self.apis)
            };
            wanted.extend(below.into_iter().map(|kind| (namespace.clone(), kind)));
        }
        let listed = stream::iter(wanted).map(|(namespace, kind)| async move {
            let part = Part { kind: &kind, namespace: Some(&namespace), selector: "" };
            let listed = look::list(self.connection(), &self.apis, part).await;
            (namespace, kind, listed)
        });
        let listed: Vec<_> = listed.buffer_unordered(ABREAST).collect().await;
        let mut interner = Interner::default();
        let mut found = Vec::new();
        for (namespace, kind, listed) in listed {
            match listed {
                Ok(objects) => found.extend(objects.into_iter().filter_map(|object| {
                    let name = object.metadata.name.clone()?;
                    Some((interner.object(&kind.group, &kind.kind, Some(&namespace), &name), object))
                })),
                Err(failure) => drop(notes.insert(unseen(&kind, &namespace, &failure))),
            }
        }
        found
    }
}

fn unseen(kind: &GroupKind, namespace: &str, failure: &Failure) -> String {
    format!("objects of {kind} in namespace {namespace:?} are not seen: {}", words(failure))
}

/// Returns an object of the app, with what the agent says of it: it knows how the app's kinds say how they are.
fn root(id: ObjectId, found: &mut Found, status: &AppStatus) -> Node {
    let object = found.objects.remove(&id);
    let refused = found.refused.remove(&id);
    let is_it = |row: &&ObjectRow| {
        id.is(&row.group, &row.kind) && id.namespace() == row.namespace.as_deref() && id.name() == row.name
    };
    let row = status.objects.iter().find(is_it);
    let (sync, health, message) = match (row, &object) {
        (Some(row), _) => (row.sync.clone(), row.health.clone(), row.message.clone()),
        (None, Some(object)) => {
            let Assessment { health, message } = object.assess(id.kind());
            (sync_of_unshown(status), health.word().to_owned(), message.unwrap_or_default())
        }
        (None, None) if refused.is_some() => (sync_of_unshown(status), forest::unread(), String::new()),
        (None, None) => (sync_of_unshown(status), "Missing".to_owned(), String::new()),
    };
    let message = match refused {
        Some(why) if message.is_empty() => format!("not seen: {why}"),
        _ => message,
    };
    Node { id, object, sync, health, message, children: Vec::new() }
}

/// Returns what is known of an object that the status does not show: it is no worse than the last that it does.
fn sync_of_unshown(status: &AppStatus) -> String {
    let last = status.objects.last().filter(|last| last.sync == "Synced");
    last.map_or(NOTHING, |last| &last.sync).to_owned()
}
