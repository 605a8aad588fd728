//! The files of two commits of the work tree that the person stands in, each in a throw-away folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use gix::bstr::ByteSlice as _;
use gix::objs::tree::EntryKind;
use skiff_shared::environment::RepoPath;

use crate::git::check_depth;

/// Characters of a commit's id that people are shown.
const SHORT: usize = 12;

/// A Git repository with a folder in it, which need not be there in the commit that is checked out.
pub struct WorkTree {
    repository: gix::Repository,
    pub folder: RepoPath,
}

/// One side of a comparison.
#[derive(Clone)]
pub struct Commit {
    id: gix::ObjectId,
    /// As the person named it; empty where it was found otherwise.
    name: String,
}

impl std::fmt::Display for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.id.to_hex_with_len(SHORT).to_string();
        if self.name.is_empty() || id.starts_with(&self.name) || self.name.starts_with(&id) {
            f.write_str(&id)
        } else {
            write!(f, "{} ({id})", self.name)
        }
    }
}

/// Two commits as people name them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range<'a> {
    pub old: &'a str,
    pub new: &'a str,
    /// Not `old` itself, but where the way to `new` parted from it: what a pull request changes.
    pub from_fork: bool,
}

impl<'a> Range<'a> {
    /// Reads `OLD..NEW` or `OLD...NEW`, where what is left out is the commit that is checked out; anything else is none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (parted, from_fork) = match text.split_once("...") {
            Some(parted) => (parted, true),
            None => (text.split_once("..")?, false),
        };
        let named = |name: &'a str| if name.is_empty() { "HEAD" } else { name };
        Some(Self { old: named(parted.0), new: named(parted.1), from_fork })
    }
}

impl WorkTree {
    /// Finds the repository that a folder lies in, or would lie in.
    pub fn find(path: &Path) -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the working directory cannot be read")?;
        let wanted = plain(&here.join(path));
        let there = wanted.ancestors().find(|folder| folder.is_dir()).context("the root is a folder")?;
        let rest = wanted.strip_prefix(there).expect("an ancestor is a prefix").to_owned();
        let there = there.canonicalize().with_context(|| format!("failed to find {}", there.display()))?;
        let repository = gix::discover(&there)
            .with_context(|| format!("{} is not in a Git repository", wanted.display()))?;
        let root = repository.workdir().context("the repository has no work tree")?;
        let root = root.canonicalize().with_context(|| format!("failed to find {}", root.display()))?;
        let below = there.strip_prefix(&root).context("the folder lies beside the work tree")?.join(rest);
        let below = below.to_str().with_context(|| format!("{} is not UTF-8", below.display()))?;
        let folder = RepoPath::parse(below).with_context(|| format!("{below:?} cannot be a path"))?;
        Ok(Self { repository, folder })
    }

    /// Finds the two commits.
    pub fn resolve(&self, range: Range<'_>) -> anyhow::Result<(Commit, Commit)> {
        let (mut old, new) = (self.commit(range.old)?, self.commit(range.new)?);
        if range.from_fork {
            let base = self.repository.merge_base(old.id, new.id);
            let base = base.with_context(|| format!("{old} and {new} cannot be compared"))?;
            let base = base.with_context(|| format!("{old} and {new} have no commit in common"))?;
            old = Commit { id: base.detach(), name: String::new() };
        }
        Ok((old, new))
    }

    fn commit(&self, name: &str) -> anyhow::Result<Commit> {
        let found = self.repository.rev_parse_single(name).and_then(|id| id.object()?.peel_to_commit());
        let found = found.with_context(|| {
            format!("there is no commit {name:?} here: `git fetch` brings what a remote has")
        })?;
        Ok(Commit { id: found.id, name: name.to_owned() })
    }

    /// Writes the files of a commit into an empty folder. Symlinks are kept; one that leaves the folder is refused.
    pub fn export(&self, commit: &Commit, target: &Path) -> anyhow::Result<()> {
        let found = self.repository.find_commit(commit.id).and_then(|found| Ok(found.tree_id()?.detach()));
        let tree = found.with_context(|| format!("commit {commit} cannot be read"))?;
        let mut links = Vec::new();
        self.write(tree, &RepoPath::default(), target, &mut links)
            .with_context(|| format!("the files of {commit} cannot be written"))?;
        // Last: no file is written through one.
        for (at, to) in &links {
            symlink(to, at).with_context(|| format!("failed to write {}", at.display()))?;
        }
        let root = target.canonicalize().with_context(|| format!("failed to find {}", target.display()))?;
        let leaves = |link: &Path| link.canonicalize().is_ok_and(|end| !end.starts_with(&root));
        if let Some((at, to)) = links.iter().find(|(at, _)| leaves(at)) {
            let at = at.strip_prefix(target).unwrap_or(at).display();
            bail!("symlink {at} of {commit} leads out of the repository: {}", to.display());
        }
        Ok(())
    }

    fn write(
        &self,
        tree: gix::ObjectId,
        folder: &RepoPath,
        target: &Path,
        links: &mut Vec<(PathBuf, PathBuf)>,
    ) -> anyhow::Result<()> {
        check_depth(folder.as_str())?;
        let tree = self.repository.find_tree(tree)?;
        for entry in tree.iter() {
            let entry = entry?;
            let name =
                entry.filename().to_str().with_context(|| format!("a name in {folder} is not UTF-8"))?;
            if !is_harmless(name) {
                bail!("{name:?} in {folder} is no name for a file");
            }
            let file = target.join(name);
            let failed = || format!("failed to write {}", file.display());
            match entry.mode().kind() {
                EntryKind::Tree => {
                    fs::create_dir(&file).with_context(failed)?;
                    self.write(entry.object_id(), &folder.join(name)?, &file, links)?;
                }
                EntryKind::Blob | EntryKind::BlobExecutable => {
                    let blob = self.repository.find_blob(entry.object_id())?;
                    fs::write(&file, &blob.data).with_context(failed)?;
                }
                EntryKind::Link => {
                    let blob = self.repository.find_blob(entry.object_id())?;
                    links.push((file, blob.data.to_path().context("a symlink leads nowhere")?.to_owned()));
                }
                // Another repository: its files are not here.
                EntryKind::Commit => {}
            }
        }
        Ok(())
    }
}

fn is_harmless(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let is_one = matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none();
    is_one && !name.ends_with('/') && !name.eq_ignore_ascii_case(".git")
}

/// Returns the path without `.` and `..`, by its words alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_git_reads_it() {
        let range = |old, new, from_fork| Some(Range { old, new, from_fork });
        assert_eq!(Range::parse("main..topic"), range("main", "topic", false));
        assert_eq!(Range::parse("origin/main...HEAD~2"), range("origin/main", "HEAD~2", true));
        assert_eq!(Range::parse("v1.2.."), range("v1.2", "HEAD", false));
        assert_eq!(Range::parse("..."), range("HEAD", "HEAD", true));
        assert_eq!(Range::parse("shop.web"), None);
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        let bad = ["", ".", "..", ".git", ".GIT", "a/b", "/a", "a/"];
        assert!(bad.iter().all(|name| !is_harmless(name)) && is_harmless("..a") && is_harmless(".github"));
        assert_eq!(plain(Path::new("/work/./a/../b/")), Path::new("/work/b"));
    }
}
