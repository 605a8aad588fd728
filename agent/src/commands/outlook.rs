//! What a sync of an app would do, computed with the person's own rights: the one-shot pipeline of
//! `plan` and `diff`.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, bail};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::Value;
use skiff_shared::api::v1alpha1::App;
use skiff_shared::desired::autoscaler::{self, Scaled};
use skiff_shared::desired::yields::Yields;
use skiff_shared::desired::{Assignment, Desired, DesiredRow, Listing, Revision, render_digest};
use skiff_shared::hook::Release;
use skiff_shared::inventory::{Inventory, InventoryRow, Record};
use skiff_shared::managed_fields::FIELD_MANAGER;
use skiff_shared::object::{ApiSet, Digest, Interner, ObjectId, Target, api_version};
use skiff_shared::plan::prune::recreation_guard;
use skiff_shared::plan::{self, Action, Candidate, Claims, Inputs, Plan};
use skiff_shared::policy::Policy;
use tempfile::TempDir;

use super::described::Described;
use super::local::{Local, Served, problems};
use super::{connect, get};
use crate::args::PlanArgs;
use crate::cluster::Connection;
use crate::cluster::discovery::{Discovered, discover};
use crate::cluster::requests::name_aside;
use crate::state::{State, environment_of};
use crate::store::Store;

/// A plan with all that is needed to look into it.
pub struct Outlook {
    pub plan: Plan,
    pub warnings: Vec<String>,
    connection: Connection,
    apis: ApiSet,
    store: Store,
    bodies: HashMap<ObjectId, Digest>,
    /// Objects that are recreated where they cannot be changed.
    forced: HashSet<ObjectId>,
    /// What of each object is left to others.
    yields: HashMap<ObjectId, Arc<Yields>>,
    _scratch: TempDir,
}

/// One object of a plan before and after.
pub struct Change {
    pub id: ObjectId,
    pub action: Action,
    pub before: Option<Value>,
    pub after: Option<Value>,
    /// Why the API server refuses the object, or the change of one that is recreated.
    pub refused: Option<String>,
}

/// Computes what a sync would do: with a folder, to what it renders to; without one, back to what the
/// agent last applied.
pub async fn compute(arguments: PlanArgs) -> anyhow::Result<Outlook> {
    let PlanArgs { app, path, facts, tools, namespace, output: _, cluster } = arguments;
    let connection = connect(cluster).await?;
    let found = get::find(&connection, namespace.as_deref(), &app).await?;
    let discovered = discover(&connection).await.context("the cluster's kinds cannot be read")?;
    let interner = Mutex::new(Interner::default());
    let instance = instance_of(&found)?;
    let home = found.metadata.namespace.clone().unwrap_or_default();
    let state = State::new(connection.client(), &home, &instance);
    let inventory = state.load(&app, &interner).await.context("the app's inventory cannot be read")?;
    let (rows, warnings, (store, scratch)) = match path {
        Some(path) => {
            let wanted = Wanted {
                app: &app,
                environment: environment_of(&found),
                instance: &instance,
                path,
                facts,
                tools,
            };
            wanted.render(&discovered, &interner).await?
        }
        None => {
            let scratch = tempfile::tempdir().context("failed to make a folder")?;
            let recorded = Store::open(scratch.path().join("bodies")).context("failed to make a folder")?;
            state.restore(&inventory, &recorded).await.context("the stored render cannot be read")?;
            (recorded_rows(&inventory), Vec::new(), (recorded, scratch))
        }
    };
    let policy = Policy::default();
    let is_forced =
        |row: &&DesiredRow| row.options.recreate && recreation_guard(&row.id, row.options, &policy).is_none();
    let forced = rows.iter().filter(is_forced).map(|row| row.id.clone()).collect();
    let bodies = rows.iter().map(|row| (row.id.clone(), row.body)).collect();
    let Discovered { apis, .. } = discovered;
    let installs = found.status.as_ref().is_none_or(|status| status.applied.is_none());
    let (plan, yields) = plan_of(rows, &inventory, &apis, installs);
    Ok(Outlook { plan, warnings, connection, apis, store, bodies, forced, yields, _scratch: scratch })
}

/// The app that a folder is rendered for.
struct Wanted<'a> {
    app: &'a str,
    instance: &'a str,
    environment: &'a str,
    path: PathBuf,
    facts: Option<PathBuf>,
    tools: crate::args::ToolArgs,
}

impl Wanted<'_> {
    async fn render(
        self,
        discovered: &Discovered,
        interner: &Mutex<Interner>,
    ) -> anyhow::Result<(Vec<DesiredRow>, Vec<String>, (Store, TempDir))> {
        let described = Described::read_any(self.facts.as_deref(), self.environment);
        let described = described.map_err(|found| problems(&found))?;
        let local = Local::new(&self.path, self.app, &self.tools, described)?;
        let list = local.environment().map_err(|unlisted| problems(&unlisted.problems))?;
        let Some(spec) = list.apps.iter().find(|spec| spec.name.as_str() == self.app) else {
            bail!("{} lists no app {:?}", self.path.display(), self.app);
        };
        let place = local.place(spec).await;
        let place = place.map_err(|why| anyhow::anyhow!("app {}: {why}", self.app))?;
        let served = Served { apis: &discovered.apis, kube_version: &discovered.kube_version };
        let rendered = local.render(&place, &served, self.instance, interner).await;
        let rendered = rendered.map_err(|error| problems(&error.problems))?;
        Ok((rendered.rows, rendered.warnings, local.into_store()))
    }
}

fn instance_of(app: &App) -> anyhow::Result<String> {
    let labels = app.metadata.labels.as_ref();
    let agent = labels.and_then(|labels| labels.get(crate::state::LABEL_AGENT));
    agent.cloned().context("the App object does not say which agent it is of")
}

/// Returns the recorded objects as if Git wanted them as they were last applied.
fn recorded_rows(inventory: &Inventory) -> Vec<DesiredRow> {
    let rows = inventory.shards.iter().flat_map(|shard| &shard.rows);
    let mut rows: Vec<DesiredRow> = rows
        // What a hook was is not on record: without its annotations it would be planned as an object.
        .filter(|row| row.hook_run.is_none())
        .filter_map(|row| {
            let InventoryRow { id, version, wave, options, record, hook_run: _, recreation: _, parting: _ } =
                row;
            Some(DesiredRow {
                id: id.clone(),
                version: version.clone(),
                body: record.applied()?.body,
                bytes: 0,
                wave: *wave,
                options: *options,
                yields: record.applied()?.yields.clone(),
                provides: None,
                hook: None,
                scales: None,
                declares_replicas: false,
                origin: "stored render".into(),
            })
        })
        .collect();
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    rows
}

/// Returns the plan, and what of each wanted object is left to others.
fn plan_of(
    rows: Vec<DesiredRow>,
    inventory: &Inventory,
    apis: &ApiSet,
    installs: bool,
) -> (Plan, HashMap<ObjectId, Arc<Yields>>) {
    let desired = Desired {
        revision: Revision::default(),
        assignment: Assignment::default(),
        render: render_digest(&rows),
        rows,
        warnings: Vec::new(),
        listing: Listing::Listed,
        seen_at: jiff::Timestamp::now(),
        fetched: None,
        rendered: None,
    };
    let mut recorded: HashMap<&ObjectId, &InventoryRow> = HashMap::new();
    recorded.extend(inventory.shards.iter().flat_map(|shard| &shard.rows).map(|row| (&row.id, row)));
    let rendered = autoscaler::rendered(&desired);
    let scaled = Scaled { rendered: &rendered, live: None };
    let effective: Vec<_> = desired
        .rows
        .iter()
        .map(|row| {
            let record = recorded.get(&row.id).map_or(&Record::None, |row| &row.record);
            scaled.yields_of(row, record)
        })
        .collect();
    let wanted = desired.rows.iter().zip(&effective).map(|(row, yields)| {
        let known = recorded.remove(&row.id);
        let record = known.map_or(&Record::None, |row| &row.record);
        Candidate {
            id: &row.id,
            version: &row.version,
            wanted: Some(row),
            record,
            options: row.options,
            wave: row.wave,
            yields: yields.as_ref(),
            rewrite: false,
            hook_run: known.and_then(|row| row.hook_run.as_deref()),
        }
    });
    let mut candidates: Vec<Candidate<'_>> = wanted.collect();
    candidates.extend(recorded.values().map(|row| Candidate {
        id: &row.id,
        version: &row.version,
        wanted: None,
        record: &row.record,
        options: row.options,
        wave: row.wave,
        yields: None,
        rewrite: false,
        hook_run: row.hook_run.as_deref(),
    }));
    let (policy, claims) = (Policy::default(), Claims::default());
    let plan = plan::plan(&Inputs {
        desired: &desired,
        candidates: &candidates,
        apis,
        policy: &policy,
        claims: &claims,
        assigned_before: None,
        release: Release { id: Release::id_of(&desired, None), installs },
        removal: None,
    });
    let left = desired.rows.iter().zip(effective);
    (plan, left.filter_map(|(row, yields)| Some((row.id.clone(), yields?))).collect())
}

impl Outlook {
    /// Looks at every object that would be written or is recorded as applied, and at every prune.
    pub async fn changes(&self) -> anyhow::Result<Vec<Change>> {
        let mut changes = Vec::new();
        let mut written: Vec<(&ObjectId, Action)> =
            self.plan.writes.iter().map(|write| (&write.id, write.action)).collect();
        let planned: std::collections::HashSet<&ObjectId> = written.iter().map(|(id, _)| *id).collect();
        let held: std::collections::HashSet<&ObjectId> = self.plan.held.iter().map(|held| &held.id).collect();
        let rest = self.bodies.keys().filter(|id| !planned.contains(id) && !held.contains(id));
        written.extend(rest.map(|id| (id, Action::Unchanged)));
        written.sort();
        for (id, action) in written {
            let body = self.bodies.get(id).context("a written object has a body")?;
            let change = self.change(id, action, *body).await?;
            if action != Action::Unchanged || change.before != change.after {
                changes.push(change);
            }
        }
        for prune in &self.plan.prunes {
            let target = Target { id: prune.id.clone(), version: prune.version.clone() };
            let before = self.api(&target)?.get_opt(prune.id.name()).await?.map(value);
            changes.push(Change {
                id: prune.id.clone(),
                action: Action::Pruned,
                before: before.transpose()?,
                after: None,
                refused: None,
            });
        }
        Ok(changes)
    }

    async fn change(&self, id: &ObjectId, action: Action, body: Digest) -> anyhow::Result<Change> {
        let Some(body) = self.store.get(body)? else {
            bail!("the body of {id} is not in the stored render: give --path");
        };
        let wanted: Value = serde_json::from_slice(&body)?;
        let api_version = wanted["apiVersion"].as_str().unwrap_or_default();
        let (_, version) = skiff_shared::object::split_api_version(api_version);
        let target = Target { id: id.clone(), version: version.into() };
        let api = self.api(&target)?;
        let before = api.get_opt(id.name()).await.with_context(|| format!("failed to read {id}"))?;
        let before = before.map(value).transpose()?;
        let params = PatchParams { dry_run: true, ..PatchParams::apply(FIELD_MANAGER).force() };
        let (after, refused) = match api.patch(id.name(), &params, &Patch::Apply(&wanted)).await {
            Ok(after) => (Some(value(after)?), None),
            Err(kube::Error::Api(status))
                if before.is_some() && self.could_be_created(&target, &wanted).await =>
            {
                let (action, refused) = (Action::Recreated, Some(status.message));
                return Ok(Change { id: id.clone(), action, before, after: Some(wanted), refused });
            }
            Err(kube::Error::Api(status)) => (before.clone(), Some(status.message)),
            Err(error) => return Err(anyhow::Error::new(error).context(format!("failed to dry-run {id}"))),
        };
        let (before, after) = match before {
            Some(_) => (self.judged(id, before)?, self.judged(id, after)?),
            // A creation sends everything.
            None => (before, after),
        };
        let drifted = action == Action::Unchanged && before != after;
        let action = if drifted { Action::Configured } else { action };
        Ok(Change { id: id.clone(), action, before, after, refused })
    }

    /// Whether an object that is refused and is to be recreated could be created under another name.
    async fn could_be_created(&self, target: &Target, wanted: &Value) -> bool {
        let (Ok(api), true) = (self.api(target), self.forced.contains(&target.id)) else { return false };
        let mut aside = wanted.clone();
        let name = name_aside(target.id.name());
        aside["metadata"]["name"] = name.as_str().into();
        let params = PatchParams { dry_run: true, ..PatchParams::apply(FIELD_MANAGER).force() };
        api.patch(&name, &params, &Patch::Apply(&aside)).await.is_ok()
    }

    /// Returns an object without what is left to others once it exists.
    fn judged(&self, id: &ObjectId, side: Option<Value>) -> anyhow::Result<Option<Value>> {
        let (Some(mut object), Some(yields)) = (side.clone(), self.yields.get(id)) else { return Ok(side) };
        yields.take_from(&mut object, &[])?;
        Ok(Some(object))
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
