//! The configuration as it is written: every key optional, nothing checked yet.

mod notification;
mod webhooks;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;
use skiff_shared::environment::{AppName, Fact, Namespace, RawReference, Signed};
use skiff_shared::gate::window::WindowKind;
use skiff_shared::policy::{Adopt, Binds, Mode, OnInvalid, PruneWhen};

use super::units::{Bytes, Span};
use super::{Detail, OnDuplicate};

pub(super) use notification::{RawEndpoint, RawForge, RawOutbound, RawPagerDuty, RawReceiver, RawSlack};
pub(super) use webhooks::{RawGitlabHook, RawHook, RawWebhooks};

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) cluster: RawCluster,
    pub(super) agent: RawAgent,
    // Read one by one, so that each keeps its place in the list.
    #[schemars(with = "Vec<RawEnvironment>")]
    pub(super) environments: Vec<Value>,
    #[schemars(with = "Vec<RawReceiver>")]
    pub(super) notifications: Vec<Value>,
    pub(super) webhooks: RawWebhooks,
    pub(super) fetch: RawFetch,
    pub(super) telemetry: RawTelemetry,
    pub(super) http: RawHttp,
    pub(super) render: RawRender,
    pub(super) state: RawState,
    pub(super) lease: RawLease,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawCluster {
    pub(super) name: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) vars: BTreeMap<String, Fact>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawAgent {
    pub(super) namespace: Option<Namespace>,
    pub(super) namespaces: Vec<Namespace>,
    pub(super) instance: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawEnvironment {
    pub(super) name: Option<AppName>,
    pub(super) source: RawSource,
    pub(super) repositories: Vec<RawRepository>,
    pub(super) sync: RawSync,
    pub(super) on_duplicate: OnDuplicate,
    pub(super) limits: RawReach,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawReach {
    pub(super) repositories: Option<Vec<String>>,
    pub(super) namespaces: Option<Vec<String>>,
    pub(super) kinds: Option<Vec<String>>,
    pub(super) cluster_scoped: Option<bool>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawSource {
    pub(super) url: Option<String>,
    #[serde(rename = "ref")]
    pub(super) reference: RawReference,
    pub(super) path: Option<String>,
    pub(super) credentials: RawCredentials,
    pub(super) proxy: Option<RawProxy>,
    pub(super) verify: Option<RawVerify>,
    pub(super) refuse_rewrites: bool,
    pub(super) accepted_rewrite: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawVerify {
    pub(super) mode: Signed,
    pub(super) allowed_signers_file: Option<PathBuf>,
    pub(super) public_keys_file: Option<PathBuf>,
    pub(super) secret_ref: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawRepository {
    pub(super) url: Option<String>,
    pub(super) credentials: RawCredentials,
    pub(super) proxy: Option<RawProxy>,
    pub(super) verify: Option<RawVerify>,
    pub(super) refuse_rewrites: bool,
    pub(super) accepted_rewrite: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawCredentials {
    pub(super) username_file: Option<PathBuf>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) certificate_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) ssh_key_file: Option<PathBuf>,
    pub(super) known_hosts_file: Option<PathBuf>,
    pub(super) ssh_passphrase_file: Option<PathBuf>,
    pub(super) github_app: Option<RawGithubApp>,
    pub(super) secret_ref: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawGithubApp {
    pub(super) app_id: Option<u64>,
    pub(super) installation_id: Option<u64>,
    pub(super) private_key_file: Option<PathBuf>,
    pub(super) api_url: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawProxy {
    pub(super) url: Option<String>,
    pub(super) username_file: Option<PathBuf>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) secret_ref: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawSync {
    pub(super) mode: Option<Mode>,
    pub(super) approval: RawApproval,
    #[schemars(schema_with = "prune_or_bool")]
    pub(super) prune: RawPrune,
    pub(super) self_heal: Option<bool>,
    pub(super) adopt: Option<Adopt>,
    pub(super) on_invalid: Option<OnInvalid>,
    pub(super) timeout: Option<Span>,
    pub(super) interval: Option<Span>,
    pub(super) windows: Vec<RawWindow>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawApproval {
    pub(super) binds: Binds,
    pub(super) tags: Option<RawSigners>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawSigners {
    pub(super) allowed_signers_file: Option<PathBuf>,
    pub(super) public_keys_file: Option<PathBuf>,
    pub(super) secret_ref: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawWindow {
    #[schemars(required)]
    pub(super) kind: Option<WindowKind>,
    #[schemars(required)]
    pub(super) schedule: Option<String>,
    #[schemars(required)]
    pub(super) duration: Option<Span>,
    pub(super) time_zone: Option<String>,
    pub(super) heal: bool,
    pub(super) manual_sync: bool,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawPrune {
    pub(super) enabled: Option<bool>,
    pub(super) when: Option<PruneWhen>,
    pub(super) max_share: Option<u8>,
    pub(super) sensitive_kinds: Option<bool>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawFetch {
    pub(super) timeout: Option<Span>,
    pub(super) limits: RawTransfer,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawTransfer {
    pub(super) transfer: Option<Bytes>,
    pub(super) file: Option<Bytes>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawTelemetry {
    pub(super) otlp: RawOtlp,
    pub(super) detail: Detail,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawOtlp {
    pub(super) endpoint: Option<String>,
    pub(super) headers_file: Option<PathBuf>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawHttp {
    pub(super) listen: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawRender {
    pub(super) helm: Option<PathBuf>,
    pub(super) kustomize: Option<PathBuf>,
    pub(super) timeout: Option<Span>,
    pub(super) fetch_dependencies: bool,
    pub(super) sandbox: RawDemand,
    pub(super) limits: RawLimits,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum RawDemand {
    #[default]
    BestEffort,
    Required,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub(super) memory: Option<Bytes>,
    pub(super) cpu_time: Option<Span>,
    pub(super) output: Option<Bytes>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawState {
    pub(super) directory: Option<PathBuf>,
    pub(super) renders: Option<Bytes>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawLease {
    pub(super) name: Option<String>,
    pub(super) duration: Option<Span>,
    pub(super) renew_interval: Option<Span>,
}

/// `prune: false` is short for `prune: {enabled: false}`.
fn prune_or_bool(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "boolean" }, RawPrune::json_schema(generator)] })
}
