//! What a sync of an app would do, computed with the person's own rights: the one-shot pipeline of
//! `plan` and `diff`.

mod look;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, bail};
use skiff_shared::api::v1alpha1::{App, PlanSummary, StoredSet, SyncPolicy};
use skiff_shared::desired::autoscaler::{self, Scaled};
use skiff_shared::desired::yields::Yields;
use skiff_shared::desired::{
    Assignment, BodyDigest, Desired, DesiredRow, Listing, ObjectOptions, Revision, render_digest,
};
use skiff_shared::hook::Release;
use skiff_shared::inventory::{Inventory, InventoryRow, Record};
use skiff_shared::object::{ApiSet, Interner, ObjectId};
use skiff_shared::plan::{self, Candidate, Claims, Inputs, Plan};
use skiff_shared::policy::{Binds, Policy};
use skiff_shared::sync::effect;
use skiff_shared::sync::event::{Ask, Failure};
use tempfile::TempDir;

pub use self::look::{Change, Findings, Unchecked};
use super::described::Described;
use super::local::{Local, LocalApp, Served, problems};
use super::{connect, get};
use crate::args::PlanArgs;
use crate::cluster::Connection;
use crate::cluster::discovery::{Discovered, discover};
use crate::state::{State, environment_of};
use crate::store::Store;

/// What an app is planned with where neither a file nor the App object says it.
const POLICY_UNKNOWN: &str = "the agent has not recorded how it syncs this app: planned with the defaults of staging; \
     --cluster takes the agent's file";

/// What is shown instead of a plan that waits.
const NOT_STORED: &str = "a plan waits, and what it leads to is not stored in the cluster: this is only the way back to what \
     was last applied; --path shows a folder's plan";

/// A plan with all that is needed to look into it.
pub struct Outlook {
    pub warnings: Vec<String>,
    pub policy: Policy,
    /// Digest of the plan that the agent waits with, if it is that plan's set that is looked at.
    waits: Option<String>,
    plan: Plan,
    connection: Connection,
    apis: ApiSet,
    store: Store,
    wanted: HashMap<ObjectId, WantedObject>,
    app: String,
    instance: String,
    /// The agent's namespace.
    home: String,
    _scratch: TempDir,
}

/// What is known of a wanted object beside its place in the plan.
struct WantedObject {
    body: BodyDigest,
    options: ObjectOptions,
    is_hook: bool,
    /// The agent has written it and knows the answer.
    is_settled: bool,
    /// It is a hook of which an earlier run is on record.
    is_rerun: bool,
    /// What of it is left to others.
    yields: Option<Arc<Yields>>,
}

/// What an app is to become.
struct Aim {
    rows: Vec<DesiredRow>,
    policy: Option<Policy>,
    warnings: Vec<String>,
    store: Store,
    scratch: TempDir,
}

/// Computes what a sync would do: with a folder, to what it renders to; without one, to what the plan leads to that the
/// agent waits with, else back to what it last applied.
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
    let recorded = found.status.as_ref().and_then(|status| status.policy).map(SyncPolicy::read);
    let waiting = waiting_plan(&found).filter(|_| path.is_none());
    let waits = waiting.filter(|plan| plan.set.is_some()).map(|plan| plan.digest.clone());
    let aim = match path {
        Some(path) => {
            let environment = environment_of(&found);
            let wanted = Wanted { app: &app, environment, instance: &instance, path, facts, tools, recorded };
            wanted.render(&discovered, &interner).await?
        }
        None => {
            let scratch = tempfile::tempdir().context("failed to make a folder")?;
            let store = Store::open(scratch.path().join("bodies")).context("failed to make a folder")?;
            let rows = match waiting.and_then(|plan| plan.set.as_ref()) {
                Some(set) => waiting_rows(set, &state, &store, &interner).await?,
                None => {
                    state.restore(&inventory, &store).await.context("the stored render cannot be read")?;
                    recorded_rows(&inventory)
                }
            };
            let warnings = waiting.filter(|plan| plan.set.is_none()).map(|_| NOT_STORED.to_owned());
            Aim { rows, policy: recorded, warnings: warnings.into_iter().collect(), store, scratch }
        }
    };
    let Aim { rows, policy, mut warnings, store, scratch } = aim;
    if policy.is_none() {
        warnings.push(POLICY_UNKNOWN.to_owned());
    }
    let policy = policy.unwrap_or_default();
    let Discovered { apis, .. } = discovered;
    let installs = found.status.as_ref().is_none_or(|status| status.applied.is_none());
    let (plan, wanted) = plan_of(rows, &inventory, (&apis, &policy, &found.spec.ask()), installs);
    Ok(Outlook {
        warnings,
        policy,
        waits,
        plan,
        connection,
        apis,
        store,
        wanted,
        app,
        instance,
        home,
        _scratch: scratch,
    })
}

/// Returns the plan that the agent waits with.
pub fn waiting_plan(app: &App) -> Option<&PlanSummary> {
    let status = app.status.as_ref().filter(|status| status.phase == "Waiting")?;
    status.plan.as_ref()
}

/// Reads the set that a waiting plan leads to.
async fn waiting_rows(
    set: &StoredSet,
    state: &State,
    store: &Store,
    interner: &Mutex<Interner>,
) -> anyhow::Result<Vec<DesiredRow>> {
    let release = effect::Release {
        revision: Revision::default(),
        assignment: Assignment::default(),
        render: set.render.parse().ok().context("the App object names no digest of the plan's set")?,
        seen_at: jiff::Timestamp::now(),
        stored: set.stored.clone(),
        without: Vec::new(),
    };
    match state.recall(&release, store, interner).await {
        Ok(desired) => Ok(desired.rows.clone()),
        Err(Failure::Rejected(cause) | Failure::NotFound(cause) | Failure::Unavailable(cause)) => {
            bail!("what the plan leads to cannot be read: {}", cause.message)
        }
        Err(failure) => bail!("what the plan leads to cannot be read: {failure:?}"),
    }
}

impl Outlook {
    /// Says so where the plan that was computed is not the one that the agent waits with.
    pub fn doubt(&self, plan: &Plan) -> Option<String> {
        let (waits, computed) = (self.waits.as_ref()?, plan.digest().to_string());
        let binds_to_plan = self.policy.approval.binds == Binds::Plan;
        (binds_to_plan && *waits != computed).then(|| {
            format!(
                "plan {waits} waits, and this is {computed}: something has changed since, or you may not see all of it; what is approved is the plan that waits"
            )
        })
    }
}

/// The app that a folder is rendered for.
struct Wanted<'a> {
    app: &'a str,
    instance: &'a str,
    environment: &'a str,
    path: PathBuf,
    facts: Option<PathBuf>,
    tools: crate::args::ToolArgs,
    /// How the agent syncs the app, as far as its object says so.
    recorded: Option<Policy>,
}

impl Wanted<'_> {
    async fn render(self, discovered: &Discovered, interner: &Mutex<Interner>) -> anyhow::Result<Aim> {
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
        let LocalApp { rows, warnings } = rendered.map_err(|error| problems(&error.problems))?;
        let policy = match &local.described.policy {
            Some(_) => Some(spec.policy.clone()),
            None => self.recorded.map(|recorded| recorded.narrowed(&spec.policy)),
        };
        let (store, scratch) = local.into_store();
        Ok(Aim { rows, policy, warnings, store, scratch })
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

/// Returns the plan, and what is known of each wanted object.
fn plan_of(
    rows: Vec<DesiredRow>,
    inventory: &Inventory,
    (apis, policy, ask): (&ApiSet, &Policy, &Ask),
    installs: bool,
) -> (Plan, HashMap<ObjectId, WantedObject>) {
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
    let plan = plan::plan(&Inputs {
        desired: &desired,
        candidates: &candidates,
        apis,
        policy,
        claims: &Claims::default(),
        assigned_before: None,
        release: Release { id: Release::id_of(&desired, None), installs },
        removal: None,
        confirmed: &ask.prune,
    });
    let wanted = candidates.iter().filter_map(|candidate| {
        let row = candidate.wanted?;
        let object = WantedObject {
            body: row.body,
            options: row.options,
            is_hook: row.hook.is_some(),
            is_settled: matches!(candidate.record, Record::Settled(_)),
            is_rerun: row.hook.is_some() && *candidate.record != Record::None,
            yields: candidate.yields.cloned(),
        };
        Some((row.id.clone(), object))
    });
    let wanted = wanted.collect();
    (plan, wanted)
}
