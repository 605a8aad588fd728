//! Reduces a managedFields list to digests while it is being read, without building a value.
//!
//! The definition of the digests is in the parent module; [`FieldSet::digest`](super::FieldSet::digest) computes the
//! same from a parsed set.

mod read;

use serde::{Deserialize, Serialize};

use super::FIELD_MANAGER;

/// Our entry (manager `skiff`, operation `Apply`, no subresource), reduced.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Owned {
    /// The order-independent digest of the paths that we own, written as 32 hexadecimal digits.
    #[serde(with = "hexadecimal")]
    pub digest: u128,
    /// The second of the apply that last changed our entry or one of its values; 0 if the entry has no time.
    pub time: i64,
}

/// All entries of one object, reduced.
///
/// It is read from the JSON of `metadata.managedFields`; a missing or null list is the default.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Fields {
    /// Our entry; `None` if nothing on the object is ours.
    pub ours: Option<Owned>,
    /// The digest of all entries but ours and those of the subresource `status`: manager, operation, subresource,
    /// time and field set of each.
    pub others: u64,
    /// The digest of the entries of the subresource `status`.
    pub status: u64,
}

impl Fields {
    /// Adds one entry whose parts have been reduced.
    pub(super) fn add(&mut self, entry: &Reduced) {
        if entry.is_ours {
            // The server keeps one entry per applier, the last one when a client forged two.
            self.ours = Some(Owned { digest: entry.set, time: entry.time.unwrap_or(0) });
        } else if entry.is_status {
            self.status = self.status.wrapping_add(entry.digest());
        } else {
            self.others = self.others.wrapping_add(entry.digest());
        }
    }
}

/// One entry, reduced to what tells it from another state of itself.
#[derive(Default)]
pub(super) struct Reduced {
    is_ours: bool,
    is_status: bool,
    /// The chained hash of manager, operation and subresource.
    name: PathHash,
    time: Option<i64>,
    set: u128,
}

impl Reduced {
    /// Builds the reduction from whole parts.
    pub(super) fn new(names: EntryName<'_>, time: Option<i64>, set: u128) -> Self {
        let mut parts = Parts::default();
        parts.manager.read(names.manager);
        parts.operation.read(names.operation);
        parts.subresource.read(names.subresource);
        Self { time, set, ..parts.name() }
    }

    fn digest(&self) -> u64 {
        let time = self.time.unwrap_or(i64::MIN);
        let hash = self.name.child_bytes(&time.to_le_bytes()).child_bytes(&self.set.to_le_bytes()).finish();
        u64::try_from(hash & u128::from(u64::MAX)).expect("the value is masked to 64 bits")
    }
}

/// What names an entry.
#[derive(Clone, Copy)]
pub(super) struct EntryName<'a> {
    pub manager: &'a str,
    pub operation: &'a str,
    pub subresource: &'a str,
}

/// The names of an entry as far as they have been read; they may come in any order, also after the field set.
#[derive(Default)]
struct Parts {
    manager: Word,
    operation: Word,
    subresource: Word,
}

impl Parts {
    fn name(&self) -> Reduced {
        let is_ours = self.manager.known == Known::Skiff
            && self.operation.known == Known::Apply
            && self.subresource.known == Known::Empty;
        let name = PathHash::default()
            .child_bytes(&self.manager.hash.to_le_bytes())
            .child_bytes(&self.operation.hash.to_le_bytes())
            .child_bytes(&self.subresource.hash.to_le_bytes());
        Reduced { is_ours, is_status: self.subresource.known == Known::Status, name, ..Reduced::default() }
    }
}

/// A text that was hashed instead of kept.
#[derive(Default)]
struct Word {
    hash: u128,
    known: Known,
}

impl Word {
    fn read(&mut self, text: &str) {
        self.hash = PathHash::default().child_bytes(text.as_bytes()).finish();
        self.known = match text {
            "" => Known::Empty,
            FIELD_MANAGER => Known::Skiff,
            "Apply" => Known::Apply,
            "status" => Known::Status,
            _ => Known::Other,
        };
        if self.known == Known::Empty {
            self.hash = 0;
        }
    }
}

#[derive(Default, PartialEq, Eq, Clone, Copy)]
enum Known {
    #[default]
    Empty,
    Skiff,
    Apply,
    Status,
    Other,
}

/// The hash of a path as far as it has been walked.
#[derive(Clone, Copy)]
pub(super) struct PathHash(u128);

impl Default for PathHash {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl PathHash {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    /// Continues the path by one element.
    pub(super) fn child(self, element: &str) -> Self {
        self.child_bytes(element.as_bytes())
    }

    fn child_bytes(self, element: &[u8]) -> Self {
        let hash =
            element.iter().fold(self.0, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(Self::PRIME));
        Self((hash ^ 0xff).wrapping_mul(Self::PRIME))
    }

    /// Returns the hash of the path that ends here.
    pub(super) fn finish(self) -> u128 {
        let [mut low, mut high] = halves(self.0);
        low = low.wrapping_add(high);
        high = high.wrapping_add(low);
        low = mix(low);
        high = mix(high);
        low = low.wrapping_add(high);
        high = high.wrapping_add(low);
        u128::from(high) << 64 | u128::from(low)
    }
}

fn halves(value: u128) -> [u64; 2] {
    let half =
        |value: u128| u64::try_from(value & u128::from(u64::MAX)).expect("the value is masked to 64 bits");
    [half(value), half(value >> 64)]
}

fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ value >> 33
}

/// Writes a digest as text: JSON numbers of that size are lost on the way through the API server.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{digest:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
