//! The number of a cluster: who holds it owns the addresses `127.77.N.1` to `127.80.N.1` and a folder for its files.

use std::fs::{self, DirBuilder, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::component::Component;

/// A number that no other cluster of this machine has; given back on drop.
pub(super) struct Slot {
    number: u8,
    directory: PathBuf,
    /// Holds the lock file; the kernel unlocks it when the process ends, however it ends.
    _lock: File,
}

impl Slot {
    /// Takes the lowest free number and clears away what a killed predecessor has left in its folder.
    pub(super) fn take() -> anyhow::Result<Self> {
        let root = std::env::temp_dir().join(format!("skiff-lab-{}", rustix::process::getuid().as_raw()));
        create_private(&root)?;
        for number in 1..=254 {
            if let Some(slot) = Self::try_take(&root, number)? {
                return Ok(slot);
            }
        }
        bail!("all 254 cluster numbers are taken; see {} for who holds them", root.display())
    }

    fn try_take(root: &Path, number: u8) -> anyhow::Result<Option<Self>> {
        let path = root.join(format!("{number}.lock"));
        // A predecessor may just have removed the folder with its last lock.
        create_private(root)?;
        let lock = File::create(&path).with_context(|| format!("failed to open {}", path.display()))?;
        if lock.try_lock().is_err() || !is_still(&path, &lock) || !is_free(address(number)) {
            return Ok(None);
        }
        let directory = root.join(number.to_string());
        clear(&directory)?;
        create_private(&directory)?;
        Ok(Some(Self { number, directory, _lock: lock }))
    }

    pub(super) fn number(&self) -> u8 {
        self.number
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        address(self.number)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Slot {
    /// Removes the folder, unless `SKIFF_LAB_KEEP` asks for the logs; the next cluster of this number removes it then.
    fn drop(&mut self) {
        if std::env::var_os("SKIFF_LAB_KEEP").is_none() {
            // A folder that cannot be removed now is removed by the number's next holder, which reports the failure.
            let _ = clear(&self.directory);
            // The lock goes while it is held; whoever opened the file before notices that it is another one.
            let _ = fs::remove_file(self.directory.with_extension("lock"));
            // The last one out removes the folder of all: it is not empty for the others.
            let _ = self.directory.parent().map(fs::remove_dir);
        }
    }
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, number, 1)
}

/// Tells whether a path still names the file that was opened: a predecessor removes its lock while it holds it.
fn is_still(path: &Path, lock: &File) -> bool {
    let (named, opened) = (fs::metadata(path), lock.metadata());
    matches!((named, opened), (Ok(named), Ok(opened)) if named.ino() == opened.ino())
}

/// Tells whether every port is free: another user's lab has other lock files, and a dying component a last moment.
fn is_free(address: Ipv4Addr) -> bool {
    Component::PORTS.iter().all(|port| TcpListener::bind((address, *port)).is_ok())
}

fn create_private(directory: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("failed to create {}", directory.display()))
}

fn clear(directory: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
