//! Reads a type out of a document and reports everything that does not fit, not only the first mistake.
//!
//! For the files that people write: `skiff.yaml` and the agent's configuration. Unknown keys are mistakes, with the
//! nearest known key named. A value that does not fit is set aside and the reading repeated without it, so one
//! pass over a file shows a person all of its mistakes. Messages never show a value: it may be a secret in the wrong place.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde_json::{Map, Value};

use super::lines::push_segment;
use super::suggest::closest;

/// What a document did not take of its type, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The JSON pointer of the value.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
}

/// A value as far as it could be read, and what could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading<T> {
    /// `None` if nothing could be read at all. Parts that did not fit are as if they were absent.
    pub value: Option<T>,
    /// Every mistake, in the order of its discovery.
    pub mismatches: Vec<Mismatch>,
}

/// Reads a value as a `T`.
///
/// A null in place of a mapping is an empty one, a null behind a known key is as if the key were absent, and a
/// boolean in place of a mapping that knows the key `enabled` sets that key.
pub fn read<T: DeserializeOwned>(value: &Value) -> Reading<T> {
    let state = State::default();
    loop {
        let reader = Reader { value, pointer: String::new(), state: &state };
        match T::deserialize(reader) {
            Ok(read) => return Reading { value: Some(read), mismatches: state.mismatches.into_inner() },
            Err(error) => {
                let pointer = error.pointer.unwrap_or_default();
                if !error.missing.is_some_and(|key| state.is_set_aside(&format!("{pointer}/{key}"))) {
                    let message = match (error.missing, label(&pointer)) {
                        (None, Some(label)) => format!("{label}: {}", error.message),
                        _ => error.message,
                    };
                    state.report(pointer.clone(), message);
                }
                let at_root = pointer.is_empty();
                let repeated = !state.set_aside.borrow_mut().insert(pointer);
                if at_root || repeated {
                    return Reading { value: None, mismatches: state.mismatches.into_inner() };
                }
            }
        }
    }
}

/// Names a value by its key, and its place in a list: `valueFiles[1]`. `None` where no key leads to it.
fn label(pointer: &str) -> Option<String> {
    let mut index = String::new();
    for segment in pointer.rsplit('/') {
        match segment.parse::<usize>() {
            Ok(place) => index = format!("[{place}]{index}"),
            Err(_) if segment.is_empty() => return None,
            Err(_) => return Some(format!("{}{index}", segment.replace("~1", "/").replace("~0", "~"))),
        }
    }
    None
}

#[derive(Default)]
struct State {
    set_aside: RefCell<HashSet<String>>,
    mismatches: RefCell<Vec<Mismatch>>,
}

impl State {
    fn report(&self, pointer: String, message: String) {
        let mismatch = Mismatch { pointer, message };
        let mut mismatches = self.mismatches.borrow_mut();
        if !mismatches.contains(&mismatch) {
            mismatches.push(mismatch);
        }
    }

    fn is_set_aside(&self, pointer: &str) -> bool {
        self.set_aside.borrow().contains(pointer)
    }
}

#[derive(Debug)]
struct ReadError {
    pointer: Option<String>,
    message: String,
    /// The key that a mapping lacks. One that was set aside is lacking by our own doing.
    missing: Option<&'static str>,
}

impl ReadError {
    /// The innermost place wins: what is around it sees the error later.
    fn at(mut self, pointer: &str) -> Self {
        self.pointer.get_or_insert_with(|| pointer.to_owned());
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { pointer: None, message: message.to_string(), missing: None }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::custom(format_args!("missing key {field:?}")) }
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {}", unexpected_kind(&unexpected)))
    }

    /// Leaves out what was found: the kind is right, and the value must not be shown.
    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }
}

fn unexpected_kind(unexpected: &de::Unexpected<'_>) -> &'static str {
    match unexpected {
        de::Unexpected::Bool(_) => "true or false",
        de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) | de::Unexpected::Float(_) => "a number",
        de::Unexpected::Str(_) | de::Unexpected::Char(_) => "text",
        de::Unexpected::Unit => "nothing",
        de::Unexpected::Seq => "a list",
        de::Unexpected::Map => "a mapping",
        _ => "another kind of value",
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

struct Reader<'a> {
    value: &'a Value,
    pointer: String,
    state: &'a State,
}

impl<'a> Reader<'a> {
    fn child(&self, segment: &str, value: &'a Value) -> Self {
        let mut pointer = self.pointer.clone();
        push_segment(&mut pointer, segment);
        Self { value, pointer, state: self.state }
    }

    fn expected(&self, what: &str) -> ReadError {
        <ReadError as de::Error>::custom(format_args!("expected {what}, found {}", kind(self.value)))
            .at(&self.pointer)
    }

    fn list<'de, V: Visitor<'de>>(&self, items: &'a [Value], visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_seq(Items { parent: self, items, next: 0 }).map_err(|error| error.at(&self.pointer))
    }

    fn mapping<'de, V: Visitor<'de>>(
        &self,
        map: &'a Map<String, Value>,
        keys: Keys,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if let Keys::Known(known) = keys {
            for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
                self.report_unknown(key, known);
            }
        }
        let entries = Entries { parent: self, entries: map.iter(), keys, value: None };
        visitor.visit_map(entries).map_err(|error| error.at(&self.pointer))
    }

    fn report_unknown(&self, key: &str, known: &[&str]) {
        let message = match closest(key, known) {
            Some(suggestion) => format!("unknown key {key:?}: did you mean {suggestion:?}?"),
            None => format!("unknown key {key:?}: expected {}", one_of(known)),
        };
        let mut pointer = self.pointer.clone();
        push_segment(&mut pointer, key);
        self.state.report(pointer, message);
    }
}

fn one_of(words: &[&str]) -> String {
    match words {
        [] => "none".to_owned(),
        [only] => (*only).to_owned(),
        words => format!("one of {}", words.join(", ")),
    }
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let visited = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(items) => self.list(items, visitor),
            Value::Object(map) => self.mapping(map, Keys::Any, visitor),
        };
        visited.map_err(|error| error.at(&self.pointer))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Bool(truth) => visitor.visit_bool(*truth),
            _ => Err(self.expected("true or false")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::String(text) => {
                visitor.visit_str(text).map_err(|error: ReadError| error.at(&self.pointer))
            }
            Value::Number(_) | Value::Bool(_) => Err(self.expected("text (put it in quotes)")),
            _ => Err(self.expected("text")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Array(items) => self.list(items, visitor),
            _ => Err(self.expected("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Object(map) => self.mapping(map, Keys::Any, visitor),
            _ => Err(self.expected("a mapping")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.value {
            Value::Object(map) => self.mapping(map, Keys::Known(fields), visitor),
            Value::Null => self.mapping(&Map::new(), Keys::Known(fields), visitor),
            Value::Bool(_) if fields.contains(&"enabled") => {
                let map = Map::from_iter([("enabled".to_owned(), self.value.clone())]);
                let reader = Reader { value: &Value::Null, ..self };
                reader.mapping(&map, Keys::Known(fields), visitor)
            }
            _ => Err(self.expected("a mapping")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.value {
            Value::String(word) if variants.contains(&word.as_str()) => {
                visitor.visit_enum(word.as_str().into_deserializer())
            }
            Value::String(word) => Err(self.expected_word(word, variants)),
            _ => Err(self.expected(&one_of(variants))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let pointer = self.pointer.clone();
        visitor.visit_newtype_struct(self).map_err(|error| error.at(&pointer))
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u64(self.whole_number(u8::MAX.into())?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u64(self.whole_number(u16::MAX.into())?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u64(self.whole_number(u32::MAX.into())?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u64(self.whole_number(u64::MAX)?)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

impl Reader<'_> {
    fn whole_number(&self, most: u64) -> Result<u64, ReadError> {
        let number = self.value.as_u64().filter(|number| *number <= most);
        number.ok_or_else(|| {
            let message = format_args!("expected a whole number from 0 to {most}");
            <ReadError as de::Error>::custom(message).at(&self.pointer)
        })
    }

    fn expected_word(&self, word: &str, variants: &[&str]) -> ReadError {
        let hint =
            closest(word, variants).map(|word| format!(": did you mean {word:?}?")).unwrap_or_default();
        <ReadError as de::Error>::custom(format_args!("expected {}{hint}", one_of(variants)))
            .at(&self.pointer)
    }
}

/// The keys that a mapping may have.
#[derive(Clone, Copy)]
enum Keys {
    Any,
    Known(&'static [&'static str]),
}

struct Items<'r, 'a> {
    parent: &'r Reader<'a>,
    items: &'a [Value],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadError> {
        while let Some(item) = self.items.get(self.next) {
            let reader = self.parent.child(&self.next.to_string(), item);
            self.next += 1;
            if !reader.state.is_set_aside(&reader.pointer) {
                return seed.deserialize(reader).map(Some);
            }
        }
        Ok(None)
    }
}

struct Entries<'r, 'a> {
    parent: &'r Reader<'a>,
    entries: serde_json::map::Iter<'a>,
    keys: Keys,
    value: Option<Reader<'a>>,
}

impl Entries<'_, '_> {
    fn is_absent(&self, key: &str, value: &Value) -> bool {
        match self.keys {
            Keys::Any => false,
            Keys::Known(known) => value.is_null() || !known.contains(&key),
        }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_, '_> {
    type Error = ReadError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadError> {
        while let Some((key, value)) = self.entries.next() {
            let reader = self.parent.child(key, value);
            if !self.is_absent(key, value) && !reader.state.is_set_aside(&reader.pointer) {
                let pointer = reader.pointer.clone();
                self.value = Some(reader);
                let key = IntoDeserializer::<ReadError>::into_deserializer(key.as_str());
                return seed.deserialize(key).map(Some).map_err(|error| error.at(&pointer));
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        let reader = self.value.take().expect("a value is asked for only after its key");
        let pointer = reader.pointer.clone();
        seed.deserialize(reader).map_err(|error| error.at(&pointer))
    }
}
