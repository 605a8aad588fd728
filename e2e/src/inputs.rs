//! Real repositories of others, where the environment names a folder that has them.

use std::fs;
use std::path::{Path, PathBuf};

use skiff_harness::git_server::Repository;

/// Returns the folder of a real input, if `SKIFF_INPUTS` names a folder with it.
#[must_use]
pub fn folder(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SKIFF_INPUTS").map(|inputs| Path::new(&inputs).join(name));
    folder.filter(|folder| folder.is_dir())
}

/// Puts a folder of the disk into the next commit.
pub fn write_folder(repository: &mut Repository, folder: &Path, path: &str) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{path}/{}", entry.file_name().display());
        if entry.file_type()?.is_dir() {
            write_folder(repository, &entry.path(), &path)?;
        } else {
            repository.write(&path, fs::read(entry.path())?);
        }
    }
    Ok(())
}
