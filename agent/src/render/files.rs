//! The files of a revision as the plain renderer walks them: in a folder on disk, or in the object database.
//!
//! The two show the same: the same names in the same order, links judged alike. Only the object database can tell that
//! a file is as it was without reading it.

use std::path::{Path, PathBuf};

use super::plain::contents;
use super::tree::{self, Entry};
use super::{Reason, RenderError};
use crate::git::{Child, ChildKind, EntryKind, ReadError, Snapshot, TreeId, check_depth};
use crate::telemetry::chain;

/// Where the files are. Paths start at the root of the repository.
pub(super) enum Files {
    Disk {
        root: PathBuf,
    },
    Commit {
        snapshot: Box<Snapshot>,
        /// The app's folder: links lead nowhere else.
        top: String,
    },
}

/// Something in a folder.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Names the content of a file: equal ids, equal content.
    pub(super) content: Option<TreeId>,
}

/// What a name in a folder stands for.
pub(super) enum Kind {
    /// A file, or a link to one.
    File,
    Folder,
    LinkedFolder,
    /// Nothing that could be read as a file.
    Unreadable,
    /// It leads out of the tree, or to what is not in the repository.
    Refused(RenderError),
}

impl Files {
    /// Opens the app's folder in a fetched commit, and returns its path without links.
    pub(super) fn of_commit(snapshot: Snapshot, path: &str) -> Result<(Self, String), RenderError> {
        let top = snapshot.folder(path).map_err(|error| match error {
            ReadError::PathNotFound { .. } => tree::no_folder(path),
            ReadError::NotAFolder { .. } => tree::no_folder_but_a_file(path),
            error => unread(path, &error),
        })?;
        Ok((Self::Commit { snapshot: Box::new(snapshot), top: top.clone() }, top))
    }

    /// Returns what lies right in a folder, sorted by name.
    pub(super) fn entries(&self, folder: &str) -> Result<Vec<Found>, RenderError> {
        match self {
            Self::Disk { root } => on_disk(root, folder),
            Self::Commit { snapshot, top } => {
                let children = snapshot.children(folder).map_err(|error| unread(folder, &error))?;
                Ok(children.into_iter().map(|child| committed(snapshot, top, folder, child)).collect())
            }
        }
    }

    /// Reads a file, or returns `None` if it is larger than the limit.
    pub(super) fn read(
        &self,
        path: &str,
        content: Option<TreeId>,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, RenderError> {
        match (self, content) {
            (Self::Commit { snapshot, .. }, Some(id)) => match snapshot.read_file(id, path) {
                Ok(bytes) => {
                    Ok(u64::try_from(bytes.len()).is_ok_and(|length| length <= limit).then_some(bytes))
                }
                Err(ReadError::FileTooLarge { .. }) => Ok(None),
                Err(error) => Err(unread(path, &error)),
            },
            (Self::Commit { .. }, None) => Ok(None),
            (Self::Disk { root }, _) => contents(&root.join(path), limit)
                .map_err(|error| RenderError::internal(&format!("read {path}"), &error)),
        }
    }
}

/// Refuses a folder that lies in too many others; `app` is the app's own.
pub(super) fn check_folder(folder: &str, app: &str) -> Result<(), RenderError> {
    check_depth(folder).map_err(|error| unread(app, &error))
}

/// Returns the path of something in a folder.
pub(super) fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn on_disk(root: &Path, folder: &str) -> Result<Vec<Found>, RenderError> {
    let mut found = Vec::new();
    for name in tree::entries(&root.join(folder))? {
        let path = root.join(folder).join(&name);
        let entry = tree::entry(root, &path)
            .map_err(|error| RenderError::internal(&format!("look at {}", joined(folder, &name)), &error))?;
        let kind = match entry {
            Entry::File | Entry::LinkedFile => Kind::File,
            Entry::Folder => Kind::Folder,
            Entry::LinkedFolder => Kind::LinkedFolder,
            Entry::Dangling | Entry::Special => Kind::Unreadable,
            Entry::Outside => Kind::Refused(tree::outside(root, &path)),
        };
        found.push(Found { name, kind, content: None });
    }
    Ok(found)
}

fn committed(snapshot: &Snapshot, top: &str, folder: &str, child: Child) -> Found {
    let Child { name, kind, id } = child;
    let path = joined(folder, &name);
    let (kind, id) = match kind {
        ChildKind::Entry(EntryKind::Symlink) => match snapshot.led_to(&path, top) {
            Err(error) => (Kind::Refused(unread(&path, &error)), id),
            Ok(None) => (Kind::Unreadable, id),
            Ok(Some(Child { kind: ChildKind::Folder, .. })) => (Kind::LinkedFolder, id),
            Ok(Some(Child { kind, id, .. })) => (judged(kind, &path), id),
        },
        kind => (judged(kind, &path), id),
    };
    Found { name, kind, content: Some(id) }
}

fn judged(kind: ChildKind, path: &str) -> Kind {
    match kind {
        ChildKind::Folder => Kind::Folder,
        ChildKind::Entry(EntryKind::Submodule) => {
            Kind::Refused(unread(path, &ReadError::Submodule { path: path.to_owned() }))
        }
        ChildKind::Entry(_) => Kind::File,
    }
}

/// Returns the error for what cannot be read of a commit.
fn unread(path: &str, error: &ReadError) -> RenderError {
    let reason = match error {
        ReadError::CommitMissing { .. } | ReadError::Damaged { .. } | ReadError::Write { .. } => {
            Reason::Internal
        }
        ReadError::FileTooLarge { .. } | ReadError::TooDeep { .. } => Reason::TooLarge,
        _ => Reason::PathRefused,
    };
    RenderError::new(reason, path, chain(error))
}
