//! What can go wrong between a chart repository and a chart's files, each with its reason word and when to try again.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::git::{FetchError, Retry};

/// Why a chart could not be fetched. No text holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// The server or the way to it: told as of a Git repository.
    #[error(transparent)]
    Server(FetchError),
    #[error("failed to fetch chart {chart}")]
    Chart {
        /// `redis of https://charts.example`
        chart: String,
        source: ChartProblem,
    },
}

/// What is wrong with a chart, or with what its repository says of it.
#[derive(Debug, thiserror::Error)]
pub enum ChartProblem {
    #[error("{problem}")]
    Address { problem: String },
    #[error("the repository's index cannot be used: {problem}")]
    Index { problem: String },
    #[error("the repository has no chart of this name{meant}")]
    ChartMissing { meant: Meant },
    #[error("there is no version {version}{newest}")]
    VersionMissing { version: String, newest: Newest },
    #[error("no version is in {range}{newest}")]
    RangeEmpty { range: String, newest: Newest },
    #[error("what is there is no chart: {problem}")]
    NotAChart { problem: String },
    #[error("the archive of {version} is not there (404), though the repository lists it")]
    ArchiveMissing { version: String },
    #[error(
        "the archive of {version} has the digest {found}, the repository says {expected}: it is not used"
    )]
    DigestDiffers { version: String, found: String, expected: String },
    #[error("its archive cannot be used: {problem}")]
    Archive { problem: String },
    #[error("{what} has more than {limit}")]
    TooLarge { what: &'static str, limit: String },
    #[error("failed to keep it in {path}", path = path.display())]
    Storage { path: PathBuf, source: io::Error },
}

/// A name that may be meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meant(pub Option<String>);

/// The newest version that there is, if it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest(Option<String>);

impl fmt::Display for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |name| write!(f, ": did you mean {name:?}?"))
    }
}

impl From<Option<String>> for Newest {
    fn from(version: Option<String>) -> Self {
        Self(version)
    }
}

impl fmt::Display for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |version| write!(f, ", the newest one is {version}"))
    }
}

impl ChartError {
    /// Returns the word for conditions, events and `error.type`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Server(error) => error.reason(),
            Self::Chart { source, .. } => source.reason(),
        }
    }

    /// Says when it is worth trying again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Server(error) => error.retry(),
            Self::Chart { source: ChartProblem::Storage { .. }, .. } => Retry::Backoff,
            Self::Chart { .. } => Retry::AtInterval,
        }
    }
}

impl ChartProblem {
    /// Returns the word for conditions, events and `error.type`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Address { .. } => "RepositoryNotFound",
            Self::Index { .. } => "ChartIndexInvalid",
            Self::ChartMissing { .. } => "ChartNotFound",
            Self::VersionMissing { .. } | Self::RangeEmpty { .. } | Self::ArchiveMissing { .. } => {
                "ChartVersionNotFound"
            }
            Self::DigestDiffers { .. } => "ChartDigestDiffers",
            Self::NotAChart { .. } | Self::Archive { .. } => "ChartInvalid",
            Self::TooLarge { .. } => "TooLarge",
            Self::Storage { .. } => "CacheFailed",
        }
    }
}
