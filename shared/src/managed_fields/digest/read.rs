//! The visitors that reduce a managedFields list as its JSON goes by.
//!
//! They run once for every event of every watch, so they keep nothing and allocate nothing of their own.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::entry::parse_seconds;
use super::super::path::is_element;
use super::{Fields, Parts, PathHash, Reduced, Word};

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
            element if is_element(element) => Key::Child(self.0.child(element)),
            _ => Key::Unknown,
        })
    }
}
