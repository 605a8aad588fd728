//! Bodies on disk by the digest of their content.
//!
//! Written by render, read by whoever sends an object or shows it. Everything else in the program knows bodies by
//! digest only, so that ten thousand of them cost no memory. The store decides nothing: what is still needed is told
//! to [`Store::retain`] by its owner.
//!
//! Nothing is synced to disk: a file that a crash tore is found by its digest when it is read, and counts as missing.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skiff_shared::object::Digest;

/// Where files are written before they take their name.
const FRESH: &str = "fresh";

/// A directory of bodies. Cheap to clone; clones share the directory and its holds.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    holds: Arc<Mutex<usize>>,
}

/// While one is alive, [`Store::retain`] removes nothing: somebody writes bodies that are not yet known to be live.
#[derive(Debug)]
pub struct Hold(Arc<Mutex<usize>>);

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

impl Store {
    /// Opens the store in a directory, which is created where it is missing.
    ///
    /// One process only may use a directory at a time: what an earlier one left half written is removed.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let fresh = root.join(FRESH);
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        fs::create_dir_all(&fresh)?;
        Ok(Self { root, holds: Arc::default() })
    }

    /// Keeps [`Store::retain`] from removing anything until the hold is dropped.
    pub fn hold(&self) -> Hold {
        *lock(&self.holds) += 1;
        Hold(self.holds.clone())
    }

    /// Writes a body, if it is not there already, and returns its digest.
    pub fn put(&self, body: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of(body);
        let path = self.path(&digest);
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        // A file of another length is torn. One that is torn at full length is removed by the next `get`.
        if fs::metadata(&path).is_ok_and(|found| found.len() == length) {
            return Ok(digest);
        }
        self.write(&path, body)?;
        Ok(digest)
    }

    /// Returns a body, or `None` if it is not there or torn.
    pub fn get(&self, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(&digest);
        let body = match fs::read(&path) {
            Ok(body) => body,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if Digest::of(&body) == digest {
            return Ok(Some(body));
        }
        // Otherwise `put` would take the torn file for the body.
        remove(&path)?;
        Ok(None)
    }

    /// Returns whether a body is there, without reading it.
    pub fn contains(&self, digest: Digest) -> bool {
        self.path(&digest).exists()
    }

    /// Removes every body that is not in `live`. Takes no hold into account that begins while it runs: those wait.
    pub fn retain(&self, live: &HashSet<Digest>) -> io::Result<Collection> {
        let holds = lock(&self.holds);
        if *holds > 0 {
            return Ok(Collection::Busy);
        }
        let (mut removed, mut kept) = (0, 0);
        for (path, digest) in self.entries()? {
            if digest.is_some_and(|digest| live.contains(&digest)) {
                kept += 1;
            } else {
                remove(&path)?;
                removed += 1;
            }
        }
        Ok(Collection::Done { removed, kept })
    }

    /// Returns how many bodies the store has.
    pub fn len(&self) -> io::Result<usize> {
        Ok(self.entries()?.len())
    }

    /// Returns whether the store has no body.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.entries()?.is_empty())
    }

    fn write(&self, path: &Path, body: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.root.join(FRESH))?;
        file.write_all(body)?;
        let renamed = match file.persist(path) {
            Err(failed) if failed.error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
                failed.file.persist(path)
            }
            result => result,
        };
        renamed.map(drop).map_err(|failed| failed.error)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(&name[..2]).join(&name)
    }

    /// Lists every file beside those being written, with the digest that it is named by.
    fn entries(&self) -> io::Result<Vec<(PathBuf, Option<Digest>)>> {
        let mut entries = Vec::new();
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            if folder.file_name() == FRESH || !folder.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                let digest = file.file_name().to_str().and_then(|name| name.parse().ok());
                entries.push((file.path(), digest));
            }
        }
        Ok(entries)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        *lock(&self.0) -= 1;
    }
}

fn lock(holds: &Mutex<usize>) -> MutexGuard<'_, usize> {
    // A count stays right whatever panicked while it was locked.
    holds.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("bodies")).unwrap();
        (directory, store)
    }

    #[test]
    fn body_comes_back_under_its_digest() {
        let (_directory, store) = store();
        let digest = store.put(b"one").unwrap();
        assert_eq!(store.put(b"one").unwrap(), digest);
        store.put(b"two").unwrap();
        assert_eq!(store.get(digest).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(store.get(Digest::of(b"three")).unwrap(), None);
        assert_eq!(store.len().unwrap(), 2);
    }

    #[test]
    fn torn_file_is_missing_and_is_written_again() {
        let (_directory, store) = store();
        let digest = store.put(b"whole").unwrap();
        for torn in [&b"who"[..], &b"wh\0\0\0"[..]] {
            fs::write(store.path(&digest), torn).unwrap();
            assert_eq!(store.get(digest).unwrap(), None);
            store.put(b"whole").unwrap();
            assert_eq!(store.get(digest).unwrap().as_deref(), Some(&b"whole"[..]));
        }
        fs::write(store.path(&digest), b"who").unwrap();
        store.put(b"whole").unwrap();
        assert!(store.get(digest).unwrap().is_some());
    }

    #[test]
    fn garbage_collection_keeps_what_is_live_and_waits_for_holds() {
        let (_directory, store) = store();
        let live = store.put(b"live").unwrap();
        let dead = store.put(b"dead").unwrap();
        let hold = store.clone().hold();
        assert_eq!(store.retain(&HashSet::from([live])).unwrap(), Collection::Busy);
        drop(hold);
        let done = Collection::Done { removed: 1, kept: 1 };
        assert_eq!(store.retain(&HashSet::from([live])).unwrap(), done);
        assert!(store.contains(live));
        assert!(!store.contains(dead));
    }

    #[test]
    fn reopened_store_has_its_bodies_and_no_leavings() {
        let (directory, store) = store();
        let digest = store.put(b"kept").unwrap();
        let half = store.root.join(FRESH).join("half");
        fs::write(&half, b"ha").unwrap();
        let again = Store::open(directory.path().join("bodies")).unwrap();
        assert!(again.contains(digest));
        assert!(!half.exists());
        assert_eq!(again.len().unwrap(), 1);
    }
}
