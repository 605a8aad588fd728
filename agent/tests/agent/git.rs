//! The source adapter against a real Git server.

#[path = "git/access.rs"]
mod access;
#[path = "git/approvals.rs"]
mod approvals;
#[path = "git/disk.rs"]
mod disk;
#[path = "git/faults.rs"]
mod faults;
#[path = "git/files.rs"]
mod files;
#[path = "git/github_app.rs"]
mod github_app;
#[path = "git/proxy.rs"]
mod proxy;
#[path = "git/references.rs"]
mod references;
#[path = "git/rewrites.rs"]
mod rewrites;
#[path = "git/secrets.rs"]
mod secrets;
#[path = "git/signatures.rs"]
mod signatures;
#[path = "git/ssh.rs"]
mod ssh;

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use secrets::Shelf;
use skiff::git::{
    Cache, CacheError, CommitId, Credentials, FetchError, Limits, Revision, Rewrites, Snapshot, Source,
    Update,
};
use skiff_harness::git_server::{GitServer, Repository, RequestKind};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// One server, one repository on it, one agent's cache.
struct World {
    server: GitServer,
    shop: Repository,
    folder: TempDir,
    cancel: CancellationToken,
    cache: Option<Cache>,
    /// The Secrets of the agent's namespace.
    shelf: Arc<Shelf>,
    runtime: Runtime,
}

impl World {
    fn new() -> Self {
        Self::with(GitServer::start().unwrap())
    }

    fn with(server: GitServer) -> Self {
        let shop = Repository::create(&server, "shop").unwrap();
        Self::around(server, shop)
    }

    fn around(server: GitServer, shop: Repository) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut world = Self {
            server,
            shop,
            folder: TempDir::new().unwrap(),
            cancel: CancellationToken::new(),
            cache: None,
            shelf: Arc::default(),
            runtime,
        };
        world.restart();
        world
    }

    /// Opens the cache as a new process would.
    fn restart(&mut self) {
        self.cache = None;
        let begun = Instant::now();
        self.cache = loop {
            let (runtime, cancel) = (self.runtime.handle().clone(), self.cancel.clone());
            match Cache::open(&self.root(), runtime, cancel, self.shelf.clone()) {
                // A process that another test is just starting has every lock too, until it runs its program.
                Err(CacheError::InUse { .. }) if begun.elapsed() < Duration::from_secs(20) => {
                    std::thread::yield_now();
                }
                opened => break Some(opened.unwrap()),
            }
        };
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn cache(&self) -> &Cache {
        self.cache.as_ref().unwrap()
    }

    fn source(&self, reference: &str) -> Source {
        Source {
            url: self.shop.url().parse().unwrap(),
            reference: reference.parse().unwrap(),
            credentials: Credentials::default(),
            proxy: None,
            verify: None,
            rewrites: Rewrites::default(),
            approvals: None,
            limits: Limits { deadline: Duration::from_secs(20), ..Limits::default() },
        }
    }

    fn update(&self, known: Option<&Revision>) -> Result<Update, FetchError> {
        self.cache().update(&self.source("main"), known)
    }

    /// Follows `main` and returns where it stands.
    fn moved(&self) -> Revision {
        moved(self.update(None).unwrap()).unwrap()
    }

    /// Opens what `main` stands at.
    fn snapshot(&self) -> Snapshot {
        let revision = self.moved();
        self.cache().snapshot(&self.source("main"), revision.commit).unwrap()
    }

    fn packs_sent(&self) -> u64 {
        self.server.count(RequestKind::Fetch).requests
    }

    /// Writes a file beside the cache.
    fn file(&self, name: &str, content: &str) -> Option<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Some(path)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn moved(update: Update) -> Option<Revision> {
    match update {
        Update::Moved(revision) => Some(*revision),
        Update::Unchanged => None,
    }
}

fn id(text: &str) -> CommitId {
    text.parse().unwrap()
}

/// Returns an error with everything behind it, as people get to see it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        write!(text, ": {cause}").unwrap();
        next = cause.source();
    }
    text
}

/// Returns an error's text without the part that differs between runs.
fn told(world: &World, error: &dyn Error) -> String {
    chain(error).replace(world.server.base(), "http://git.example")
}

/// Returns the bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bytes += match path.is_dir() {
            true => size(&path),
            false => path.metadata().unwrap().len(),
        };
    }
    bytes
}
