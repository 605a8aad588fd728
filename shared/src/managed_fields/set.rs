//! Field sets as values: read from fieldsV1, compared, reduced and written back.
//!
//! Only for the moments when a person or a patch needs paths; the watch works with digests.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::path::{Element, Kind, Pairs, Path};

/// The fields that an entry of managedFields names, sorted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FieldSet(BTreeSet<Path>);

impl FieldSet {
    /// Reads the JSON of a `fieldsV1`.
    ///
    /// # Errors
    /// Fails if the text is not an object of objects.
    pub fn from_v1(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Returns the paths, a parent before what is below it.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter()
    }

    /// Returns how many paths the set has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the set has no path.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the very path is in the set.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        self.0.contains(path)
    }

    /// Returns whether the set names the field, a part of it, or a whole that it is a part of.
    #[must_use]
    pub fn touches(&self, path: &Path) -> bool {
        self.at_or_below(path).next().is_some() || self.whole_above(path)
    }

    /// Returns the paths at or below the given one.
    pub fn at_or_below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.0.range(path..).take_while(move |found| found.starts_with(path))
    }

    /// Returns whether a parent of the path is owned as one whole: it is in the set and nothing below it is.
    fn whole_above(&self, path: &Path) -> bool {
        self.whole_of(path).is_some()
    }

    /// Returns the parent of the path that is owned as one whole, if one is.
    #[must_use]
    pub fn whole_of(&self, path: &Path) -> Option<Path> {
        let mut above = path.parent();
        while let Some(parent) = above {
            if self.contains(&parent) {
                let is_whole = self.at_or_below(&parent).nth(1).is_none();
                return is_whole.then_some(parent);
            }
            above = parent.parent();
        }
        None
    }

    /// Returns the paths that are in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    /// Returns the paths that are in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// Returns the set without the given paths, without everything below them, and without parents that this
    /// leaves empty.
    ///
    /// A parent that stayed alone would say "the whole map is ours", and the next apply would delete its content.
    #[must_use]
    pub fn subtract(&self, paths: &[Path]) -> Self {
        let mut rest = self.clone();
        for path in paths {
            let gone: Vec<Path> = rest.at_or_below(path).cloned().collect();
            gone.iter().for_each(|path| {
                rest.0.remove(path);
            });
            let mut above = if gone.is_empty() { None } else { path.parent() };
            while let Some(parent) = above {
                if rest.at_or_below(&parent).any(|found| *found != parent) {
                    break;
                }
                rest.0.remove(&parent);
                above = parent.parent();
            }
        }
        rest
    }

    /// Returns the paths of the set at or below a field that a JSON pointer named.
    ///
    /// Positions in the pointer are looked up in the live object, because a field set names items of lists by their
    /// keys or values.
    #[must_use]
    pub fn locate(&self, pointer: &Path, object: &Value) -> Vec<Path> {
        let found = self.spell(pointer, object);
        self.at_or_below(&found).cloned().collect()
    }

    /// Returns a field that a JSON pointer named as the set spells it, see [`Self::locate`].
    #[must_use]
    pub fn spell(&self, pointer: &Path, object: &Value) -> Path {
        let mut found = Path::default();
        let mut live = Some(object);
        for element in pointer.elements() {
            let (step, next) = self.step(&found, element, live);
            found = found.child(step);
            live = next;
        }
        found
    }

    /// Returns how the set spells one element of a pointer, and the live value there.
    fn step<'a>(
        &self,
        at: &Path,
        element: &Element,
        live: Option<&'a Value>,
    ) -> (Element, Option<&'a Value>) {
        match (element.kind(), live) {
            (Kind::Index(position), Some(Value::Array(items))) => {
                let item = position.parse::<usize>().ok().and_then(|position| items.get(position));
                let spelled = item.and_then(|item| self.item_below(at, item));
                (spelled.unwrap_or_else(|| element.clone()), item)
            }
            (Kind::Index(name) | Kind::Field(name), live) => {
                (Element::field(name), live.and_then(|live| live.get(name)))
            }
            (Kind::Key(_) | Kind::Value(_), _) => (element.clone(), None),
        }
    }

    /// Returns the element below a path that selects the given item of a list.
    fn item_below(&self, at: &Path, item: &Value) -> Option<Element> {
        let depth = at.elements().len();
        let elements = self.at_or_below(at).filter_map(|path| path.elements().get(depth));
        elements.into_iter().find(|element| selects(element, item)).cloned()
    }

    /// Writes the set as the JSON of a `fieldsV1`, keys sorted.
    #[must_use]
    pub fn to_fields_v1(&self) -> Box<RawValue> {
        serde_json::value::to_raw_value(self).expect("a tree of texts is always valid JSON")
    }

    /// Returns the digest that [`Owned`](super::Owned) stores.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.0.iter().fold(0, |sum, path| sum.wrapping_add(path.hash()))
    }
}

pub(super) fn selects(element: &Element, item: &Value) -> bool {
    let equals =
        |json: &str, value: &Value| serde_json::from_str::<Value>(json).is_ok_and(|json| json == *value);
    match element.kind() {
        Kind::Value(value) => equals(value, item),
        Kind::Key(keys) => serde_json::from_str::<Pairs<'_>>(keys).is_ok_and(|Pairs(pairs)| {
            pairs.iter().all(|(name, value)| item.get(name).is_some_and(|live| equals(value.get(), live)))
        }),
        Kind::Field(_) | Kind::Index(_) => false,
    }
}

impl FromIterator<Path> for FieldSet {
    fn from_iter<I: IntoIterator<Item = Path>>(paths: I) -> Self {
        Self(paths.into_iter().filter(|path| !path.elements().is_empty()).collect())
    }
}

impl Serialize for FieldSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let paths: Vec<&Path> = self.0.iter().collect();
        Branch { paths: &paths, depth: 0 }.serialize(serializer)
    }
}

/// The paths of a set that have their first `depth` elements in common, sorted; the shortest comes first.
struct Branch<'a> {
    paths: &'a [&'a Path],
    depth: usize,
}

impl Serialize for Branch<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_deeper = |path: &&Path| path.elements().len() > self.depth;
        let deeper = self.paths.iter().position(is_deeper).unwrap_or(self.paths.len());
        let (member, below) = self.paths.split_at(deeper);
        let mut map = serializer.serialize_map(None)?;
        if !member.is_empty() && !below.is_empty() {
            map.serialize_entry(".", &NOTHING)?;
        }
        let has_same =
            |one: &&Path, other: &&Path| one.elements()[self.depth] == other.elements()[self.depth];
        for paths in below.chunk_by(has_same) {
            let element = &paths[0].elements()[self.depth];
            map.serialize_entry(element.as_v1(), &Branch { paths, depth: self.depth + 1 })?;
        }
        map.end()
    }
}

const NOTHING: Branch<'static> = Branch { paths: &[], depth: 0 };

impl<'de> Deserialize<'de> for FieldSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut set = Self::default();
        LevelReader { set: &mut set, at: Path::default() }.deserialize(deserializer)?;
        Ok(set)
    }
}

struct LevelReader<'a> {
    set: &'a mut FieldSet,
    at: Path,
}

impl<'de> DeserializeSeed<'de> for LevelReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for LevelReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a level of fieldsV1")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut is_leaf = true;
        let mut is_member = false;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            is_member |= key == ".";
            if let Some(element) = Element::from_v1(&key) {
                is_leaf = false;
                map.next_value_seed(LevelReader { set: self.set, at: self.at.child(element) })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if (is_leaf || is_member) && !self.at.elements().is_empty() {
            self.set.0.insert(self.at);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
