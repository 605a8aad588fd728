//! The cache: what was fetched, one folder per repository and credentials, as what a server shows to some is not for all who
//! read here. A poll asks the server what a reference stands for; only a commit that is not here yet is fetched.
//! Everything blocks and belongs on a blocking thread.

mod admission;
mod approvals;
mod listing;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use gix::ObjectId;
use gix::hash::Kind;
use skiff_shared::gate::approval::{self, ApprovalTag};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::credentials::NamedSecrets;
use super::error::{FetchError, GitCause, ReadError, StorageCause};
use super::generation::{Generation, held};
use super::reference::{CommitId, Reference};
use super::remote::{Means, Remote, Tip};
use super::revision::Revision;
use super::snapshot::Snapshot;
use super::source::{Limits, Source};

use admission::Rewritten;
pub use approvals::Sought;
use listing::{Call, Listing};

/// All fetched repositories of one process.
pub struct Cache {
    root: PathBuf,
    means: Means,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    /// Held as long as the cache is: two processes would remove each other's files.
    _lock: File,
}

/// What a poll found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// The reference stands where it stood.
    Unchanged,
    /// It stands elsewhere, and the files are here.
    Moved(Box<Revision>),
}

/// Why the cache's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("failed to use {root} as Git cache", root = root.display())]
    Unusable { root: PathBuf, source: std::io::Error },
    #[error("Git cache {root} is in use by another process; give each its own", root = root.display())]
    InUse { root: PathBuf },
}

/// The place in the cache of one repository as it is read with one set of credentials.
#[derive(Debug)]
struct Slot {
    folder: PathBuf,
    /// Held during a transfer: one at a time per repository.
    turn: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Arc<Generation>>,
    /// A commit that was too large: the same again would be too large again.
    refused: Option<Refused>,
    /// Where the references stood that must not be rewritten.
    stood_at: HashMap<Reference, CommitId>,
    /// The newest answer about a branch that was rewritten: the same again would be answered the same.
    rewritten: Option<Rewritten>,
    /// The approval tags that somebody waits for, as they are stored.
    approvals: HashMap<ObjectId, Vec<u8>>,
    /// What the server listed last.
    listing: Listing,
}

#[derive(Debug)]
struct Refused {
    commit: CommitId,
    /// Those of that time.
    limits: Limits,
    /// What said so if it was one of its files; else it was the transfer.
    file: Option<GitCause>,
}

impl Cache {
    /// Opens the cache in `root`, which nobody else may use meanwhile. Requests run on `runtime`, which has to have
    /// several threads, and end when `cancel` does; `secrets` reads those that sources name.
    pub fn open(
        root: &Path,
        runtime: Handle,
        cancel: CancellationToken,
        secrets: Arc<dyn NamedSecrets>,
    ) -> Result<Self, CacheError> {
        let unusable = |source| CacheError::Unusable { root: root.to_owned(), source };
        fs::create_dir_all(root).map_err(unusable)?;
        let lock = File::create(root.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CacheError::InUse { root: root.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let means = Means::new(runtime, cancel, secrets);
        Ok(Self { root: root.to_owned(), means, slots: Mutex::default(), _lock: lock })
    }

    /// Returns the commit that the source's reference stands for, fetching nothing.
    pub fn poll(&self, source: &Source) -> Result<CommitId, FetchError> {
        Ok(Remote::connect(source, &self.means)?.list(&source.reference.prefixes())?.tip(source)?.commit)
    }

    /// Polls and, if the reference has moved away from `known`, fetches, in one conversation. Afterwards the commit is
    /// here in any case. A commit that is named as such and is here needs no server.
    pub fn update(&self, source: &Source, known: Option<&Revision>) -> Result<Update, FetchError> {
        self.update_since(source, known, Instant::now())
    }

    /// The same, but what the server has listed at `since` or later holds still, so that the references of one repository
    /// share its polls.
    pub fn update_since(
        &self,
        source: &Source,
        known: Option<&Revision>,
        since: Instant,
    ) -> Result<Update, FetchError> {
        let revision = match source.reference {
            Reference::Commit(commit) => self.bring(source, commit)?,
            _ => self.follow(source, None, since)?.0,
        };
        Ok(Self::compared(known, revision))
    }

    /// Updates as [`Self::update_since`] does, and reads in the same conversation what tags there are that approve plans, as far as the source says
    /// whose do. Those that are not `sought` are only named.
    pub fn update_with_approvals(
        &self,
        source: &Source,
        known: Option<&Revision>,
        sought: &Sought,
        since: Instant,
    ) -> Result<(Update, Vec<ApprovalTag>), FetchError> {
        let (revision, tags) = self.follow(source, Some(sought), since)?;
        Ok((Self::compared(known, revision), tags))
    }

    fn compared(known: Option<&Revision>, revision: Revision) -> Update {
        // A newer version may be a tag on the same commit.
        let same =
            |known: &Revision| known.commit == revision.commit && known.reference == revision.reference;
        match known.is_some_and(same) {
            true => Update::Unchanged,
            false => Update::Moved(Box::new(revision)),
        }
    }

    /// Opens one fetched commit for reading.
    pub fn snapshot(&self, source: &Source, commit: CommitId) -> Result<Snapshot, ReadError> {
        let missing = || ReadError::CommitMissing { url: source.url.to_string(), commit };
        let slot = self.slot(source).map_err(|_| missing())?;
        let generation = slot.state().current.clone().ok_or_else(missing)?;
        Snapshot::open(generation, source.url.clone(), commit, source.limits.file)
    }

    /// Notes where the source's reference stood when the agent last ran, unless it has been read since.
    pub fn remember(&self, source: &Source, commit: CommitId) -> Result<(), FetchError> {
        self.slot(source)?.remember(source, commit);
        Ok(())
    }

    /// Removes what was fetched for none of `sources`.
    pub fn retain(&self, sources: &[Source]) -> Result<(), CacheError> {
        let unusable = |source| CacheError::Unusable { root: self.root.clone(), source };
        let kept: HashSet<String> = sources.iter().map(key).collect();
        let mut slots = self.slots();
        slots.retain(|key, _| kept.contains(key));
        for entry in fs::read_dir(&self.root).map_err(unusable)? {
            let path = entry.map_err(unusable)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !kept.contains(&name) {
                fs::remove_dir_all(path).map_err(unusable)?;
            }
        }
        Ok(())
    }

    fn bring(&self, source: &Source, commit: CommitId) -> Result<Revision, FetchError> {
        let slot = self.slot(source)?;
        let _turn = slot.turn();
        let tip = Tip { commit, tag: None, reference: source.reference.clone() };
        let revision = match slot.revision(source, &tip)? {
            Some(revision) => revision,
            None => slot.bring(source, &mut Remote::connect(source, &self.means)?, &tip)?,
        };
        self.signed(source, &slot, &tip, revision)
    }

    fn follow(
        &self,
        source: &Source,
        sought: Option<&Sought>,
        since: Instant,
    ) -> Result<(Revision, Vec<ApprovalTag>), FetchError> {
        let slot = self.slot(source)?;
        let _turn = slot.turn();
        let mut call = Call::to(source, &self.means);
        let approvals = source.approvals.as_deref().zip(sought);
        let below = approvals.map(|(approvals, _)| approval::prefix(&approvals.instance));
        let (tip, named) = slot.list(&mut call, below.as_deref(), since)?;
        slot.check_rewritten(source, &mut call, &tip)?;
        let revision = match slot.revision(source, &tip)? {
            Some(revision) => revision,
            None => slot.bring(source, call.remote()?, &tip)?,
        };
        let revision = self.signed(source, &slot, &tip, revision)?;
        slot.note(source, &tip);
        let tags =
            approvals.map(|(approvals, sought)| self.approvals(approvals, &slot, &mut call, &named, sought));
        Ok((revision, tags.unwrap_or_default()))
    }

    fn slot(&self, source: &Source) -> Result<Arc<Slot>, FetchError> {
        let key = key(source);
        let mut slots = self.slots();
        if let Some(slot) = slots.get(&key) {
            return Ok(slot.clone());
        }
        let folder = self.root.join(&key);
        let slot = Slot::open(folder.clone()).map_err(|error| FetchError::Storage {
            url: source.url.to_string(),
            path: folder,
            source: StorageCause::Io(error),
        })?;
        Ok(slots.entry(key).or_insert(Arc::new(slot)).clone())
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.slots.lock().expect("no code panics while it holds the slots")
    }
}

/// Returns the name of the folder that a source is fetched into.
fn key(source: &Source) -> String {
    source.reader().to_string()
}

impl Slot {
    fn open(folder: PathBuf) -> std::io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let current = Generation::find(&folder)?.map(Arc::new);
        let state = State { current, ..State::default() };
        Ok(Self { folder, turn: Mutex::new(()), state: Mutex::new(state) })
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // What a panic left behind is on disk and checked there.
        self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds a slot's state")
    }

    /// Returns the commit as a revision if it is here and can be read.
    fn revision(&self, source: &Source, tip: &Tip) -> Result<Option<Revision>, FetchError> {
        let current = self.state().current.clone();
        let Some(generation) = current.filter(|generation| !generation.is_damaged()) else {
            return Ok(None);
        };
        let Ok(repository) = generation.open() else {
            return Ok(None);
        };
        let here = |id: ObjectId| repository.has_object(id);
        if !here(tip.commit.0) || !source.wanted_tag(tip).is_none_or(here) {
            return Ok(None);
        }
        match read(&repository, source, tip) {
            Ok(revision) => Ok(Some(revision)),
            Err(FetchError::Damaged { .. }) => {
                generation.condemn();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches the commit, into the current generation if there is room and nothing wrong with it.
    fn bring(&self, source: &Source, remote: &mut Remote, tip: &Tip) -> Result<Revision, FetchError> {
        self.check_refused(source, tip.commit)?;
        let current = self.state().current.clone();
        let room = current.filter(|generation| generation.has_room());
        let brought = match room.and_then(|generation| generation.open().ok().map(|open| (generation, open)))
        {
            Some((generation, repository)) if repository.object_hash() == remote.format() => {
                add(source, remote, tip, &generation, &repository)
            }
            _ => self.begin(source, remote, tip),
        };
        brought.inspect_err(|error| {
            let file = match error {
                FetchError::TransferTooLarge { .. } => None,
                FetchError::FileTooLarge { source, .. } => Some(source.clone()),
                _ => return,
            };
            let (commit, limits) = (tip.commit, source.limits);
            self.state().refused = Some(Refused { commit, limits, file });
        })
    }

    /// Says no to a commit that was too large, without transferring it again only to find out.
    fn check_refused(&self, source: &Source, commit: CommitId) -> Result<(), FetchError> {
        let (url, limits) = (source.url.to_string(), source.limits);
        match &self.state().refused {
            Some(refused) if refused.commit == commit && refused.limits == limits => {
                Err(match refused.file.clone() {
                    None => FetchError::TransferTooLarge { url, limit: limits.transfer },
                    Some(source) => FetchError::FileTooLarge { url, limit: limits.file, source },
                })
            }
            _ => Ok(()),
        }
    }

    /// Starts a new generation with the commit, and lets go of the current one.
    fn begin(&self, source: &Source, remote: &mut Remote, tip: &Tip) -> Result<Revision, FetchError> {
        let storage = |cause| self.storage(source, cause);
        let format: Kind = remote.format();
        let (built, repository) = Generation::build(&self.folder, format).map_err(storage)?;
        let fetched = remote
            .fetch(&repository, tip.commit, source.wanted_tag(tip), Vec::new())
            .and_then(|()| read(&repository, source, tip));
        drop(repository);
        let revision = match fetched {
            Ok(revision) => revision,
            Err(error) => {
                fs::remove_dir_all(&built).map_err(|error| storage(StorageCause::Io(error)))?;
                return Err(error);
            }
        };
        let mut state = self.state();
        let adopted = Generation::adopt(&built, &self.folder, state.current.as_deref())
            .map_err(|error| storage(StorageCause::Io(error)))?;
        if let Some(previous) = state.current.replace(Arc::new(adopted)) {
            previous.retire();
        }
        Ok(revision)
    }

    fn storage(&self, source: &Source, cause: StorageCause) -> FetchError {
        FetchError::Storage { url: source.url.to_string(), path: self.folder.clone(), source: cause }
    }
}

/// Adds the commit to a generation.
fn add(
    source: &Source,
    remote: &mut Remote,
    tip: &Tip,
    generation: &Generation,
    repository: &gix::Repository,
) -> Result<Revision, FetchError> {
    let (tag, held) = (source.wanted_tag(tip), held(repository));
    let fetched = remote.fetch(repository, tip.commit, tag, held).and_then(|()| {
        // The packs that were there when it was opened are all that an open repository is sure to see.
        let repository = generation.open().map_err(|cause| damaged(source, cause))?;
        read(&repository, source, tip)
    });
    // What came may build on what is broken here: the next attempt builds on nothing.
    fetched.inspect_err(|error| {
        if matches!(error, FetchError::Damaged { .. }) {
            generation.condemn();
        }
    })
}

fn damaged(source: &Source, cause: GitCause) -> FetchError {
    FetchError::Damaged { url: source.url.to_string(), source: cause }
}

/// Reads the commit and makes sure that its tree is there.
fn read(repository: &gix::Repository, source: &Source, tip: &Tip) -> Result<Revision, FetchError> {
    let Tip { commit, tag: _, reference } = tip;
    let unreadable = |error: gix::Error| damaged(source, GitCause::new(&error));
    let found = repository.find_object(commit.0).map_err(unreadable)?;
    let Ok(found) = found.try_into_commit() else {
        return Err(FetchError::NotACommit { url: source.url.to_string(), commit: *commit });
    };
    let revision = Revision::read(&found, &source.url, reference).map_err(|cause| damaged(source, cause))?;
    repository.find_tree(revision.tree.0).map_err(unreadable)?;
    Ok(revision)
}
