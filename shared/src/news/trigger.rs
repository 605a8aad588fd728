//! Triggers: what people subscribe to. Where Argo CD's notifications have a name for it, it is theirs.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reason;

/// A group of reasons that somebody wants to be told of, by the names of the catalogue of argocd-notifications
/// (<https://argo-cd.readthedocs.io/en/stable/operator-manual/notifications/catalog/>), and by our own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    OnCreated,
    OnDeleted,
    OnSyncRunning,
    OnSyncSucceeded,
    OnDeployed,
    OnSyncFailed,
    OnSyncStatusUnknown,
    OnHealthDegraded,
    OnHealthRecovered,
    OnApprovalWaiting,
    OnApproved,
    OnHeld,
    OnDrifted,
    OnHealed,
    OnContested,
    OnAgentTrouble,
}

impl Trigger {
    pub const ALL: [Self; 16] = [
        Self::OnCreated,
        Self::OnDeleted,
        Self::OnSyncRunning,
        Self::OnSyncSucceeded,
        Self::OnDeployed,
        Self::OnSyncFailed,
        Self::OnSyncStatusUnknown,
        Self::OnHealthDegraded,
        Self::OnHealthRecovered,
        Self::OnApprovalWaiting,
        Self::OnApproved,
        Self::OnHeld,
        Self::OnDrifted,
        Self::OnHealed,
        Self::OnContested,
        Self::OnAgentTrouble,
    ];

    /// Whether it asks something of a person: what is told to who says nothing else.
    pub fn asks(self) -> bool {
        matches!(
            self,
            Self::OnSyncFailed
                | Self::OnSyncStatusUnknown
                | Self::OnHealthDegraded
                | Self::OnApprovalWaiting
                | Self::OnHeld
                | Self::OnContested
                | Self::OnAgentTrouble
        )
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::OnCreated => "on-created",
            Self::OnDeleted => "on-deleted",
            Self::OnSyncRunning => "on-sync-running",
            Self::OnSyncSucceeded => "on-sync-succeeded",
            Self::OnDeployed => "on-deployed",
            Self::OnSyncFailed => "on-sync-failed",
            Self::OnSyncStatusUnknown => "on-sync-status-unknown",
            Self::OnHealthDegraded => "on-health-degraded",
            Self::OnHealthRecovered => "on-health-recovered",
            Self::OnApprovalWaiting => "on-approval-waiting",
            Self::OnApproved => "on-approved",
            Self::OnHeld => "on-held",
            Self::OnDrifted => "on-drifted",
            Self::OnHealed => "on-healed",
            Self::OnContested => "on-contested",
            Self::OnAgentTrouble => "on-agent-trouble",
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Reason {
    /// Returns what one subscribes to for being told of it.
    pub fn trigger(self) -> Trigger {
        match self {
            Self::Created => Trigger::OnCreated,
            Self::Deleted => Trigger::OnDeleted,
            Self::SyncStarted => Trigger::OnSyncRunning,
            Self::SyncApplied => Trigger::OnSyncSucceeded,
            Self::Synced | Self::RolledBack => Trigger::OnDeployed,
            Self::SyncFailed => Trigger::OnSyncFailed,
            Self::RenderFailed | Self::SourceFailed | Self::SyncUnknown => Trigger::OnSyncStatusUnknown,
            Self::Degraded => Trigger::OnHealthDegraded,
            Self::Recovered => Trigger::OnHealthRecovered,
            Self::WaitingForApproval => Trigger::OnApprovalWaiting,
            Self::Approved => Trigger::OnApproved,
            Self::Held => Trigger::OnHeld,
            Self::Drifted => Trigger::OnDrifted,
            Self::Healed => Trigger::OnHealed,
            Self::Contested => Trigger::OnContested,
            Self::RightsMissing | Self::InventoryLost | Self::StateUnstored => Trigger::OnAgentTrouble,
        }
    }
}
