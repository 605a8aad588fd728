//! What of an object is left to others once the object exists.
//!
//! Between those who say it (the app list, an annotation, an autoscaler) and the requests that are sent so. Creation
//! sends everything that Git declares; every apply after it leaves these fields out, when our managedFields entry has
//! let go of them. Only omitting them would have the API server reset them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::managed_fields::{Entry, EntryError, Path, omit, owned_by};
use crate::object::{Digest, Hashing};
use crate::yaml::push_segment;

/// A field of an object as a JSON pointer (RFC 6901), checked to be one that may be left to others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Field(Box<str>);

/// A text that names no field which may be left to others.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FieldError {
    #[error("{text:?} names no field: write a JSON pointer such as /spec/replicas")]
    NotAField { text: String },
    #[error(
        "{text:?} is no plain path: of jq only .spec.replicas, .metadata.annotations[\"a/b\"] and .items[0] are read; write managedFieldsManagers, or a JSON pointer"
    )]
    NotPlain { text: String },
    #[error("{text:?} names several fields at once: write one line for each, or managedFieldsManagers")]
    Several { text: String },
    #[error("{text:?} cannot be left to others: Skiff finds the object by it")]
    Identity { text: String },
}

/// Where an object is found by: neither these nor what holds them may be left to others.
const IDENTITY: [&str; 7] = [
    "/apiVersion",
    "/kind",
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/labels/skiff.dev~1instance",
    "/metadata/labels/skiff.dev~1app",
    "/metadata/uid",
];

impl Field {
    /// Reads a JSON pointer, or a plain path as `jq` writes it.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let pointer = match text.chars().next() {
            Some('/') => text.to_owned(),
            Some('.' | '[') => {
                jq_pointer(text).ok_or_else(|| FieldError::NotPlain { text: text.to_owned() })?
            }
            _ => return Err(FieldError::NotAField { text: text.to_owned() }),
        };
        if Path::from_pointer(&pointer).is_err() || pointer.ends_with('/') {
            return Err(FieldError::NotAField { text: text.to_owned() });
        }
        // Such a segment would be taken for a name, which nothing has.
        if pointer.split('/').any(|segment| matches!(segment, "*" | "-")) {
            return Err(FieldError::Several { text: text.to_owned() });
        }
        let holds = |part: &&str| {
            part.strip_prefix(pointer.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if IDENTITY.iter().any(holds) {
            return Err(FieldError::Identity { text: text.to_owned() });
        }
        Ok(Self(pointer.into()))
    }

    /// The field that autoscalers set.
    pub fn replicas() -> Self {
        Self("/spec/replicas".into())
    }

    pub fn as_pointer(&self) -> &str {
        &self.0
    }

    fn path(&self) -> Path {
        Path::from_pointer(&self.0).unwrap_or_default()
    }
}

/// Whether an object is found by a field, or by something in it: whoever owns it too, it stays ours.
fn is_identity(path: &Path) -> bool {
    let identities = IDENTITY.iter().filter_map(|pointer| Path::from_pointer(pointer).ok());
    identities.into_iter().any(|identity| identity.starts_with(path))
}

/// Returns the pointer of `.spec.a["b/c"][0]`; `None` for everything else that jq can say.
fn jq_pointer(text: &str) -> Option<String> {
    let mut pointer = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = if let Some(quoted) =
            rest.strip_prefix("[\"").or_else(|| rest.strip_prefix(".[\""))
        {
            quoted.split_once("\"]")?
        } else if let Some(index) = rest.strip_prefix('[') {
            let (index, after) = index.split_once(']')?;
            (Some(index).filter(|index| index.parse::<u32>().is_ok())?, after)
        } else {
            let word = rest.strip_prefix('.')?;
            let end =
                word.find(|char: char| !(char.is_ascii_alphanumeric() || char == '_')).unwrap_or(word.len());
            word.split_at(end)
        };
        if name.is_empty() || name.contains(['"', '\\']) {
            return None;
        }
        push_segment(&mut pointer, name);
        rest = after;
    }
    Some(pointer)
}

/// Fields that Git declares and others decide.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Yields {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub fields: BTreeSet<Field>,
    /// Field managers: what they own when an apply is sent is left to them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub managers: BTreeSet<Box<str>>,
}

impl Yields {
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.managers.is_empty()
    }

    pub fn extend(&mut self, other: &Self) {
        self.fields.extend(other.fields.iter().cloned());
        self.managers.extend(other.managers.iter().cloned());
    }

    /// Returns them shared; nothing where nothing is left to others.
    pub fn shared(self) -> Option<Arc<Self>> {
        (!self.is_empty()).then(|| Arc::new(self))
    }

    /// Whether a field may be named by its position in a list.
    pub fn has_positions(&self) -> bool {
        let is_position = |part: &str| part.parse::<u32>().is_ok();
        self.fields.iter().any(|field| field.as_pointer().split('/').any(is_position))
    }

    /// Returns the paths of the named fields, positions in lists as written.
    pub fn paths(&self) -> Vec<Path> {
        self.fields.iter().map(Field::path).collect()
    }

    /// Takes out of an object what others decide: the named fields, and what the named managers own among `entries`,
    /// those of the live object.
    ///
    /// # Errors
    /// Fails if a stored field set is not an object of objects.
    pub fn take_from(&self, object: &mut Value, entries: &[Entry]) -> Result<(), EntryError> {
        let mut paths = self.paths();
        if !self.managers.is_empty() {
            paths.extend(owned_by(entries, &self.managers)?.into_iter().filter(|path| !is_identity(path)));
        }
        omit(object, &paths);
        Ok(())
    }

    pub fn digest(&self) -> Digest {
        let fields =
            self.fields.iter().fold(Hashing::default(), |hashing, field| hashing.part(field.0.as_bytes()));
        let hashing = fields.part(b"");
        self.managers.iter().fold(hashing, |hashing, manager| hashing.part(manager.as_bytes())).finish()
    }
}

impl std::fmt::Display for Yields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = self.fields.iter().map(|field| field.0.to_string());
        let managers = self.managers.iter().map(|manager| format!("what {manager:?} owns"));
        f.write_str(&fields.chain(managers).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests;
