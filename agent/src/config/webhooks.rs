//! Who may ask for a poll by a webhook: the checked part of the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The listener, and the secrets of those who may send. Files are read for each webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhooks {
    pub listen: SocketAddr,
    pub github: Option<PathBuf>,
    pub gitlab: Option<GitlabHook>,
    /// Forgejo too.
    pub gitea: Option<PathBuf>,
    /// Anybody who signs as Standard Webhooks has it.
    pub generic: Option<PathBuf>,
}

/// What GitLab proves itself by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GitlabHook {
    /// A signing token.
    Signed { secret_file: PathBuf },
    /// A secret token, which GitLab sends as it is.
    Token { token_file: PathBuf },
}
