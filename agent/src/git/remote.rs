//! A conversation with a Git server: what a reference stands for, and the pack of one commit at depth 1.
//!
//! gix's own fetch walks references and history that a shallow cache has none of; here the negotiation is one round:
//! the wanted commit against the commits that the cache holds.

mod listed;
mod negotiation;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::ObjectId;
use gix::hash::Kind;
use gix::odb::pack;
use gix::progress::Discard;
use gix::protocol::fetch::{Context, Options, Shallow, Tags};
use gix::protocol::handshake::Ref;
use gix::protocol::ls_refs::RefPrefixes;
use gix::protocol::{Handshake, LsRefsCommand};
use gix_transport::client::blocking_io::{Transport, http as http_transport};
use gix_transport::client::git::ConnectMode;
use gix_transport::client::git::blocking_io::Connection;
use gix_transport::{Protocol, Service};
use reqwest::Url;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::credentials::{NamedSecret, NamedSecrets, Secrets};
use super::error::{FetchError, GitCause};
use super::github_app::{Lease, Tokens};
use super::http::{Transfer, Wire};
use super::peer::Peer;
use super::reference::CommitId;
use super::source::Source;
use super::ssh;
use super::url::{Address, SshAddress};

pub(super) use listed::{Listed, NamedTag, Tip, tags_below};
pub(super) use negotiation::Held;
use negotiation::Negotiation;

/// What all conversations of one process share.
pub struct Means {
    /// Requests run on it. It has several threads.
    runtime: Handle,
    /// Ends every conversation.
    cancel: CancellationToken,
    secrets: Arc<dyn NamedSecrets>,
    tokens: Tokens,
}

/// A conversation over HTTP that has its credentials.
pub(super) struct Web {
    pub peer: Peer,
    pub transfer: Arc<Transfer>,
    /// The token that it shows, where a GitHub App gave one out.
    pub lease: Option<Lease>,
}

impl Means {
    /// Requests run on `runtime`, which has to have several threads, and end when `cancel` does; `secrets` reads those
    /// that sources name.
    pub fn new(runtime: Handle, cancel: CancellationToken, secrets: Arc<dyn NamedSecrets>) -> Self {
        Self { runtime, cancel, secrets, tokens: Tokens::default() }
    }

    fn begin(&self, source: &Source, secrets: Secrets) -> Arc<Budget> {
        Budget::begin(self.runtime.clone(), self.cancel.clone(), source.limits, secrets)
    }

    /// Reads a Secret that the source names, if it names one.
    pub(super) fn named(
        &self,
        source: &Source,
        name: Option<&str>,
    ) -> Result<Option<NamedSecret>, FetchError> {
        let Some(name) = name else { return Ok(None) };
        let url = || source.url.to_string();
        let read = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => None,
                read = self.secrets.read(name) => Some(read),
            }
        });
        let read = read.ok_or_else(|| FetchError::Cancelled { url: url() })?;
        read.map(Some).map_err(|source| FetchError::SecretUnusable { url: url(), source })
    }
}

/// An open conversation. It ends with the operation's deadline at the latest.
pub(super) struct Remote {
    peer: Peer,
    transport: Box<dyn Transport>,
    handshake: Handshake,
}

impl Remote {
    /// Reads the credentials and greets the server.
    pub(super) fn connect(source: &Source, means: &Means) -> Result<Self, FetchError> {
        let named = means.named(source, source.credentials.secret.as_deref())?;
        let (peer, mut transport, lease) = match source.url.address() {
            Address::Web(url) => over_http(source, url, named.as_ref(), means)?,
            Address::Ssh(address) => over_ssh(source, address, named.as_ref(), means)?,
        };
        // Credentials are sent at once or not at all: no helper and no terminal is ever asked.
        let nobody = |_| Ok(None);
        let handshake =
            gix::protocol::handshake(&mut transport, Service::UploadPack, nobody, Vec::new(), &mut Discard)
                .map_err(|error| peer.greeting_failed(&error))
                .inspect_err(|error| {
                    if let FetchError::CredentialsRefused { .. } = error
                        && let Some(lease) = &lease
                    {
                        lease.forget();
                    }
                })?;
        Ok(Self { peer, transport, handshake })
    }

    /// Returns how the repository names its objects.
    pub(super) fn format(&self) -> Kind {
        let capability = self.handshake.capabilities.capability("object-format");
        match capability.and_then(|capability| capability.value().map(|value| value == "sha256")) {
            Some(true) => Kind::Sha256,
            _ => Kind::Sha1,
        }
    }

    /// Lists where everything stands whose full name begins with one of these; nothing for none.
    pub(super) fn list(&mut self, names: &[String]) -> Result<Listed, FetchError> {
        if names.is_empty() { Ok(Listed::default()) } else { self.listed(names).map(Listed) }
    }

    fn listed(&mut self, names: &[String]) -> Result<Vec<Ref>, FetchError> {
        // Servers that speak only the old protocol have listed everything in their greeting.
        if let Some(listed) = self.handshake.refs.take() {
            return Ok(listed);
        }
        let mut prefixes = RefPrefixes::new();
        prefixes.extend(names.iter().map(|name| name.as_str().into()));
        let command = LsRefsCommand::new(Some(prefixes), &self.handshake.capabilities, agent());
        command
            .invoke_blocking(&mut self.transport, &mut Discard, false)
            .map_err(|error| self.peer.failed(&error))
    }

    /// Brings `commit` with its files, and the `tag` on it if one is named, into `repository`, which holds the commits
    /// `known` in full.
    pub(super) fn fetch(
        &mut self,
        repository: &gix::Repository,
        commit: CommitId,
        tag: Option<ObjectId>,
        known: Vec<ObjectId>,
    ) -> Result<(), FetchError> {
        let negotiation = Negotiation::of_files(tag.unwrap_or(commit.0), known);
        let shallow = Shallow::DepthAtRemote(std::num::NonZeroU32::MIN);
        self.exchange(repository, commit, negotiation, &shallow)
    }

    /// Brings the object of a tag, and no files if the server can leave them out, into `repository`, which finds the
    /// commits `known` in full.
    pub(super) fn fetch_tag(
        &mut self,
        repository: &gix::Repository,
        tag: ObjectId,
        known: Vec<ObjectId>,
    ) -> Result<(), FetchError> {
        let negotiation = Negotiation::of_tag(tag, known);
        let shallow = Shallow::DepthAtRemote(std::num::NonZeroU32::MIN);
        self.exchange(repository, CommitId(tag), negotiation, &shallow)
    }

    /// Brings the commits that `tip` builds on and `base` does not, and no files if the server can leave them out, into
    /// an empty `repository`. `held` says whether it has `base` with its files from elsewhere.
    pub(super) fn fetch_history(
        &mut self,
        repository: &gix::Repository,
        tip: CommitId,
        base: CommitId,
        held: Held,
    ) -> Result<(), FetchError> {
        let negotiation = Negotiation::of_history(tip.0, base.0, held);
        self.exchange(repository, tip, negotiation, &Shallow::NoChange)
    }

    fn exchange(
        &mut self,
        repository: &gix::Repository,
        commit: CommitId,
        mut negotiation: Negotiation,
        shallow: &Shallow,
    ) -> Result<(), FetchError> {
        let interrupt = Arc::new(AtomicBool::new(false));
        let flag = interrupt.clone();
        let _watch = self.peer.budget.watch(move || flag.store(true, Ordering::Relaxed));
        let shallow_file = repository.git_dir().join("shallow");
        let limit = self.peer.budget.limits().file;
        gix::protocol::fetch(
            &mut negotiation,
            |reader, progress, interrupt| {
                store(repository, limit, reader, progress, interrupt)?;
                Ok(true)
            },
            Discard,
            &interrupt,
            Context {
                handshake: &mut self.handshake,
                transport: &mut self.transport,
                user_agent: agent(),
                trace_packetlines: false,
            },
            Options { shallow_file, shallow, tags: Tags::None, reject_shallow_remote: false },
        )
        .map(drop)
        .map_err(|error| self.peer.fetch_failed(commit, &error))
    }
}

/// A conversation before its greeting, with the token that it begins with if a GitHub App gave one out.
type Prepared = (Peer, Box<dyn Transport>, Option<Lease>);

/// Prepares a conversation over HTTP.
fn over_http(
    source: &Source,
    url: &Url,
    named: Option<&NamedSecret>,
    means: &Means,
) -> Result<Prepared, FetchError> {
    let Web { peer, transfer, lease } = web(source, url, named, means)?;
    let address = gix::url::parse(url.as_str())
        .map_err(|error| FetchError::NotGit { url: peer.url.clone(), source: GitCause::new(&error) })?;
    let wire = Wire::new(transfer);
    Ok((peer, Box::new(http_transport::Transport::new_http(wire, address, Protocol::V2, false)), lease))
}

/// Reads the credentials for a conversation over HTTP. Nothing is sent to the source yet.
pub(super) fn web(
    source: &Source,
    url: &Url,
    named: Option<&NamedSecret>,
    means: &Means,
) -> Result<Web, FetchError> {
    let for_proxy = source.proxy.as_ref().and_then(|proxy| proxy.secret.as_deref());
    let for_proxy = means.named(source, for_proxy)?;
    let (mut login, secrets) = source.login(named, for_proxy.as_ref())?;
    let budget = means.begin(source, secrets);
    let mut lease = None;
    if let Some(app) = login.app.take() {
        let (token, leased) = means.tokens.token(&app, source, &login, &budget)?;
        login.authorization = Some(source.app_authorization(&token, &budget)?);
        lease = Some(leased);
    }
    let peer = Peer {
        url: source.url.to_string(),
        budget,
        authorized: login.authorization.is_some(),
        proxy: source.proxy.as_ref().map(|proxy| proxy.url.clone()),
        known_hosts: String::new(),
    };
    let transfer = Transfer::new(peer.budget.clone(), url.clone(), login);
    Ok(Web { peer, transfer, lease })
}

/// Opens a conversation over SSH.
fn over_ssh(
    source: &Source,
    address: &SshAddress,
    named: Option<&NamedSecret>,
    means: &Means,
) -> Result<Prepared, FetchError> {
    let url = source.url.to_string();
    let (keys, secrets) = source.keys(named)?;
    let identity = ssh::Identity::read(keys, &url)?;
    let known_hosts = identity.known_place().to_owned();
    let budget = means.begin(source, secrets);
    let peer = Peer { url, budget, authorized: true, proxy: None, known_hosts };
    let (reader, writer) = ssh::open(&peer.budget, address, &identity)
        .map_err(|error| peer.failed(&gix::Error::from_error(error)))?;
    let host = None::<(String, Option<u16>)>;
    let path = address.path.as_str();
    let connection = Connection::new(reader, writer, Protocol::V2, path, host, ConnectMode::Process, false);
    Ok((peer, Box::new(connection), None))
}

/// Writes a received pack into the repository's object database.
fn store(
    repository: &gix::Repository,
    limit: u64,
    reader: &mut dyn std::io::BufRead,
    progress: &mut dyn gix::DynNestedProgress,
    interrupt: &AtomicBool,
) -> gix::Result<()> {
    let options = pack::bundle::write::Options {
        // The agent shares its cores with the work of others.
        thread_limit: Some(1),
        alloc_limit_bytes: usize::try_from(limit).ok(),
        ..pack::bundle::write::Options::default()
    };
    let written = pack::Bundle::write_to_directory(
        reader,
        Some(&repository.objects.store_ref().path().join("pack")),
        progress,
        interrupt,
        Some(repository.objects.clone()),
        repository.object_hash(),
        options,
    )?;
    // It would keep a garbage collector away, and there is none.
    match written.keep_path.map(std::fs::remove_file) {
        None | Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(gix::Error::from_error(error)),
    }
}

/// Returns what the server is told about who asks.
fn agent() -> (&'static str, Option<String>) {
    ("agent", Some(concat!("skiff/", env!("CARGO_PKG_VERSION")).to_owned()))
}
