//! Receivers of notifications as they are written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use skiff_shared::news::Trigger;

use super::RawProxy;

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct RawReceiver {
    #[schemars(required)]
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) triggers: Option<Vec<Trigger>>,
    pub(in crate::config) apps: Vec<String>,
    pub(in crate::config) template: Option<String>,
    pub(in crate::config) ca_file: Option<PathBuf>,
    pub(in crate::config) proxy: Option<RawProxy>,
    pub(in crate::config) slack: Option<RawSlack>,
    pub(in crate::config) pager_duty: Option<RawPagerDuty>,
    pub(in crate::config) webhook: Option<RawOutbound>,
    pub(in crate::config) cloud_events: Option<RawEndpoint>,
    pub(in crate::config) alertmanager: Option<RawEndpoint>,
    pub(in crate::config) github: Option<RawForge>,
    pub(in crate::config) gitlab: Option<RawForge>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct RawSlack {
    pub(in crate::config) url_file: Option<PathBuf>,
    pub(in crate::config) token_file: Option<PathBuf>,
    pub(in crate::config) channel: Option<String>,
    pub(in crate::config) api_url: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct RawPagerDuty {
    #[schemars(required)]
    pub(in crate::config) routing_key_file: Option<PathBuf>,
    pub(in crate::config) url: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct RawOutbound {
    #[schemars(required)]
    pub(in crate::config) url: Option<String>,
    pub(in crate::config) secret_file: Option<PathBuf>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct RawEndpoint {
    #[schemars(required)]
    pub(in crate::config) url: Option<String>,
    pub(in crate::config) token_file: Option<PathBuf>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct RawForge {
    #[schemars(required)]
    pub(in crate::config) token_file: Option<PathBuf>,
    pub(in crate::config) api_url: Option<String>,
}
