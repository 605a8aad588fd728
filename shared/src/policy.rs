//! The sync policy of an app: what the config and `skiff.yaml` decided, resolved to one value.
//!
//! An input of plan, gate and machine. Defaults per environment are applied before it gets here.

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::Propagation;
use crate::gate::window::Window;

/// Who starts the application of a plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// A plan is applied when it is ready.
    #[default]
    Auto,
    /// A plan is applied when a person has approved its digest.
    Manual,
}

/// Which objects that exist already may be taken over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Adopt {
    Never,
    /// Objects that carry no other GitOps tool's marks.
    IfUnowned,
    Always,
}

/// What an object that the API server rejects does to the rest of its plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnInvalid {
    /// Nothing of the plan is written.
    Block,
    /// The valid rest is written.
    Skip,
}

/// When objects that left Git are deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PruneWhen {
    /// After everything else is healthy.
    Healthy,
    /// After everything else is applied.
    Applied,
}

/// The sync policy of one app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    pub mode: Mode,
    pub self_heal: bool,
    pub adopt: Adopt,
    pub on_invalid: OnInvalid,
    /// How long a sync may go on without any progress before it is called failed; zero: for ever.
    pub timeout: SignedDuration,
    /// An object that another app has blocks the whole plan.
    pub fail_on_shared: bool,
    pub prune: Prune,
    /// When plans may be applied; none: always.
    pub windows: Vec<Window>,
}

/// The timeout of a policy that names none.
pub const TIMEOUT: SignedDuration = SignedDuration::from_mins(5);

/// The prune part of a [`Policy`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prune {
    pub enabled: bool,
    pub when: PruneWhen,
    /// Percentage of the owned objects that one plan may prune without a person's word.
    pub max_share: u8,
    /// Whether Namespaces, CRDs, StatefulSets, PersistentVolumes and claims are pruned without
    /// confirmation (development).
    pub sensitive_kinds: bool,
    /// What becomes of what a pruned object owns, where the object does not say so itself.
    pub propagation: Propagation,
}

/// What is recorded of a policy, for an agent that starts while the app list cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolicyRecord {
    pub mode: Mode,
    pub self_heal: bool,
    pub prune: bool,
}

impl PolicyRecord {
    pub fn of(policy: &Policy) -> Self {
        Self { mode: policy.mode, self_heal: policy.self_heal, prune: policy.prune.enabled }
    }

    /// Returns the policy that differs from another one in what is recorded.
    pub fn over(self, policy: Policy) -> Policy {
        let Self { mode, self_heal, prune } = self;
        Policy { mode, self_heal, prune: Prune { enabled: prune, ..policy.prune }, ..policy }
    }
}

impl Policy {
    /// Returns what both policies let happen: for an app whose own words were given beside defaults that have changed
    /// since, while its list cannot be read. Propagation and timeout, which permit nothing, are the first one's.
    pub fn and(self, other: &Self) -> Self {
        let Self { mode, self_heal, adopt, on_invalid, timeout, fail_on_shared, prune, windows } = self;
        Self {
            mode: mode.max(other.mode),
            self_heal: self_heal && other.self_heal,
            adopt: adopt.min(other.adopt),
            on_invalid: if on_invalid == OnInvalid::Skip { other.on_invalid } else { on_invalid },
            timeout,
            fail_on_shared: fail_on_shared || other.fail_on_shared,
            prune: Prune {
                enabled: prune.enabled && other.prune.enabled,
                when: if prune.when == PruneWhen::Applied { other.prune.when } else { prune.when },
                max_share: prune.max_share.min(other.prune.max_share),
                sensitive_kinds: prune.sensitive_kinds && other.prune.sensitive_kinds,
                propagation: prune.propagation,
            },
            // None means always. Windows cannot be cut with one another: the app's own are the narrower ones.
            windows: if other.windows.is_empty() { windows } else { other.windows.clone() },
        }
    }
}

impl Default for Policy {
    /// The policy of development and staging: everything by itself, sensitive kinds by a person.
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            self_heal: true,
            adopt: Adopt::IfUnowned,
            on_invalid: OnInvalid::Block,
            timeout: TIMEOUT,
            fail_on_shared: false,
            prune: Prune {
                enabled: true,
                when: PruneWhen::Healthy,
                max_share: 50,
                sensitive_kinds: false,
                propagation: Propagation::Background,
            },
            windows: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_policies_let_happen_is_what_the_stricter_one_does() {
        let lax = Policy {
            adopt: Adopt::Always,
            on_invalid: OnInvalid::Skip,
            prune: Prune {
                when: PruneWhen::Applied,
                max_share: 100,
                sensitive_kinds: true,
                ..Policy::default().prune
            },
            ..Policy::default()
        };
        let strict = Policy {
            mode: Mode::Manual,
            self_heal: false,
            adopt: Adopt::Never,
            fail_on_shared: true,
            prune: Prune { enabled: false, max_share: 10, ..Policy::default().prune },
            ..Policy::default()
        };
        assert_eq!(lax.clone().and(&strict), strict);
        assert_eq!(strict.clone().and(&lax), strict);
        assert_eq!(lax.clone().and(&lax), lax);
    }

    #[test]
    fn what_is_recorded_is_put_over_other_defaults() {
        let own = PolicyRecord { mode: Mode::Manual, self_heal: false, prune: false };
        assert_eq!(PolicyRecord::of(&own.over(Policy::default())), own);
        assert_eq!(own.over(Policy::default()).adopt, Policy::default().adopt);
    }
}
