//! A cluster as a file describes it, for rendering far from it: its facts, its versions and, if the file is an agent's
//! own, what that agent allows.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use skiff_shared::desired::Problem;
use skiff_shared::environment::{Fact, Facts};
use skiff_shared::limits::Limits;
use skiff_shared::policy::Policy;
use skiff_shared::yaml;

use super::document;
use crate::config::{self, Config, EnvironmentConfig};
use crate::render::OnDuplicate;

/// What is known of a cluster. The default is one without facts and limits.
#[derive(Clone, Default)]
pub struct Described {
    pub facts: Facts,
    /// `None` where the file does not say it.
    pub kube_version: Option<String>,
    /// API versions that charts are told of, beside those of Kubernetes.
    pub api_versions: Vec<String>,
    /// How its environment is synced; `None` where the file is not the agent's own, or has no such environment.
    pub policy: Option<Policy>,
    pub limits: Limits,
    pub on_duplicate: OnDuplicate,
    /// The environment in the agent's own file, if the description is one.
    pub agent: Option<EnvironmentConfig>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
struct RawDescribed {
    name: String,
    labels: BTreeMap<String, String>,
    vars: BTreeMap<String, Fact>,
    kube_version: Option<String>,
    api_versions: Vec<String>,
}

impl Described {
    /// Reads the description where one is given.
    pub fn read_any(path: Option<&Path>, environment: &str) -> Result<Self, Vec<Problem>> {
        path.map_or_else(|| Ok(Self::default()), |path| Self::read(path, environment))
    }

    /// Reads the description, or the agent's file of the cluster, of which the rules of one environment are taken.
    pub fn read(path: &Path, environment: &str) -> Result<Self, Vec<Problem>> {
        let file = path.display().to_string();
        let (bytes, document) = document::read(path)?;
        if document.value.get("cluster").is_some() {
            let config = Config::parse(&bytes, &file, []).map_err(|errors| errors.problems)?;
            return Ok(Self::of_agent(config, environment));
        }
        let reading = yaml::read::<RawDescribed>(&document.value);
        let place = |pointer: &str| format!("{file}:{}", document.line_of(pointer).unwrap_or(1));
        let mismatches = reading.mismatches.into_iter();
        let problems: Vec<Problem> =
            mismatches.map(|it| Problem { place: place(&it.pointer), message: it.message }).collect();
        match reading.value {
            Some(raw) if problems.is_empty() => Ok(raw.into()),
            _ => Err(problems),
        }
    }

    /// Takes an environment of an agent's file.
    pub fn of_agent(config: Config, environment: &str) -> Self {
        let facts = config.cluster.facts();
        let found = config.environments.into_iter().find(|found| found.name.as_str() == environment);
        let Some(found) = found else { return Self { facts, ..Self::default() } };
        let on_duplicate = match found.on_duplicate {
            config::OnDuplicate::Refuse => OnDuplicate::Refuse,
            config::OnDuplicate::LastWins => OnDuplicate::LastWins,
        };
        let (policy, limits) = (Some(found.policy.clone()), found.limits.clone());
        Self { facts, policy, limits, on_duplicate, agent: Some(found), ..Self::default() }
    }
}

/// Returns the JSON schema of a description, as the type that reads it has it.
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft07().with(|it| it.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<RawDescribed>().to_value()
}

impl From<RawDescribed> for Described {
    fn from(raw: RawDescribed) -> Self {
        let RawDescribed { name, labels, vars, kube_version, api_versions } = raw;
        // Helm wants the form that the API server gives.
        let kube_version = kube_version.map(|version| format!("v{}", version.trim_start_matches('v')));
        Self { facts: Facts { cluster: name, labels, vars }, kube_version, api_versions, ..Self::default() }
    }
}
