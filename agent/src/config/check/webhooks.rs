//! Checks who may ask for a poll by a webhook.

use std::path::PathBuf;

use super::Check;
use crate::config::raw::{RawGitlabHook, RawHook, RawWebhooks};
use crate::config::{GitlabHook, Webhooks};

impl Check<'_> {
    pub(super) fn webhooks(&mut self, raw: RawWebhooks) -> Option<Webhooks> {
        let RawWebhooks { listen, github, gitlab, gitea, generic } = raw;
        let is_silent = github.is_none() && gitlab.is_none() && gitea.is_none() && generic.is_none();
        let mut secret = |hook: Option<RawHook>, sender: &str| -> Option<PathBuf> {
            let RawHook { secret_file } = hook?;
            if secret_file.is_none() {
                self.missing(&format!("/webhooks/{sender}"), "secretFile");
            }
            secret_file
        };
        let github = secret(github, "github");
        let gitea = secret(gitea, "gitea");
        let generic = secret(generic, "generic");
        let gitlab = gitlab.and_then(|hook| self.gitlab_hook(hook));
        let Some(listen) = listen else {
            if !is_silent {
                self.missing("/webhooks", "listen");
            }
            return None;
        };
        if is_silent {
            let message = "webhooks need github, gitlab, gitea or generic: who may send them";
            self.report("/webhooks", message.to_owned());
        }
        let Ok(listen) = listen.parse() else {
            let message = "listen must be an address and a port, such as 0.0.0.0:9091";
            self.report("/webhooks/listen", message.to_owned());
            return None;
        };
        Some(Webhooks { listen, github, gitlab, gitea, generic })
    }

    fn gitlab_hook(&mut self, raw: RawGitlabHook) -> Option<GitlabHook> {
        match raw {
            RawGitlabHook { secret_file: Some(secret_file), token_file: None } => {
                Some(GitlabHook::Signed { secret_file })
            }
            RawGitlabHook { secret_file: None, token_file: Some(token_file) } => {
                Some(GitlabHook::Token { token_file })
            }
            _ => {
                let message = "gitlab needs secretFile for a signing token, or tokenFile for a secret token";
                self.report("/webhooks/gitlab", message.to_owned());
                None
            }
        }
    }
}
