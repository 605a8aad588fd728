//! Identities: API types, objects and the interner that shares their strings.
//!
//! First in the pipeline: every other module speaks of objects by [`ObjectId`]. Nothing here knows
//! what an object contains.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An API type without its version; versions of one kind are the same objects.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GroupKind {
    pub group: Box<str>,
    pub kind: Box<str>,
}

impl GroupKind {
    pub fn new(group: &str, kind: &str) -> Self {
        Self { group: group.into(), kind: kind.into() }
    }
}

impl fmt::Display for GroupKind {
    /// Prints `Deployment.apps`, or `ConfigMap` for the core group.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.kind)
        } else {
            write!(f, "{}.{}", self.kind, self.group)
        }
    }
}

/// Splits an `apiVersion` into group and version; the core group is empty.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Joins group and version into an `apiVersion`.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// One Kubernetes object: group, kind, namespace and name. Cheap to clone; printed
/// `Kind/namespace/name`, or `Kind/name` for a cluster-scoped object.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ObjectId(Arc<Identity>);

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Identity {
    kind: Arc<GroupKind>,
    namespace: Option<Arc<str>>,
    name: Box<str>,
}

impl ObjectId {
    pub fn new(kind: Arc<GroupKind>, namespace: Option<Arc<str>>, name: &str) -> Self {
        Self(Arc::new(Identity { kind, namespace, name: name.into() }))
    }

    pub fn kind(&self) -> &Arc<GroupKind> {
        &self.0.kind
    }

    pub fn namespace(&self) -> Option<&str> {
        self.0.namespace.as_deref()
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether another id has this kind, namespace and name in another API group. The API server may serve one object
    /// under both.
    pub fn is_twin_of(&self, other: &Self) -> bool {
        self.0.name == other.0.name
            && self.0.kind.kind == other.0.kind.kind
            && self.0.kind.group != other.0.kind.group
            && self.0.namespace == other.0.namespace
    }

    /// Whether this is an object of the given group and kind.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        &*self.0.kind.group == group && &*self.0.kind.kind == kind
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.0.kind.kind, self.0.name),
            None => write!(f, "{}/{}", self.0.kind.kind, self.0.name),
        }
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialOrd for ObjectId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ObjectId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

/// An object at the API version it is written and read with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    pub id: ObjectId,
    pub version: Arc<str>,
}

/// A string that is equal to itself by content, so that a set of `Arc<str>` can be searched by `&str`.
#[derive(Clone)]
struct Shared(Arc<str>);

impl Borrow<str> for Shared {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl Eq for Shared {}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Shares the strings that thousands of ids have in common: kinds, namespaces, versions.
#[derive(Default)]
pub struct Interner {
    strings: HashSet<Shared>,
    kinds: HashSet<Arc<GroupKind>>,
}

impl Interner {
    pub fn string(&mut self, text: &str) -> Arc<str> {
        if let Some(found) = self.strings.get(text) {
            return found.0.clone();
        }
        let new: Arc<str> = text.into();
        self.strings.insert(Shared(new.clone()));
        new
    }

    pub fn kind(&mut self, group: &str, kind: &str) -> Arc<GroupKind> {
        let wanted = GroupKind::new(group, kind);
        if let Some(found) = self.kinds.get(&wanted) {
            return found.clone();
        }
        let new = Arc::new(wanted);
        self.kinds.insert(new.clone());
        new
    }

    pub fn object(&mut self, group: &str, kind: &str, namespace: Option<&str>, name: &str) -> ObjectId {
        let namespace = namespace.map(|namespace| self.string(namespace));
        ObjectId::new(self.kind(group, kind), namespace, name)
    }
}

/// How the API server serves one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServedKind {
    pub plural: Box<str>,
    pub namespaced: bool,
    /// The served versions, the server's preferred one first.
    pub versions: Vec<Box<str>>,
}

/// The kinds that the cluster serves, as discovery found them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ApiSet {
    pub kinds: BTreeMap<GroupKind, ServedKind>,
    /// Groups whose discovery failed (an aggregated API without a server behind it). While one is
    /// listed, nothing of that group is pruned and no chart is rendered.
    pub incomplete: Vec<Box<str>>,
}

impl ApiSet {
    pub fn served(&self, kind: &GroupKind, version: &str) -> bool {
        self.kinds.get(kind).is_some_and(|served| served.versions.iter().any(|have| &**have == version))
    }
}

/// A digest printed in hex: of a body, a plan, a render. SHA-256, the first 16 bytes: collisions are
/// out of reach for content that one repository holds, and rows stay small.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Hashing::default().update(bytes).finish()
    }
}

/// Builds a [`Digest`] from parts. Each part is preceded by its length, so that parts cannot run together.
#[derive(Default)]
pub struct Hashing(sha2::Sha256);

impl Hashing {
    /// Adds bytes as they are.
    #[must_use]
    pub fn update(mut self, bytes: &[u8]) -> Self {
        sha2::Digest::update(&mut self.0, bytes);
        self
    }

    /// Adds a length-prefixed part.
    #[must_use]
    pub fn part(self, bytes: &[u8]) -> Self {
        let length = u64::try_from(bytes.len()).expect("a length fits 64 bits");
        self.update(&length.to_be_bytes()).update(bytes)
    }

    pub fn finish(self) -> Digest {
        let full = sha2::Digest::finalize(self.0);
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        Digest(short)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_kind_namespace_name() {
        let mut interner = Interner::default();
        assert_eq!(
            interner.object("apps", "Deployment", Some("shop"), "web").to_string(),
            "Deployment/shop/web"
        );
        assert_eq!(interner.object("", "Namespace", None, "shop").to_string(), "Namespace/shop");
    }

    #[test]
    fn interned_ids_share_their_strings() {
        let mut interner = Interner::default();
        let a = interner.object("", "ConfigMap", Some("shop"), "a");
        let b = interner.object("", "ConfigMap", Some("shop"), "b");
        assert!(Arc::ptr_eq(a.kind(), b.kind()));
        assert_ne!(a, b);
    }

    #[test]
    fn parts_of_a_digest_do_not_run_together() {
        let one = Hashing::default().part(b"ab").part(b"c").finish();
        let other = Hashing::default().part(b"a").part(b"bc").finish();
        assert_ne!(one, other);
        assert_eq!(one.to_string().parse::<Digest>().expect("hex"), one);
    }
}
