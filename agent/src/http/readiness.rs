//! What must be known before the agent is called ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Conditions by name: known, and then how they stand, or not known yet. Cheap to clone.
///
/// Ready means that the agent knows how things stand, not that they stand well: a repository that cannot be
/// read must not stop a rollout of the agent that would mend it. An environment's source counts as known once
/// it was read or has failed.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

impl Readiness {
    /// Waits for `condition`, if it is not known already.
    pub fn expect(&self, condition: impl Into<String>) {
        self.conditions().entry(condition.into()).or_default();
    }

    /// Says how `condition` stands, in a few words without secrets: anybody in the cluster can read them.
    pub fn known(&self, condition: impl Into<String>, state: impl Into<String>) {
        self.conditions().insert(condition.into(), Some(state.into()));
    }

    /// Says that `condition` is no longer known.
    pub fn unknown(&self, condition: impl Into<String>) {
        self.conditions().insert(condition.into(), None);
    }

    /// Waits for `condition` no more.
    pub fn forget(&self, condition: &str) {
        self.conditions().remove(condition);
    }

    /// Returns whether everything is known, and a line for each condition. Nothing is ready before it expects something.
    pub fn read(&self) -> (bool, Vec<String>) {
        let conditions = self.conditions();
        let is_ready = !conditions.is_empty() && conditions.values().all(Option::is_some);
        let line = |(name, state): (&String, &Option<String>)| {
            format!("{name}: {}", state.as_deref().unwrap_or("not known yet"))
        };
        (is_ready, conditions.iter().map(line).collect())
    }

    fn conditions(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_when_everything_expected_is_known_well_or_not() {
        let readiness = Readiness::default();
        assert!(!readiness.read().0);
        readiness.known("config", "loaded");
        readiness.expect("source production");
        readiness.expect("config");
        assert_eq!(
            readiness.read(),
            (false, vec!["config: loaded".to_owned(), "source production: not known yet".to_owned()])
        );
        readiness.known("source production", "failing: Unreachable");
        assert!(readiness.read().0);
        readiness.unknown("config");
        assert!(!readiness.read().0);
        readiness.forget("config");
        assert!(readiness.read().0);
    }
}
