//! A source as the config has it.

use std::path::PathBuf;
use std::time::Duration;

use skiff_shared::environment;
use skiff_shared::object::{Digest, Hashing};

use super::github_app::GithubApp;
use super::reference::{CommitId, IdError, Reference};
use super::signature::SignaturePolicy;
use super::url::RepositoryUrl;

/// Where an environment or an app comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub url: RepositoryUrl,
    pub reference: Reference,
    pub credentials: Credentials,
    /// Without one the environment's variables decide. For HTTP alone.
    pub proxy: Option<Proxy>,
    /// What has to be signed; without one nothing has.
    pub verify: Option<SignaturePolicy>,
    pub rewrites: Rewrites,
    /// Whose tags approve plans of what is read here; without it tags approve nothing.
    pub approvals: Option<Box<Approvals>>,
    pub limits: Limits,
}

/// Which tags of a repository approve plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// The agent that they are for.
    pub instance: String,
    /// Who may sign them.
    pub signers: SignaturePolicy,
}

/// What becomes of a branch that moves to a commit which does not build on the one that it stood at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rewrites {
    #[default]
    Follow,
    /// It is not read any more.
    Refuse {
        /// The state that a person has accepted; what builds on it is good too.
        accepted: Option<CommitId>,
    },
}

impl TryFrom<environment::Rewrites> for Rewrites {
    type Error = IdError;

    fn try_from(written: environment::Rewrites) -> Result<Self, IdError> {
        Ok(match written {
            environment::Rewrites::Follow => Self::Follow,
            environment::Rewrites::Refuse { accepted } => {
                Self::Refuse { accepted: accepted.map(|id| id.parse()).transpose()? }
            }
        })
    }
}

/// Where credentials are: in files, in a Secret of the agent's namespace, or some here and some there. Each is read anew
/// for each use, so a rotated one needs no restart. What a file holds goes before what the Secret holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// With `password`: basic authentication. Without this file the URL's user name is used, or else `git`.
    pub username: Option<PathBuf>,
    pub password: Option<PathBuf>,
    /// Bearer authentication; not together with `password`.
    pub token: Option<PathBuf>,
    /// PEM certificates of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM certificate of the client, with its key.
    pub certificate: Option<PathBuf>,
    pub certificate_key: Option<PathBuf>,
    /// Private key for SSH, with its passphrase if it has one.
    pub ssh_key: Option<PathBuf>,
    pub ssh_passphrase: Option<PathBuf>,
    /// What the keys of SSH servers must be, as OpenSSH writes it.
    pub known_hosts: Option<PathBuf>,
    /// Instead of a password or a token.
    pub github_app: Option<GithubApp>,
    /// The Secret's name.
    pub secret: Option<String>,
}

impl Source {
    /// Returns a digest that tells the repository, as it is read with these credentials, from all others. It is the same
    /// for all spellings of the address.
    pub(super) fn reader(&self) -> Digest {
        let Self {
            url,
            credentials,
            reference: _,
            proxy: _,
            verify: _,
            rewrites: _,
            approvals: _,
            limits: _,
        } = self;
        Hashing::default()
            .part(url.canonical().as_bytes())
            .part(url.username().unwrap_or_default().as_bytes())
            .part(&credentials.places().0)
            .finish()
    }
}

impl Credentials {
    /// Returns a digest of where they are, which tells them from others. Nothing of what they are is in it.
    pub fn places(&self) -> Digest {
        let Self {
            username,
            password,
            token,
            ca,
            certificate,
            certificate_key,
            ssh_key,
            ssh_passphrase,
            known_hosts,
            github_app,
            secret,
        } = self;
        let files = [username, password, token, ca, certificate, certificate_key];
        let for_ssh = [ssh_key, ssh_passphrase, known_hosts];
        let hashing = files.into_iter().chain(for_ssh).fold(Hashing::default(), file);
        let hashing = hashing.part(secret.as_deref().unwrap_or_default().as_bytes());
        let Some(GithubApp { app, installation, private_key, api }) = github_app else {
            return hashing.finish();
        };
        let texts = [app, installation, api];
        file(texts.iter().fold(hashing, |hashing, text| hashing.part(text.as_bytes())), private_key).finish()
    }
}

fn file(hashing: Hashing, path: &Option<PathBuf>) -> Hashing {
    hashing.part(path.as_ref().map_or(&[], |path| path.as_os_str().as_encoded_bytes()))
}

/// A server that requests go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// `http` or `https`, without user and password.
    pub url: String,
    pub username: Option<PathBuf>,
    pub password: Option<PathBuf>,
    /// Name of a Secret that has either; what a file holds goes before.
    pub secret: Option<String>,
}

/// What one operation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the beginning of an operation to its end, however lively the server is in between.
    pub deadline: Duration,
    /// Bytes that are received from the server.
    pub transfer: u64,
    /// Bytes of one file, unpacked; also those of the repository's files that nobody reads, as a pack is checked whole.
    pub file: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(60), transfer: 256 << 20, file: 64 << 20 }
    }
}
