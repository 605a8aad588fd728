//! One bare, shallow repository on disk. Every fetch adds a pack and nothing ever merges them, so a repository serves
//! for a number of fetches and is then replaced by a new one: a generation. It is opened anew for each operation,
//! because an open object database sees only so many packs that come after it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gix::ObjectId;
use gix::hash::Kind;
use gix::odb::pack::cache::lru::MemoryCappedHashmap;

use super::error::{GitCause, StorageCause};

/// gix's object database has 32 places at least.
const PACKS: usize = 24;
/// Bases of deltas that are kept while one operation reads.
const DELTA_CACHE: usize = 8 << 20;
const BUILDING: &str = "building";
const PREFIX: &str = "generation-";

/// A repository that may be read from and fetched into, as long as anyone holds it.
#[derive(Debug)]
pub(super) struct Generation {
    directory: PathBuf,
    number: u64,
    damaged: AtomicBool,
    obsolete: AtomicBool,
}

impl Generation {
    /// Returns the newest complete generation in `folder` and removes whatever else an earlier process left there.
    pub(super) fn find(folder: &Path) -> io::Result<Option<Self>> {
        let mut newest: Option<(u64, PathBuf)> = None;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let number = path.file_name().and_then(|name| name.to_str()?.strip_prefix(PREFIX)?.parse().ok());
            match (number, &newest) {
                (Some(number), Some((known, _))) if number < *known => fs::remove_dir_all(path)?,
                (Some(number), _) => {
                    if let Some((_, older)) = newest.replace((number, path)) {
                        fs::remove_dir_all(older)?;
                    }
                }
                (None, _) => fs::remove_dir_all(path)?,
            }
        }
        let Some((number, directory)) = newest else {
            return Ok(None);
        };
        let generation = Self::at(directory, number);
        generation.sweep()?;
        Ok(Some(generation))
    }

    /// Makes an empty repository beside the generations in `folder`; [`Self::adopt`] makes it one of them.
    pub(super) fn build(folder: &Path, format: Kind) -> Result<(PathBuf, gix::Repository), StorageCause> {
        let directory = folder.join(BUILDING);
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(StorageCause::Io)?;
        }
        fs::create_dir_all(&directory).map_err(StorageCause::Io)?;
        let options = gix::create::Options {
            object_hash: (format != Kind::Sha1).then_some(format),
            ..gix::create::Options::default()
        };
        gix::create::into(&directory, gix::create::Kind::Bare, options)
            .map_err(|error| StorageCause::Git(GitCause::new(&error)))?;
        let repository = open(&directory).map_err(StorageCause::Git)?;
        Ok((directory, repository))
    }

    /// Makes an empty repository that also finds what is in `lender`, to be removed after use.
    pub(super) fn build_beside(
        folder: &Path,
        format: Kind,
        lender: Option<&Self>,
    ) -> Result<(PathBuf, gix::Repository), StorageCause> {
        let (directory, repository) = Self::build(folder, format)?;
        let Some(lender) = lender else { return Ok((directory, repository)) };
        let objects = lender.directory.join("objects");
        let objects = objects.canonicalize().map_err(StorageCause::Io)?;
        let alternates = directory.join("objects/info/alternates");
        fs::create_dir_all(directory.join("objects/info")).map_err(StorageCause::Io)?;
        fs::write(alternates, format!("{}\n", objects.display())).map_err(StorageCause::Io)?;
        let repository = open(&directory).map_err(StorageCause::Git)?;
        Ok((directory, repository))
    }

    /// Opens a repository that was built and is no generation.
    pub(super) fn look_into(built: &Path) -> Result<gix::Repository, GitCause> {
        open(built)
    }

    /// Makes a built repository the generation after `previous`.
    pub(super) fn adopt(built: &Path, folder: &Path, previous: Option<&Self>) -> io::Result<Self> {
        let number = previous.map_or(1, |previous| previous.number + 1);
        let directory = folder.join(format!("{PREFIX}{number}"));
        fs::rename(built, &directory)?;
        Ok(Self::at(directory, number))
    }

    fn at(directory: PathBuf, number: u64) -> Self {
        Self { directory, number, damaged: AtomicBool::new(false), obsolete: AtomicBool::new(false) }
    }

    /// Opens the repository; a failure means that the generation is of no use any more.
    pub(super) fn open(&self) -> Result<gix::Repository, GitCause> {
        open(&self.directory).inspect_err(|_| self.condemn())
    }

    /// Says whether another fetch may add to it.
    pub(super) fn has_room(&self) -> bool {
        !self.damaged.load(Ordering::Relaxed) && self.packs().is_ok_and(|packs| packs < PACKS)
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Notes that something in it cannot be read: the next fetch starts anew.
    pub(super) fn condemn(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// Notes that another generation has taken over: the files go when the last reader does.
    pub(super) fn retire(&self) {
        self.obsolete.store(true, Ordering::Relaxed);
    }

    fn packs(&self) -> io::Result<usize> {
        let mut packs = 0;
        for entry in fs::read_dir(self.pack_directory())? {
            packs += usize::from(entry?.path().extension().is_some_and(|extension| extension == "pack"));
        }
        Ok(packs)
    }

    fn pack_directory(&self) -> PathBuf {
        self.directory.join("objects").join("pack")
    }

    /// Removes what a killed process left half-written: locks and temporary packs.
    fn sweep(&self) -> io::Result<()> {
        let lock = self.directory.join("shallow.lock");
        if lock.exists() {
            fs::remove_file(lock)?;
        }
        for entry in fs::read_dir(self.pack_directory())? {
            let path = entry?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if !matches!(extension, Some("pack" | "idx")) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Relaxed) {
            // What stays is removed when the cache is opened again.
            let _removed = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Returns the commits that `repository` holds with all their files.
pub(super) fn held(repository: &gix::Repository) -> Vec<ObjectId> {
    let listed = repository.shallow_commits().ok().flatten();
    let listed = listed.iter().flat_map(|commits| commits.iter());
    listed.copied().filter(|commit| repository.has_object(commit)).collect()
}

fn open(directory: &Path) -> Result<gix::Repository, GitCause> {
    // Nothing but the directory decides: no configuration of a user or a system, no environment.
    let options = gix::open::Options::isolated().open_path_as_is(true).with(gix::sec::Trust::Full);
    let mut repository = options.open(directory).map_err(|error| GitCause::new(&error))?.to_thread_local();
    repository.objects.set_pack_cache(|| Box::new(MemoryCappedHashmap::new(DELTA_CACHE)));
    Ok(repository)
}
