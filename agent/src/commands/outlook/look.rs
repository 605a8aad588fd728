//! Looks at every object of a plan: what it is now, and what the API server would make of it.
//!
//! Asks as the agent's preflight does: an object whose kind comes with the plan is not checked, one whose Namespace does
//! is checked against its schema in another namespace, and one that is there without being on record is taken over only
//! as the policy says.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context as _, bail};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::Value;
use skiff_shared::api::{APP_LABEL, INSTANCE_LABEL};
use skiff_shared::desired::ApplyWhen;
use skiff_shared::managed_fields::{FIELD_MANAGER, Marks, foreign_owner};
use skiff_shared::object::{ObjectId, Target, api_version};
use skiff_shared::plan::adoption::{self, Adoption, Found};
use skiff_shared::plan::prune::recreation_guard;
use skiff_shared::plan::{Action, Held, HeldReason, Plan, Pruning, Write};
use skiff_shared::sync::event::{Cause, Failure, Refusal};

use super::{Outlook, WantedObject};
use crate::cluster::classify::classify;
use crate::cluster::requests::name_aside;
use crate::commands::mask::masked;

/// Objects that are looked at side by side.
const ABREAST: usize = 16;

/// A plan, and what became of it when its objects were looked at.
pub struct Findings {
    /// Without the writes that are held after all.
    pub plan: Plan,
    /// Sorted by object, prunes last. They hold no value of a Secret.
    pub changes: Vec<Change>,
}

/// One object of a plan before and after.
#[derive(Clone, Debug)]
pub struct Change {
    pub id: ObjectId,
    pub action: Action,
    pub before: Option<Value>,
    /// As the API server would store it; where it was not asked, as it would be sent.
    pub after: Option<Value>,
    /// It exists without being on record, and is taken over.
    pub adopts: bool,
    /// Why the API server refuses the object, or the change of one that is recreated.
    pub refused: Option<String>,
    pub unchecked: Option<Unchecked>,
}

/// Why the API server could not be asked, or not for everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unchecked {
    /// The object's kind comes with the same plan.
    Kind,
    /// The object's Namespace comes with the same plan.
    Namespace,
}

impl Unchecked {
    /// Returns the word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kind => "KindInPlan",
            Self::Namespace => "NamespaceInPlan",
        }
    }
}

impl std::fmt::Display for Unchecked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kind => {
                "not checked: its kind is defined by this plan, and it is written after its definition"
            }
            Self::Namespace => "checked against its schema only: its Namespace is created by this plan",
        })
    }
}

impl Change {
    fn of(id: &ObjectId, action: Action) -> Self {
        Self {
            id: id.clone(),
            action,
            before: None,
            after: None,
            adopts: false,
            refused: None,
            unchecked: None,
        }
    }

    /// Whether the API server refuses it for good.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some() && self.action != Action::Recreated
    }

    /// Says what a person must know beside the action.
    pub fn note(&self) -> Option<String> {
        match (&self.refused, self.unchecked) {
            (Some(why), _) if self.action == Action::Recreated => {
                Some(format!("DELETED and created anew, as it cannot be changed: {why}"))
            }
            (Some(why), _) => Some(format!("refused: {why}")),
            (None, Some(unchecked)) => Some(unchecked.to_string()),
            (None, None) if self.action == Action::Pruned => {
                Some("DELETED: it is not in Git any more".to_owned())
            }
            (None, None) => self.adopts.then(|| "it exists, and is taken over".to_owned()),
        }
    }
}

/// What a look at an object has shown.
enum Seen {
    Change(Change),
    Held(HeldReason),
}

impl Outlook {
    /// Looks at every object that would be written or is recorded as applied, and at every prune.
    pub async fn look(&self) -> anyhow::Result<Findings> {
        let mut findings = Findings { plan: self.plan.clone(), changes: Vec::new() };
        let absent = self.absent_namespaces().await?;
        let objects = self.objects();
        let seen: Vec<Seen> = stream::iter(&objects)
            .map(|(id, action)| self.see(id, *action, &absent))
            .buffered(ABREAST)
            .try_collect()
            .await?;
        for ((id, planned), seen) in objects.into_iter().zip(seen) {
            match seen {
                Seen::Held(reason) => findings.hold(id.clone(), reason),
                Seen::Change(change) => findings.take(planned, change),
            }
        }
        for prune in &self.plan.prunes {
            findings.changes.push(masked(self.pruned(prune).await?));
        }
        findings.plan.held.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(findings)
    }

    /// Returns each object once that is written or stays, in order. A hook is looked at only where it runs.
    fn objects(&self) -> Vec<(&ObjectId, Action)> {
        let mut objects: BTreeMap<&ObjectId, Action> =
            self.plan.writes.iter().map(|write| (&write.id, write.action)).collect();
        let held: HashSet<&ObjectId> = self.plan.held.iter().map(|held| &held.id).collect();
        let rest = self.wanted.iter().filter(|(id, wanted)| !wanted.is_hook && !held.contains(id));
        for (id, _) in rest {
            objects.entry(id).or_insert(Action::Unchanged);
        }
        objects.into_iter().collect()
    }

    /// Returns the Namespaces that the app has and the cluster has not.
    async fn absent_namespaces(&self) -> anyhow::Result<HashSet<&str>> {
        let mut absent = HashSet::new();
        for id in self.wanted.keys().filter(|id| id.is("", "Namespace")) {
            let target = Target { id: id.clone(), version: "v1".into() };
            let found = self.api(&target)?.get_opt(id.name()).await;
            if found.with_context(|| format!("failed to read {id}"))?.is_none() {
                absent.insert(id.name());
            }
        }
        Ok(absent)
    }

    async fn see(&self, id: &ObjectId, action: Action, absent: &HashSet<&str>) -> anyhow::Result<Seen> {
        let wanted = self.wanted.get(id).context("a written object is wanted")?;
        let Some(body) = self.store.get(wanted.body)? else {
            bail!("the body of {id} is not in the stored render: give --path");
        };
        let body: Value = serde_json::from_slice(&body)?;
        let written = body["apiVersion"].as_str().unwrap_or_default();
        let (_, version) = skiff_shared::object::split_api_version(written);
        let target = Target { id: id.clone(), version: version.into() };
        let creation = Change { after: Some(body.clone()), ..Change::of(id, Action::Created) };
        if !self.apis.served(id.kind(), version) {
            return Ok(Seen::Change(Change { unchecked: Some(Unchecked::Kind), ..creation }));
        }
        if id.namespace().is_some_and(|namespace| absent.contains(namespace)) {
            let refused = self.refused_elsewhere(&target, &body).await?;
            return Ok(Seen::Change(Change { refused, unchecked: Some(Unchecked::Namespace), ..creation }));
        }
        if wanted.is_rerun {
            // What stands there is deleted first: it would be refused for what cannot change.
            return Ok(Seen::Change(creation));
        }
        let live = self.api(&target)?.get_opt(id.name()).await;
        let live = live.with_context(|| format!("failed to read {id}"))?;
        let (action, adopts) = match &live {
            Some(live) if !wanted.is_settled => match self.adoption(live, wanted) {
                Ok(adopts) => (Action::Configured, adopts),
                Err(reason) => return Ok(Seen::Held(reason)),
            },
            Some(_) => (action, false),
            None => (Action::Created, false),
        };
        let change = Change { adopts, before: live.map(value).transpose()?, ..Change::of(id, action) };
        let change = self.tried(change, &target, wanted, &body).await?;
        // An earlier write whose record is not complete yet.
        let is_done =
            !wanted.is_settled && !adopts && change.refused.is_none() && change.before == change.after;
        let action = if is_done { Action::Unchanged } else { change.action };
        Ok(Seen::Change(Change { action, ..change }))
    }

    /// Says whether an object that is there without being on record would be taken over, or why it is left alone.
    fn adoption(&self, live: &DynamicObject, wanted: &WantedObject) -> Result<bool, HeldReason> {
        let managers: Vec<&str> =
            live.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect();
        let (labels, annotations, instance) = (live.labels(), live.annotations(), &*self.instance);
        let is_of_agent = labels.get(INSTANCE_LABEL).is_some_and(|of| of == instance);
        if let Some(other) = labels.get(APP_LABEL).filter(|other| is_of_agent && **other != self.app) {
            return Err(HeldReason::Conflict { app: other.as_str().into() });
        }
        let foreign = foreign_owner(&Marks { labels, annotations, managers: &managers, instance });
        let found = Found { foreign: foreign.as_ref(), is_ours: is_of_agent, is_hook: wanted.is_hook };
        match adoption::decide(found, self.policy.adopt) {
            Adoption::Ours => Ok(false),
            Adoption::TakenOver if wanted.options.apply == ApplyWhen::Once => Err(HeldReason::AlreadyThere),
            Adoption::TakenOver => Ok(true),
            Adoption::Refused { owner } => Err(HeldReason::NotAdopted { owner }),
        }
    }

    /// Has the API server go through the change.
    async fn tried(
        &self,
        change: Change,
        target: &Target,
        wanted: &WantedObject,
        body: &Value,
    ) -> anyhow::Result<Change> {
        let id = &target.id;
        let api = self.api(target)?;
        let (after, refused) = match dry_run(&api, id.name(), body).await {
            Ok(after) => (Some(value(after)?), None),
            Err(kube::Error::Api(status))
                if change.before.is_some()
                    && self.is_recreated(id, wanted)
                    && could_be_created(&api, id.name(), body).await =>
            {
                let (action, refused) = (Action::Recreated, Some(status.message));
                return Ok(Change { action, after: Some(body.clone()), refused, ..change });
            }
            Err(kube::Error::Api(status)) => (change.before.clone(), Some(status.message)),
            Err(error) => return Err(anyhow::Error::new(error).context(format!("failed to dry-run {id}"))),
        };
        // A creation sends everything.
        let (before, after) = match change.before {
            Some(before) => (Some(judged(before, wanted)?), after.map(|it| judged(it, wanted)).transpose()?),
            None => (None, after),
        };
        let drifted = change.action == Action::Unchanged && before != after;
        let action = if drifted { Action::Configured } else { change.action };
        Ok(Change { action, before, after, refused, ..change })
    }

    /// Whether the object asks to be recreated where it cannot be changed, and nothing guards it.
    fn is_recreated(&self, id: &ObjectId, wanted: &WantedObject) -> bool {
        wanted.options.recreate && recreation_guard(id, wanted.options, &self.policy).is_none()
    }

    /// Checks an object in the agent's namespace, as its own is not there yet. Only what is wrong with the object
    /// itself counts: other rules may hold there, and the person may have no rights.
    async fn refused_elsewhere(&self, target: &Target, body: &Value) -> anyhow::Result<Option<String>> {
        let mut moved = body.clone();
        moved["metadata"]["namespace"] = self.home.as_str().into();
        let (kind, name) = (target.id.kind().clone(), target.id.name());
        let id = ObjectId::new(kind, Some(self.home.as_str().into()), name);
        let elsewhere = Target { id, version: target.version.clone() };
        let Err(kube::Error::Api(status)) = dry_run(&self.api(&elsewhere)?, name, &moved).await else {
            return Ok(None);
        };
        let failure = classify(status.code, None, &serde_json::to_vec(&status)?);
        let Failure::Rejected(Cause { reason, message, .. }) = failure else { return Ok(None) };
        Ok(matches!(reason, Refusal::SchemaInvalid | Refusal::Invalid).then_some(message))
    }

    async fn pruned(&self, prune: &Pruning) -> anyhow::Result<Change> {
        let id = &prune.id;
        let target = Target { id: id.clone(), version: prune.version.clone() };
        let before = if self.apis.served(id.kind(), &prune.version) {
            let live = self.api(&target)?.get_opt(id.name()).await;
            live.with_context(|| format!("failed to read {id}"))?.map(value).transpose()?
        } else {
            // It has gone with its definition.
            None
        };
        Ok(Change { before, ..Change::of(id, Action::Pruned) })
    }

    fn api(&self, target: &Target) -> anyhow::Result<Api<DynamicObject>> {
        let kind = target.id.kind();
        let served =
            self.apis.kinds.get(kind).with_context(|| format!("the cluster does not serve {kind}"))?;
        let resource = ApiResource {
            group: kind.group.to_string(),
            version: target.version.to_string(),
            api_version: api_version(&kind.group, &target.version),
            kind: kind.kind.to_string(),
            plural: served.plural.to_string(),
        };
        let client = self.connection.client().clone();
        Ok(match target.id.namespace().filter(|_| served.namespaced) {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        })
    }
}

impl Findings {
    /// Leaves an object out of the plan.
    fn hold(&mut self, id: ObjectId, reason: HeldReason) {
        self.plan.writes.retain(|write| write.id != id);
        self.plan.on_failure.retain(|write| write.id != id);
        self.plan.held.push(Held { id, reason });
    }

    /// Brings into the plan what a look has shown, so that its digest is the agent's.
    fn take(&mut self, planned: Action, change: Change) {
        let is_it = |write: &Write| write.id == change.id && !write.is_hook;
        if change.action == Action::Unchanged {
            self.plan.writes.retain(|write| !is_it(write));
            self.plan.unchanged += u32::from(planned != Action::Unchanged);
            return;
        }
        for write in self.plan.writes.iter_mut().filter(|write| is_it(write)) {
            (write.action, write.adopts) = (change.action, change.adopts);
        }
        self.changes.push(masked(change));
    }
}

async fn dry_run(api: &Api<DynamicObject>, name: &str, body: &Value) -> kube::Result<DynamicObject> {
    let params =
        PatchParams { dry_run: true, ..PatchParams::apply(FIELD_MANAGER).force().validation_strict() };
    api.patch(name, &params, &Patch::Apply(body)).await
}

/// Whether an object that is refused could be created under another name.
async fn could_be_created(api: &Api<DynamicObject>, name: &str, body: &Value) -> bool {
    let mut aside = body.clone();
    let name = name_aside(name);
    aside["metadata"]["name"] = name.as_str().into();
    dry_run(api, &name, &aside).await.is_ok()
}

/// Returns an object without what is left to others once it exists.
fn judged(mut object: Value, wanted: &WantedObject) -> anyhow::Result<Value> {
    if let Some(yields) = &wanted.yields {
        yields.take_from(&mut object, &[])?;
    }
    Ok(object)
}

/// Returns an object without what the server alone writes.
fn value(object: DynamicObject) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(object)?;
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        for server in
            ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"]
        {
            metadata.remove(server);
        }
    }
    Ok(value)
}
