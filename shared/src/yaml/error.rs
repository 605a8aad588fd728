//! What can be wrong with a document, and where. Messages never hold values: a value may be a secret.

/// A document that cannot be read, with the place in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct YamlError {
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted from 1.
    pub column: u32,
    /// What is wrong.
    pub kind: YamlErrorKind,
}

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlErrorKind {
    /// It is not YAML.
    #[error("{0}")]
    Syntax(String),
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
