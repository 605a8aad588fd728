//! The inventory: which objects an app owns, as recorded in the cluster.
//!
//! A row is *claimed* before the first write of its object and *settled* after an answer. Rows live
//! in shards by a stable hash, so that one changed object rewrites one small record. This module
//! turns shards into bytes and back; the agent stores them.

mod rebuilt;

use std::sync::Arc;

pub use rebuilt::Found;
use serde::{Deserialize, Serialize};

use crate::desired::yields::Yields;
use crate::desired::{ApplyWhen, BodyDigest, ObjectOptions, Propagation};
use crate::hook::{DeletePolicy, Ended, HookRun, Parting, Phases, SyncPhase};
use crate::managed_fields::{Fields, Owned};
use crate::object::{Digest, Hashing, Interner, ObjectId};

/// Rows that one shard is meant to hold.
pub const SHARD_ROWS: usize = 256;

/// The version of the stored form. A newer one is refused, an older one is read.
pub const FORMAT: u32 = 1;

/// A server's identity for one life of an object.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(pub Box<str>);

impl std::fmt::Display for Uid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The state of an object as the answer to our last apply showed it: the baseline of drift.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    pub body: BodyDigest,
    /// What of the body was left to others, and not sent.
    pub yields: Option<Arc<Yields>>,
    pub uid: Uid,
    pub rv: u64,
    pub generation: i64,
    pub fields: Fields,
}

impl Applied {
    /// Whether exactly this was left to others.
    pub fn leaves(&self, yields: Option<&Arc<Yields>>) -> bool {
        self.yields.as_ref() == yields
    }
}

/// An object that is deleted to be created anew. Recorded before the delete, so that whoever comes after a crash goes on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recreation {
    /// What is created.
    pub body: BodyDigest,
    /// The object that goes.
    pub uid: Uid,
}

/// What the cluster's record says of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// Not recorded.
    None,
    /// About to be written, or written with the answer lost.
    Claimed,
    Settled(Applied),
}

impl Record {
    pub fn applied(&self) -> Option<&Applied> {
        match self {
            Self::Settled(applied) => Some(applied),
            Self::None | Self::Claimed => None,
        }
    }
}

/// One owned object as stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InventoryRow {
    pub id: ObjectId,
    pub version: Arc<str>,
    pub wave: i32,
    pub options: ObjectOptions,
    /// `Claimed` or `Settled`; `None` only beside a hook's run, or a hook of the app's deletion, whose object is not
    /// there.
    pub record: Record,
    pub hook_run: Option<Box<HookRun>>,
    pub recreation: Option<Box<Recreation>>,
    /// What it does when the app is deleted.
    pub parting: Option<Parting>,
}

/// The content of one shard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shard {
    pub rows: Vec<InventoryRow>,
    /// Stored renders that hold the rows' bodies, newest generation first; a generation is a list of
    /// object names.
    pub renders: Vec<Vec<String>>,
    /// Digest over the bodies that the newest of them holds.
    pub kept: Option<Digest>,
}

/// An app's whole inventory as loaded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inventory {
    /// Number of shards, a power of two; 0 where nothing is stored.
    pub count: u32,
    pub shards: Vec<Shard>,
    /// Shards of this number that are not stored, where no smaller number of them is complete.
    pub missing: u32,
    /// Rows of it are not stored: they were found by their marks.
    pub rebuilt: bool,
}

/// Returns how many shards `rows` objects need; `have` shards are never given up.
pub fn shard_count(rows: usize, have: u32) -> u32 {
    let needed = rows.div_ceil(SHARD_ROWS).max(1).next_power_of_two();
    u32::try_from(needed).unwrap_or(u32::MAX / 2 + 1).max(have)
}

/// Returns the shard of an object among `count` shards.
pub fn shard_of(id: &ObjectId, count: u32) -> u32 {
    shard_hash(id) % count.max(1)
}

/// Returns the hash whose remainder is the object's shard, for any number of shards.
pub fn shard_hash(id: &ObjectId) -> u32 {
    let digest = Hashing::default()
        .part(id.kind().group.as_bytes())
        .part(id.kind().kind.as_bytes())
        .part(id.namespace().unwrap_or("").as_bytes())
        .part(id.name().as_bytes())
        .finish();
    u32::from_be_bytes([digest.0[0], digest.0[1], digest.0[2], digest.0[3]])
}

/// Returns the stored renders that a shard names, without reading its rows.
pub fn stored_renders(bytes: &[u8]) -> Result<Vec<String>, ShardError> {
    #[derive(Deserialize)]
    struct Renders {
        #[serde(default)]
        renders: Vec<Vec<String>>,
    }
    check_format(bytes)?;
    let Renders { renders } = serde_json::from_slice(bytes).map_err(|source| ShardError::Json { source })?;
    Ok(renders.into_iter().flatten().collect())
}

fn check_format(bytes: &[u8]) -> Result<(), ShardError> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let Version { format } = serde_json::from_slice(bytes).map_err(|source| ShardError::Json { source })?;
    if format > FORMAT { Err(ShardError::Newer { found: format }) } else { Ok(()) }
}

/// A stored shard that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    #[error("inventory is of format {found}, this program reads up to {FORMAT}: use the newer program")]
    Newer { found: u32 },
    #[error("inventory cannot be read")]
    Json { source: serde_json::Error },
}

#[derive(Serialize, Deserialize)]
struct StoredShard {
    format: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    renders: Vec<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<Digest>,
    rows: Vec<StoredRow>,
}

#[derive(Serialize, Deserialize)]
struct StoredRow {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    group: String,
    version: String,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    wave: i32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    options: Vec<StoredOption>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    applied: Option<StoredApplied>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hook: Option<StoredRun>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recreation: Option<Box<Recreation>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parting: Option<StoredParting>,
}

#[derive(Serialize, Deserialize)]
struct StoredParting {
    body: BodyDigest,
    phases: Phases,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    delete: Vec<StoredPolicy>,
    /// Its object is not there.
    #[serde(default, skip_serializing_if = "is_false")]
    absent: bool,
}

#[derive(Serialize, Deserialize, PartialEq, Clone, Copy)]
#[serde(rename_all = "camelCase")]
enum StoredPolicy {
    BeforeCreation,
    Succeeded,
    Failed,
}

#[derive(Serialize, Deserialize, PartialEq, Clone, Copy)]
#[serde(rename_all = "camelCase")]
enum StoredOption {
    Keep,
    ConfirmPrune,
    Outlives,
    ConfirmDelete,
    IgnoreHealth,
    IgnoreExtraneous,
    ApplyOnce,
    ApplyNever,
    Found,
    Background,
    Foreground,
    Orphan,
}

#[derive(Serialize, Deserialize)]
struct StoredRun {
    release: Digest,
    #[serde(default, skip_serializing_if = "is_false")]
    installs: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phase: Option<SyncPhase>,
    #[serde(default, skip_serializing_if = "is_none")]
    done: Phases,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Uid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
    /// Its object is not there any more, or not yet.
    #[serde(default, skip_serializing_if = "is_false")]
    absent: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredApplied {
    body: BodyDigest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    yields: Option<Arc<Yields>>,
    uid: Uid,
    rv: u64,
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    generation: i64,
    /// Hex digest of our field set and its time in seconds.
    owned: Option<(String, i64)>,
    others: u64,
    status: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_none(phases: &Phases) -> bool {
    phases.is_empty()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(value: &i32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero_i64(value: &i64) -> bool {
    *value == 0
}

impl Shard {
    /// Returns the stored form: JSON, a few hundred bytes a row.
    pub fn encode(&self) -> Vec<u8> {
        let stored = StoredShard {
            format: FORMAT,
            renders: self.renders.clone(),
            kept: self.kept,
            rows: self.rows.iter().map(StoredRow::of).collect(),
        };
        serde_json::to_vec(&stored).expect("strings and numbers are always valid JSON")
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8], interner: &mut Interner) -> Result<Self, ShardError> {
        check_format(bytes)?;
        let stored: StoredShard =
            serde_json::from_slice(bytes).map_err(|source| ShardError::Json { source })?;
        let rows = stored.rows.into_iter().map(|row| row.read(interner)).collect();
        Ok(Self { rows, renders: stored.renders, kept: stored.kept })
    }
}

impl StoredRow {
    fn of(row: &InventoryRow) -> Self {
        let ObjectOptions {
            keep,
            confirm_prune,
            outlives,
            confirm_delete,
            ignore_health,
            ignore_extraneous,
            apply,
            propagation,
            found,
            skip_dry_run: _,
            recreate: _,
        } = row.options;
        let options = [
            (keep, StoredOption::Keep),
            (confirm_prune, StoredOption::ConfirmPrune),
            (outlives, StoredOption::Outlives),
            (confirm_delete, StoredOption::ConfirmDelete),
            (ignore_health, StoredOption::IgnoreHealth),
            (ignore_extraneous, StoredOption::IgnoreExtraneous),
            (apply == ApplyWhen::Once, StoredOption::ApplyOnce),
            (apply == ApplyWhen::Never, StoredOption::ApplyNever),
            (found, StoredOption::Found),
            (propagation == Some(Propagation::Background), StoredOption::Background),
            (propagation == Some(Propagation::Foreground), StoredOption::Foreground),
            (propagation == Some(Propagation::Orphan), StoredOption::Orphan),
        ];
        Self {
            group: row.id.kind().group.to_string(),
            version: row.version.to_string(),
            kind: row.id.kind().kind.to_string(),
            namespace: row.id.namespace().map(str::to_owned),
            name: row.id.name().to_owned(),
            wave: row.wave,
            options: options.into_iter().filter(|(set, _)| *set).map(|(_, option)| option).collect(),
            applied: row.record.applied().map(|applied| StoredApplied {
                body: applied.body,
                yields: applied.yields.clone(),
                uid: applied.uid.clone(),
                rv: applied.rv,
                generation: applied.generation,
                owned: applied.fields.ours.map(|owned| (format!("{:032x}", owned.digest), owned.time)),
                others: applied.fields.others,
                status: applied.fields.status,
            }),
            hook: row.hook_run.as_deref().map(|run| StoredRun::of(run, row.record == Record::None)),
            recreation: row.recreation.clone(),
            parting: row
                .parting
                .as_ref()
                .map(|parting| StoredParting::of(parting, row.record == Record::None)),
        }
    }

    fn read(self, interner: &mut Interner) -> InventoryRow {
        let absent = self.hook.as_ref().is_some_and(|run| run.absent)
            || self.parting.as_ref().is_some_and(|parting| parting.absent);
        InventoryRow {
            id: interner.object(&self.group, &self.kind, self.namespace.as_deref(), &self.name),
            version: interner.string(&self.version),
            wave: self.wave,
            options: stored_options(&self.options),
            record: match self.applied {
                Some(applied) => Record::Settled(applied.read()),
                None if absent => Record::None,
                None => Record::Claimed,
            },
            hook_run: self.hook.map(|run| Box::new(run.read())),
            recreation: self.recreation,
            parting: self.parting.map(StoredParting::read),
        }
    }
}

impl StoredParting {
    fn of(parting: &Parting, absent: bool) -> Self {
        let Parting { body, phases, delete: DeletePolicy { before_creation, succeeded, failed } } = *parting;
        let policies = [
            (before_creation, StoredPolicy::BeforeCreation),
            (succeeded, StoredPolicy::Succeeded),
            (failed, StoredPolicy::Failed),
        ];
        let delete = policies.into_iter().filter(|(set, _)| *set).map(|(_, policy)| policy).collect();
        Self { body, phases, delete, absent }
    }

    fn read(self) -> Parting {
        let has = |policy| self.delete.contains(&policy);
        let delete = DeletePolicy {
            before_creation: has(StoredPolicy::BeforeCreation),
            succeeded: has(StoredPolicy::Succeeded),
            failed: has(StoredPolicy::Failed),
        };
        Parting { body: self.body, phases: self.phases, delete }
    }
}

impl StoredRun {
    fn of(run: &HookRun, absent: bool) -> Self {
        let HookRun { release, installs, phase, done, before, ended } = run.clone();
        Self { release, installs, phase, done, before, ended, absent }
    }

    fn read(self) -> HookRun {
        let Self { release, installs, phase, done, before, ended, absent: _ } = self;
        HookRun { release, installs, phase, done, before, ended }
    }
}

fn stored_options(stored: &[StoredOption]) -> ObjectOptions {
    let mut options = ObjectOptions::default();
    for option in stored {
        match option {
            StoredOption::Keep => options.keep = true,
            StoredOption::ConfirmPrune => options.confirm_prune = true,
            StoredOption::Outlives => options.outlives = true,
            StoredOption::ConfirmDelete => options.confirm_delete = true,
            StoredOption::IgnoreHealth => options.ignore_health = true,
            StoredOption::IgnoreExtraneous => options.ignore_extraneous = true,
            StoredOption::ApplyOnce => options.apply = ApplyWhen::Once,
            StoredOption::ApplyNever => options.apply = ApplyWhen::Never,
            StoredOption::Found => options.found = true,
            StoredOption::Background => options.propagation = Some(Propagation::Background),
            StoredOption::Foreground => options.propagation = Some(Propagation::Foreground),
            StoredOption::Orphan => options.propagation = Some(Propagation::Orphan),
        }
    }
    options
}

impl StoredApplied {
    fn read(self) -> Applied {
        let ours = self.owned.and_then(|(digest, time)| {
            let digest = u128::from_str_radix(&digest, 16).ok()?;
            Some(Owned { digest, time })
        });
        Applied {
            body: self.body,
            yields: self.yields,
            uid: self.uid,
            rv: self.rv,
            generation: self.generation,
            fields: Fields { ours, others: self.others, status: self.status },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::yields::Field;

    fn row(interner: &mut Interner, name: &str, record: Record) -> InventoryRow {
        InventoryRow {
            id: interner.object("apps", "Deployment", Some("shop"), name),
            version: interner.string("v1"),
            wave: 2,
            options: ObjectOptions {
                keep: true,
                apply: ApplyWhen::Once,
                propagation: Some(Propagation::Foreground),
                ..ObjectOptions::default()
            },
            record,
            hook_run: None,
            recreation: None,
            parting: None,
        }
    }

    #[test]
    fn a_shard_survives_storing() {
        let mut interner = Interner::default();
        let applied = Applied {
            body: Digest::of(b"body"),
            yields: Yields { fields: [Field::replicas()].into(), ..Yields::default() }.shared(),
            uid: Uid("3b241101-e2bb-4255-8caf-4136c566a962".into()),
            rv: 812,
            generation: 3,
            fields: Fields {
                ours: Some(Owned { digest: u128::MAX - 7, time: 1_700_000_000 }),
                others: 9,
                status: 4,
            },
        };
        let run = HookRun {
            release: Digest::of(b"release"),
            installs: true,
            phase: Some(SyncPhase::PreSync),
            done: Phases::default().with(SyncPhase::PreSync),
            before: Some(Uid("3b241101".into())),
            ended: Some(Ended::Failed("BackoffLimitExceeded".into())),
        };
        let hook = |name, record, run| InventoryRow {
            hook_run: Some(Box::new(run)),
            ..row(&mut Interner::default(), name, record)
        };
        let shard = Shard {
            rows: vec![
                InventoryRow {
                    recreation: Some(Box::new(Recreation {
                        body: Digest::of(b"body"),
                        uid: Uid("3b241101".into()),
                    })),
                    ..row(&mut interner, "claimed", Record::Claimed)
                },
                row(&mut interner, "settled", Record::Settled(applied)),
                hook("running", Record::Claimed, HookRun { ended: None, before: None, ..run.clone() }),
                hook("failed-and-gone", Record::None, run),
                InventoryRow {
                    parting: Some(Parting {
                        body: Digest::of(b"farewell"),
                        phases: Phases::default().with(SyncPhase::PostDelete),
                        delete: DeletePolicy { succeeded: true, ..DeletePolicy::default() },
                    }),
                    ..row(&mut Interner::default(), "of-the-deletion", Record::None)
                },
            ],
            renders: vec![vec!["new".into()], vec!["old-1".into(), "old-2".into()]],
            kept: Some(Digest::of(b"bodies")),
        };
        let read = Shard::decode(&shard.encode(), &mut Interner::default()).expect("readable");
        assert_eq!(read, shard);
        let renders = stored_renders(&shard.encode()).expect("readable");
        assert_eq!(renders, ["new", "old-1", "old-2"]);
    }

    #[test]
    fn a_shard_of_a_newer_program_is_refused() {
        let error = Shard::decode(br#"{"format":2,"rows":[]}"#, &mut Interner::default()).expect_err("newer");
        insta::assert_snapshot!(error, @"inventory is of format 2, this program reads up to 1: use the newer program");
    }

    #[test]
    fn shards_grow_by_doubling_and_never_shrink() {
        assert_eq!(shard_count(0, 0), 1);
        assert_eq!(shard_count(256, 0), 1);
        assert_eq!(shard_count(1_000, 0), 4);
        assert_eq!(shard_count(10_000, 0), 64);
        assert_eq!(shard_count(10, 64), 64);
    }
}
