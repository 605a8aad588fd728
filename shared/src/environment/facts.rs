//! What an agent is told of its cluster: its name, its labels and its variables.
//!
//! Selectors choose apps by the labels, and `${…}` puts labels and variables into fields and objects. Every cluster of
//! a fleet reads the same files; these facts are all that differs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::object::{Digest, Hashing};

/// The label that every cluster has without writing it: its name.
pub const NAME_LABEL: &str = "skiff.dev/cluster";

/// The facts of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The cluster's name; empty where nobody said it.
    pub cluster: String,
    /// What selectors match, and `${labels.NAME}`.
    pub labels: BTreeMap<String, String>,
    /// What `${vars.NAME}` stands for.
    pub vars: BTreeMap<String, Fact>,
}

/// The value of a variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    Text(String),
    Number(Number),
    Truth(bool),
}

impl Facts {
    /// Returns the value of a label, the cluster's name among them.
    pub fn label(&self, key: &str) -> Option<&str> {
        match self.labels.get(key) {
            Some(value) => Some(value),
            None => (key == NAME_LABEL && !self.cluster.is_empty()).then_some(self.cluster.as_str()),
        }
    }

    /// Returns a digest that changes when any fact does.
    pub fn digest(&self) -> Digest {
        let Self { cluster, labels, vars } = self;
        let mut hashing = Hashing::default().part(b"cluster").part(cluster.as_bytes());
        for (key, value) in labels {
            hashing = hashing.part(b"label").part(key.as_bytes()).part(value.as_bytes());
        }
        for (key, value) in vars {
            let value = serde_json::to_vec(value).expect("a fact is JSON");
            hashing = hashing.part(b"var").part(key.as_bytes()).part(&value);
        }
        hashing.finish()
    }
}

impl Fact {
    /// Returns the fact as a value of a document.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Truth(truth) => Value::Bool(*truth),
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Truth(truth) => truth.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Fact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FactVisitor)
    }
}

struct FactVisitor;

impl Visitor<'_> for FactVisitor {
    type Value = Fact;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number or true or false")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Fact, E> {
        Ok(Fact::Text(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Fact, E> {
        Ok(Fact::Truth(truth))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Fact, E> {
        Ok(Fact::Number(number.into()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Fact, E> {
        Ok(Fact::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Fact, E> {
        let number = Number::from_f64(number);
        number.map(Fact::Number).ok_or_else(|| E::invalid_value(de::Unexpected::Other("a number"), &self))
    }
}

impl JsonSchema for Fact {
    fn schema_name() -> Cow<'static, str> {
        "Fact".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}
