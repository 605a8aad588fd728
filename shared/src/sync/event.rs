//! What can happen to a machine: observations, answers, and words from outside.
//!
//! Everything is an event, also a new revision, a person's approval and a lost Lease, so that nothing
//! has to be cancelled from outside.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::desired::autoscaler::Autoscaled;
use crate::desired::{Desired, Interval, Propagation, Revision, Unrendered};
use crate::gate::approval::ApprovalTag;
use crate::gate::depend::Standings;
use crate::health::Assessment;
use crate::inventory::{Applied, Inventory, Uid};
use crate::managed_fields::{Entry, FieldSet, Fields, ForeignOwner, Tool};
use crate::object::{ApiSet, Digest, GroupKind, ObjectId};
use crate::plan::Claims;
use crate::policy::Policy;
use crate::report::Recorded;

/// Names one request from effect to answer; never used twice by a machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Token(pub u64);

/// A point in the life of an object. Resource versions are ordered only within one generation of a
/// watch; a re-list starts a new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Point {
    pub watch: u32,
    pub rv: u64,
}

/// A live object, reduced to what drift, health and prune need.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    pub at: Point,
    pub uid: Uid,
    pub generation: i64,
    pub fields: Fields,
    pub health: Assessment,
    pub deleting: bool,
    /// Another object owns it: it is never pruned by us.
    pub has_owner: bool,
    /// Its `skiff.dev/instance` label names this agent.
    pub is_ours: bool,
    /// Until when somebody on call wants it left as it is; the end of time where they did not say.
    pub hold_until: Option<Timestamp>,
    /// Marks of another GitOps tool, or of another instance.
    pub foreign: Option<ForeignOwner>,
    /// A tool that has fields of it, beside us.
    pub tool: Option<Tool>,
    /// The full managedFields, while somebody may want to know who and what; dropped when the object
    /// turns out as it should be.
    pub entries: Option<Arc<[Entry]>>,
}

impl Seen {
    /// Whether it is ours to delete: it carries our label, and no other object owns it.
    pub fn may_go(&self) -> bool {
        self.is_ours && !self.has_owner
    }
}

/// What a watch or a GET says of an object.
#[derive(Clone, PartialEq, Debug)]
pub enum Observation {
    Present(Box<Seen>),
    Absent(Point),
}

/// A request that the API server has answered as asked.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// A dry run passed; `exists` tells whether the object was there before.
    DryRun {
        exists: bool,
        /// What the entries would be. An apply that changes nothing leaves the time of ours alone.
        fields: Fields,
        /// What our field set would be; only when the dry run asked for it.
        owned: Option<FieldSet>,
    },
    Applied(Box<AppliedAnswer>),
    Got(Observation),
    /// Foreign managers' fields were merged into our entry.
    Adopted,
    /// Our entry has let go of what is left to others; `None` where there is no object.
    Released(Option<Uid>),
    /// The delete was accepted; `gone` when no finalizer holds the object.
    Deleted {
        gone: bool,
    },
    /// The shard is stored.
    Saved,
    /// The bodies are stored under these names.
    Kept(Vec<String>),
    /// Nothing is stored of the app any more, and its `App` is gone.
    Dissolved,
    /// The set of the release, read back; `None` where Git is followed again.
    Pinned(Option<Arc<Desired>>),
}

/// The answer to an apply: a baseline for drift and an observation at once.
#[derive(Clone, PartialEq, Debug)]
pub struct AppliedAnswer {
    pub applied: Applied,
    pub seen: Seen,
    /// Our field set as the server holds it now; only when the apply asked for it.
    pub owned: Option<FieldSet>,
}

/// A request that was not answered as asked.
#[derive(Clone, PartialEq, Debug)]
pub enum Failure {
    /// The object itself is refused; sending it again changes nothing.
    Rejected(Cause),
    /// The kind or the namespace is not there.
    NotFound(Cause),
    /// Another object stands there than the one that was named, or one where none was to be.
    Replaced(Cause),
    /// 409, 5xx, an unreachable webhook: the same request may pass later.
    Unavailable(Cause),
    /// 429, with what `Retry-After` said.
    Throttled(Option<SignedDuration>),
    /// Timeout or broken stream: it may have happened or not.
    Unknown(String),
    /// The stored state was changed by somebody else: another agent is at work.
    Fenced,
    /// Never sent: no Lease, or draining.
    NotSent,
}

impl Failure {
    /// Returns the failure without the server's words, which may quote what was sent.
    #[must_use]
    pub fn withheld(self) -> Self {
        let silent = |cause: Cause| Cause { message: WITHHELD.to_owned(), ..cause };
        match self {
            Self::Rejected(cause) => Self::Rejected(silent(cause)),
            Self::NotFound(cause) => Self::NotFound(silent(cause)),
            Self::Replaced(cause) => Self::Replaced(silent(cause)),
            Self::Unavailable(cause) => Self::Unavailable(silent(cause)),
            Self::Throttled(_) | Self::Unknown(_) | Self::Fenced | Self::NotSent => self,
        }
    }
}

/// Stands for words about a Secret.
pub const WITHHELD: &str = "(withheld: it may quote the Secret)";

/// Why the API server refused, classed by the structure of its answer and never by its prose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    pub reason: Refusal,
    /// HTTP status; 0 where there was none.
    pub code: u16,
    /// The server's own words, for people.
    pub message: String,
}

/// The kinds of refusal. Also the value of `error.type` and of a condition's reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Refusal {
    /// Unknown field or wrong type.
    SchemaInvalid,
    /// Validation: immutable field, rule, range.
    Invalid,
    /// Admission policy or webhook said no.
    AdmissionDenied,
    /// The agent lacks the right.
    Forbidden,
    QuotaExceeded,
    NamespaceTerminating,
    NamespaceMissing,
    KindMissing,
    Conflict,
    WebhookUnavailable,
    ServerError,
    TooLarge,
    /// It cannot be changed, and is not deleted to be created anew.
    NotRecreated,
    Unclassified,
}

impl Refusal {
    pub fn word(self) -> &'static str {
        match self {
            Self::SchemaInvalid => "SchemaInvalid",
            Self::Invalid => "Invalid",
            Self::AdmissionDenied => "AdmissionDenied",
            Self::Forbidden => "Forbidden",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::NamespaceTerminating => "NamespaceTerminating",
            Self::NamespaceMissing => "NamespaceMissing",
            Self::KindMissing => "KindMissing",
            Self::Conflict => "Conflict",
            Self::WebhookUnavailable => "WebhookUnavailable",
            Self::ServerError => "ServerError",
            Self::TooLarge => "TooLarge",
            Self::NotRecreated => "NotRecreated",
            Self::Unclassified => "Unclassified",
        }
    }
}

/// Where objects of a kind cannot be seen, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blind {
    /// `None` for everywhere.
    pub namespace: Option<Arc<str>>,
    pub cause: Cause,
}

/// What people asked of an app through its `App` object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ask {
    /// Digest of the plan that was approved, and by whom.
    pub approval: Option<Approval>,
    /// Set while the app is paused; the person's reason.
    pub paused: Option<String>,
    /// Changes whenever a person asks for a sync now.
    pub sync: Option<String>,
    /// The release that the app is pinned to.
    pub pin: Option<Pin>,
    /// Set while the app's objects are to go, and to stay away.
    pub delete: Option<Deletion>,
    /// Objects that may be deleted although something guards them.
    pub prune: HashSet<Uid>,
}

/// A person's word that an app is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deletion {
    /// What becomes of what its objects own; `Orphan` lets the objects themselves stay.
    pub cascade: Propagation,
    /// Namespaces, volumes and the like go, too.
    pub sensitive_kinds: bool,
}

/// A person's word that an app goes back to a release and stays there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pin {
    /// The release's rendered set, as the history names it.
    pub release: Digest,
    /// For people; may be empty.
    pub reason: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approval {
    pub digest: Digest,
    pub by: String,
}

/// Everything that an agent finds of an app when it begins to work on it.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub inventory: Inventory,
    /// What the status remembers.
    pub recorded: Recorded,
    /// What people ask: a paused app must not be touched before that is known.
    pub ask: Ask,
}

/// Until when this process may write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseTerm {
    Held { until: Timestamp },
    Lost,
}

impl LeaseTerm {
    /// Whether a request that starts `now` and takes at most `longest` ends before the Lease may be another's.
    pub fn covers(self, longest: SignedDuration, now: Timestamp) -> bool {
        match self {
            Self::Held { until } => until.duration_since(now) > longest,
            Self::Lost => false,
        }
    }
}

/// Everything that a machine reacts to.
#[derive(Clone, Debug)]
pub enum Event {
    /// The recorded state, read from the cluster.
    Loaded(Box<Loaded>),
    /// A new rendered set; only the newest counts.
    Desired(Arc<Desired>),
    /// The newest revision renders exactly as the one before it.
    Unmoved(Revision),
    /// The newest revision could not be rendered; the last good set stays.
    RenderFailed {
        revision: Revision,
        why: Unrendered,
        /// When it was tried.
        tried: Option<Interval>,
    },
    /// The source cannot be read; nothing changes in the cluster.
    SourceFailed {
        reason: String,
        message: String,
    },
    SourceOk,
    /// The agent's changed file is refused: what it said before stays in force. `None` when it is good again.
    ConfigRefused(Option<String>),
    Policy(Policy),
    /// How far the apps are that this one depends on.
    Standings(Standings),
    Claims(Claims),
    Asked(Ask),
    /// All approval tags of the app, as its repository has them now.
    ApprovalTags(Vec<ApprovalTag>),
    /// The stored renders of these releases have to make room for newer ones, of whatever app.
    MakeRoom(BTreeSet<Digest>),
    Apis(Arc<ApiSet>),
    /// Objects of these kinds are judged in another way: what was seen is looked at again.
    HealthRules(BTreeSet<GroupKind>),
    /// The live autoscalers; `None` while nobody knows them.
    Autoscaled(Option<Arc<Autoscaled>>),
    Observed(ObjectId, Observation),
    /// A list of all our objects of the kind is complete: what it did not show is gone or unlabelled.
    Relisted {
        kind: Arc<GroupKind>,
        watch: u32,
    },
    /// Where the server refuses to show objects of the kind now; nowhere if there is no place.
    Blind {
        kind: Arc<GroupKind>,
        places: Vec<Blind>,
    },
    Done {
        token: Token,
        result: Result<Answer, Failure>,
    },
    Lease(LeaseTerm),
    /// Stop starting work: the process is about to end.
    Drain,
    /// The wake-up time asked for has come.
    Tick,
}
