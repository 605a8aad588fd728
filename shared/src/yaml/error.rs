//! What can be wrong with a document, and where. Messages never hold values: a value may be a secret.

use std::fmt;

use granit_parser::{ErrorKind, Marker, ScanError};

use super::split::Origin;

/// A document that cannot be read, with the place in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct YamlError {
    /// Which document of the file it is, counted from 1 without the empty ones. `None` where the whole file is wrong.
    pub document: Option<u32>,
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted from 1.
    pub column: u32,
    /// What is wrong.
    pub kind: YamlErrorKind,
}

impl YamlError {
    /// Returns the place in a file as editors open it, `base/web.yaml:12:7`; without the column where the file as a
    /// whole is wrong.
    pub fn place(&self, file: &str) -> String {
        match self.document {
            Some(_) => format!("{file}:{}:{}", self.line, self.column),
            None => format!("{file}:{}", self.line),
        }
    }

    /// Returns the place in a text that has no file, for a sentence: `line 12, column 7`.
    pub fn position(&self) -> String {
        format!("line {}, column {}", self.line, self.column)
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(document) = self.document {
            write!(f, "document {document}, ")?;
        }
        write!(f, "{}: {}", self.position(), self.kind)
    }
}

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlErrorKind {
    /// It is not YAML.
    #[error("{0}")]
    Syntax(String),
    /// The document's value has ended before something that stands in it.
    #[error(
        "the document's value has ended before this: indent it as what it belongs to, or put a line of --- before it"
    )]
    Trailing,
    /// An alias without an anchor.
    #[error("the alias names no anchor that stands before it in this document")]
    UnknownAnchor,
    /// A mapping has the same key twice.
    #[error("duplicate key {key:?} (first at line {first_line})")]
    DuplicateKey { key: String, first_line: u32 },
    /// A key that JSON has no spelling for.
    #[error("{found} cannot be a key")]
    KeyKind { found: &'static str },
    /// A tag whose type the value does not have.
    #[error("the value is not of the type that its tag {tag} names")]
    Tag { tag: &'static str },
    /// `.inf` or `.nan`.
    #[error("an infinite number or .nan cannot be written as JSON")]
    NotFinite,
    /// `<<` with something else than mappings.
    #[error("the value of the merge key << must be a mapping or a list of mappings")]
    Merge,
    /// An alias within the value it stands for.
    #[error("the alias stands within the value that it stands for")]
    SelfReference,
    /// Text in brackets that YAML 1.1 and 1.2 read differently.
    #[error("YAML 1.1 and 1.2 read {mark} here differently: put a space after it, or the text in quotes")]
    Ambiguous { mark: char },
    /// A character that ends a line for Kubernetes, and for nobody else.
    #[error(
        "Kubernetes ends a line at the character {character:?}: put the text in double quotes, and write it as an escape"
    )]
    LineEnd { character: char },
    /// More values than allowed.
    #[error("the document has more than {limit} values")]
    TooManyNodes { limit: usize },
    /// Aliases repeat more values than allowed.
    #[error("the document's aliases repeat more than {limit} values")]
    TooManyRepeated { limit: usize },
    /// Deeper nesting than allowed.
    #[error("the document is nested more than {limit} levels deep")]
    TooDeep { limit: usize },
    /// The bytes are no text.
    #[error("the file is not {encoding} text")]
    Encoding { encoding: &'static str },
    /// No document where one was needed.
    #[error("the file holds no document")]
    NoDocument,
    /// More than one document where one was needed.
    #[error("a second document begins here, where only one is allowed")]
    SecondDocument,
}

/// Where a document is in its file, for turning the parser's places into the reader's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    pub(super) origin: Origin,
    /// The document's number.
    pub(super) document: u32,
    /// The deepest nesting.
    pub(super) depth: usize,
}

impl Site {
    pub(super) fn line(self, marker: Marker) -> u32 {
        u32::try_from(marker.line()).unwrap_or(u32::MAX).saturating_add(self.origin.lines)
    }

    pub(super) fn column(self, marker: Marker) -> u32 {
        let before = if marker.line() == 1 { self.origin.columns } else { 0 };
        u32::try_from(marker.col()).unwrap_or(u32::MAX).saturating_add(before).saturating_add(1)
    }

    pub(super) fn error(self, marker: Marker, kind: YamlErrorKind) -> YamlError {
        let (line, column) = (self.line(marker), self.column(marker));
        YamlError { document: Some(self.document), line, column, kind }
    }

    pub(super) fn syntax_error(self, error: &ScanError) -> YamlError {
        let kind = match error.kind() {
            ErrorKind::RecursionLimitExceeded => YamlErrorKind::TooDeep { limit: self.depth },
            ErrorKind::ExpectedDocumentStart => YamlErrorKind::Trailing,
            ErrorKind::UnknownAnchor => YamlErrorKind::UnknownAnchor,
            _ => YamlErrorKind::Syntax(error.info()),
        };
        self.error(*error.marker(), kind)
    }
}
