//! Paths to what they lead to. A symlink is resolved as the kernel would resolve it in a checked-out tree, but inside
//! a folder that it cannot leave: not for a moment, not by a detour through other symlinks.

use gix::objs::tree::EntryKind as Mode;

use super::{Node, Snapshot, parts};
use crate::git::error::ReadError;

/// How many symlinks may lead to a file; the kernel has the same limit.
const SYMLINKS: usize = 40;

impl Snapshot {
    /// Returns what is at `path`, if there is anything; symlinks on the way may not leave its first `depth` parts.
    pub(super) fn resolve(&self, path: &str, depth: usize) -> Result<Option<Node>, ReadError> {
        let asked = parts(path)?;
        let root = if depth == 0 { "the repository".to_owned() } else { asked[..depth].join("/") };
        let ahead = asked.into_iter().rev().map(|part| Step { part: part.to_owned(), link: None }).collect();
        let walk = Walk { snapshot: self, root, depth, visited: vec![self.root()], links: Vec::new() };
        walk.go(ahead).map_err(|stop| match stop {
            Stop::Circle => ReadError::SymlinkCircle { path: path.to_owned() },
            Stop::Error(error) => error,
        })
    }
}

/// A walk through the tree, from the root to where a path leads.
struct Walk<'a> {
    snapshot: &'a Snapshot,
    /// The folder that symlinks may not leave, for people.
    root: String,
    depth: usize,
    /// The folders from the root to where the walk stands.
    visited: Vec<Node>,
    /// The symlinks that were met, each with its target.
    links: Vec<(String, String)>,
}

struct Step {
    part: String,
    /// The symlink whose target it belongs to.
    link: Option<usize>,
}

enum Stop {
    Circle,
    Error(ReadError),
}

impl Walk<'_> {
    /// Walks the parts that are ahead, the next one last.
    fn go(mut self, mut ahead: Vec<Step>) -> Result<Option<Node>, Stop> {
        while let Some(Step { part, link }) = ahead.pop() {
            let here = self.visited.last().expect("the root is never left");
            if here.mode != Mode::Tree {
                return Ok(None);
            }
            if part == ".." {
                self.step_up(link)?;
                continue;
            }
            let Some(mut next) = self.snapshot.child(here.id, &part).map_err(Stop::Error)? else {
                return Ok(None);
            };
            next.path.clone_from(&here.path);
            next.path.push(part);
            match next.mode {
                Mode::Link => self.turn(&next, &mut ahead)?,
                _ => self.visited.push(next),
            }
        }
        Ok(self.visited.pop())
    }

    fn step_up(&mut self, link: Option<usize>) -> Result<(), Stop> {
        if self.visited.len() - 1 <= self.depth {
            return Err(self.leaves(link.expect("only a symlink leads up")));
        }
        self.visited.pop();
        Ok(())
    }

    /// Puts the target of a symlink in front of what is ahead.
    fn turn(&mut self, link: &Node, ahead: &mut Vec<Step>) -> Result<(), Stop> {
        if self.links.len() == SYMLINKS {
            return Err(Stop::Circle);
        }
        let path = link.path.join("/");
        let target = self.snapshot.link_target(link.id, &path).map_err(Stop::Error)?;
        let number = self.links.len();
        let parts = target.split('/').filter(|part| !matches!(*part, "" | "."));
        ahead.extend(parts.rev().map(|part| Step { part: part.to_owned(), link: Some(number) }));
        let absolute = target.starts_with('/');
        self.links.push((path, target));
        if absolute { Err(self.leaves(number)) } else { Ok(()) }
    }

    fn leaves(&self, link: usize) -> Stop {
        let (path, target) = self.links[link].clone();
        Stop::Error(ReadError::SymlinkLeaves { path, target, root: self.root.clone() })
    }
}
