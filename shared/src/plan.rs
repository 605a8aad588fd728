//! The plan: every write of one sync, in order, and every object left alone, with the reason.
//!
//! Between render and gate. Total: it cannot fail, a bad object is a held row. It decides; nothing
//! after it decides again. What it compares are values that were observed before it was called.

pub mod adoption;
pub mod check;
mod held;
pub mod order;
pub mod prune;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::desired::yields::Yields;
use crate::desired::{ApplyWhen, Assignment, BodyDigest, Desired, DesiredRow, ObjectOptions};
use crate::hook::{HookRun, Release, SyncPhase};
use crate::inventory::{Record, Uid};
use crate::object::{ApiSet, Digest, GroupKind, Hashing, ObjectId};
use crate::policy::Policy;
use crate::report::PlannedChange;

pub use held::{Held, HeldReason};

/// What happens, or happened, to an object in a sync.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Action {
    Created,
    Configured,
    Unchanged,
    Recreated,
    Pruned,
    Held,
    Failed,
}

impl Action {
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Recreated => "recreated",
            Self::Pruned => "pruned",
            Self::Held => "held",
            Self::Failed => "failed",
        }
    }

    /// Reads an action's word.
    pub fn read(word: &str) -> Option<Self> {
        let all = [
            Self::Created,
            Self::Configured,
            Self::Unchanged,
            Self::Recreated,
            Self::Pruned,
            Self::Held,
            Self::Failed,
        ];
        all.into_iter().find(|action| action.word() == word)
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// One write of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    pub id: ObjectId,
    pub version: Arc<str>,
    pub body: BodyDigest,
    pub action: Action,
    pub place: order::Place,
    /// It is run once in the phase of its place, instead of being kept as it is.
    pub is_hook: bool,
    /// The object existed before and is taken over.
    pub adopts: bool,
    /// What is left to others.
    pub yields: Option<Arc<Yields>>,
    /// How far a dry run can check it before anything of the plan is written.
    pub preflight: Preflight,
}

/// How an object can be checked before the first write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preflight {
    DryRun,
    /// Its Namespace is created by the same plan: the schema is checked in another namespace.
    Substitute,
    /// Its kind appears with the same plan, or the object asks for it.
    Skip,
}

/// One deletion of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pruning {
    pub id: ObjectId,
    pub version: Arc<str>,
    /// Steps of pruning run one after the other, in this order.
    pub step: u32,
    /// Goes as soon as the writes are done, whatever is healthy: it could block the rest.
    pub early: bool,
}

/// Every write of one sync in order, and every object held back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Sorted by place, then id. A hook is in it once for each of its phases.
    pub writes: Vec<Write>,
    /// Hooks that run only if the sync fails; in the same order.
    pub on_failure: Vec<Write>,
    /// Sorted by step, then id.
    pub prunes: Vec<Pruning>,
    pub held: Vec<Held>,
    pub unchanged: u32,
    /// All of the app was to go, and something is held: nothing of it is done.
    pub stays: bool,
}

impl Plan {
    /// Whether nothing is done unless something fails.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.prunes.is_empty()
    }

    /// Returns the writes, those after a failure included.
    pub fn all_writes(&self) -> impl Iterator<Item = &Write> {
        self.writes.iter().chain(&self.on_failure)
    }

    /// Returns the digest that an approval binds to: (id, body, action), what is left to others, prunes,
    /// recreations and adoptions, sorted; nothing else can be applied than what was seen.
    pub fn digest(&self) -> Digest {
        let mut parts: Vec<(String, String)> = self
            .all_writes()
            .map(|write| {
                let adopts = if write.adopts { " adopts" } else { "" };
                let yields = write.yields.as_ref().map(|yields| format!(" yields {}", yields.digest()));
                let yields = yields.unwrap_or_default();
                (identity(&write.id), format!("{} {}{adopts}{yields}", write.body, write.action))
            })
            .chain(self.prunes.iter().map(|prune| (identity(&prune.id), Action::Pruned.to_string())))
            .collect();
        parts.sort_unstable();
        parts
            .iter()
            .fold(Hashing::default(), |hashing, (id, what)| hashing.part(id.as_bytes()).part(what.as_bytes()))
            .finish()
    }

    /// Returns at most `limit` of the changes: those that destroy something first, then in the order of the sync.
    pub fn changes(&self, limit: usize) -> Vec<PlannedChange> {
        let prunes = self.prunes.iter().map(|prune| PlannedChange {
            action: Action::Pruned,
            id: prune.id.clone(),
            adopts: false,
        });
        let writes = |loud: bool| {
            let chosen = self.writes.iter().filter(move |write| (write.action == Action::Recreated) == loud);
            chosen.map(|write| PlannedChange {
                action: write.action,
                id: write.id.clone(),
                adopts: write.adopts,
            })
        };
        prunes.chain(writes(true)).chain(writes(false)).take(limit).collect()
    }

    /// Returns how many objects get `action`.
    pub fn count(&self, action: Action) -> u32 {
        let counted = match action {
            Action::Unchanged => return self.unchanged,
            Action::Pruned => self.prunes.len(),
            Action::Held => self.held.len(),
            Action::Created | Action::Configured | Action::Recreated | Action::Failed => {
                self.writes.iter().filter(|write| write.action == action).count()
            }
        };
        u32::try_from(counted).unwrap_or(u32::MAX)
    }
}

fn identity(id: &ObjectId) -> String {
    format!("{} {}", id.kind().group, id)
}

/// An object that plan must speak of: what Git wants of it and what the record says.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    pub id: &'a ObjectId,
    pub version: &'a Arc<str>,
    pub wanted: Option<&'a DesiredRow>,
    pub record: &'a Record,
    /// Options and wave as last written; used where Git no longer has the object.
    pub options: ObjectOptions,
    pub wave: i32,
    /// What of the wanted object is left to others.
    pub yields: Option<&'a Arc<Yields>>,
    /// Drifted, and healing is not left to the app: the sync rewrites it.
    pub rewrite: bool,
    /// What the record says of it as a hook.
    pub hook_run: Option<&'a HookRun>,
}

impl Candidate<'_> {
    /// Whether it is, or is to be, an object that is kept as it is: no hook.
    fn is_kept(&self) -> bool {
        match self.wanted {
            Some(row) => row.hook.is_none(),
            None => *self.record != Record::None && self.hook_run.is_none(),
        }
    }

    /// Whether its object is the one that a run has created, and its result is awaited.
    fn is_running(&self, phase: SyncPhase, release: &Release) -> bool {
        let (Some(run), Some(applied)) = (self.hook_run, self.record.applied()) else { return false };
        let is_this = run.release == release.id && run.phase == Some(phase);
        is_this && run.before.as_ref() != Some(&applied.uid)
    }
}

/// What other apps of this agent have to do with an app's objects; from `ownership::assign`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Claims {
    /// Another app has it. Here it is not written and not pruned, and a record of it is dropped.
    pub conflicts: BTreeMap<ObjectId, Arc<str>>,
    /// Owned here and wanted by another app, which does not have it yet. It is neither written nor
    /// pruned, and stays on record until the other has it.
    pub handed_over: BTreeMap<ObjectId, Arc<str>>,
    /// Apps of the same environment of which nobody knows what they want, as they are not rendered:
    /// what leaves this app may be going there, so nothing is pruned meanwhile.
    pub undecided: BTreeSet<Arc<str>>,
    /// Other environments of which nobody knows what they list at the revision that lacks this app: one of them may
    /// take it over, so it is not removed meanwhile.
    pub unread: BTreeSet<Arc<str>>,
}

/// The inputs of [`plan`].
pub struct Inputs<'a> {
    pub desired: &'a Desired,
    pub candidates: &'a [Candidate<'a>],
    pub apis: &'a ApiSet,
    pub policy: &'a Policy,
    pub claims: &'a Claims,
    /// What the recorded objects were assigned by, if the configuration assigns something else now.
    pub assigned_before: Option<&'a Arc<Assignment>>,
    /// What hooks run for.
    pub release: Release,
    /// Why all of the app is to go, if it is.
    pub removal: Option<Removal>,
    /// Objects of which a person has said that they may be deleted.
    pub confirmed: &'a HashSet<Uid>,
}

/// Why all of an app is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removal {
    /// A person has named it.
    Asked { sensitive_kinds: bool },
    /// The app list has it no more.
    Unlisted,
    /// The app list has no app any more.
    LastUnlisted,
}

/// Returns the plan that takes the app from what is recorded to what is wanted.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let mut plan = Plan::default();
    let places = order::places(inputs.desired);
    let fresh = fresh_namespaces(inputs);
    let provided: BTreeSet<&GroupKind> =
        inputs.desired.rows.iter().filter_map(|row| row.provides.as_deref()).collect();
    for candidate in inputs.candidates {
        let Some(row) = candidate.wanted else { continue };
        if row.hook.is_some() {
            plan_hook(candidate, row, inputs, (&provided, &fresh), &mut plan);
            continue;
        }
        match write_of(candidate, row, inputs, &provided) {
            Decision::Unchanged => plan.unchanged += 1,
            Decision::Held(reason) => plan.held.push(Held { id: row.id.clone(), reason }),
            Decision::Write(action) => plan.writes.push(Write {
                id: row.id.clone(),
                version: row.version.clone(),
                body: row.body,
                action,
                place: places.of(row),
                is_hook: false,
                adopts: false,
                yields: candidate.yields.cloned(),
                preflight: preflight_of(row, inputs.apis, &fresh),
            }),
        }
    }
    let in_order = |a: &Write, b: &Write| a.place.cmp(&b.place).then_with(|| a.id.cmp(&b.id));
    plan.writes.sort_by(in_order);
    plan.on_failure.sort_by(in_order);
    prune::decide(inputs, &mut plan);
    plan.held.sort_by(|a, b| a.id.cmp(&b.id));
    plan
}

/// Plans the runs of a hook that are left in this release; one that is running already is only awaited.
fn plan_hook(
    candidate: &Candidate<'_>,
    row: &DesiredRow,
    inputs: &Inputs<'_>,
    (provided, fresh): (&BTreeSet<&GroupKind>, &BTreeSet<&str>),
    plan: &mut Plan,
) {
    let Some(hook) = &row.hook else { return };
    let left = hook.left(candidate.hook_run, &inputs.release);
    if left.is_empty() {
        return;
    }
    if let Some(reason) = hold_of(row, inputs, provided) {
        return plan.held.push(Held { id: row.id.clone(), reason });
    }
    let preflight = match candidate.record {
        Record::None => preflight_of(row, inputs.apis, fresh),
        // What stands there is deleted first, or is an older run: it would be refused for what cannot change.
        Record::Claimed | Record::Settled(_) => Preflight::Skip,
    };
    for phase in left.iter().filter(|phase| !candidate.is_running(*phase, &inputs.release)) {
        let writes = if phase == SyncPhase::SyncFail { &mut plan.on_failure } else { &mut plan.writes };
        writes.push(Write {
            id: row.id.clone(),
            version: row.version.clone(),
            body: row.body,
            action: Action::Created,
            place: order::place_in(phase, row),
            is_hook: true,
            adopts: false,
            yields: None,
            preflight,
        });
    }
}

enum Decision {
    Unchanged,
    Held(HeldReason),
    Write(Action),
}

fn write_of(
    candidate: &Candidate<'_>,
    row: &DesiredRow,
    inputs: &Inputs<'_>,
    provided: &BTreeSet<&GroupKind>,
) -> Decision {
    let is_anothers = inputs.claims.conflicts.contains_key(&row.id);
    if row.options.apply == ApplyWhen::Never && !is_anothers {
        return Decision::Held(HeldReason::LeftAlone);
    }
    if let Some(reason) = hold_of(row, inputs, provided) {
        return Decision::Held(reason);
    }
    match candidate.record {
        Record::None => Decision::Write(Action::Created),
        Record::Claimed => Decision::Write(Action::Configured),
        Record::Settled(_) if row.options.apply == ApplyWhen::Once && !candidate.rewrite => {
            Decision::Unchanged
        }
        Record::Settled(applied) => {
            let same = applied.body == row.body && applied.leaves(candidate.yields);
            if same && !candidate.rewrite { Decision::Unchanged } else { Decision::Write(Action::Configured) }
        }
    }
}

/// Returns why a wanted object cannot be written, if it cannot; `provided` are the kinds that the set brings itself.
fn hold_of(row: &DesiredRow, inputs: &Inputs<'_>, provided: &BTreeSet<&GroupKind>) -> Option<HeldReason> {
    if let Some(app) = inputs.claims.conflicts.get(&row.id) {
        return Some(HeldReason::Conflict { app: app.clone() });
    }
    let served = inputs.apis.served(row.id.kind(), &row.version) || provided.contains(&**row.id.kind());
    (!served).then(|| HeldReason::MissingKind { kind: row.id.kind().clone(), version: row.version.clone() })
}

/// Returns the Namespaces that this plan creates: objects in them cannot be dry-run in place.
fn fresh_namespaces<'a>(inputs: &Inputs<'a>) -> BTreeSet<&'a str> {
    let new = |candidate: &&Candidate<'a>| {
        candidate.wanted.is_some() && !matches!(candidate.record, Record::Settled(_))
    };
    let namespaces = inputs.candidates.iter().filter(|candidate| candidate.id.is("", "Namespace"));
    namespaces.filter(new).map(|candidate| candidate.id.name()).collect()
}

fn preflight_of(row: &DesiredRow, apis: &ApiSet, fresh: &BTreeSet<&str>) -> Preflight {
    if row.options.skip_dry_run || !apis.served(row.id.kind(), &row.version) {
        Preflight::Skip
    } else if row.id.namespace().is_some_and(|namespace| fresh.contains(namespace)) {
        Preflight::Substitute
    } else {
        Preflight::DryRun
    }
}
