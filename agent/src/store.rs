//! Bodies on disk by the digest of their content.
//!
//! Written by render, read by whoever sends an object or shows it. Everything else in the program knows bodies by
//! digest only, so that ten thousand of them cost half a megabyte of index. The store decides nothing: what is still
//! needed is told to [`Store::retain`] by its owner.
//!
//! Bodies are appended to segments, as a file for each would cost a thousand times as much to make. Nothing is synced
//! to disk: a body that a crash tore is found by its digest when it is read, and counts as missing.

mod segment;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use segment::{Entry, Segment};
use skiff_shared::object::Digest;

/// A segment that is larger gets no further body.
const FULL: u32 = 16 << 20;

/// A segment that is smaller, and not being written, is merged with others.
const SMALL: u32 = 1 << 20;

/// A directory of bodies. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Store(Arc<Mutex<Shelves>>);

/// While one is alive, [`Store::retain`] removes nothing: somebody writes bodies that are not yet known to be live.
#[derive(Debug)]
pub struct Hold(Store);

/// What a garbage collection did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Collection {
    /// A [`Hold`] was alive: nothing was looked at. Try again later.
    Busy,
    Done {
        removed: usize,
        kept: usize,
    },
}

#[derive(Debug)]
struct Shelves {
    root: PathBuf,
    /// Locked as long as the store is open.
    _lock: File,
    segments: BTreeMap<u32, Segment>,
    /// The segment that is being written, once there is one.
    current: Option<u32>,
    index: HashMap<Digest, Place>,
    holds: usize,
}

/// Where a body lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    segment: u32,
    offset: u32,
    length: u32,
}

impl Store {
    /// Opens the store in a directory, which is created where it is missing.
    ///
    /// Fails with `WouldBlock` if another process has it open.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        let lock = lock(&root)?;
        let mut shelves = Shelves {
            root,
            _lock: lock,
            segments: BTreeMap::new(),
            current: None,
            index: HashMap::new(),
            holds: 0,
        };
        shelves.load()?;
        Ok(Self(Arc::new(Mutex::new(shelves))))
    }

    /// Keeps [`Self::retain`] from removing anything until the hold is dropped.
    pub fn hold(&self) -> Hold {
        self.shelves().holds += 1;
        Hold(self.clone())
    }

    /// Writes a body, if it is not there already, and returns its digest.
    pub fn put(&self, body: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(body);
        let mut shelves = self.shelves();
        if !shelves.index.contains_key(&digest) {
            shelves.append(digest, body)?;
        }
        Ok(digest)
    }

    /// Returns a body, or `None` if it is not there or torn.
    pub fn get(&self, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        let Some((place, file)) = self.shelves().find(&digest) else { return Ok(None) };
        let body = match segment::read(&file, place.offset, place.length) {
            Ok(body) if Digest::of(&body) == digest => Some(body),
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        if body.is_none() {
            // Otherwise `put` would take the torn body for a whole one.
            self.shelves().index.remove(&digest);
        }
        Ok(body)
    }

    /// Returns whether a body is there, without reading it.
    pub fn contains(&self, digest: Digest) -> bool {
        self.shelves().index.contains_key(&digest)
    }

    /// Returns whether all of these bodies are there, without reading them.
    pub fn contains_all(&self, digests: impl IntoIterator<Item = Digest>) -> bool {
        let shelves = self.shelves();
        digests.into_iter().all(|digest| shelves.index.contains_key(&digest))
    }

    /// Removes every body that is not in `live`, which is asked for when nobody holds anything: what a hold kept until
    /// then is to be found there. A hold that is asked for while it runs waits for it, so `live` may not ask for one.
    pub fn retain(&self, live: impl FnOnce() -> HashSet<Digest>) -> io::Result<Collection> {
        let mut shelves = self.shelves();
        if shelves.holds > 0 {
            return Ok(Collection::Busy);
        }
        let live = live();
        let before = shelves.index.len();
        shelves.index.retain(|digest, _| live.contains(digest));
        let kept = shelves.index.len();
        shelves.compact()?;
        Ok(Collection::Done { removed: before - kept, kept })
    }

    /// Returns how many bodies the store has.
    pub fn len(&self) -> usize {
        self.shelves().index.len()
    }

    /// Returns whether the store has no body.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        // Each change of the shelves is whole before the next begins, whatever panicked in between.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.shelves().holds -= 1;
    }
}

impl Shelves {
    /// Reads what earlier processes left. Their segments are not written to any more.
    fn load(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(number) = name.to_str().and_then(segment::number) else { continue };
            let (segment, bodies) = Segment::open(&entry.path())?;
            for Entry { digest, offset, length } in bodies {
                self.index.insert(digest, Place { segment: number, offset, length });
            }
            self.segments.insert(number, segment);
        }
        Ok(())
    }

    fn find(&self, digest: &Digest) -> Option<(Place, Arc<File>)> {
        let place = *self.index.get(digest)?;
        let segment = self.segments.get(&place.segment)?;
        Some((place, segment.file()))
    }

    fn append(&mut self, digest: Digest, body: &[u8]) -> io::Result<()> {
        let number = self.writable()?;
        let segment = self.segments.get_mut(&number).expect("the writable segment is there");
        let (offset, length) = segment.append(digest, body)?;
        self.index.insert(digest, Place { segment: number, offset, length });
        Ok(())
    }

    /// Returns the segment to write to, a new one if there is none or it is full.
    fn writable(&mut self) -> io::Result<u32> {
        let current = self
            .current
            .filter(|number| self.segments.get(number).is_some_and(|segment| segment.length() < FULL));
        if let Some(number) = current {
            return Ok(number);
        }
        let number = self.segments.last_key_value().map_or(0, |(last, _)| last + 1);
        self.segments.insert(number, Segment::create(&segment::path(&self.root, number))?);
        self.current = Some(number);
        Ok(number)
    }

    /// Gives back the space of segments that are mostly dead, and joins small ones.
    fn compact(&mut self) -> io::Result<()> {
        let mut live: BTreeMap<u32, (u32, Vec<Digest>)> = BTreeMap::new();
        for (digest, place) in &self.index {
            let (bytes, digests) = live.entry(place.segment).or_default();
            *bytes = bytes.saturating_add(place.length);
            digests.push(*digest);
        }
        let numbers: Vec<u32> = self.segments.keys().copied().collect();
        let mut emptied = Vec::new();
        for number in numbers {
            let (bytes, digests) = live.remove(&number).unwrap_or_default();
            let length = self.segments.get(&number).map_or(0, Segment::length);
            let is_small = length < SMALL && self.current != Some(number);
            if digests.is_empty() || bytes < length / 2 || is_small {
                emptied.push((number, digests));
            }
        }
        // One small segment alone is as good as its copy.
        if let [(_, digests)] = emptied.as_slice()
            && !digests.is_empty()
            && self.current.is_none()
        {
            return Ok(());
        }
        emptied.into_iter().try_for_each(|(number, digests)| self.empty(number, &digests))
    }

    /// Moves the live bodies of a segment to the one being written, and removes it.
    fn empty(&mut self, number: u32, digests: &[Digest]) -> io::Result<()> {
        if self.current == Some(number) {
            self.current = None;
        }
        for digest in digests {
            let Some((place, file)) = self.find(digest) else { continue };
            let body = segment::read(&file, place.offset, place.length).unwrap_or_default();
            if Digest::of(&body) == *digest {
                self.append(*digest, &body)?;
            } else {
                self.index.remove(digest);
            }
        }
        self.segments.remove(&number);
        fs::remove_file(segment::path(&self.root, number))
    }
}

/// Locks the directory against other processes.
fn lock(root: &Path) -> io::Result<File> {
    let file = File::create(root.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = format!("{} is in use by another process", root.display());
            Err(io::Error::new(ErrorKind::WouldBlock, message))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests;
