//! What a source names: a branch, a tag, a range of versions, a commit. And the ids of what is found there.

use std::fmt;
use std::str::FromStr;

use gix::ObjectId;
use skiff_shared::environment;
use skiff_shared::version::Range;

/// What a source follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// Whatever the repository says is its main branch; written `HEAD`.
    Head,
    /// A branch or a tag, whichever exists; written as the bare name.
    Name(String),
    /// Written `refs/heads/…`.
    Branch(String),
    /// Written `refs/tags/…`.
    Tag(String),
    /// The newest tag that is a version in the range; not one text among the others, so never read from one.
    Versions(Range),
    /// Written as the full id.
    Commit(CommitId),
}

/// Why a text names nothing in a repository.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("{text:?} is not a valid name of a branch or a tag")]
    Malformed { text: String },
    #[error("{text:?} is neither a branch nor a tag; write refs/heads/… or refs/tags/…, or the bare name")]
    Unsupported { text: String },
}

/// The id of a commit, printed with its format as in `sha1:4f2c9a…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub(super) ObjectId);

/// The id of what is found at a path: equal ids, equal content. A folder's covers everything below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeId(pub(super) ObjectId);

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the full id of a commit")]
pub struct IdError {
    text: String,
}

impl TryFrom<environment::Reference> for Reference {
    type Error = IdError;

    /// Takes what a file names.
    fn try_from(written: environment::Reference) -> Result<Self, IdError> {
        Ok(match written {
            environment::Reference::Branch(name) => Self::Branch(name),
            environment::Reference::Tag(name) => Self::Tag(name),
            environment::Reference::Versions(range) => Self::Versions(range),
            environment::Reference::Commit(id) => Self::Commit(id.parse()?),
        })
    }
}

impl Reference {
    /// Returns the names on the server that this may stand for.
    pub(super) fn candidates(&self) -> Vec<String> {
        match self {
            Self::Head => vec!["HEAD".to_owned()],
            Self::Name(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
            Self::Branch(name) => vec![format!("refs/heads/{name}")],
            Self::Tag(name) => vec![format!("refs/tags/{name}")],
            Self::Versions(_) | Self::Commit(_) => Vec::new(),
        }
    }

    /// Returns the name that a revision is printed with; empty for a commit, and for versions until one is chosen.
    pub fn short_name(&self) -> &str {
        match self {
            Self::Head => "HEAD",
            Self::Name(name) | Self::Branch(name) | Self::Tag(name) => name,
            Self::Versions(_) | Self::Commit(_) => "",
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if let Ok(commit) = text.parse() {
            return Ok(Self::Commit(commit));
        }
        let reference = if text == "HEAD" {
            Self::Head
        } else if let Some(name) = text.strip_prefix("refs/heads/") {
            Self::Branch(name.to_owned())
        } else if let Some(name) = text.strip_prefix("refs/tags/") {
            Self::Tag(name.to_owned())
        } else if text.starts_with("refs/") {
            return Err(ReferenceError::Unsupported { text: text.to_owned() });
        } else {
            Self::Name(text.to_owned())
        };
        let valid =
            |name: &String| gix::validate::reference::name(name.as_str().into()).is_ok() || name == "HEAD";
        match reference.candidates().iter().all(valid) {
            true => Ok(reference),
            false => Err(ReferenceError::Malformed { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("HEAD"),
            Self::Name(name) => f.write_str(name),
            Self::Branch(name) => write!(f, "refs/heads/{name}"),
            Self::Tag(name) => write!(f, "refs/tags/{name}"),
            Self::Versions(range) => write!(f, "refs/tags/{range}"),
            Self::Commit(commit) => write!(f, "{}", commit.0),
        }
    }
}

impl FromStr for CommitId {
    type Err = IdError;

    /// Reads the full hexadecimal id, with or without its format before it.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError { text: text.to_owned() };
        let (format, id) = match text.split_once(':') {
            Some((format, id)) => (Some(format), id),
            None => (None, text),
        };
        let id = ObjectId::from_hex(id.as_bytes()).map_err(|_| wrong())?;
        match format.is_none_or(|format| format == id.kind().to_string()) {
            true => Ok(Self(id)),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.kind(), self.0)
    }
}

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.kind(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_they_are_written() {
        for text in ["HEAD", "main", "release/1.2", "refs/heads/main", "refs/tags/v1", &"a".repeat(40)] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
        assert_eq!("refs/tags/v1".parse(), Ok(Reference::Tag("v1".to_owned())));
        assert_eq!("v1".parse(), Ok(Reference::Name("v1".to_owned())));
    }

    #[test]
    fn what_git_would_not_name_is_refused() {
        for text in ["", "a b", "a..b", "a\nb", "-", "refs/heads/", "main.lock"] {
            let refused = text.parse::<Reference>();
            assert!(refused.is_err() || text == "-", "{text:?}");
        }
        insta::assert_snapshot!("refs/pull/1/head".parse::<Reference>().unwrap_err(), @r#""refs/pull/1/head" is neither a branch nor a tag; write refs/heads/… or refs/tags/…, or the bare name"#);
    }

    #[test]
    fn ids_print_with_their_format_and_are_read_back() {
        let id: CommitId = "4f2c9a".repeat(7)[..40].parse().unwrap();
        assert_eq!(id.to_string(), "sha1:4f2c9a4f2c9a4f2c9a4f2c9a4f2c9a4f2c9a4f2c");
        assert_eq!(id.to_string().parse(), Ok(id));
        let long = "ab".repeat(32).parse::<CommitId>().unwrap();
        assert!(long.to_string().starts_with("sha256:abab"));
        assert!(format!("sha1:{}", "ab".repeat(32)).parse::<CommitId>().is_err());
        assert!("4f2c9a".parse::<CommitId>().is_err());
    }
}
