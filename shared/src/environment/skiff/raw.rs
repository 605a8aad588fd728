//! `skiff.yaml` as it is written: nothing checked yet.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::desired::Propagation;
use crate::environment::selector::Operator;
use crate::environment::{AppName, Namespace, RawReference, Signed};
use crate::policy::Mode;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct RawEnvironment {
    #[schemars(required, extend("const" = "skiff.dev/v1alpha1"))]
    pub(super) api_version: Option<String>,
    #[schemars(required, extend("const" = "Environment"))]
    pub(super) kind: Option<String>,
    // Read one by one, so that each keeps its place in the list.
    #[schemars(with = "Vec<RawApp>")]
    pub(super) apps: Option<Vec<Value>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct RawApp {
    pub(super) name: Option<AppName>,
    pub(super) path: Option<String>,
    #[expect(
        dead_code,
        reason = "read for its shape: what it says is looked at before the entry is completed"
    )]
    pub(super) each: Option<String>,
    #[serde(default)]
    pub(super) except: Vec<String>,
    #[expect(
        dead_code,
        reason = "read for its shape: what it says is looked at before the entry is completed"
    )]
    pub(super) clusters: Option<RawSelector>,
    pub(super) source: Option<RawSource>,
    pub(super) chart: Option<RawChart>,
    pub(super) namespace: Option<Namespace>,
    #[serde(default)]
    pub(super) create_namespace: bool,
    pub(super) managed_namespace_metadata: Option<RawMetadata>,
    pub(super) renderer: Option<RawRenderer>,
    pub(super) helm: Option<RawHelm>,
    pub(super) kustomize: Option<RawKustomize>,
    #[serde(default)]
    pub(super) substitute: bool,
    #[serde(default)]
    pub(super) health_check_exprs: Vec<RawHealthCheck>,
    #[serde(default)]
    pub(super) ignore_differences: Vec<RawIgnore>,
    #[serde(default)]
    pub(super) depends_on: Vec<AppName>,
    #[serde(default)]
    pub(super) sync: RawSync,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawMetadata {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct RawHealthCheck {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) current: String,
    pub(super) in_progress: Option<String>,
    pub(super) failed: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct RawIgnore {
    #[serde(default)]
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    #[serde(default)]
    pub(super) json_pointers: Vec<String>,
    #[serde(default)]
    pub(super) jq_path_expressions: Vec<String>,
    #[serde(default)]
    pub(super) managed_fields_managers: Vec<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawSelector {
    pub(super) match_labels: BTreeMap<String, String>,
    pub(super) match_expressions: Vec<RawRequirement>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawRequirement {
    pub(super) key: String,
    pub(super) operator: Operator,
    #[serde(default)]
    pub(super) values: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct RawSource {
    pub(super) url: String,
    #[serde(rename = "ref", default)]
    pub(super) reference: RawReference,
    #[serde(default)]
    pub(super) path: String,
    pub(super) verify: Option<RawVerify>,
    #[serde(default)]
    pub(super) refuse_rewrites: bool,
    pub(super) accepted_rewrite: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawVerify {
    #[serde(default)]
    pub(super) mode: Signed,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawChart {
    pub(super) repository: String,
    pub(super) name: String,
    pub(super) version: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum RawRenderer {
    Auto,
    Plain,
    Kustomize,
    Helm,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct RawHelm {
    pub(super) release_name: Option<String>,
    #[serde(default)]
    pub(super) value_files: Vec<String>,
    #[serde(default)]
    pub(super) environment_value_files: Vec<String>,
    #[serde(default)]
    pub(super) values: Map<String, Value>,
    #[serde(default)]
    pub(super) parameters: Vec<RawParameter>,
    #[serde(default)]
    pub(super) skip_crds: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct RawParameter {
    pub(super) name: String,
    pub(super) value: String,
    #[serde(default)]
    pub(super) force_string: bool,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawKustomize {}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct RawSync {
    pub(super) mode: Option<Mode>,
    pub(super) prune: Option<bool>,
    pub(super) self_heal: Option<bool>,
    pub(super) prune_propagation: Option<Propagation>,
    #[serde(default)]
    pub(super) fail_on_shared_resource: bool,
}
