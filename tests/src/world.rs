//! A simulated API server: what it stores, how it answers, and what other people do to it.
//!
//! Pure and without a clock: [`World::now`] is set by the driver. An object is reduced to what drift,
//! health and prune can see of it; a body is named by digest and says how its object behaves.

mod meddling;
mod requests;
mod store;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use skiff_shared::desired::yields::{Field, Yields};
use skiff_shared::desired::{BodyDigest, Desired};
use skiff_shared::health::{Assessment, Health};
use skiff_shared::hook::SyncPhase;
use skiff_shared::inventory::Uid;
use skiff_shared::managed_fields::{Entry, FieldSet, Fields, ForeignOwner, Owned, Tool};
use skiff_shared::object::{ApiSet, Digest, GroupKind, ObjectId, ServedKind};
use skiff_shared::report::Recorded;
use skiff_shared::sync::effect::ShardSlot;
use skiff_shared::sync::event::{Ask, Point, Refusal, Seen};

pub use meddling::Meddling;
pub use requests::cause;
pub use store::Store;

use crate::random::mix;

/// How an object with this body behaves.
#[derive(Clone, Debug)]
pub struct Body {
    pub app: Arc<str>,
    /// The value of the fields that the body declares.
    pub content: u64,
    /// The value of a field that cannot be changed.
    pub fixed: u64,
    /// The digest of the set of those fields.
    pub fields: u128,
    /// The value of a field that may be left to others, where the body declares it.
    pub replicas: Option<u64>,
    /// Steps of the world until the object is healthy; `None`: never.
    pub ready_after: Option<u32>,
    /// Refused by schema or admission, also in a dry run.
    pub refused: Option<Refusal>,
    /// Refused only when it is really written.
    pub refused_on_write: Option<Refusal>,
    /// Steps that a finalizer holds the object after a delete.
    pub finalizer: u32,
    /// The kind that the object, a CustomResourceDefinition, brings.
    pub provides: Option<Arc<GroupKind>>,
    /// It becomes ill where others become healthy.
    pub fails: bool,
}

/// A stored object.
#[derive(Clone, Debug)]
pub struct Live {
    pub uid: Uid,
    pub rv: u64,
    pub generation: i64,
    pub content: u64,
    /// The value of the field that cannot be changed.
    pub fixed: u64,
    /// The value of the field that may be left to others; 0 is the server's default.
    pub replicas: u64,
    pub scaled_by: Scaler,
    pub fields: Fields,
    pub health: Health,
    /// Steps until it is healthy, or ill for good.
    pub ready_in: Option<u32>,
    pub fails: bool,
    pub finalizer: u32,
    pub deleting: bool,
    pub labelled: bool,
    pub app: Option<Arc<str>>,
    pub has_owner: bool,
    /// What somebody on call has written on it.
    pub hold_until: Option<Timestamp>,
    pub foreign: Option<ForeignOwner>,
    /// A tool that has applied it, too.
    pub tool: Option<Tool>,
    pub provides: Option<Arc<GroupKind>>,
    /// Other values stand where ours stood, and our entry does not show it.
    pub silent: bool,
    /// Who has touched fields that we declare.
    pub meddler: Option<&'static str>,
    /// Written by us at least once since it was created.
    pub written: bool,
}

/// Who owns the field that may be left to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scaler {
    Nobody,
    Us,
    Autoscaler,
}

/// One change of the store, as a watch would tell it.
#[derive(Clone, Debug)]
pub struct Change {
    pub id: ObjectId,
    pub rv: u64,
    pub was_ours: bool,
    /// What the object is now, if it is there and carries our label.
    pub ours: Option<Live>,
}

/// The server's mood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Weather {
    pub webhook_down: bool,
    pub quota_full: bool,
    /// A policy refuses everything new.
    pub creates_denied: bool,
    /// The agent's own namespace takes no new object: neither a shard nor a stored render.
    pub state_full: bool,
}

/// The whole cluster.
#[derive(Clone, Debug)]
pub struct World {
    pub now: Timestamp,
    pub weather: Weather,
    pub apis: ApiSet,
    pub stores: BTreeMap<Arc<str>, Store>,
    /// What each app's status remembers, and what people ask of it.
    pub apps: BTreeMap<Arc<str>, (Recorded, Ask)>,
    pub objects: BTreeMap<ObjectId, Live>,
    pub bodies: HashMap<BodyDigest, Body>,
    /// Every set that was rendered, by its digest.
    pub sets: HashMap<Digest, Arc<Desired>>,
    /// Git cannot be reached: what is not stored cannot be rendered again.
    pub git_away: bool,
    /// Somebody has deleted the inventory: until it is rebuilt, what is there is in none.
    pub forgotten: bool,
    /// Kinds whose CRD is there and not yet established, with the steps left.
    coming: Vec<(Arc<GroupKind>, u32)>,
    pub changes: Vec<Change>,
    /// The version in which somebody else last changed or removed an object.
    pub disturbed: HashMap<ObjectId, u64>,
    /// The version of an object after our last apply.
    pub own: HashMap<ObjectId, u64>,
    /// Objects that others have done something to.
    pub meddled: HashSet<ObjectId>,
    /// Hooks that were created, with release and phase.
    pub runs: HashSet<(ObjectId, Digest, SyncPhase)>,
    /// What an apply of ours has reset though it was to be left to others.
    pub resets: Vec<ObjectId>,
    /// The version in which each object came to be.
    pub born: HashMap<Uid, u64>,
    /// Every answer to an apply that reached a process.
    pub answered: HashSet<(ObjectId, Uid, u64, BodyDigest)>,
    rv: u64,
    uids: u64,
    forgery: Forgery,
    namespace: Arc<GroupKind>,
}

/// managedFields as the machine wants them to name culprits; built once.
#[derive(Clone, Debug)]
struct Forgery {
    whole: FieldSet,
    entries: HashMap<&'static str, Arc<[Entry]>>,
}

impl Forgery {
    fn new() -> Self {
        let whole = r#"{"f:spec":{"f:replicas":{},"f:image":{}}}"#;
        let entries = meddling::MANAGERS.iter().map(|manager| {
            let json = format!(
                r#"[{{"manager":"skiff","operation":"Apply","apiVersion":"v1","time":"2023-11-14T22:13:20Z",
                "fieldsType":"FieldsV1","fieldsV1":{{"f:spec":{{"f:image":{{}}}}}}}},
                {{"manager":"{manager}","operation":"Update","apiVersion":"v1","time":"2023-11-14T22:20:00Z",
                "fieldsType":"FieldsV1","fieldsV1":{{"f:spec":{{"f:replicas":{{}}}}}}}}]"#
            );
            let entries: Vec<Entry> = serde_json::from_str(&json).expect("entries as the server writes them");
            (*manager, entries.into())
        });
        Self { whole: FieldSet::from_v1(whole).expect("a field set"), entries: entries.collect() }
    }
}

/// Kinds that have a status to be judged by.
const WITH_HEALTH: [&str; 5] = ["Deployment", "StatefulSet", "Job", "APIService", "Widget"];

/// The kinds that every world serves: group, kind, plural, namespaced.
const SERVED: [(&str, &str, &str, bool); 14] = [
    ("", "Namespace", "namespaces", false),
    ("", "ConfigMap", "configmaps", true),
    ("", "Secret", "secrets", true),
    ("", "Service", "services", true),
    ("", "ServiceAccount", "serviceaccounts", true),
    ("", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("apps", "Deployment", "deployments", true),
    ("apps", "StatefulSet", "statefulsets", true),
    ("batch", "Job", "jobs", true),
    ("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", false),
    ("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", false),
    (
        "admissionregistration.k8s.io",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        false,
    ),
    ("apiregistration.k8s.io", "APIService", "apiservices", false),
    ("metrics.k8s.io", "PodMetrics", "pods", true),
];

impl Default for World {
    fn default() -> Self {
        let served = |(group, kind, plural, namespaced): &(&str, &str, &str, bool)| {
            let versions = vec!["v1".into()];
            (
                GroupKind::new(group, kind),
                ServedKind { plural: (*plural).into(), namespaced: *namespaced, versions },
            )
        };
        Self {
            now: Timestamp::from_second(1_700_000_000).expect("a time of our age"),
            weather: Weather::default(),
            apis: ApiSet { kinds: SERVED.iter().map(served).collect(), incomplete: Vec::new() },
            stores: BTreeMap::new(),
            apps: BTreeMap::new(),
            objects: BTreeMap::new(),
            bodies: HashMap::new(),
            sets: HashMap::new(),
            git_away: false,
            forgotten: false,
            coming: Vec::new(),
            changes: Vec::new(),
            disturbed: HashMap::new(),
            own: HashMap::new(),
            meddled: HashSet::new(),
            runs: HashSet::new(),
            resets: Vec::new(),
            born: HashMap::new(),
            answered: HashSet::new(),
            rv: 1_000,
            uids: 0,
            forgery: Forgery::new(),
            namespace: Arc::new(GroupKind::new("", "Namespace")),
        }
    }
}

impl World {
    /// Whether a part of an app's inventory is stored.
    pub fn has_shard(&self, app: &str, slot: ShardSlot) -> bool {
        self.stores.get(app).is_some_and(|store| store.shards.contains_key(&slot))
    }

    /// Rises with every change of an object.
    pub fn version(&self) -> u64 {
        self.rv
    }

    fn next_rv(&mut self) -> u64 {
        self.rv += 1;
        self.rv
    }

    fn next_uid(&mut self) -> Uid {
        self.uids += 1;
        Uid(format!("uid-{}", self.uids).into())
    }

    /// Returns the object as a watch or a GET of generation `watch` shows it.
    pub fn seen(&self, live: &Live, watch: u32) -> Seen {
        let health = if live.deleting { Health::Progressing } else { live.health };
        let message = live.deleting.then(|| "being deleted".into());
        Seen {
            at: Point { watch, rv: live.rv },
            uid: live.uid.clone(),
            generation: live.generation,
            fields: live.fields,
            health: Assessment { health, message },
            deleting: live.deleting,
            has_owner: live.has_owner,
            hold_until: live.hold_until,
            tool: live.tool,
            is_ours: live.labelled,
            foreign: live.foreign.clone(),
            entries: live.meddler.and_then(|manager| self.forgery.entries.get(manager).cloned()),
        }
    }

    /// Records a change of an object for the watches; `was_ours` tells how it was before.
    fn changed(&mut self, id: &ObjectId, was_ours: bool) {
        let live = self.objects.get(id);
        let rv = live.map_or(self.rv, |live| live.rv);
        let ours = live.filter(|live| live.labelled).cloned();
        if was_ours || ours.is_some() {
            self.changes.push(Change { id: id.clone(), rv, was_ours, ours });
        }
    }

    /// Changes an object in place and tells the watches.
    pub fn touch(&mut self, id: &ObjectId, change: impl FnOnce(&mut Live, Timestamp)) {
        let (rv, now) = (self.next_rv(), self.now);
        let Some(live) = self.objects.get_mut(id) else { return };
        let was_ours = live.labelled;
        live.rv = rv;
        change(live, now);
        self.changed(id, was_ours);
    }

    fn remove(&mut self, id: &ObjectId) {
        self.next_rv();
        let Some(live) = self.objects.remove(id) else { return };
        self.disturbed.insert(id.clone(), self.rv);
        self.changed(id, live.labelled);
        if let Some(kind) = &live.provides {
            self.coming.retain(|(coming, _)| coming != kind);
            self.apis.kinds.remove(&**kind);
            let orphans: Vec<ObjectId> =
                self.objects.keys().filter(|id| id.kind() == kind).cloned().collect();
            for orphan in orphans {
                self.meddled.insert(orphan.clone());
                self.remove(&orphan);
            }
        }
    }

    /// Creates an object that nobody but us or a meddler asked for.
    fn create(&mut self, id: &ObjectId, live: Live) {
        self.born.insert(live.uid.clone(), live.rv);
        self.objects.insert(id.clone(), live);
        self.changed(id, false);
    }

    /// Whether the world moves by itself: something becomes healthy, ends or is established.
    pub fn is_restless(&self) -> bool {
        !self.coming.is_empty()
            || self.objects.values().any(|live| live.ready_in.is_some())
            || self.objects.iter().any(|(id, live)| live.deleting && self.may_end(id, live))
    }

    fn may_end(&self, id: &ObjectId, live: &Live) -> bool {
        if live.finalizer != u32::MAX && id.is("", "Namespace") {
            return !self.objects.iter().any(|(inner, live)| {
                inner.namespace() == Some(id.name()) && live.deleting && live.finalizer == u32::MAX
            });
        }
        live.finalizer != u32::MAX
    }

    /// Moves everything that moves by itself one step; returns whether the served kinds changed.
    pub fn live_on(&mut self) -> bool {
        let ids: Vec<ObjectId> = self.objects.keys().cloned().collect();
        for id in ids {
            self.grow(&id);
            self.wither(&id);
        }
        let before = self.coming.len();
        for (_, left) in &mut self.coming {
            *left = left.saturating_sub(1);
        }
        let arrived: Vec<_> = self.coming.extract_if(.., |(_, left)| *left == 0).collect();
        for (kind, _) in arrived {
            let plural = kind.kind.to_lowercase().into();
            let served = ServedKind { plural, namespaced: true, versions: vec!["v1".into()] };
            self.apis.kinds.insert((*kind).clone(), served);
        }
        before != self.coming.len()
    }

    /// An object on its way to health comes nearer to it.
    fn grow(&mut self, id: &ObjectId) {
        let Some(live) = self.objects.get_mut(id) else { return };
        let Some(left) = live.ready_in else { return };
        live.ready_in = left.checked_sub(1);
        if left <= 1 {
            live.ready_in = None;
            self.touch(id, |live, _| {
                live.health = if live.fails { Health::Degraded } else { Health::Healthy };
                live.fields.status = mix(live.fields.status ^ live.content);
            });
        }
    }

    /// An object that is being deleted comes nearer to its end.
    fn wither(&mut self, id: &ObjectId) {
        let Some(live) = self.objects.get_mut(id) else { return };
        if !live.deleting || live.finalizer == u32::MAX {
            return;
        }
        if id.is("", "Namespace") {
            let inner = self.objects.iter().find(|(inner, _)| inner.namespace() == Some(id.name()));
            match inner.map(|(inner, live)| (inner.clone(), live.deleting)) {
                None => self.remove(id),
                Some((inner, false)) => {
                    self.meddled.insert(inner.clone());
                    self.doom(&inner);
                }
                Some((_, true)) => {}
            }
            return;
        }
        live.finalizer = live.finalizer.saturating_sub(1);
        if live.finalizer == 0 {
            self.remove(id);
        }
    }

    /// Deletes an object as anybody may: at once, or marked until its finalizers are done.
    pub fn doom(&mut self, id: &ObjectId) {
        let Some(live) = self.objects.get(id) else { return };
        let waits = live.finalizer > 0 || id.is("", "Namespace");
        if live.deleting {
            return;
        }
        if waits {
            self.touch(id, |live, _| {
                live.deleting = true;
                live.generation += 1;
            });
        } else {
            self.remove(id);
        }
    }

    /// Returns what our entry is right after an apply of `body`.
    fn owned_by(&self, body: &Body, yields: Option<&Yields>) -> Option<Owned> {
        Some(Owned { digest: owned_fields(body, yields), time: self.now.as_second() })
    }

    /// Whether the object is as `body` says, in values, ownership and label.
    pub fn is_as(&self, id: &ObjectId, digest: BodyDigest) -> bool {
        self.is_as_left(id, digest, None)
    }

    /// The same without what is left to others.
    pub fn is_as_left(&self, id: &ObjectId, digest: BodyDigest, yields: Option<&Yields>) -> bool {
        let (Some(live), Some(body)) = (self.objects.get(id), self.bodies.get(&digest)) else {
            return false;
        };
        is_as(live, body, yields) && !live.deleting
    }
}

/// The replicas that an apply of a body sends.
fn sent_replicas(body: &Body, yields: Option<&Yields>) -> Option<u64> {
    let is_left = yields.is_some_and(|yields| yields.fields.contains(&Field::replicas()));
    body.replicas.filter(|_| !is_left)
}

/// The value of the field that cannot be changed, as far as an apply of a body sends it.
fn sent_fixed(body: &Body, yields: Option<&Yields>) -> Option<u64> {
    let is_left = |field: &Field| field.as_pointer() == FIXED;
    (!yields.is_some_and(|yields| yields.fields.iter().any(is_left))).then_some(body.fixed)
}

/// Where the field is that cannot be changed.
const FIXED: &str = "/spec/fixed";

/// The digest of the fields that are ours after an apply.
fn owned_fields(body: &Body, yields: Option<&Yields>) -> u128 {
    let replicas = sent_replicas(body, yields).map_or(0, |_| OWNED_REPLICAS);
    body.fields | replicas
}

/// In a digest of our fields: the field that may be left to others is one of them.
const OWNED_REPLICAS: u128 = 1 << 120;

fn is_as(live: &Live, body: &Body, yields: Option<&Yields>) -> bool {
    live.content == body.content
        && sent_replicas(body, yields).is_none_or(|replicas| live.replicas == replicas)
        && live.fields.ours.is_some_and(|ours| ours.digest == owned_fields(body, yields))
        && live.labelled
        && live.app.as_ref() == Some(&body.app)
}

/// Returns the group of a kind that tests name by its kind alone.
pub fn group_of(kind: &str) -> &'static str {
    let known = SERVED.iter().find(|(_, known, ..)| *known == kind);
    known.map_or("example.com", |(group, ..)| group)
}

fn has_health(id: &ObjectId) -> bool {
    WITH_HEALTH.contains(&&*id.kind().kind)
}
