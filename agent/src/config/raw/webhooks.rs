//! Webhooks as they are written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct RawWebhooks {
    pub(in crate::config) listen: Option<String>,
    pub(in crate::config) github: Option<RawHook>,
    pub(in crate::config) gitlab: Option<RawGitlabHook>,
    pub(in crate::config) gitea: Option<RawHook>,
    pub(in crate::config) generic: Option<RawHook>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct RawHook {
    #[schemars(required)]
    pub(in crate::config) secret_file: Option<PathBuf>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct RawGitlabHook {
    pub(in crate::config) secret_file: Option<PathBuf>,
    pub(in crate::config) token_file: Option<PathBuf>,
}
