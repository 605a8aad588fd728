//! What a machine wants done. The performer does it and decides nothing.

use std::sync::Arc;

use jiff::Timestamp;

use super::event::{Cause, Token};
use crate::desired::yields::Yields;
use crate::desired::{Assignment, BodyDigest, Propagation, Revision, Unrendered};
use crate::hook::{Ended, SyncPhase};
use crate::inventory::{Shard, Uid};
use crate::managed_fields::{Actor, Path};
use crate::object::{Digest, GroupKind, ObjectId, Target};
use crate::plan::{Action, HeldReason};
use crate::report::{Report, RunRecord};

/// Paths that the story of a drift names at most.
const MAX_PATHS: usize = 5;

/// Which requests go first when there are more than may be in flight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Urgency {
    Heal,
    Apply,
    DryRun,
}

/// Whether an answer must carry our field set, to name drifted paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WithFields {
    Yes,
    No,
}

/// Where a dry run is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DryRunIn {
    /// The object's own namespace.
    Place,
    /// Another namespace that exists, for the schema's sake.
    Substitute,
    /// Another name, under which there is no object: could it be created?
    Aside,
}

/// What is sent of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    pub body: BodyDigest,
    /// What is left out of the body, as others decide it.
    pub yields: Option<Arc<Yields>>,
    /// The only object that it is for: where another one stands, or none, nothing is written.
    pub uid: Option<Uid>,
    /// What is let go of afterwards: a dry run tells whether that can be.
    pub releases: Option<Arc<Yields>>,
}

impl Content {
    /// All but what is left to others, for one object only.
    pub fn left(body: BodyDigest, yields: &Arc<Yields>, uid: &Uid) -> Self {
        Self { yields: Some(yields.clone()), uid: Some(uid.clone()), ..Self::whole(body) }
    }

    /// Everything that Git declares, for whatever object there is.
    pub fn whole(body: BodyDigest) -> Self {
        Self { body, yields: None, uid: None, releases: None }
    }
}

/// One thing to do. Effects with a token are answered by `Event::Done` exactly once.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Read the app's recorded state, its status and what people ask of it; answered by `Event::Loaded`.
    Load,
    /// Watch this kind, if it is not watched yet.
    Watch(Arc<GroupKind>),
    Get(Token, Target),
    DryRun(Token, Target, Content, DryRunIn, WithFields),
    Apply(Token, Target, Content, Urgency, WithFields),
    /// Apply where no object stands; where one does, nothing is written and the answer is `Failure::Replaced`.
    Create(Token, Target, BodyDigest),
    /// Merge other tools' fields into our entry, so that later removals work.
    Adopt(Token, Target),
    /// Let our entry go of what is left to others; the body tells which items of lists are meant.
    Release(Token, Target, BodyDigest, Arc<Yields>),
    Delete(Token, Target, Uid, Propagation),
    /// Store one shard, under compare-and-swap.
    Save(Token, ShardSlot, Box<Shard>),
    /// Store the bodies of one shard's rows.
    Keep(Token, ShardSlot, Vec<BodyDigest>),
    /// Follow a release, whose set is to be read back from its stored render, or Git again.
    Pin(Token, Option<Box<Release>>),
    /// Remove everything that is stored of the app, and last of all its `App`.
    Dissolve(Token),
    /// Remove stored renders that nothing refers to any more. Not answered.
    Forget(Vec<String>),
    /// Remove the shards of a smaller count than this one. Not answered.
    ForgetShards {
        below: u32,
    },
    Publish(Box<Report>),
    /// A sync is over: the facts for its spans and metrics.
    Finished(Box<RunRecord>),
    /// Something a person may want to read, as it happens: log line, Event, metric.
    Notice(Notice),
    /// The state was changed by another agent: give up the Lease and start anew.
    StopWork,
}

/// A release of the past, as far as it is needed to follow it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    pub revision: Revision,
    pub assignment: Assignment,
    /// Digest of the rendered set: what is read back must have it.
    pub render: Digest,
    pub seen_at: Timestamp,
    /// Names of the stored renders that hold its bodies.
    pub stored: Vec<String>,
    /// Bodies in them that are not part of it.
    pub without: Vec<BodyDigest>,
}

/// Which shard of how many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct ShardSlot {
    pub index: u32,
    pub count: u32,
}

/// Something that happened, told once.
#[derive(Clone, PartialEq, Debug)]
pub enum Notice {
    SyncStarted {
        revision: Box<Revision>,
        writes: u32,
        prunes: u32,
        held: u32,
    },
    Written {
        id: ObjectId,
        action: Action,
    },
    WriteFailed {
        id: ObjectId,
        cause: Cause,
        attempt: u32,
    },
    Held {
        id: ObjectId,
        reason: HeldReason,
    },
    Drifted(Drift),
    Healed {
        drift: Drift,
        seen_at: Timestamp,
        healed_at: Timestamp,
    },
    Contested {
        id: ObjectId,
        manager: String,
        since: Timestamp,
        until: Timestamp,
    },
    Pruned {
        id: ObjectId,
    },
    HookEnded {
        id: ObjectId,
        phase: SyncPhase,
        ended: Ended,
    },
    /// Told once, also if it comes right later.
    SyncFailed {
        message: String,
    },
    WaitingForApproval {
        digest: String,
    },
    /// A plan may not go yet, for another reason than its approval.
    Waiting {
        reason: &'static str,
        message: String,
    },
    SyncBlocked {
        problems: u32,
        first: String,
    },
    RenderFailed {
        revision: Box<Revision>,
        why: Unrendered,
    },
    SourceFailed {
        reason: String,
        message: String,
    },
    /// A part of the app's own state could not be stored; it is tried again.
    StateNotStored {
        what: StatePart,
        cause: Cause,
        attempt: u32,
    },
}

/// A part of an app's own state in the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatePart {
    /// A shard that names the objects.
    Inventory,
    /// A Secret that holds their bodies.
    Render,
}

impl StatePart {
    pub fn word(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::Render => "render",
        }
    }
}

impl std::fmt::Display for StatePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Inventory => "the inventory",
            Self::Render => "the rendered objects",
        })
    }
}

/// Somebody else changed a field that we own, or removed an object that we own.
#[derive(Clone, PartialEq, Debug)]
pub struct Drift {
    pub id: ObjectId,
    pub kind: DriftKind,
    /// The fields that we lost; empty where they are not known yet.
    pub paths: Vec<Path>,
    pub actor: Option<Actor>,
}

impl Drift {
    /// Says who did what, as far as it is known: `"kubectl" (Update) changed .spec.replicas`.
    pub fn story(&self) -> String {
        let who = self.actor.as_ref().map_or_else(|| "somebody".to_owned(), ToString::to_string);
        match self.kind {
            DriftKind::Deleted => format!("{who} deleted it"),
            DriftKind::Replaced => format!("{who} replaced it"),
            DriftKind::Changed if self.paths.is_empty() => format!("{who} changed fields of it"),
            DriftKind::Changed => {
                let named: Vec<String> = self.paths.iter().take(MAX_PATHS).map(ToString::to_string).collect();
                let more = self.paths.len().saturating_sub(MAX_PATHS);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("{who} changed {}{more}", named.join(", "))
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriftKind {
    /// Fields of ours were changed or removed.
    Changed,
    /// The object is gone.
    Deleted,
    /// Another object stands under its name.
    Replaced,
}

impl DriftKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Deleted => "deleted",
            Self::Replaced => "replaced",
        }
    }
}

/// The result of a step: what to do, and when to look again at the latest.
#[derive(Debug, Default)]
pub struct Step {
    pub effects: Vec<Effect>,
    pub wake: Option<Timestamp>,
}
