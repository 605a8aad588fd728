//! The charts on disk: one file per archive, named by its digest and by who got it, and the last index of each repository.
//! What is here is not downloaded again by the same; what no app uses is removed.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use skiff_shared::desired::ChartRelease;
use skiff_shared::environment::ChartSource;
use skiff_shared::object::{self, Hashing};

use super::error::{ChartError, ChartProblem};
use super::registry::Token;
use super::repository::Index;
use super::{Access, Chart, Wanted, registry, repository};
use crate::git::{Exchange, Means, Reply};

/// The largest archive; Helm's own charts have some hundred KiB.
const LARGEST: u64 = 32 << 20;

/// An index that was fetched so long ago says which archive a locked version is.
const RECENTLY: Duration = Duration::from_secs(60);

/// All fetched charts of one process.
pub struct Charts {
    root: PathBuf,
    means: Means,
    slots: Mutex<Vec<Arc<Slot>>>,
    /// The indexes that were fetched, for the names of their files.
    indexes: AtomicU64,
    /// The charts that were given out: as long as one is kept, its archive is.
    issued: Mutex<Vec<Weak<Chart>>>,
}

/// What asking for a chart found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// The wanted version is the one that is known, with the same content.
    Unchanged,
    /// It is another one, and its archive is here.
    Moved(Arc<Chart>),
}

/// One repository as it is reached with one set of credentials.
#[derive(Debug)]
struct Slot {
    repository: String,
    access: Access,
    /// Held during a conversation: one at a time per repository.
    state: Mutex<State>,
}

/// What is remembered of a repository between two conversations.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Of a repository with an index.
    pub index: Option<Index>,
    /// What came of the index of this number, by what was wanted.
    pub chosen: HashMap<ChartSource, (u64, Chart)>,
    /// Of a registry, by scope.
    pub tokens: HashMap<String, Token>,
}

/// What a locked version was when it was first seen.
#[derive(Serialize, Deserialize)]
struct Pin {
    release: ChartRelease,
    /// As in [`Chart`].
    reader: object::Digest,
}

/// A conversation about one chart.
pub(super) struct Talk<'a> {
    pub charts: &'a Charts,
    pub wanted: &'a Wanted,
    pub exchange: Exchange,
    /// What is known of the chart from before.
    pub known: Option<&'a Chart>,
}

impl Charts {
    /// Opens the folder `root`, which nobody else may use meanwhile.
    pub fn open(root: &Path, means: Means) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        for entry in fs::read_dir(root)? {
            let path = entry?.path();
            // Indexes and what was not written to its end are worth nothing without what was remembered of them.
            let is_kept = path.extension().is_some_and(|extension| extension == "tgz" || extension == "pin");
            if !is_kept && path.is_file() {
                fs::remove_file(path)?;
            }
        }
        let (slots, issued) = (Mutex::default(), Mutex::default());
        Ok(Self { root: root.to_owned(), means, slots, indexes: AtomicU64::default(), issued })
    }

    /// Asks for the wanted version and, if it is not the known one, fetches it. What a repository said less than `fresh`
    /// ago holds still, so that apps of one repository share its polls.
    pub fn update(
        &self,
        wanted: &Wanted,
        known: Option<&Chart>,
        fresh: Duration,
    ) -> Result<Update, ChartError> {
        let slot = self.slot(wanted);
        // What a panic left behind is only asked for again.
        let mut state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        let server = wanted.server(&wanted.base())?;
        let exchange = Exchange::begin(&server, &self.means).map_err(ChartError::Server)?;
        let talk = Talk { charts: self, wanted, exchange, known };
        let chart = if wanted.is_in_registry() {
            registry::find(&talk, &mut state.tokens)?
        } else {
            repository::find(&talk, &mut state, fresh)?
        };
        match known == Some(&chart) {
            true => Ok(Update::Unchanged),
            false => self.issue(chart).map(Update::Moved).map_err(|problem| wanted.error(problem)),
        }
    }

    /// Returns a version that a lock file names, as it was first seen: it is asked for once, and not again while its
    /// archive is here, so that it is there also when its repository is not.
    pub fn locked(&self, wanted: &Wanted) -> Result<Arc<Chart>, ChartError> {
        let pin = self.pin(wanted);
        let known = fs::read(&pin).ok().and_then(|bytes| serde_json::from_slice::<Pin>(&bytes).ok());
        if let Some(Pin { release, reader }) = known.filter(|pin| self.has(&pin.release.digest, wanted)) {
            let chart = Chart { release, location: String::new(), reader };
            return self.issue(chart).map_err(|problem| wanted.error(problem));
        }
        match self.update(wanted, None, RECENTLY)? {
            Update::Moved(chart) => {
                let storage = |source| wanted.error(ChartProblem::Storage { path: pin.clone(), source });
                let known = Pin { release: chart.release.clone(), reader: chart.reader };
                let text = serde_json::to_vec(&known).map_err(|error| storage(error.into()))?;
                fs::write(&pin, text).map_err(storage)?;
                Ok(chart)
            }
            // Nothing is known that it could be the same as.
            Update::Unchanged => {
                Err(wanted.error(ChartProblem::Index { problem: "it says nothing new".to_owned() }))
            }
        }
    }

    /// Returns the file that says what a locked version was when it was first seen with these credentials.
    fn pin(&self, wanted: &Wanted) -> PathBuf {
        let ChartSource { repository: _, name, version } = &wanted.chart;
        let hashing = Hashing::default().part(&wanted.reader().0).part(name.as_bytes());
        let digest = hashing.part(version.to_string().as_bytes()).finish();
        self.root.join(format!("{digest}.pin"))
    }

    /// Returns where a chart's archive is.
    pub fn archive(&self, chart: &Chart) -> PathBuf {
        self.file(&chart.release.digest, chart.reader)
    }

    /// Removes the archives of charts that nobody keeps, and what is remembered of repositories that are none of
    /// `wanted`.
    pub fn retain(&self, wanted: &[Wanted]) -> io::Result<()> {
        let is_wanted = |slot: &Slot| {
            wanted.iter().any(|it| it.chart.repository == slot.repository && it.access == slot.access)
        };
        self.slots().retain(|slot| is_wanted(slot));
        // Held meanwhile: what is removed must not be given out at the same time.
        let mut issued = self.issued();
        issued.retain(|chart| chart.strong_count() > 0);
        let kept = issued.iter().filter_map(Weak::upgrade).map(|chart| self.archive(&chart));
        let kept: HashSet<PathBuf> = kept.collect();
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "tgz") && !kept.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        self.remove_stale_pins()
    }

    /// Removes the pins whose archives are gone.
    fn remove_stale_pins(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "pin") {
                continue;
            }
            let pin = serde_json::from_slice::<Pin>(&fs::read(&path)?).ok();
            if pin.is_none_or(|pin| !self.file(&pin.release.digest, pin.reader).is_file()) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Gives a chart out, unless its archive has just been removed.
    fn issue(&self, chart: Chart) -> Result<Arc<Chart>, ChartProblem> {
        let mut issued = self.issued();
        let path = self.archive(&chart);
        fs::metadata(&path).map_err(|source| ChartProblem::Storage { path, source })?;
        let chart = Arc::new(chart);
        issued.push(Arc::downgrade(&chart));
        Ok(chart)
    }

    fn issued(&self) -> MutexGuard<'_, Vec<Weak<Chart>>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn means(&self) -> &Means {
        &self.means
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the name of a file for another index.
    pub(super) fn new_index(&self) -> PathBuf {
        self.root.join(format!("index-{}.yaml", self.indexes.fetch_add(1, Ordering::Relaxed)))
    }

    fn file(&self, digest: &str, reader: object::Digest) -> PathBuf {
        self.root.join(format!("{}-{reader}.tgz", digest.replace(':', "-")))
    }

    /// Says whether an archive is here, whole, for whom it is wanted.
    pub(super) fn has(&self, digest: &str, wanted: &Wanted) -> bool {
        let Ok(mut file) = File::open(self.file(digest, wanted.reader())) else { return false };
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return digest == named(hash),
                Ok(read) => hash.update(&buffer[..read]),
                Err(_) => return false,
            }
        }
    }

    fn slot(&self, wanted: &Wanted) -> Arc<Slot> {
        let Wanted { chart: ChartSource { repository, .. }, access } = wanted;
        let mut slots = self.slots();
        if let Some(slot) = slots.iter().find(|slot| slot.repository == *repository && slot.access == *access)
        {
            return slot.clone();
        }
        let slot = Slot { repository: repository.clone(), access: access.clone(), state: Mutex::default() };
        let slot = Arc::new(slot);
        slots.push(slot.clone());
        slot
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Talk<'_> {
    pub(super) fn error(&self, problem: ChartProblem) -> ChartError {
        self.wanted.error(problem)
    }

    /// Says whether an archive is here, whole, for whom it is wanted.
    pub(super) fn has(&self, digest: &str) -> bool {
        self.charts.has(digest, self.wanted)
    }

    /// Keeps the archive that an answer is, and returns it as a version of the chart.
    pub(super) fn keep(&self, reply: Reply<'_>, found: Found) -> Result<Chart, ChartError> {
        let Found { version, digest: expected, location } = found;
        if reply.status() == StatusCode::NOT_FOUND {
            return Err(self.error(ChartProblem::ArchiveMissing { version }));
        }
        if !reply.status().is_success() {
            return Err(ChartError::Server(reply.refused()));
        }
        let (file, digest) = self.download(reply, ("the archive", LARGEST))?;
        match expected {
            Some(expected) if expected != digest => {
                Err(self.error(ChartProblem::DigestDiffers { version, found: digest, expected }))
            }
            _ => {
                let path = self.charts.file(&digest, self.wanted.reader());
                file.persist(&path).map_err(|error| self.storage(&path, error.error))?;
                Ok(self.chart(version, digest, location))
            }
        }
    }

    /// Writes an answer's body to a file that is removed unless it is kept; returns its digest too.
    pub(super) fn download(
        &self,
        mut reply: Reply<'_>,
        (what, limit): (&'static str, u64),
    ) -> Result<(tempfile::NamedTempFile, String), ChartError> {
        let root = self.charts.root();
        let mut file = tempfile::NamedTempFile::new_in(root).map_err(|error| self.storage(root, error))?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        loop {
            let chunk = reply.chunk().map_err(ChartError::Server)?;
            if chunk.is_empty() {
                return Ok((file, named(hash)));
            }
            bytes += chunk.len() as u64;
            if bytes > limit {
                return Err(self.error(ChartProblem::TooLarge { what, limit: format!("{limit} bytes") }));
            }
            hash.update(&chunk);
            file.write_all(&chunk).map_err(|error| self.storage(root, error))?;
        }
    }

    pub(super) fn chart(&self, version: String, digest: String, location: String) -> Chart {
        let ChartSource { repository, name, version: _ } = self.wanted.chart.clone();
        let reader = self.wanted.reader();
        Chart { release: ChartRelease { repository, name, version, digest }, location, reader }
    }

    pub(super) fn storage(&self, path: &Path, source: io::Error) -> ChartError {
        self.error(ChartProblem::Storage { path: path.to_owned(), source })
    }
}

/// A version that a repository has.
pub(super) struct Found {
    pub version: String,
    /// `sha256:…`, where the repository says it.
    pub digest: Option<String>,
    pub location: String,
}

fn named(hash: Sha256) -> String {
    format!("sha256:{}", hex::encode(hash.finalize()))
}
