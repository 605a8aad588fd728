//! Whether an app is one of this cluster: a label selector over the cluster's labels, as Kubernetes has them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Facts;

/// A label selector. One without conditions matches every cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One condition; a cluster has to meet all of a selector's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// Empty for `Exists` and `DoesNotExist`, not empty for the others.
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Operator {
    In,
    // Also met by a cluster without the label, as in Kubernetes.
    NotIn,
    Exists,
    DoesNotExist,
}

/// A condition that can never be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequirementError {
    #[error("operator {operator} needs values")]
    NoValues { operator: &'static str },
    #[error("operator {operator} takes no values")]
    Values { operator: &'static str },
    #[error("a condition needs a key")]
    NoKey,
}

impl Operator {
    fn word(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
        }
    }
}

impl Requirement {
    /// Checks a condition as the API server would.
    pub fn new(key: String, operator: Operator, values: Vec<String>) -> Result<Self, RequirementError> {
        let compares = matches!(operator, Operator::In | Operator::NotIn);
        match (compares, values.is_empty()) {
            _ if key.is_empty() => Err(RequirementError::NoKey),
            (true, true) => Err(RequirementError::NoValues { operator: operator.word() }),
            (false, false) => Err(RequirementError::Values { operator: operator.word() }),
            _ => Ok(Self { key, operator, values }),
        }
    }

    fn is_met(&self, facts: &Facts) -> bool {
        let found = facts.label(&self.key);
        let listed = found.is_some_and(|found| self.values.iter().any(|value| value == found));
        match self.operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
        }
    }
}

impl Selector {
    /// Makes a selector of conditions.
    pub fn new(requirements: Vec<Requirement>) -> Self {
        Self { requirements }
    }

    /// Says whether a cluster meets every condition.
    pub fn matches(&self, facts: &Facts) -> bool {
        self.requirements.iter().all(|requirement| requirement.is_met(facts))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn facts() -> Facts {
        let labels = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
        Facts { cluster: "eu-1".to_owned(), labels, ..Facts::default() }
    }

    fn meets(key: &str, operator: Operator, values: &[&str]) -> bool {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        let requirement = Requirement::new(key.to_owned(), operator, values).unwrap();
        Selector::new(vec![requirement]).matches(&facts())
    }

    #[test]
    fn operators_mean_what_they_mean_in_kubernetes() {
        assert!(meets("region", Operator::In, &["us", "eu"]));
        assert!(!meets("region", Operator::In, &["us"]));
        assert!(!meets("tier", Operator::In, &["gold"]));
        assert!(!meets("region", Operator::NotIn, &["eu"]));
        assert!(meets("tier", Operator::NotIn, &["gold"]), "a label that is not there is not in the list");
        assert!(meets("region", Operator::Exists, &[]));
        assert!(!meets("region", Operator::DoesNotExist, &[]));
        assert!(meets("tier", Operator::DoesNotExist, &[]));
    }

    #[test]
    fn all_conditions_have_to_be_met_and_none_is_met_by_all() {
        let requirement = |key: &str| Requirement::new(key.to_owned(), Operator::Exists, Vec::new()).unwrap();
        assert!(!Selector::new(vec![requirement("region"), requirement("tier")]).matches(&facts()));
        assert!(Selector::default().matches(&Facts::default()));
    }

    #[test]
    fn a_cluster_can_be_chosen_by_its_name() {
        assert!(meets(super::super::facts::NAME_LABEL, Operator::In, &["eu-1"]));
    }

    #[test]
    fn conditions_that_cannot_be_meant_are_refused() {
        let error = |operator, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            Requirement::new("region".to_owned(), operator, values).unwrap_err().to_string()
        };
        assert_eq!(error(Operator::In, &[]), "operator In needs values");
        assert_eq!(error(Operator::Exists, &["eu"]), "operator Exists takes no values");
    }
}
