//! Reduces a managedFields list to digests while it is being read, without building a value.
//!
//! Runs once for every event of every watch, so it allocates nothing. The definition of the digests is in the parent
//! module; [`FieldSet::digest`](super::FieldSet::digest) computes the same from a parsed set.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::FIELD_MANAGER;
use super::entry::parse_seconds;

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

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of managedFields entries")
    }

    fn visit_unit<E>(self) -> Result<Fields, E> {
        Ok(Fields::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(entry) = entries.next_element_seed(EntryReader)? {
            fields.add(&entry);
        }
        Ok(fields)
    }
}

struct EntryReader;

impl<'de> DeserializeSeed<'de> for EntryReader {
    type Value = Reduced;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Reduced, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntryReader {
    type Value = Reduced;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a managedFields entry")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Reduced, A::Error> {
        let mut parts = Parts::default();
        let mut time = None;
        let mut set = 0;
        while let Some(key) = map.next_key::<EntryKey>()? {
            match key {
                EntryKey::Manager => map.next_value_seed(WordReader(&mut parts.manager))?,
                EntryKey::Operation => map.next_value_seed(WordReader(&mut parts.operation))?,
                EntryKey::Subresource => map.next_value_seed(WordReader(&mut parts.subresource))?,
                EntryKey::Time => time = map.next_value_seed(TimeReader)?,
                EntryKey::FieldsV1 => set = map.next_value_seed(SetReader::root())?,
                EntryKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Reduced { time, set, ..parts.name() })
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum EntryKey {
    Manager,
    Operation,
    Subresource,
    Time,
    FieldsV1,
    #[serde(other)]
    Other,
}

struct WordReader<'a>(&'a mut Word);

impl<'de> DeserializeSeed<'de> for WordReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for WordReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.read(text);
        Ok(())
    }
}

struct TimeReader;

impl<'de> DeserializeSeed<'de> for TimeReader {
    type Value = Option<i64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<i64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for TimeReader {
    type Value = Option<i64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as 2026-11-23T07:41:57Z")
    }

    fn visit_unit<E>(self) -> Result<Option<i64>, E> {
        Ok(None)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<i64>, E> {
        let unexpected = || E::invalid_value(serde::de::Unexpected::Str(text), &TimeReader);
        parse_seconds(text).map(Some).ok_or_else(unexpected)
    }
}

/// Sums the hashes of the paths of one level of fieldsV1 and of everything below it.
struct SetReader {
    at: PathHash,
    is_root: bool,
}

impl SetReader {
    fn root() -> Self {
        Self { at: PathHash::default(), is_root: true }
    }
}

impl<'de> DeserializeSeed<'de> for SetReader {
    type Value = u128;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u128, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SetReader {
    type Value = u128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a level of fieldsV1")
    }

    fn visit_unit<E>(self) -> Result<u128, E> {
        Ok(0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u128, A::Error> {
        let mut sum = 0_u128;
        let mut is_leaf = true;
        let mut is_member = false;
        while let Some(key) = map.next_key_seed(KeyReader(self.at))? {
            if let Key::Child(at) = key {
                is_leaf = false;
                sum = sum.wrapping_add(map.next_value_seed(Self { at, is_root: false })?);
            } else {
                is_member |= matches!(key, Key::Dot);
                map.next_value::<IgnoredAny>()?;
            }
        }
        if (is_leaf || is_member) && !self.is_root {
            sum = sum.wrapping_add(self.at.finish());
        }
        Ok(sum)
    }
}

/// A key of fieldsV1; those of an unknown kind are skipped, as the API server skips them.
enum Key {
    Dot,
    Child(PathHash),
    Unknown,
}

struct KeyReader(PathHash);

impl<'de> DeserializeSeed<'de> for KeyReader {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyReader {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path element")
    }

    fn visit_str<E>(self, text: &str) -> Result<Key, E> {
        Ok(match text {
            "." => Key::Dot,
            element if super::path::is_element(element) => Key::Child(self.0.child(element)),
            _ => Key::Unknown,
        })
    }
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
