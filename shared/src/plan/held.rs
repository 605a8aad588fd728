//! Objects that are left alone, and why.

use std::sync::Arc;

use crate::desired::Assignment;
use crate::object::{GroupKind, ObjectId};

/// An object that is left alone, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    pub id: ObjectId,
    pub reason: HeldReason,
}

/// Why an object is left alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeldReason {
    /// The cluster does not serve this version of the kind.
    MissingKind { kind: Arc<GroupKind>, version: Arc<str> },
    /// Another app has it.
    Conflict { app: Arc<str> },
    /// It exists and may not be taken over; the owner as people know it.
    NotAdopted { owner: String },
    /// Pruning is switched off.
    PruneOff,
    /// The object asks to be kept.
    Keep,
    /// A kind that holds data or other objects is pruned only after confirmation.
    ConfirmPrune,
    /// More of the app would go than `prune.maxShare` allows.
    PruneBudget { pruned: u32, owned: u32, max_share: u8 },
    /// Nothing was rendered at all.
    EmptyRender,
    /// The app list has no app any more.
    LastApp,
    /// The app goes as a whole or not at all, and another object of it is held.
    HeldTogether { by: ObjectId },
    /// Another environment of the agent has not read its app list at this revision: it may take the app over.
    EnvironmentUnread { environment: Arc<str> },
    /// The group's discovery failed, so its objects cannot be judged.
    IncompleteDiscovery,
    /// Wanted by another app now: handed over, not pruned.
    HandedOver { app: Arc<str> },
    /// Git has its kind and name in another API group, and nobody knows yet whether that is the same object.
    AnotherGroup { kind: Arc<GroupKind> },
    /// It comes from what the configuration assigned before: a changed configuration never prunes.
    AssignmentChanged { before: Arc<Assignment> },
    /// It was wanted with other facts of the cluster: a changed configuration never prunes.
    FactsChanged,
    /// The inventory was lost, and this was found by its labels: nobody knows that it may go.
    InventoryLost,
    /// It exists already, and asks to be created only where it is not there.
    AlreadyThere,
    /// It asks not to be applied.
    LeftAlone,
    /// Another app of the environment may want it: nobody knows while that one is not rendered.
    Undecided { app: Arc<str> },
}

impl HeldReason {
    /// The condition's and event's word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::MissingKind { .. } => "MissingKind",
            Self::Conflict { .. } => "Conflict",
            Self::NotAdopted { .. } => "NotAdopted",
            Self::PruneOff => "PruneOff",
            Self::Keep => "Keep",
            Self::ConfirmPrune => "ConfirmPrune",
            Self::PruneBudget { .. } => "PruneBudget",
            Self::EmptyRender => "EmptyRender",
            Self::LastApp => "LastApp",
            Self::HeldTogether { .. } => "HeldTogether",
            Self::EnvironmentUnread { .. } => "Undecided",
            Self::IncompleteDiscovery => "IncompleteDiscovery",
            Self::HandedOver { .. } => "HandedOver",
            Self::AnotherGroup { .. } => "AnotherGroup",
            Self::AssignmentChanged { .. } => "AssignmentChanged",
            Self::FactsChanged => "FactsChanged",
            Self::InventoryLost => "InventoryLost",
            Self::AlreadyThere => "AlreadyThere",
            Self::LeftAlone => "LeftAlone",
            Self::Undecided { .. } => "Undecided",
        }
    }

    /// Whether another app has the object, or is about to.
    pub fn is_somebody_elses(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::HandedOver { .. })
    }

    /// Whether the object is wanted, and is not written for this reason.
    pub fn leaves_unwritten(&self) -> bool {
        matches!(self, Self::MissingKind { .. } | Self::Conflict { .. } | Self::NotAdopted { .. })
    }

    /// Whether a person can let this one object go.
    pub fn is_confirmable(&self) -> bool {
        matches!(self, Self::ConfirmPrune | Self::PruneBudget { .. })
    }

    /// Whether the object itself asks for it.
    pub fn is_asked_for(&self) -> bool {
        matches!(self, Self::Keep | Self::AlreadyThere | Self::LeftAlone)
    }

    /// Whether the app cannot be called `Synced` while an object is held for this reason.
    pub fn out_of_sync(&self) -> bool {
        !self.is_asked_for() && !matches!(self, Self::HandedOver { .. })
    }
}

impl std::fmt::Display for HeldReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MissingKind { kind, version } => {
                write!(f, "the cluster does not serve {kind} in version {version}: it is written when a CustomResourceDefinition brings it")
            }
            Self::Conflict { app } => write!(f, "app {app:?} has this object already: remove it from one of the two"),
            Self::NotAdopted { owner } => {
                write!(f, "it exists and belongs to {owner}: set sync.adopt to \"always\" to take it over")
            }
            Self::PruneOff => f.write_str("it is no longer in Git and sync.prune is off: delete it by hand or switch pruning on"),
            Self::Keep => f.write_str("it is no longer in Git and asks to be kept"),
            Self::ConfirmPrune => f.write_str("it is no longer in Git, and is deleted only by a person's word: skiff approve APP --prune OBJECT"),
            Self::PruneBudget { pruned, owned, max_share } => write!(
                f,
                "refusing to prune {pruned} of {owned} owned objects: the limit is {max_share}%; raise prune.maxShare to allow it"
            ),
            Self::EmptyRender => f.write_str("nothing was rendered, and an empty render never prunes: `skiff delete` removes the app's objects"),
            Self::LastApp => f.write_str("the app list is empty, which may be a mistake: `skiff delete` removes the app's objects"),
            Self::HeldTogether { by } => write!(f, "an app goes as a whole or not at all, and {by} is held"),
            Self::EnvironmentUnread { environment } => write!(
                f,
                "the app is no longer in its app list, but environment {environment:?} has not read its own at this revision and may have it"
            ),
            Self::IncompleteDiscovery => f.write_str("the API group cannot be discovered at the moment, so nothing of it is pruned"),
            Self::HandedOver { app } => write!(f, "app {app:?} wants this object now: it is handed over, not pruned"),
            Self::AnotherGroup { kind } => write!(
                f,
                "it is in Git as {kind}, which is not written yet and may be the same object: it is pruned when it turns out to be another one"
            ),
            Self::AssignmentChanged { before } => write!(
                f,
                "it comes from {before}, and a changed configuration never prunes: ask for a sync (skiff sync) to prune it"
            ),
            Self::FactsChanged => f.write_str(
                "it was wanted with another name, label or variable of the cluster, and a changed configuration never prunes: ask for a sync (skiff sync) to prune it",
            ),
            Self::InventoryLost => f.write_str(
                "it is not in Git, and was found by its labels after the inventory was lost: ask for a sync (skiff sync) to prune it, or take its label skiff.dev/instance away to keep it",
            ),
            Self::AlreadyThere => f.write_str("it exists, and asks to be created only where it is not there"),
            Self::LeftAlone => f.write_str("it asks not to be applied"),
            Self::Undecided { app } => write!(
                f,
                "it is no longer in this app, but app {app:?} cannot be rendered and may want it: it is pruned when that one renders without it"
            ),
        }
    }
}
