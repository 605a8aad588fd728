//! A throw-away folder with exactly the files of a revision, for renderers that want a file system.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{Entry, EntryKind, Snapshot};
use crate::git::error::ReadError;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    pub files: u64,
    pub bytes: u64,
}

impl Snapshot {
    /// Writes everything below the folder `path` into `target`, which may not hold any of it yet.
    ///
    /// Symlinks are kept as such. One that leaves the folder is refused by name, and so are submodules and pointers to
    /// LFS; one that leads nowhere is left out.
    pub fn export(&self, path: &str, target: &Path) -> Result<Exported, ReadError> {
        let entries = self.list(path)?;
        let mut folders = HashSet::new();
        let mut exported = Exported::default();
        for entry in &entries {
            let file = target.join(&entry.name);
            make_folders(target, &entry.name, &mut folders)?;
            let content = match entry.kind {
                EntryKind::Submodule => return Err(ReadError::Submodule { path: entry.path.clone() }),
                EntryKind::Symlink => {
                    self.link(entry, &file)?;
                    continue;
                }
                EntryKind::File | EntryKind::Executable => self.read_entry(entry)?,
            };
            let mode = if entry.kind == EntryKind::Executable { 0o755 } else { 0o644 };
            write(&file, mode, &content).map_err(|source| ReadError::Write { path: file, source })?;
            exported.files += 1;
            exported.bytes += content.len() as u64;
        }
        Ok(exported)
    }

    fn link(&self, entry: &Entry, file: &Path) -> Result<(), ReadError> {
        if self.follow(entry)?.is_none() {
            return Ok(());
        }
        let target = self.link_target(entry.id.0, &entry.path)?;
        symlink(target, file).map_err(|source| ReadError::Write { path: file.to_owned(), source })
    }
}

/// Makes the folders of a file. Each is made once and never taken as found, so that a tree that names a folder like a
/// symlink cannot lead elsewhere.
fn make_folders(target: &Path, name: &str, made: &mut HashSet<PathBuf>) -> Result<(), ReadError> {
    let failed = |path: &Path, source| ReadError::Write { path: path.to_owned(), source };
    if made.is_empty() {
        fs::create_dir_all(target).map_err(|source| failed(target, source))?;
        made.insert(target.to_owned());
    }
    let mut folder = target.to_owned();
    let parents = name.split('/').count() - 1;
    for part in name.split('/').take(parents) {
        folder.push(part);
        if made.insert(folder.clone()) {
            fs::create_dir(&folder).map_err(|source| failed(&folder, source))?;
        }
    }
    Ok(())
}

fn write(file: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?.write_all(content)
}
