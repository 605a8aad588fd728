//! Paths of fields: as fieldsV1 spells them, as people read them, and from JSON pointers.
//!
//! # What people read
//!
//! - a field whose name is letters, digits, `_` and `-` and does not begin with a digit: `.spec`;
//! - any other name in brackets: `.metadata.annotations[skiff.dev/x]`, quoted as JSON when it has characters other
//!   than letters, digits and `_-./` or is a number: `.data["a b"]`;
//! - an item of a keyed list by its keys: `.containers[name="web"]`, `.ports[containerPort=80,protocol="TCP"]`;
//! - an item of a set by its value: `.metadata.finalizers[="example.com/x"]`;
//! - an item by its position: `.args[0]`.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::digest::PathHash;

/// One step of a path, kept as fieldsV1 spells it: `f:name`, `k:{"name":"web"}`, `v:"text"` or `i:0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element(Box<str>);

/// Returns whether a key of fieldsV1 is a path element of a known kind.
pub(super) fn is_element(text: &str) -> bool {
    matches!(text.as_bytes(), [b'f' | b'k' | b'v' | b'i', b':', ..])
}

/// What an element selects, borrowed from its spelling.
pub(super) enum Kind<'a> {
    Field(&'a str),
    /// The keys of a list item as JSON text.
    Key(&'a str),
    /// The item of a set as JSON text.
    Value(&'a str),
    Index(&'a str),
}

impl Element {
    /// Reads a key of fieldsV1; `None` for the member `.` and for kinds that are not known.
    #[must_use]
    pub fn from_v1(text: &str) -> Option<Self> {
        is_element(text).then(|| Self(text.into()))
    }

    /// Builds the element of a field name.
    #[must_use]
    pub fn field(name: &str) -> Self {
        Self(format!("f:{name}").into())
    }

    /// Builds the element of a position in a list.
    #[must_use]
    pub fn index(position: usize) -> Self {
        Self(format!("i:{position}").into())
    }

    /// Returns the spelling of fieldsV1.
    #[must_use]
    pub fn as_v1(&self) -> &str {
        &self.0
    }

    pub(super) fn kind(&self) -> Kind<'_> {
        let rest = &self.0[2..];
        match self.0.as_bytes()[0] {
            b'k' => Kind::Key(rest),
            b'v' => Kind::Value(rest),
            b'i' => Kind::Index(rest),
            _ => Kind::Field(rest),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Kind::Field(name) => write_name(name, f),
            Kind::Key(keys) => match serde_json::from_str::<Pairs<'_>>(keys) {
                Ok(pairs) => write!(f, "[{pairs}]"),
                Err(_) => write!(f, "[{keys}]"),
            },
            Kind::Value(value) => write!(f, "[={value}]"),
            Kind::Index(position) => write!(f, "[{position}]"),
        }
    }
}

fn write_name(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    if !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(is_word)
    {
        write!(f, ".{name}")
    } else if !is_number && name.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'/')) {
        write!(f, "[{name}]")
    } else {
        write!(f, "[{}]", serde_json::Value::from(name))
    }
}

/// The keys of a list item in the order in which the API server wrote them.
pub(super) struct Pairs<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the keys of a list item")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry::<String, &RawValue>()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

impl fmt::Display for Pairs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (name, value)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

/// The way from the root of an object to one of its fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Path(Vec<Element>);

/// Why a text is not a path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// The text does not begin as a JSON pointer does.
    #[error("JSON pointer {pointer:?} does not begin with \"/\"; write it as /spec/replicas")]
    NoSlash {
        /// The text as given.
        pointer: String,
    },
    /// A `~` is not followed by 0 or 1.
    #[error("JSON pointer {pointer:?} has a bare \"~\"; write ~0 for \"~\" and ~1 for \"/\"")]
    BareTilde {
        /// The text as given.
        pointer: String,
    },
}

impl Path {
    /// Reads a JSON pointer (RFC 6901).
    ///
    /// Decimal segments become positions: [`FieldSet::locate`](super::FieldSet::locate) turns them into what the
    /// object has there, an item of a list or a field with such a name.
    ///
    /// # Errors
    /// Fails if the text is not a JSON pointer or selects the whole object.
    pub fn from_pointer(pointer: &str) -> Result<Self, PathError> {
        let Some(segments) = pointer.strip_prefix('/') else {
            return Err(PathError::NoSlash { pointer: pointer.to_owned() });
        };
        let bare = || PathError::BareTilde { pointer: pointer.to_owned() };
        let element = |segment: &str| unescape(segment).map(|name| pointer_element(&name)).ok_or_else(bare);
        segments.split('/').map(element).collect::<Result<Vec<_>, _>>().map(Self)
    }

    /// Returns the elements from the root on.
    #[must_use]
    pub fn elements(&self) -> &[Element] {
        &self.0
    }

    /// Returns whether the field lies at or below another one.
    #[must_use]
    pub fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Returns the path that is one element longer.
    #[must_use]
    pub fn child(&self, element: Element) -> Self {
        let mut elements = self.0.clone();
        elements.push(element);
        Self(elements)
    }

    pub(super) fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        (!parents.is_empty()).then(|| Self(parents.to_vec()))
    }

    pub(super) fn hash(&self) -> u128 {
        self.0.iter().fold(PathHash::default(), |hash, element| hash.child(element.as_v1())).finish()
    }
}

fn pointer_element(name: &str) -> Element {
    // RFC 6901 knows no leading zeros, so "007" is a name.
    match name.parse::<usize>() {
        Ok(position) if position.to_string() == name => Element::index(position),
        _ => Element::field(name),
    }
}

fn unescape(segment: &str) -> Option<String> {
    let mut parts = segment.split('~');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        name.push(match part.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        name.push_str(&part[1..]);
    }
    Some(name)
}

impl FromIterator<Element> for Path {
    fn from_iter<I: IntoIterator<Item = Element>>(elements: I) -> Self {
        Self(elements.into_iter().collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| element.fmt(f))
    }
}

#[cfg(test)]
mod tests;
