//! What the machine knows of one object.

use std::sync::Arc;

use jiff::Timestamp;

use super::effect::Drift;
use super::event::{Cause, Observation, Seen, Token};
use super::yielding::LetGo;
use crate::desired::yields::Yields;
use crate::desired::{ApplyWhen, BodyDigest, ObjectOptions};
use crate::health::Health;
use crate::hook::{Hook, HookRun, Parting, SyncPhase};
use crate::inventory::{InventoryRow, Record, Recreation, shard_hash};
use crate::managed_fields::Tool;
use crate::object::{ObjectId, Target};
use crate::plan::HeldReason;

/// The place of a row in the machine. Rows never move while a request is open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RowIx(pub u32);

impl RowIx {
    pub(super) fn of(index: usize) -> Self {
        Self(u32::try_from(index).expect("an app has fewer than four billion objects"))
    }

    pub(super) fn get(self) -> usize {
        self.0 as usize
    }
}

/// One object: what is wanted, recorded and seen of it, and what is under way.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    pub id: ObjectId,
    pub version: Arc<str>,
    pub wave: i32,
    pub options: ObjectOptions,
    /// The part of a sync that it is written in; that of a hook is its run's.
    pub phase: SyncPhase,
    /// The body that Git wants; `None` when Git does not have the object.
    pub wanted: Option<BodyDigest>,
    /// What makes it a hook, if Git wants it as one.
    pub hook: Option<Arc<Hook>>,
    pub hook_run: Option<Box<HookRun>>,
    /// What it does when the app is deleted, as Git had it last.
    pub parting: Option<Parting>,
    /// What of it is left to others.
    pub yields: Option<Arc<Yields>>,
    pub record: Record,
    /// The newest accepted observation; `None` before the first and after the object is gone.
    pub seen: Option<Seen>,
    /// A request has found that nothing stands under its name, and nothing was sent since that may create it.
    pub absent: bool,
    pub letting_go: LetGo,
    /// Why it is deleted though it is wanted, from before the delete until it is created.
    pub recreation: Option<Box<Recreation>>,
    /// At most one request is open for an object at any time.
    pub flight: Option<Flight>,
    pub task: Task,
    pub trouble: Option<Box<Trouble>>,
    pub drift: Option<Box<Drifted>>,
    /// Why the plan in force leaves it alone: it counts as ready and the sync never writes it.
    pub held: Option<Hold>,
    /// Decides its shard, whatever their number.
    pub(super) shard_hash: u32,
}

/// Why a row is left alone by the plan in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hold {
    /// Its preflight was refused and the rest goes on (`onInvalid: skip`).
    Refused,
    Plan(Box<HeldReason>),
}

/// What the sync in progress still has to do with a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    None,
    /// Its turn has not come.
    Write {
        adopts: bool,
    },
    /// Its turn has come: it is sent until it is written.
    Writing {
        adopts: bool,
    },
    /// Its turn as a hook has come: what stands in its place goes, and it is sent until it is written.
    Run(SyncPhase),
    /// It is deleted as soon as it has been looked at.
    Prune,
    /// Deleted, and not yet gone.
    AwaitGone,
}

/// An open request.
#[derive(Clone, PartialEq, Debug)]
pub struct Flight {
    pub token: Token,
    pub op: Op,
    /// The newest observation that came meanwhile; judged after the answer.
    pub parked: Option<Observation>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    DryRun,
    /// A dry run that names the fields of a drift that is not healed.
    Diagnose,
    /// A GET that decides whether an existing object may be taken over.
    Inspect,
    /// A GET that settles an observation.
    Get,
    /// A GET that decides whether an object may be deleted.
    Examine,
    /// A dry run that proves, right before an object is deleted, that it can be created anew.
    Prove,
    /// A GET that decides whether an object may be deleted to be created anew.
    Reexamine,
    Adopt,
    Release,
    Apply {
        body: BodyDigest,
        heals: bool,
    },
    Delete,
    /// The delete of an object that is created anew.
    Remove,
}

impl Op {
    /// Whether it can change the object.
    pub fn writes(self) -> bool {
        matches!(self, Self::Adopt | Self::Release | Self::Apply { .. } | Self::Delete | Self::Remove)
    }
}

/// Why a row is not tried again at once.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Trouble {
    /// Writes in a row that failed, or preflights in a row that refused the object.
    pub attempts: u32,
    /// Checks in a row that were not answered; they say nothing of the object and its writes.
    pub checks: u32,
    /// `attempts` and `cause` come from preflight: one that passes ends the trouble.
    pub refused: bool,
    pub not_before: Option<Timestamp>,
    /// The body that a sync has last failed to write.
    pub failed: Option<BodyDigest>,
    pub cause: Option<Cause>,
    /// Times in a row that what was healed drifted again shortly after.
    pub strikes: u32,
    pub healed_at: Option<Timestamp>,
    /// What was healed then.
    pub healed: Option<Drift>,
    /// Who keeps changing it back.
    pub contested: Option<String>,
    /// GETs in a row that were not answered.
    pub lookups: u32,
}

/// A drift that is not yet healed.
#[derive(Clone, PartialEq, Debug)]
pub struct Drifted {
    pub what: Drift,
    pub seen_at: Timestamp,
    pub proof: Proof,
}

/// What a drift is known by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// Nothing yet: the observation cannot tell, a request that compares the content will.
    Open,
    /// An observation: the next one may take it back.
    Seen,
    /// The content, which no observation shows.
    Content,
}

impl Drifted {
    /// Whether it may turn out that nothing has drifted.
    pub fn is_open(&self) -> bool {
        self.proof == Proof::Open
    }
}

impl Row {
    pub fn of(row: InventoryRow) -> Self {
        let InventoryRow { id, version, wave, options, record, hook_run, recreation, parting } = row;
        let yields = record.applied().and_then(|applied| applied.yields.clone());
        Self { wave, options, yields, record, hook_run, recreation, parting, ..Self::new(id, version) }
    }

    pub fn new(id: ObjectId, version: Arc<str>) -> Self {
        Self {
            shard_hash: shard_hash(&id),
            id,
            version,
            wave: 0,
            options: ObjectOptions::default(),
            phase: SyncPhase::Sync,
            wanted: None,
            hook: None,
            hook_run: None,
            parting: None,
            yields: None,
            record: Record::None,
            seen: None,
            absent: false,
            letting_go: LetGo::None,
            recreation: None,
            flight: None,
            task: Task::None,
            trouble: None,
            drift: None,
            held: None,
        }
    }

    pub fn target(&self) -> Target {
        Target { id: self.id.clone(), version: self.version.clone() }
    }

    pub fn stored(&self) -> InventoryRow {
        InventoryRow {
            id: self.id.clone(),
            version: self.version.clone(),
            wave: self.wave,
            options: self.options,
            record: self.record.clone(),
            hook_run: self.hook_run.clone(),
            recreation: self.recreation.clone(),
            parting: self.parting,
        }
    }

    /// Whether its object is, or may be, in the cluster.
    pub(super) fn is_on_record(&self) -> bool {
        self.record != Record::None
    }

    /// Whether it is wanted or recorded.
    pub(super) fn is_known(&self) -> bool {
        self.wanted.is_some() || self.record != Record::None
    }

    /// Whether the inventory has a row for it.
    pub fn is_stored(&self) -> bool {
        self.record != Record::None || self.hook_run.is_some() || self.parting.is_some()
    }

    /// Whether it is run instead of being kept: neither healed, nor pruned, nor judged by its health.
    pub fn is_hook(&self) -> bool {
        self.hook.is_some() || self.hook_run.is_some()
    }

    /// Whether its object is that of the run on record, and its result is awaited.
    pub fn is_running(&self) -> bool {
        let (Some(run), Some(applied)) = (&self.hook_run, self.record.applied()) else { return false };
        run.phase.is_some() && run.ended.is_none() && run.before.as_ref() != Some(&applied.uid)
    }

    /// Whether the body that Git wants is the one last applied, without what is left to others.
    pub fn is_current(&self) -> bool {
        self.record.applied().is_some_and(|applied| {
            let once = self.options.apply == ApplyWhen::Once && self.wanted.is_some();
            once || (Some(applied.body) == self.wanted && applied.leaves(self.yields.as_ref()))
        })
    }

    /// Whether it was deleted to become what is still wanted.
    pub(super) fn is_finished_as_wanted(&self) -> bool {
        self.recreation.as_ref().is_some_and(|begun| Some(begun.body) == self.wanted)
    }

    /// Until when the object is not healed, as somebody wrote on it.
    pub fn held_until(&self) -> Option<Timestamp> {
        self.seen.as_ref()?.hold_until
    }

    /// Another tool that has fields of the object, as it was seen last.
    pub fn co_manager(&self) -> Option<Tool> {
        self.seen.as_ref()?.tool
    }

    pub fn health(&self) -> Health {
        match &self.seen {
            Some(seen) => seen.health.health,
            None if self.record.applied().is_some() => Health::Unknown,
            None => Health::Missing,
        }
    }

    /// Whether the next wave may start as far as this object is concerned: written as wanted, and
    /// healthy at a state not older than that write. Hooks are awaited by their runs.
    pub fn is_ready(&self) -> bool {
        if self.wanted.is_none() || self.held.is_some() || self.is_hook() {
            return true;
        }
        if !self.is_current() {
            return false;
        }
        self.options.ignore_health || matches!(self.health(), Health::Healthy | Health::Suspended)
    }

    /// Why the plan in force leaves the object alone, if the plan says so.
    pub fn held_reason(&self) -> Option<&HeldReason> {
        match &self.held {
            Some(Hold::Plan(reason)) => Some(reason),
            Some(Hold::Refused) | None => None,
        }
    }

    /// Whether the object is on its way to its end.
    pub fn is_deleting(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.deleting)
    }

    pub fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    /// Whether the sync has tried to write it as wanted, and the time of the next attempt has not come.
    pub fn rests(&self, now: Timestamp) -> bool {
        let failed = self.trouble.as_ref().and_then(|trouble| trouble.failed);
        failed.is_some() && failed == self.wanted && !self.is_due(now)
    }

    /// Whether a new attempt may start now.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let not_before = self.trouble.as_ref().and_then(|trouble| trouble.not_before);
        not_before.is_none_or(|at| at <= now)
    }
}
