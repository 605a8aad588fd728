//! What can go wrong between a repository and its files, each with its reason word and when to try again.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::credentials::NamedSecretError;
use super::reference::CommitId;
use super::signature::{SignatureProblem, SignersError};
use super::snapshot::DEEPEST_FOLDER;
use crate::config::SecretError;

/// When it is worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Soon, then ever later: the fault is likely to pass by itself.
    Backoff,
    /// At the ordinary interval: a person has to act, and asking is cheap.
    AtInterval,
    /// Not before this time has passed: the server said so.
    After(Duration),
    /// When the source or its config has changed: the same again would fail the same way.
    OnChange,
}

/// Why a source could not be fetched. No text holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("failed to fetch {url}: its credentials cannot be read")]
    CredentialsUnreadable { url: String, source: SecretError },
    #[error("failed to fetch {url}: a Secret that it needs cannot be used")]
    SecretUnusable { url: String, source: NamedSecretError },
    #[error("failed to fetch {url}: the credentials hold characters that no header can carry")]
    CredentialsUnprintable { url: String },
    #[error(
        "failed to fetch {url}: of a password, a token and a GitHub App more than one is given; leave one"
    )]
    CredentialsAmbiguous { url: String },
    #[error("failed to fetch {url}: beside {place} there is no password")]
    PasswordMissing { url: String, place: String },
    #[error("failed to fetch {url}: {place} holds no PEM certificate")]
    CertificatesMissing { url: String, place: String },
    #[error(
        "failed to fetch {url}: beside {place} the other half is missing; a client certificate needs its private key"
    )]
    IdentityIncomplete { url: String, place: String },
    #[error("failed to fetch {url}: {certificate} and {key} hold no PEM certificate with its private key")]
    IdentityInvalid { url: String, certificate: String, key: String },
    #[error("failed to fetch {url}: proxy {proxy} is no address of a server")]
    ProxyInvalid { url: String, proxy: String },
    #[error(
        "failed to fetch {url}: SSH needs {what}; name a file with it under credentials, or a Secret that has {key}"
    )]
    SshKeyMissing {
        url: String,
        what: &'static str,
        /// That of the Secret.
        key: &'static str,
    },
    #[error(
        "failed to fetch {url}: the GitHub App's private key is missing; name its file, or a Secret that has githubAppPrivateKey"
    )]
    AppKeyMissing { url: String },
    #[error(
        "failed to fetch {url}: {place} holds no RSA private key as PEM; it is the one that GitHub gave out for the app"
    )]
    AppKeyInvalid { url: String, place: String },
    #[error("failed to fetch {url}: {api:?} is no https:// address of GitHub's interface")]
    AppAddress { url: String, api: String },
    #[error("failed to fetch {url}: {api} cannot be asked for a token")]
    AppUnreachable { url: String, api: String, source: reqwest::Error },
    #[error(
        "failed to fetch {url}: {api} gives no token to {who} ({status}); check both ids and the key, and that it is installed for this repository"
    )]
    AppRefused {
        url: String,
        api: String,
        /// App and installation by their ids.
        who: String,
        status: u16,
        retry_after: Option<Duration>,
    },
    #[error("failed to fetch {url}: {api} does not answer as GitHub does; check the address")]
    AppAnswer { url: String, api: String },
    #[error("failed to fetch {url}: the private key in {place} cannot be used: {problem}")]
    SshKeyInvalid { url: String, place: String, problem: String },
    #[error("failed to fetch {url}: credentials are not sent over plain HTTP; use https")]
    InsecureCredentials { url: String },
    #[error("failed to fetch {url}: the server cannot be reached")]
    Unreachable { url: String, source: reqwest::Error },
    #[error(
        "failed to fetch {url}: proxy {proxy} cannot be reached or does not let it pass; check the proxy and its credentials"
    )]
    ProxyFailed { url: String, proxy: String, source: reqwest::Error },
    #[error(
        "failed to fetch {url}: the server's certificate is not accepted; if a private authority has signed it, name that in caFile"
    )]
    CertificateRefused { url: String, source: rustls::Error },
    #[error(
        "failed to fetch {url}: the server does not accept the client's certificate, or wants one; name it in certificateFile and keyFile"
    )]
    IdentityRefused { url: String, source: rustls::Error },
    #[error("failed to fetch {url}: the server cannot be reached")]
    SshUnreachable { url: String, source: io::Error },
    #[error("failed to fetch {url}: SSH failed after {received} bytes")]
    SshFailed { url: String, received: u64, source: Box<russh::Error> },
    #[error(
        "failed to fetch {url}: the server is not in {known_hosts}; its key is {offered}: add it there if that is its own"
    )]
    HostUnknown { url: String, known_hosts: String, offered: String },
    #[error(
        "failed to fetch {url}: the server's key is {offered}, {known_hosts} has another one in line {line}; if the server has not changed it, somebody else answers"
    )]
    HostKeyWrong { url: String, known_hosts: String, offered: String, line: usize },
    #[error("failed to fetch {url}: the server's key {offered} is revoked by line {line} of {known_hosts}")]
    HostKeyRevoked { url: String, known_hosts: String, offered: String, line: usize },
    #[error(
        "failed to fetch {url}: the server has no key of the kinds in {known_hosts} ({known}); add one that it has, Ed25519 or ECDSA"
    )]
    HostKeyKinds { url: String, known_hosts: String, known: String },
    #[error(
        "failed to fetch {url}: the server does not accept the key {key} for user {user:?}; give its public half access"
    )]
    SshKeyRefused { url: String, user: String, key: String },
    #[error("failed to fetch {url}: the server ended the conversation without a word after {received} bytes")]
    Ended { url: String, received: u64 },
    #[error(
        "failed to fetch {url}: the server has no such repository; check the path, and what the key may read"
    )]
    RepositoryUnknown { url: String, source: GitCause },
    #[error("failed to fetch {url}: the connection broke after {received} bytes")]
    Interrupted { url: String, received: u64, source: reqwest::Error },
    #[error(
        "failed to fetch {url}: the server wants credentials (401); name files or a Secret with a password or a token"
    )]
    CredentialsWanted { url: String },
    #[error(
        "failed to fetch {url}: the server does not accept the credentials (401); check them where they are kept"
    )]
    CredentialsRefused { url: String },
    #[error("failed to fetch {url}: access is forbidden (403); check what the credentials may read")]
    Forbidden { url: String, retry_after: Option<Duration> },
    #[error(
        "failed to fetch {url}: repository not found (404); check the URL, and the credentials if it is private"
    )]
    RepositoryNotFound { url: String },
    #[error("failed to fetch {url}: too many requests (429)")]
    RateLimited { url: String, retry_after: Option<Duration> },
    #[error("failed to fetch {url}: the server answered {status}")]
    Status { url: String, status: u16, retry_after: Option<Duration> },
    #[error("failed to fetch {url}: redirect to {to} refused: {problem}")]
    Redirect { url: String, to: String, problem: &'static str },
    #[error("failed to fetch {url}: the answer is not Git's; is this the address of a repository?")]
    NotGit { url: String, source: GitCause },
    #[error("failed to fetch {url}: the server refuses")]
    Refused { url: String, source: GitCause },
    #[error("failed to fetch {url}: reference {reference:?} not found")]
    ReferenceNotFound { url: String, reference: String },
    #[error(
        "failed to fetch {url}: {name:?} is a branch and a tag; write refs/heads/{name} or refs/tags/{name}"
    )]
    ReferenceAmbiguous { url: String, name: String },
    #[error("failed to fetch {url}: no tag is a version in {range}, {found}")]
    VersionNotFound { url: String, range: String, found: VersionsFound },
    #[error("failed to fetch {url}: {commit} not found")]
    CommitNotFound { url: String, commit: CommitId },
    #[error("failed to fetch {url}: {commit} is not a commit")]
    NotACommit { url: String, commit: CommitId },
    #[error("failed to fetch {url}: not done after {}s, {received} bytes received; raise fetch.timeout if that is too short", deadline.as_secs())]
    Deadline { url: String, deadline: Duration, received: u64 },
    #[error("failed to fetch {url}: more than {limit} bytes; raise fetch.limits.transfer to allow it")]
    TransferTooLarge { url: String, limit: u64 },
    #[error(
        "failed to fetch {url}: a file in it has more than {limit} bytes; raise fetch.limits.file to allow it"
    )]
    FileTooLarge { url: String, limit: u64, source: GitCause },
    #[error("failed to fetch {url}: what was received is damaged")]
    Damaged { url: String, source: GitCause },
    #[error("failed to check the signature of {url}")]
    SignersUnusable { url: String, source: SignersError },
    #[error("refusing a revision of {url}")]
    SignatureRefused { url: String, source: SignatureProblem },
    #[error(
        "refusing a rewritten branch of {url}: {branch:?} stood at {from}, and {to} does not build on that; if it is meant, set acceptedRewrite beside refuseRewrites to this commit"
    )]
    BranchRewritten { url: String, branch: String, from: CommitId, to: CommitId },
    #[error("failed to keep {url} in {path}", path = path.display())]
    Storage { url: String, path: PathBuf, source: StorageCause },
    #[error("failed to fetch {url}: the agent is shutting down")]
    Cancelled { url: String },
}

/// What there was instead of the wanted version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionsFound {
    /// No tag is a version at all, of this many.
    None { tags: usize },
    /// The newest version that is there.
    Newest(String),
}

impl fmt::Display for VersionsFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None { tags: 0 } => f.write_str("there are no tags"),
            Self::None { tags } => write!(f, "nor a version at all, of {tags}"),
            Self::Newest(tag) => write!(f, "the newest version is {tag:?}"),
        }
    }
}

/// What Git's machinery said, as one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GitCause(pub(super) String);

/// What stands behind a failure of the cache on disk.
#[derive(Debug, thiserror::Error)]
pub enum StorageCause {
    #[error("{0}")]
    Io(io::Error),
    #[error("{0}")]
    Git(GitCause),
}

impl FetchError {
    /// Returns the word for conditions, events and `error.type`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::SecretUnusable { source, .. } if source.is_unread() => "SecretUnreadable",
            Self::CredentialsUnreadable { .. }
            | Self::SecretUnusable { .. }
            | Self::CredentialsUnprintable { .. }
            | Self::CredentialsAmbiguous { .. }
            | Self::PasswordMissing { .. }
            | Self::CertificatesMissing { .. }
            | Self::IdentityIncomplete { .. }
            | Self::IdentityInvalid { .. }
            | Self::ProxyInvalid { .. }
            | Self::SshKeyMissing { .. }
            | Self::SshKeyInvalid { .. }
            | Self::AppKeyMissing { .. }
            | Self::AppKeyInvalid { .. }
            | Self::AppAddress { .. }
            | Self::InsecureCredentials { .. } => "CredentialsInvalid",
            Self::AppRefused { status: 401 | 403 | 404 | 422, .. } => "AccessDenied",
            Self::AppRefused { status: 429, .. } => "RateLimited",
            Self::AppRefused { .. } | Self::AppAnswer { .. } => "ServerError",
            Self::CredentialsWanted { .. }
            | Self::CredentialsRefused { .. }
            | Self::IdentityRefused { .. }
            | Self::SshKeyRefused { .. }
            | Self::Forbidden { .. } => "AccessDenied",
            Self::CertificateRefused { .. } => "CertificateRefused",
            Self::HostUnknown { .. } | Self::HostKeyKinds { .. } => "HostKeyUnknown",
            Self::HostKeyWrong { .. } | Self::HostKeyRevoked { .. } => "HostKeyRefused",
            Self::ProxyFailed { .. } => "ProxyFailed",
            Self::Unreachable { .. }
            | Self::Interrupted { .. }
            | Self::AppUnreachable { .. }
            | Self::SshUnreachable { .. }
            | Self::SshFailed { .. }
            | Self::Ended { .. } => "Unreachable",
            Self::RepositoryNotFound { .. } | Self::RepositoryUnknown { .. } | Self::NotGit { .. } => {
                "RepositoryNotFound"
            }
            Self::RateLimited { .. } => "RateLimited",
            Self::Status { .. } | Self::Refused { .. } => "ServerError",
            Self::Redirect { .. } => "RedirectRefused",
            Self::ReferenceNotFound { .. }
            | Self::ReferenceAmbiguous { .. }
            | Self::VersionNotFound { .. } => "ReferenceNotFound",
            Self::CommitNotFound { .. } | Self::NotACommit { .. } => "CommitNotFound",
            Self::Deadline { .. } => "DeadlineExceeded",
            Self::TransferTooLarge { .. } | Self::FileTooLarge { .. } => "TooLarge",
            Self::Damaged { .. } => "TransferDamaged",
            Self::BranchRewritten { .. } => "BranchRewritten",
            Self::SignersUnusable { .. } => "SignersInvalid",
            Self::SignatureRefused { source, .. } => source.reason(),
            Self::Storage { .. } => "CacheFailed",
            Self::Cancelled { .. } => "Cancelled",
        }
    }

    /// Says when it is worth trying again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Status { retry_after, .. } => {
                retry_after.map_or(Retry::Backoff, Retry::After)
            }
            Self::Forbidden { retry_after, .. }
            | Self::AppRefused { retry_after, status: 401 | 403 | 404 | 422, .. } => {
                retry_after.map_or(Retry::AtInterval, Retry::After)
            }
            Self::AppRefused { retry_after, .. } => retry_after.map_or(Retry::Backoff, Retry::After),
            Self::SecretUnusable { source: NamedSecretError::Unanswered { .. }, .. } => Retry::Backoff,
            Self::Unreachable { .. }
            | Self::Interrupted { .. }
            | Self::AppUnreachable { .. }
            | Self::SshUnreachable { .. }
            | Self::SshFailed { .. }
            | Self::Ended { .. }
            | Self::ProxyFailed { .. }
            | Self::Deadline { .. }
            | Self::Refused { .. }
            | Self::Damaged { .. }
            | Self::Storage { .. }
            | Self::Cancelled { .. } => Retry::Backoff,
            Self::CredentialsUnreadable { .. }
            | Self::SecretUnusable { .. }
            | Self::CredentialsUnprintable { .. }
            | Self::CredentialsAmbiguous { .. }
            | Self::PasswordMissing { .. }
            | Self::SshKeyMissing { .. }
            | Self::AppKeyMissing { .. }
            | Self::CertificatesMissing { .. }
            | Self::IdentityIncomplete { .. }
            | Self::IdentityInvalid { .. }
            | Self::SshKeyInvalid { .. }
            | Self::AppKeyInvalid { .. }
            | Self::AppAnswer { .. }
            | Self::CredentialsWanted { .. }
            | Self::CredentialsRefused { .. }
            | Self::CertificateRefused { .. }
            | Self::IdentityRefused { .. }
            | Self::HostUnknown { .. }
            | Self::HostKeyWrong { .. }
            | Self::HostKeyRevoked { .. }
            | Self::HostKeyKinds { .. }
            | Self::SshKeyRefused { .. }
            | Self::RepositoryUnknown { .. }
            | Self::RepositoryNotFound { .. }
            | Self::Redirect { .. }
            | Self::NotGit { .. }
            | Self::ReferenceNotFound { .. }
            | Self::ReferenceAmbiguous { .. }
            | Self::VersionNotFound { .. }
            | Self::CommitNotFound { .. }
            | Self::NotACommit { .. }
            | Self::BranchRewritten { .. }
            | Self::SignersUnusable { .. }
            | Self::SignatureRefused { .. } => Retry::AtInterval,
            Self::ProxyInvalid { .. }
            | Self::AppAddress { .. }
            | Self::InsecureCredentials { .. }
            | Self::TransferTooLarge { .. }
            | Self::FileTooLarge { .. } => Retry::OnChange,
        }
    }
}

/// Why a file or a folder of a fetched revision could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{commit} of {url} is not in the cache; fetch it again")]
    CommitMissing { url: String, commit: CommitId },
    #[error("the cache of {url} is damaged; fetch it again")]
    Damaged { url: String, source: GitCause },
    #[error("path {path:?} not found in {commit} of {url}")]
    PathNotFound { url: String, commit: CommitId, path: String },
    #[error("{path} is not a folder")]
    NotAFolder { path: String },
    #[error("{path} is not a file")]
    NotAFile { path: String },
    #[error("{path} is not a path inside the repository")]
    PathInvalid { path: String },
    #[error("{folder} holds an entry with the name {name:?}, which is not allowed")]
    NameInvalid { folder: String, name: String },
    #[error("symlink {path} points to {target:?}, outside of {root}; only what is inside can be read")]
    SymlinkLeaves { path: String, target: String, root: String },
    #[error("symlink {path} points to {target:?}, which does not exist")]
    SymlinkDangles { path: String, target: String },
    #[error("symlinks lead from {path} in a circle")]
    SymlinkCircle { path: String },
    #[error("{path} is a submodule; submodules are not supported, commit its files instead")]
    Submodule { path: String },
    #[error("{path} is a pointer to Git LFS; LFS is not supported, commit the file itself")]
    LargeFilePointer { path: String },
    #[error("{path} has {size} bytes, more than {limit}; raise fetch.limits.file to allow it")]
    FileTooLarge { path: String, size: u64, limit: u64 },
    #[error("{path} is nested more than {DEEPEST_FOLDER} folders deep; move its files up")]
    TooDeep { path: String },
    #[error("failed to write {path}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl ReadError {
    /// Returns the word for conditions, events and `error.type`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CommitMissing { .. } | Self::Damaged { .. } | Self::Write { .. } => "CacheFailed",
            Self::PathNotFound { .. } | Self::NotAFolder { .. } | Self::NotAFile { .. } => "PathNotFound",
            Self::PathInvalid { .. } | Self::NameInvalid { .. } => "PathInvalid",
            Self::SymlinkLeaves { .. } | Self::SymlinkDangles { .. } | Self::SymlinkCircle { .. } => {
                "SymlinkRefused"
            }
            Self::Submodule { .. } => "SubmoduleRefused",
            Self::LargeFilePointer { .. } => "LargeFilePointerRefused",
            Self::FileTooLarge { .. } | Self::TooDeep { .. } => "TooLarge",
        }
    }

    /// Says when it is worth trying again; before it is, [`Cache::fetch`](super::Cache::fetch) mends the cache.
    pub fn retry(&self) -> Retry {
        match self {
            Self::CommitMissing { .. } | Self::Damaged { .. } | Self::Write { .. } => Retry::Backoff,
            _ => Retry::OnChange,
        }
    }
}

impl GitCause {
    /// Puts an error of gix, with everything behind it, on one line of bounded length.
    pub(super) fn new(error: &gix::Error) -> Self {
        Self::from_text(&Self::chain(error))
    }

    /// Returns an error of gix with everything behind it, each part once.
    pub(super) fn chain(error: &gix::Error) -> String {
        let mut parts: Vec<String> = Vec::new();
        for part in error.iter_errors().map(ToString::to_string) {
            if !parts.iter().any(|known| known.contains(&part)) {
                parts.push(part);
            }
        }
        parts.join(": ")
    }

    /// Puts a text on one line of bounded length; it may come from a server.
    pub(super) fn from_text(text: &str) -> Self {
        const LONGEST: usize = 400;
        let line = text.split(|letter: char| letter.is_control()).collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(LONGEST) {
            Some((end, _)) => Self(format!("{}…", &line[..end])),
            None => Self(line),
        }
    }
}
