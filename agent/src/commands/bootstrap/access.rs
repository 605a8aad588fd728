//! How the agent gets into its repositories: a key of its own for each, and the server's key, both in a Secret of the
//! agent's namespace. What is there is never replaced.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use aws_lc_rs::rand;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use serde_json::json;

use crate::commands::ui;
use crate::config::EnvironmentConfig;
use crate::git::{SshServer, host_key};

/// The names under which a Secret may hold the key, the first of which is written.
const IDENTITY: [&str; 3] = ["identity", "sshPrivateKey", "ssh-privatekey"];
const KNOWN_HOSTS: &str = "known_hosts";

/// Whose word makes an SSH server's key a trusted one.
pub(super) struct Trust<'a> {
    /// Fingerprints that were named beforehand.
    pub host_keys: &'a [String],
    /// Nobody is asked.
    pub yes: bool,
}

/// The Secrets of the agent's namespace, and what a key is called.
pub(super) struct Keeper<'a> {
    pub secrets: Api<Secret>,
    pub cluster: &'a str,
    pub trust: Trust<'a>,
}

impl Keeper<'_> {
    /// Makes what an environment over SSH lacks; returns the public half of its key, if it has one that can be read.
    pub(super) async fn provide(&self, environment: &EnvironmentConfig) -> anyhow::Result<Option<String>> {
        let source = &environment.source;
        let (Some(server), Some(name)) = (source.url.ssh_server(), source.credentials.secret_ref.as_deref())
        else {
            return Ok(None);
        };
        let found =
            self.secrets.get_opt(name).await.with_context(|| format!("failed to read Secret {name}"))?;
        let held = found.and_then(|secret| secret.data).unwrap_or_default();
        let mut missing = BTreeMap::new();
        if !held.contains_key(KNOWN_HOSTS) && source.credentials.known_hosts_file.is_none() {
            missing.insert(KNOWN_HOSTS, self.pin(&server).await?);
        }
        let there = IDENTITY.iter().find_map(|key| held.get(*key));
        let public = match there {
            Some(ByteString(text)) => public_half(text),
            None => {
                let (private, public) = self.make_key(environment)?;
                missing.insert(IDENTITY[0], private);
                Some(public)
            }
        };
        if !missing.is_empty() {
            self.write(name, missing).await.with_context(|| format!("failed to write Secret {name}"))?;
        }
        if let (None, Some(public)) = (there, &public) {
            ui::progress(&format!("key       in Secret {name}: {public}"));
        }
        Ok(public)
    }

    fn make_key(&self, environment: &EnvironmentConfig) -> anyhow::Result<(String, String)> {
        let mut seed = [0; 32];
        rand::fill(&mut seed).ok().context("the system has no random numbers")?;
        let mut key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        key.set_comment(format!("skiff {} {}", self.cluster, environment.name));
        let private = key.to_openssh(LineEnding::LF).context("failed to write the key")?;
        Ok((private.to_string(), key.public_key().to_openssh().context("failed to write the key")?))
    }

    /// Returns the line that makes the server known, once somebody has said that its key is its own.
    async fn pin(&self, server: &SshServer) -> anyhow::Result<String> {
        let key = host_key(server).await?;
        let SshServer { host, .. } = server;
        let fingerprint = &key.fingerprint;
        let is_named = self.trust.host_keys.contains(fingerprint);
        if !is_named && !self.trust.host_keys.is_empty() {
            bail!("{host} shows the key {fingerprint}, which is none of those that --host-key names");
        }
        if !is_named {
            if self.trust.yes || !ui::is_terminal() {
                bail!(
                    "{host} shows the key {fingerprint}: compare it with what its owner publishes, then say --host-key {fingerprint}"
                );
            }
            ui::progress(&format!(
                "{host} shows the key {fingerprint}. Compare it with what its owner publishes."
            ));
            if !ui::confirm("Is it the right one?")? {
                bail!("the key of {host} is not trusted");
            }
        }
        ui::progress(&format!("server    {host} is known by {fingerprint}"));
        Ok(key.line)
    }

    /// Adds to a Secret; another one who makes it at the same time loses nothing.
    async fn write(&self, name: &str, missing: BTreeMap<&str, String>) -> Result<(), kube::Error> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": missing,
        });
        let params = PatchParams::apply("skiff-bootstrap");
        self.secrets.patch(name, &params, &Patch::Apply(secret)).await.map(drop)
    }
}

fn public_half(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let key = PrivateKey::from_openssh(text).ok()?;
    key.public_key().to_openssh().ok()
}

/// Says where a repository's owner lets a key in.
pub(super) fn place_of_key(server: &SshServer, canonical: &str) -> String {
    let path = canonical.split_once(&server.host).map_or("", |(_, path)| path.trim_start_matches([':', '/']));
    match server.host.as_str() {
        "github.com" => format!("https://github.com/{path}/settings/keys/new, without write access"),
        "gitlab.com" => format!("https://gitlab.com/{path}/-/settings/repository, under deploy keys"),
        "codeberg.org" => format!("https://codeberg.org/{path}/settings/keys, without write access"),
        "bitbucket.org" => format!("https://bitbucket.org/{path}/admin/access-keys/"),
        host => format!("{host}, as a deploy key of {path} that may only read"),
    }
}
