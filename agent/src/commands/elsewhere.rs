//! Fetches what apps of a work tree take from elsewhere: Git repositories of their own, charts of chart repositories.
//!
//! By the rules of the agent's file where one is given, as the agent would. No cluster is asked for Secrets: in their
//! place stands what the person's own Git knows.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use skiff_shared::desired::Unrendered;
use skiff_shared::environment::{AppSpec, Renderer, RepoPath};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::described::Described;
use crate::charts::{self, Charts, Wanted};
use crate::daemon::own;
use crate::daemon::source::Subject;
use crate::daemon::{inputs, job};
use crate::git::{self, Cache, Means, NamedSecret, NamedSecretError, NamedSecrets};
use crate::render::Reason;
use crate::telemetry::chain;

/// Fetches for one work tree.
#[derive(Clone)]
pub struct Elsewhere {
    cache: Arc<Cache>,
    charts: Arc<Charts>,
    own: Arc<OwnCredentials>,
    folder: PathBuf,
}

/// An app's files on this machine.
pub struct Place {
    /// What the app's paths begin at.
    pub directory: PathBuf,
    pub spec: AppSpec,
    /// Where its value files of the environment's repository are, if the others are elsewhere.
    pub values: Option<PathBuf>,
}

/// What the person's own Git says of repositories, by their address.
#[derive(Default)]
struct OwnCredentials(Mutex<BTreeMap<String, BTreeMap<String, Vec<u8>>>>);

impl Elsewhere {
    /// Keeps what is fetched below `folder`.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let own = Arc::new(OwnCredentials::default());
        let (runtime, cancel) = (Handle::current(), CancellationToken::new());
        let cache = Cache::open(&folder.join("git"), runtime.clone(), cancel.clone(), own.clone())?;
        let charts = Charts::open(&folder.join("charts"), Means::new(runtime, cancel, own.clone()));
        let charts = Arc::new(charts.context("failed to make a folder")?);
        let folder = folder.join("apps");
        Ok(Self { cache: Arc::new(cache), charts, own, folder })
    }

    /// Brings the files of an app; `root` is the work tree, which has the environment's value files.
    pub async fn bring(
        &self,
        spec: &AppSpec,
        described: &Described,
        root: &Path,
    ) -> Result<Option<Place>, Unrendered> {
        let Some(subject) = subject(spec, described)? else { return Ok(None) };
        let (fetching, spec, root) = (self.clone(), spec.clone(), root.to_owned());
        let brought = tokio::task::spawn_blocking(move || match subject {
            Subject::Git(source) => fetching.repository(source, spec, &root),
            Subject::Chart(wanted) => fetching.chart(&wanted, spec, &root),
        });
        brought.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).map(Some)
    }

    fn repository(&self, mut source: git::Source, spec: AppSpec, root: &Path) -> Result<Place, Unrendered> {
        self.own.complete(&mut source);
        let failed = |reason, message| own::unusable(&spec, reason, message);
        let revision = match self.cache.update(&source, None) {
            Ok(git::Update::Moved(revision)) => revision,
            // Nothing is known that it could be the same as.
            Ok(git::Update::Unchanged) => {
                return Err(failed("CacheFailed", "the cache has lost it: try again".to_owned()));
            }
            Err(error) => return Err(failed(error.reason(), chain(&error))),
        };
        let unread = |error: git::ReadError| failed(error.reason(), chain(&error));
        let snapshot = self.cache.snapshot(&source, revision.commit).map_err(unread)?;
        let inputs = inputs::find(&snapshot, &spec).map_err(unread)?;
        let directory = self.folder.join(spec.name.as_str());
        for root in &inputs.roots {
            job::export(&snapshot, root, &directory)?;
        }
        let files = job::environment_value_files(&spec.renderer);
        let values = (!files.is_empty()).then(|| self.folder.join(format!("{}@values", spec.name)));
        if let Some(values) = &values {
            std::fs::create_dir_all(values)
                .map_err(|error| failed(Reason::Internal.word(), error.to_string()))?;
            copy_all(root, files, values, &spec)?;
        }
        Ok(Place { directory, spec, values })
    }

    fn chart(&self, wanted: &Wanted, mut spec: AppSpec, root: &Path) -> Result<Place, Unrendered> {
        let failed = |reason, message| own::unusable(&spec, reason, message);
        let chart = match self.charts.update(wanted, None, Duration::ZERO) {
            Ok(charts::Update::Moved(chart)) => chart,
            Ok(charts::Update::Unchanged) => {
                return Err(failed("CacheFailed", "the cache has lost it: try again".to_owned()));
            }
            Err(error) => return Err(failed(error.reason(), chain(&error))),
        };
        let (directory, folder) = (self.folder.join(spec.name.as_str()), chart.folder());
        charts::unpack(&self.charts.archive(&chart), &directory.join(folder.as_str()))
            .map_err(|problem| failed("ChartInvalid", chain(&problem)))?;
        if let Renderer::Helm(options) = &spec.renderer {
            copy_all(root, &options.value_files, &directory, &spec)?;
        }
        spec.path = folder;
        Ok(Place { directory, spec, values: None })
    }
}

/// Returns what the app comes from, if it may: without an agent's file from everywhere, without credentials.
fn subject(spec: &AppSpec, described: &Described) -> Result<Option<Subject>, Unrendered> {
    match &described.agent {
        Some(agent) => own::subject_of(spec, agent, &described.limits),
        None => own::subject(spec, None),
    }
}

/// Copies value files of the work tree.
fn copy_all(root: &Path, files: &[RepoPath], directory: &Path, spec: &AppSpec) -> Result<(), Unrendered> {
    files.iter().try_for_each(|file| {
        copy(root, file, directory).map_err(|error| {
            own::unusable(spec, Reason::Internal.word(), format!("{file} cannot be copied: {error}"))
        })
    })
}

/// Copies a file of the work tree; one that is not there, or not of the tree, is left to the renderer to tell of.
fn copy(root: &Path, file: &RepoPath, directory: &Path) -> std::io::Result<()> {
    let Ok(from) = root.join(file.as_str()).canonicalize() else { return Ok(()) };
    if !from.starts_with(root) {
        return Ok(());
    }
    let to = directory.join(file.as_str());
    std::fs::create_dir_all(to.parent().unwrap_or(directory))?;
    std::fs::copy(from, to).map(drop)
}

impl OwnCredentials {
    /// Puts what the person has where the agent's file says nothing, or names a Secret.
    fn complete(&self, source: &mut git::Source) {
        let git::Credentials { password, token, ssh_key, known_hosts, github_app, secret, .. } =
            &mut source.credentials;
        let url = source.url.to_string();
        if !url.starts_with("http") {
            let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".ssh")).unwrap_or_default();
            let keys = ["id_ed25519", "id_ecdsa"].map(|name| home.join(name));
            *ssh_key = ssh_key.take().or_else(|| keys.into_iter().find(|key| key.is_file()));
            *known_hosts = known_hosts.take().or_else(|| Some(home.join("known_hosts")));
            *secret = None;
            return;
        }
        let in_files = password.is_some() || token.is_some() || github_app.is_some();
        *secret = match filled(&url) {
            Some(filled) if !in_files => {
                self.known().insert(url.clone(), filled);
                Some(url)
            }
            _ => None,
        };
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<String, Vec<u8>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NamedSecrets for OwnCredentials {
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<NamedSecret, NamedSecretError>> {
        let data = self.known().get(name).cloned();
        let problem = "no cluster is asked for it: name files instead".to_owned();
        let read = match data {
            Some(data) => Ok(NamedSecret { name: format!("of git credential for {name}"), data }),
            None => Err(NamedSecretError::Unanswered { name: name.to_owned(), problem }),
        };
        std::future::ready(read).boxed()
    }
}

/// Returns user name and password that the person's Git has for a repository, without asking the person.
fn filled(url: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut git = Command::new("git");
    let git = git.args(["-c", "core.askPass=", "credential", "fill"]);
    let git = git.env("GIT_TERMINAL_PROMPT", "0").env_remove("GIT_ASKPASS").env_remove("SSH_ASKPASS");
    let mut git = git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    // What it does not read it does not want.
    let _unread = git.stdin.take()?.write_all(format!("url={url}\n\n").as_bytes());
    let told = git.wait_with_output().ok().filter(|told| told.status.success())?;
    let text = String::from_utf8(told.stdout).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let kept = lines.filter(|(key, _)| matches!(*key, "username" | "password"));
    let kept: BTreeMap<_, _> = kept.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).collect();
    (kept.len() == 2).then_some(kept)
}
