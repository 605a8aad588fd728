//! The sync policy as an `App`'s status shows it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::{Adopt, ApprovalPolicy, Binds, Mode, OnInvalid, Policy, Prune, PruneWhen};

/// How an app is synced; the keys are those of `sync` in the agent's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncPolicy {
    pub mode: Mode,
    #[serde(default)]
    pub approval: ApprovalRules,
    pub self_heal: bool,
    pub adopt: Adopt,
    pub on_invalid: OnInvalid,
    /// An object that another app has blocks the whole plan.
    pub fail_on_shared: bool,
    pub prune: PrunePolicy,
}

/// How plans are approved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRules {
    pub binds: Binds,
    /// People may also approve by a signed tag in Git.
    #[serde(default)]
    pub by_tag: bool,
}

/// What is deleted when it leaves Git.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrunePolicy {
    pub enabled: bool,
    pub when: PruneWhen,
    /// Percentage of the owned objects that one plan may prune without a person's word.
    pub max_share: u8,
    /// Namespaces, definitions and what holds data are pruned without confirmation.
    pub sensitive_kinds: bool,
}

impl SyncPolicy {
    /// Returns what the status says of a policy.
    pub fn of(policy: &Policy) -> Self {
        let Prune { enabled, when, max_share, sensitive_kinds, propagation: _ } = policy.prune;
        let ApprovalPolicy { binds, by_tag } = policy.approval;
        Self {
            mode: policy.mode,
            approval: ApprovalRules { binds, by_tag },
            self_heal: policy.self_heal,
            adopt: policy.adopt,
            on_invalid: policy.on_invalid,
            fail_on_shared: policy.fail_on_shared,
            prune: PrunePolicy { enabled, when, max_share, sensitive_kinds },
        }
    }

    /// Returns the policy, as far as a plan asks for it.
    pub fn read(self) -> Policy {
        let Self { mode, approval, self_heal, adopt, on_invalid, fail_on_shared, prune } = self;
        let PrunePolicy { enabled, when, max_share, sensitive_kinds } = prune;
        let ApprovalRules { binds, by_tag } = approval;
        let approval = ApprovalPolicy { binds, by_tag };
        let default = Policy::default();
        let prune = Prune { enabled, when, max_share, sensitive_kinds, ..default.prune };
        Policy { mode, approval, self_heal, adopt, on_invalid, fail_on_shared, prune, ..default }
    }
}
