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

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn told(webhooks: &str) -> String {
        let file = format!(
            "cluster: {{name: eu-1}}\nenvironments:\n- {{name: a, source: {{url: 'https://git.example/a', ref: {{branch: main}}}}}}\nwebhooks: {webhooks}\n"
        );
        match Config::parse(file.as_bytes(), "config.yaml", []) {
            Ok(config) => format!("{:?}", config.webhooks),
            Err(errors) => errors.to_string(),
        }
    }

    #[test]
    fn nobody_listens_unless_it_is_said_who_may_send() {
        assert_eq!(told("{}"), "None");
        insta::assert_snapshot!(told("{listen: '0.0.0.0:9091'}"), @"config.yaml:4: webhooks need github, gitlab, gitea or generic: who may send them");
        insta::assert_snapshot!(told("{github: {secretFile: /s}}"), @"config.yaml:4: missing key webhooks.listen");
        insta::assert_snapshot!(told("{listen: '9091', gitea: {secretFile: /s}}"), @"config.yaml:4: listen must be an address and a port, such as 0.0.0.0:9091");
        insta::assert_snapshot!(told("{listen: '0.0.0.0:9091', github: {}}"), @"config.yaml:4: missing key webhooks.github.secretFile");
        insta::assert_snapshot!(told("{listen: '0.0.0.0:9091', gitlab: {secretFile: /s, tokenFile: /t}}"), @"config.yaml:4: gitlab needs secretFile for a signing token, or tokenFile for a secret token");
    }
}
