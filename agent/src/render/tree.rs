//! The folder of a revision: finding things in it, and refusing what leads out of it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Reason, RenderError, Request};

/// Returns the app's folder.
pub(super) fn folder(request: &Request<'_>) -> Result<PathBuf, RenderError> {
    let place = request.path.to_string();
    let root = root(request.directory)?;
    let folder = match root.join(request.path.as_str()).canonicalize() {
        Ok(folder) => folder,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(no_folder(&place));
        }
        Err(error) => return Err(RenderError::internal("open the app's folder", &error)),
    };
    if !folder.starts_with(&root) {
        let message = "the app's folder is a symbolic link that leaves the repository";
        return Err(RenderError::new(Reason::PathRefused, place, message));
    }
    if !folder.is_dir() {
        return Err(no_folder_but_a_file(&place));
    }
    Ok(folder)
}

/// Returns the error for an app whose folder is not there.
pub(super) fn no_folder(place: &str) -> RenderError {
    let message = "there is no such folder in this revision: correct the app's path or commit the folder";
    RenderError::new(Reason::PathMissing, place, message)
}

/// Returns the error for an app whose path names a file.
pub(super) fn no_folder_but_a_file(place: &str) -> RenderError {
    let message = "the app's path is a file: name the folder that it lies in";
    RenderError::new(Reason::PathMissing, place, message)
}

/// Returns the root of the revision's tree with no symbolic link in its path.
pub(super) fn root(directory: &Path) -> Result<PathBuf, RenderError> {
    directory.canonicalize().map_err(|error| RenderError::internal("open the revision's folder", &error))
}

/// Returns the names of a folder's entries, sorted. Names that are not UTF-8 are left out.
pub(super) fn entries(folder: &Path) -> Result<Vec<String>, RenderError> {
    let failed = |error| RenderError::internal("list a folder of the revision", &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// What a name in a folder is.
pub(super) enum Entry {
    File,
    Folder,
    /// A symbolic link to a file within the tree.
    LinkedFile,
    /// A symbolic link to a folder within the tree.
    LinkedFolder,
    /// A symbolic link that leaves the tree.
    Outside,
    /// A symbolic link to nothing.
    Dangling,
    /// A device, a socket or a pipe.
    Special,
}

/// Tells what a path is, following a symbolic link only to see where it leads.
pub(super) fn entry(root: &Path, path: &Path) -> std::io::Result<Entry> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_file() {
        return Ok(Entry::File);
    }
    if kind.is_dir() {
        return Ok(Entry::Folder);
    }
    if !kind.is_symlink() {
        return Ok(Entry::Special);
    }
    let Ok(target) = path.canonicalize() else { return Ok(leads_out(root, path)) };
    Ok(match target.starts_with(root) {
        false => Entry::Outside,
        true if target.is_dir() => Entry::LinkedFolder,
        true if target.is_file() => Entry::LinkedFile,
        true => Entry::Special,
    })
}

/// Tells a link to nothing within the tree from a link to nothing elsewhere, which may be something tomorrow.
fn leads_out(root: &Path, link: &Path) -> Entry {
    let Ok(target) = fs::read_link(link) else { return Entry::Dangling };
    let mut reached = link.parent().unwrap_or(root).to_path_buf();
    for component in target.components() {
        match component {
            std::path::Component::ParentDir => {
                reached.pop();
            }
            std::path::Component::CurDir => {}
            other => reached.push(other),
        }
        if !reached.starts_with(root) {
            return Entry::Outside;
        }
    }
    Entry::Dangling
}

/// Refuses a tree with a symbolic link that leaves it: the tools follow links wherever they lead.
pub(super) fn check_links(request: &Request<'_>) -> Result<(), RenderError> {
    let root = root(request.directory)?;
    let mut problems = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for name in entries(&folder)? {
            let path = folder.join(name);
            match entry(&root, &path) {
                Ok(Entry::Folder) => folders.push(path),
                Ok(Entry::Outside) => problems.push(outside(&root, &path)),
                _ => {}
            }
        }
    }
    let Some(mut error) = problems.pop() else { return Ok(()) };
    error.problems.extend(problems.into_iter().flat_map(|error| error.problems));
    error.problems.sort_by(|a, b| a.place.cmp(&b.place));
    Err(error)
}

/// Returns the error for a link that leaves the tree.
pub(super) fn outside(root: &Path, link: &Path) -> RenderError {
    let message = "this symbolic link leaves the repository: replace it by what it leads to";
    RenderError::new(Reason::PathRefused, shown(root, link), message)
}

/// Returns a path as messages show it: from the root of the repository.
pub(super) fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}
