//! The sync policy of an app: what the config and `skiff.yaml` decided, resolved to one value.
//!
//! An input of plan, gate and machine. Defaults per environment are applied before it gets here.

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::Propagation;
use crate::gate::window::Window;

/// Who starts the application of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// A plan is applied when it is ready.
    Auto,
    /// A plan is applied when a person has approved its digest.
    Manual,
}

/// What an approval binds to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Binds {
    /// What is written and deleted: drift that is found later does not void it.
    #[default]
    Plan,
    /// Also the state of the app's fields when the plan was shown: drift that comes later needs another word.
    Live,
}

/// The approval part of a [`Policy`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ApprovalPolicy {
    pub binds: Binds,
    /// Whether people may also approve by a signed tag in Git.
    pub by_tag: bool,
}

/// Which objects that exist already may be taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
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
    pub approval: ApprovalPolicy,
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

impl Policy {
    /// Returns the policy made stricter by what an app asks of its environment's.
    #[must_use]
    pub fn narrowed(self, asked: &Self) -> Self {
        Self {
            mode: if asked.mode == Mode::Manual { Mode::Manual } else { self.mode },
            self_heal: self.self_heal && asked.self_heal,
            fail_on_shared: self.fail_on_shared || asked.fail_on_shared,
            prune: Prune { enabled: self.prune.enabled && asked.prune.enabled, ..self.prune },
            ..self
        }
    }
}

impl Default for Policy {
    /// The policy of development and staging: everything by itself, sensitive kinds by a person.
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            approval: ApprovalPolicy::default(),
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
    fn an_app_can_only_make_a_policy_stricter() {
        let production =
            Policy { mode: Mode::Manual, self_heal: false, adopt: Adopt::Never, ..Policy::default() };
        assert_eq!(production.clone().narrowed(&Policy::default()), production);
        let careful =
            Policy { prune: Prune { enabled: false, ..Policy::default().prune }, ..production.clone() };
        assert_eq!(
            Policy::default().narrowed(&careful),
            Policy { adopt: Adopt::IfUnowned, ..careful },
            "what an app cannot ask for stays the environment's"
        );
    }
}
