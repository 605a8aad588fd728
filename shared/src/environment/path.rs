//! Paths within a repository, which cannot name anything outside it.

use std::fmt;

/// A path that does not stay within the repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It starts at the root of a file system.
    #[error("path {path:?} is absolute: it must be relative")]
    Absolute { path: String },
    /// It has more `..` than folders to leave.
    #[error("path {path:?} leaves the repository")]
    Outside { path: String },
    /// It holds a character that no file name has.
    #[error("path {path:?} holds a NUL character")]
    Nul { path: String },
}

/// A path from the root of a repository, without `.` and `..`. Printed `.` for the root itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(String);

impl RepoPath {
    /// Reads a path that starts at the root of the repository.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        Self::default().join(path)
    }

    /// Returns the path that is reached from this folder. It may leave the folder, but not the repository.
    pub fn join(&self, path: &str) -> Result<Self, PathError> {
        if path.starts_with('/') {
            return Err(PathError::Absolute { path: path.to_owned() });
        }
        if path.contains('\0') {
            return Err(PathError::Nul { path: path.to_owned() });
        }
        let mut segments: Vec<&str> = self.segments().collect();
        for segment in path.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    segments.pop().ok_or_else(|| PathError::Outside { path: path.to_owned() })?;
                }
                name => segments.push(name),
            }
        }
        Ok(Self(segments.join("/")))
    }

    /// Returns the names from the root to the path; none for the root itself.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// Returns the path with `/` between its names, empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}
