//! Secrets: read from their files at each use, and never shown.

use std::fmt;
use std::path::{Path, PathBuf};

/// A secret file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("failed to read the secret in {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// It is not UTF-8 text.
    #[error("the secret in {} is not UTF-8 text", path.display())]
    NotText { path: PathBuf },
    /// Nothing is in it.
    #[error("the secret in {} is empty", path.display())]
    Empty { path: PathBuf },
}

/// A text that must not be seen: prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret that did not come from a file.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Reads a secret from its file. Line ends after it are not part of it.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let bytes =
            std::fs::read(path).map_err(|source| SecretError::Read { path: path.to_owned(), source })?;
        let text = String::from_utf8(bytes).map_err(|_| SecretError::NotText { path: path.to_owned() })?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(SecretError::Empty { path: path.to_owned() }),
            text => Ok(Self(text.to_owned())),
        }
    }

    /// Returns the secret itself. Nothing that comes from here may reach a log, an error, a span or a status.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
