//! Reads YAML exactly as Kubernetes does, with a line for everything that can be wrong.
//!
//! `kubectl`, Helm and the Go controllers read with `sigs.k8s.io/yaml`, which is go-yaml v2 and so YAML 1.1:
//! `on` is a boolean, `0644` is 420 and `1.0` is sent as `1`. A loader that disagrees changes what is applied,
//! so this one follows go-yaml's own resolve table over the events of a plain parser. It is the only reader of
//! manifests, `skiff.yaml` and the agent's own configuration. It opens no files and keeps nothing between calls.
//!
//! ```
//! use skiff_shared::yaml;
//!
//! let document = yaml::load("mode: 0644\nenabled: on\n").expect("it is valid");
//! assert_eq!(document.value, serde_json::json!({ "mode": 420, "enabled": true }));
//! assert_eq!(document.line_of("/enabled"), Some(2));
//! ```

mod anchors;
mod canonical;
mod document;
mod error;
mod lines;
mod load;
mod read;
mod scalar;
mod split;
mod suggest;
mod text;

pub use canonical::to_canonical;
pub use document::{Document, Documents, documents, load};
pub use error::{YamlError, YamlErrorKind};
pub use lines::{Lines, push_segment};
pub use read::{Mismatch, Reading, read};
pub use suggest::closest;
pub use text::decode;

/// What to do when a mapping has the same key twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicateKeys {
    /// The document is refused with the lines of both keys.
    Refuse,
    /// The last one is taken, as `kubectl` does, and [`Document::duplicates`] lists them. Charts need this.
    LastWins,
}

/// Whether the line of every value is kept, for [`Document::line_of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepLines {
    /// Every value's line is kept: for files that people write and get messages about.
    Yes,
    /// Only the document's own line is kept: rendering reads thousands of documents and asks for no other.
    No,
}

/// Bounds on one document, so that a small hostile file cannot take much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most values a document may have, those that aliases repeat included.
    pub nodes: usize,
    /// The most values that aliases may repeat. Every 128 bytes of text count as one more.
    pub repeated: usize,
    /// The deepest nesting. At most 127: `serde_json` reads no deeper, and a body must be readable again.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nodes: 1_000_000, repeated: 50_000, depth: 127 }
    }
}

/// How to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to do when a mapping has the same key twice.
    pub duplicate_keys: DuplicateKeys,
    /// Whether the line of every value is kept.
    pub lines: KeepLines,
    /// Bounds on one document.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self { duplicate_keys: DuplicateKeys::Refuse, lines: KeepLines::Yes, limits: Limits::default() }
    }
}

/// A key that a mapping has twice, where the last one was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The key.
    pub key: String,
    /// The line of the earlier one.
    pub first_line: u32,
    /// The line of the later one, whose value was taken.
    pub line: u32,
}

#[cfg(test)]
mod tests;
