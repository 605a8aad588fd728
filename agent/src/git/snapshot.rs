//! The files of one fetched commit, read from the object database without a work tree.
//!
//! Paths are relative to the repository's root with `/` between their parts. Symlinks are followed inside of what is
//! read and nowhere else; submodules and pointers to Git LFS are refused by name where they are met.

mod export;
mod resolve;

use std::sync::Arc;

use gix::bstr::ByteSlice;
use gix::object::Kind;
use gix::objs::tree::EntryKind as Mode;

use super::error::{GitCause, ReadError};
use super::generation::Generation;
use super::reference::{CommitId, TreeId};
use super::url::RepositoryUrl;

pub use export::Exported;

/// A pointer to LFS is smaller than this and begins with a fixed line.
const POINTER_SIZE: u64 = 1024;
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// How many folders may lie in one another. Git itself reads 2,048, which is more than the kernel takes in a path.
pub(super) const DEEPEST_FOLDER: usize = 256;

/// How many folders of a path that is too deep are named.
const NAMED_FOLDERS: usize = 4;

/// A fetched commit, open for reading. It stays readable whatever is fetched meanwhile.
pub struct Snapshot {
    repository: gix::Repository,
    generation: Arc<Generation>,
    url: RepositoryUrl,
    commit: CommitId,
    tree: TreeId,
    largest: u64,
}

/// What an entry of a folder is. Folders themselves are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Executable,
    Symlink,
    Submodule,
}

/// Something in a folder, or below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the repository's root.
    pub path: String,
    /// From the folder that was listed.
    pub name: String,
    pub kind: EntryKind,
    /// Equal ids, equal content.
    pub id: TreeId,
    /// Bytes of the content; of a symlink those of its target's name; 0 for a submodule.
    pub size: u64,
    /// The folder that was listed: symlinks are followed inside of it.
    root: String,
}

/// Something right in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    pub name: String,
    pub kind: ChildKind,
    /// Equal ids, equal content.
    pub id: TreeId,
}

/// What a [`Child`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildKind {
    Folder,
    Entry(EntryKind),
}

/// What stands at a path.
#[derive(Clone, Debug)]
struct Node {
    pub mode: Mode,
    pub id: gix::ObjectId,
    /// Its path without symlinks; empty for the root.
    pub path: Vec<String>,
}

impl Snapshot {
    pub(super) fn open(
        generation: Arc<Generation>,
        url: RepositoryUrl,
        commit: CommitId,
        largest: u64,
    ) -> Result<Self, ReadError> {
        let damaged = |source| ReadError::Damaged { url: url.to_string(), source };
        let repository = generation.open().map_err(damaged)?;
        if generation.is_damaged() || !repository.has_object(commit.0) {
            return Err(ReadError::CommitMissing { url: url.to_string(), commit });
        }
        let tree = repository.find_commit(commit.0).and_then(|commit| Ok(commit.tree_id()?.detach()));
        let tree = tree.map_err(|error| {
            generation.condemn();
            ReadError::Damaged { url: url.to_string(), source: GitCause::new(&error) }
        })?;
        Ok(Self { repository, generation, url, commit, tree: TreeId(tree), largest })
    }

    /// Returns the id of what is at `path`, or nothing if there is nothing: the cheap answer to "did this change?".
    pub fn tree_id(&self, path: &str) -> Result<Option<TreeId>, ReadError> {
        Ok(self.find(path)?.map(|node| TreeId(node.id)))
    }

    /// Lists everything below the folder `path`, sorted by path.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, ReadError> {
        let folder = self.folder_at(path)?;
        let root = folder.path.join("/");
        let mut entries = Vec::new();
        self.collect(&folder, &root, &mut entries)?;
        Ok(entries)
    }

    /// Says whether there is a folder at `path`.
    pub fn is_folder(&self, path: &str) -> Result<bool, ReadError> {
        Ok(self.find(path)?.is_some_and(|node| node.mode == Mode::Tree))
    }

    /// Returns the names of the folders right in the folder `path`; none where there is no such folder. Symlinks to
    /// folders are none.
    pub fn folders(&self, path: &str) -> Result<Vec<String>, ReadError> {
        if !self.is_folder(path)? {
            return Ok(Vec::new());
        }
        let children = self.children(path)?.into_iter();
        Ok(children.filter(|child| child.kind == ChildKind::Folder).map(|child| child.name).collect())
    }

    /// Returns the path of the folder at `path` without symlinks; empty for the root.
    pub fn folder(&self, path: &str) -> Result<String, ReadError> {
        Ok(self.folder_at(path)?.path.join("/"))
    }

    /// Lists what lies right in the folder `path`, sorted by name. Nothing but this folder is read.
    pub fn children(&self, path: &str) -> Result<Vec<Child>, ReadError> {
        let folder = self.folder_at(path)?;
        let tree = self.repository.find_tree(folder.id).map_err(|error| self.damaged(&error))?;
        let mut children = Vec::new();
        for entry in tree.iter() {
            let entry = entry.map_err(|error| self.damaged(&error))?;
            let name = checked_name(entry.filename(), &folder.path)?.to_owned();
            let node = Node { mode: entry.mode().kind(), id: entry.object_id(), path: Vec::new() };
            children.push(node.child(name));
        }
        children.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(children)
    }

    /// Returns what the symlink at `path` leads to, if to anything. It may not leave the folder `root`, in which it
    /// lies.
    pub fn led_to(&self, path: &str, root: &str) -> Result<Option<Child>, ReadError> {
        let found = self.resolve(path, parts(root)?.len())?;
        Ok(found.map(|node| node.child(node.path.last().cloned().unwrap_or_default())))
    }

    /// Reads the file that a [`Child`] names by its id; `path` is for messages.
    pub fn read_file(&self, id: TreeId, path: &str) -> Result<Vec<u8>, ReadError> {
        self.content(&Node { mode: Mode::Blob, id: id.0, path: Vec::new() }, path)
    }

    /// Reads the file at `path`, through symlinks that stay inside the repository.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let node = self.find(path)?.ok_or_else(|| self.not_found(path))?;
        self.content(&node, path)
    }

    /// Reads a listed file, through symlinks that stay inside the folder that was listed.
    pub fn read_entry(&self, entry: &Entry) -> Result<Vec<u8>, ReadError> {
        if entry.kind == EntryKind::Symlink {
            let node = self.follow(entry)?.ok_or_else(|| ReadError::SymlinkDangles {
                path: entry.path.clone(),
                target: self.link_target(entry.id.0, &entry.path).unwrap_or_default(),
            })?;
            return self.content(&node, &entry.path);
        }
        self.content(&entry.node(), &entry.path)
    }

    /// Says whether a listed symlink leads to a folder.
    pub fn leads_to_folder(&self, entry: &Entry) -> Result<bool, ReadError> {
        Ok(self.follow(entry)?.is_some_and(|node| node.mode == Mode::Tree))
    }

    /// Returns what a listed symlink leads to.
    fn follow(&self, entry: &Entry) -> Result<Option<Node>, ReadError> {
        self.resolve(&entry.path, parts(&entry.root)?.len())
    }

    /// Returns the target of a symlink as it is written.
    fn link_target(&self, id: gix::ObjectId, path: &str) -> Result<String, ReadError> {
        let target = self.blob(id, path)?;
        let dangles = |_| ReadError::SymlinkDangles { path: path.to_owned(), target: "?".to_owned() };
        String::from_utf8(target).map_err(dangles)
    }

    /// Returns one entry of a folder.
    fn child(&self, folder: gix::ObjectId, name: &str) -> Result<Option<Node>, ReadError> {
        let tree = self.repository.find_tree(folder).map_err(|error| self.damaged(&error))?;
        let found = tree.find_entry(name);
        Ok(found.map(|entry| Node { mode: entry.mode().kind(), id: entry.object_id(), path: Vec::new() }))
    }

    fn root(&self) -> Node {
        Node { mode: Mode::Tree, id: self.tree.0, path: Vec::new() }
    }

    fn find(&self, path: &str) -> Result<Option<Node>, ReadError> {
        self.resolve(path, 0)
    }

    fn folder_at(&self, path: &str) -> Result<Node, ReadError> {
        let folder = self.find(path)?.ok_or_else(|| self.not_found(path))?;
        match folder.mode {
            Mode::Tree => Ok(folder),
            _ => Err(ReadError::NotAFolder { path: path.to_owned() }),
        }
    }

    fn not_found(&self, path: &str) -> ReadError {
        ReadError::PathNotFound { url: self.url.to_string(), commit: self.commit, path: path.to_owned() }
    }

    /// Notes that the cache has to be replaced.
    fn damaged(&self, error: &gix::Error) -> ReadError {
        self.generation.condemn();
        ReadError::Damaged { url: self.url.to_string(), source: GitCause::new(error) }
    }

    fn collect(&self, folder: &Node, root: &str, entries: &mut Vec<Entry>) -> Result<(), ReadError> {
        let tree = self.repository.find_tree(folder.id).map_err(|error| self.damaged(&error))?;
        for entry in tree.iter() {
            let entry = entry.map_err(|error| self.damaged(&error))?;
            let name = checked_name(entry.filename(), &folder.path)?;
            let mut path = folder.path.clone();
            path.push(name.to_owned());
            let node = Node { mode: entry.mode().kind(), id: entry.object_id(), path };
            match node.kind() {
                None => {
                    check_depth(&node.path.join("/"))?;
                    self.collect(&node, root, entries)?;
                }
                Some(kind) => entries.push(self.entry(&node, kind, root)?),
            }
        }
        Ok(())
    }

    fn entry(&self, node: &Node, kind: EntryKind, root: &str) -> Result<Entry, ReadError> {
        let path = node.path.join("/");
        let name = path.strip_prefix(root).unwrap_or(&path).trim_start_matches('/').to_owned();
        let size = match kind {
            EntryKind::Submodule => 0,
            _ => self.repository.find_header(node.id).map_err(|error| self.damaged(&error))?.size(),
        };
        Ok(Entry { path, name, kind, id: TreeId(node.id), size, root: root.to_owned() })
    }

    fn content(&self, node: &Node, path: &str) -> Result<Vec<u8>, ReadError> {
        match node.kind() {
            None => Err(ReadError::NotAFile { path: path.to_owned() }),
            Some(EntryKind::Submodule) => Err(ReadError::Submodule { path: path.to_owned() }),
            Some(_) => {
                let content = self.blob(node.id, path)?;
                match (content.len() as u64) < POINTER_SIZE && content.starts_with(POINTER) {
                    true => Err(ReadError::LargeFilePointer { path: path.to_owned() }),
                    false => Ok(content),
                }
            }
        }
    }

    fn blob(&self, id: gix::ObjectId, path: &str) -> Result<Vec<u8>, ReadError> {
        let header = self.repository.find_header(id).map_err(|error| self.damaged(&error))?;
        if header.size() > self.largest {
            let (path, size) = (path.to_owned(), header.size());
            return Err(ReadError::FileTooLarge { path, size, limit: self.largest });
        }
        let mut object = self.repository.find_object(id).map_err(|error| self.damaged(&error))?;
        match object.kind {
            Kind::Blob => Ok(std::mem::take(&mut object.data)),
            Kind::Tree | Kind::Commit | Kind::Tag => Err(ReadError::NotAFile { path: path.to_owned() }),
        }
    }
}

impl Node {
    /// Returns what it is, unless it is a folder.
    fn kind(&self) -> Option<EntryKind> {
        match self.mode {
            Mode::Tree => None,
            Mode::Blob => Some(EntryKind::File),
            Mode::BlobExecutable => Some(EntryKind::Executable),
            Mode::Link => Some(EntryKind::Symlink),
            Mode::Commit => Some(EntryKind::Submodule),
        }
    }

    fn child(&self, name: String) -> Child {
        let kind = self.kind().map_or(ChildKind::Folder, ChildKind::Entry);
        Child { name, kind, id: TreeId(self.id) }
    }
}

impl Entry {
    fn node(&self) -> Node {
        let mode = match self.kind {
            EntryKind::File => Mode::Blob,
            EntryKind::Executable => Mode::BlobExecutable,
            EntryKind::Symlink => Mode::Link,
            EntryKind::Submodule => Mode::Commit,
        };
        Node { mode, id: self.id.0, path: Vec::new() }
    }
}

/// Refuses a folder that lies in too many others: whoever walks a tree goes no deeper.
pub fn check_depth(folder: &str) -> Result<(), ReadError> {
    if folder.split('/').count() <= DEEPEST_FOLDER {
        return Ok(());
    }
    let beginning: Vec<&str> = folder.split('/').take(NAMED_FOLDERS).collect();
    Err(ReadError::TooDeep { path: format!("{}/…", beginning.join("/")) })
}

/// Takes a path apart; `.` and repeated slashes are nothing, `..` and absolute paths are refused.
fn parts(path: &str) -> Result<Vec<&str>, ReadError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    match path.starts_with('/') || parts.contains(&"..") {
        true => Err(ReadError::PathInvalid { path: path.to_owned() }),
        false => Ok(parts),
    }
}

/// Returns the name of a tree's entry. Git itself writes no others, but a tree may be made by anything.
fn checked_name<'a>(name: &'a gix::bstr::BStr, folder: &[String]) -> Result<&'a str, ReadError> {
    let refuse = || ReadError::NameInvalid {
        folder: if folder.is_empty() { "the repository".to_owned() } else { folder.join("/") },
        name: name.to_str_lossy().into_owned(),
    };
    let text = name.to_str().map_err(|_| refuse())?;
    let harmless = !matches!(text, "" | "." | "..")
        && !text.eq_ignore_ascii_case(".git")
        && !text.contains(['/', '\0', '\n', '\r']);
    if harmless { Ok(text) } else { Err(refuse()) }
}
