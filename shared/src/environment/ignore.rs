//! `ignoreDifferences`: of which objects of an app which fields are left to others.

use crate::desired::yields::Yields;
use crate::glob;
use crate::object::{Digest, Hashing, ObjectId};

/// One entry of the list, in Argo CD's form. `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreDifferences {
    /// Empty for the core group.
    pub group: String,
    pub kind: String,
    /// Every name where there is none.
    pub name: Option<String>,
    /// Every namespace where there is none, and objects without one.
    pub namespace: Option<String>,
    pub yields: Yields,
}

impl IgnoreDifferences {
    /// Whether an object is meant.
    pub fn matches(&self, id: &ObjectId) -> bool {
        let is = |pattern: &Option<String>, value: &str| {
            pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, value))
        };
        glob::matches(&self.group, &id.kind().group)
            && glob::matches(&self.kind, &id.kind().kind)
            && is(&self.name, id.name())
            && is(&self.namespace, id.namespace().unwrap_or_default())
    }

    /// Returns the digest of a list.
    pub fn digest(list: &[Self]) -> Digest {
        let one = |hashing: Hashing, rule: &Self| {
            let Self { group, kind, name, namespace, yields } = rule;
            let texts = [Some(group), Some(kind), name.as_ref(), namespace.as_ref()];
            let texts = texts.into_iter().fold(hashing, |hashing, text| {
                hashing.part(&[u8::from(text.is_some())]).part(text.map_or("", String::as_str).as_bytes())
            });
            texts.part(&yields.digest().0)
        };
        list.iter().fold(Hashing::default(), one).finish()
    }
}
