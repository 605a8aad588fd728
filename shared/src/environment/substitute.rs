//! Puts the facts of a cluster where `${vars.domain}`, `${labels.region}`, `${cluster.name}` or `${app.name}` stands.
//!
//! A pure function over texts and values. Keys are never touched. `$${…}` is the text `${…}` itself. What is no known
//! variable is an error that lists the known ones: never an empty text, never left as it is.

use serde_json::{Map, Value};

use super::Facts;
use crate::desired::annotations;
use crate::yaml::{closest, push_segment};

const OPENING: &str = "${";

/// Known variables that a message lists; a fleet may have hundreds.
const LISTED: usize = 20;

/// The variables of one app on one cluster.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    pub facts: &'a Facts,
    /// `None` before the name is known: `${app.name}` is unknown then.
    pub app: Option<&'a str>,
}

/// What becomes of a value that is one variable and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// Text, whatever the variable is.
    Text,
    /// What the variable is: a number stays a number.
    AsGiven,
    /// What the variable is, except where Kubernetes takes nothing but text.
    Object,
}

/// Why a text cannot be completed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubstituteError {
    #[error("unknown variable {name:?}: {hint}")]
    Unknown { name: String, hint: String },
    #[error("\"${{\" has no \"}}\": write \"$${{\" for the text itself")]
    Unclosed,
}

impl SubstituteError {
    /// Says it without the text, which may be part of a password.
    pub fn withheld(&self) -> String {
        match self {
            Self::Unknown { .. } => {
                "it holds a variable that is unknown here and withheld, as it stands in a Secret: write \"$${…}\" for a \
                 text of that form, or skiff.dev/substitute: disabled on the object"
                    .to_owned()
            }
            Self::Unclosed => self.to_string(),
        }
    }
}

/// An error with the JSON pointer of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub pointer: String,
    pub error: SubstituteError,
}

impl Fault {
    /// Returns the place as people write it: `.spec.containers[0].image`.
    pub fn field(&self) -> String {
        let mut field = String::new();
        for segment in self.pointer.split('/').skip(1) {
            match segment.parse::<usize>() {
                Ok(index) => field.push_str(&format!("[{index}]")),
                Err(_) => {
                    field.push('.');
                    field.push_str(&segment.replace("~1", "/").replace("~0", "~"));
                }
            }
        }
        field
    }
}

impl Variables<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let text = |text: &str| Value::String(text.to_owned());
        let (group, key) = name.split_once('.')?;
        match (group, key) {
            ("vars", key) => self.facts.vars.get(key).map(super::Fact::to_value),
            ("labels", key) => self.facts.label(key).map(text),
            ("cluster", "name") => {
                Some(self.facts.cluster.as_str()).filter(|name| !name.is_empty()).map(text)
            }
            ("app", "name") => self.app.map(text),
            _ => None,
        }
    }

    fn known(&self) -> Vec<String> {
        let Facts { cluster, labels, vars } = self.facts;
        let mut known = Vec::new();
        known.extend(self.app.map(|_| "app.name".to_owned()));
        known.extend((!cluster.is_empty()).then(|| "cluster.name".to_owned()));
        known.extend(labels.keys().map(|key| format!("labels.{key}")));
        known.extend(vars.keys().map(|key| format!("vars.{key}")));
        known
    }

    fn unknown(&self, name: &str) -> SubstituteError {
        let known = self.known();
        let words: Vec<&str> = known.iter().map(String::as_str).collect();
        let meant =
            closest(name, &words).map(|meant| format!("did you mean {meant:?}? ")).unwrap_or_default();
        let more = known.len().checked_sub(LISTED + 1).map(|more| format!(" and {} more", more + 1));
        let listed = match known.is_empty() {
            true => "none".to_owned(),
            false => known.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", "),
        };
        let hint = format!(
            "{meant}known here: {listed}{}; write \"$${{{name}}}\" for the text itself",
            more.unwrap_or_default()
        );
        SubstituteError::Unknown { name: name.to_owned(), hint }
    }
}

/// Completes a text. One that holds nothing but a variable becomes what `typing` makes of it.
pub fn text(text: &str, variables: &Variables<'_>, typing: Typing) -> Result<Value, SubstituteError> {
    if typing != Typing::Text
        && let Some(name) = only_variable(text)
    {
        return variables.value(name).ok_or_else(|| variables.unknown(name));
    }
    let mut completed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find(OPENING) {
        let (before, reference) = rest.split_at(place);
        let (_, inside) = reference.split_at(OPENING.len());
        if let Some(before) = before.strip_suffix('$') {
            completed.push_str(before);
            completed.push_str(OPENING);
            rest = inside;
            continue;
        }
        let (name, after) = inside.split_once('}').ok_or(SubstituteError::Unclosed)?;
        let name = name.trim();
        let value = variables.value(name).ok_or_else(|| variables.unknown(name))?;
        completed.push_str(before);
        completed.push_str(value.as_str().unwrap_or(&value.to_string()));
        rest = after;
    }
    completed.push_str(rest);
    Ok(Value::String(completed))
}

/// Returns the variable that a text consists of.
fn only_variable(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix(OPENING)?;
    let (name, after) = inside.split_once('}')?;
    after.is_empty().then(|| name.trim())
}

/// Completes every text of a value, and returns what could not be completed.
pub fn value(value: &mut Value, variables: &Variables<'_>, typing: Typing) -> Vec<Fault> {
    let mut walk = Walk { variables, pointer: String::new(), faults: Vec::new() };
    walk.value(value, typing);
    walk.faults
}

/// Completes an object, unless it asks to be left as it is.
pub fn object(object: &mut Value, variables: &Variables<'_>) -> Vec<Fault> {
    if annotations::refuses_substitution(object) {
        return Vec::new();
    }
    value(object, variables, Typing::Object)
}

/// Makes every text with a variable one that any field takes: to look at the shape of what is not completed.
pub fn blank(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(OPENING) => *text = "x".to_owned(),
        Value::Array(items) => items.iter_mut().for_each(blank),
        Value::Object(map) => map.values_mut().for_each(blank),
        _ => {}
    }
}

struct Walk<'a> {
    variables: &'a Variables<'a>,
    pointer: String,
    faults: Vec<Fault>,
}

impl Walk<'_> {
    fn value(&mut self, value: &mut Value, typing: Typing) {
        match value {
            Value::String(written) if written.contains(OPENING) => {
                match text(written, self.variables, typing) {
                    Ok(completed) => *value = completed,
                    Err(error) => self.faults.push(Fault { pointer: self.pointer.clone(), error }),
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.below(&index.to_string(), item, typing);
                }
            }
            Value::Object(map) => self.mapping(map, typing),
            _ => {}
        }
    }

    fn mapping(&mut self, map: &mut Map<String, Value>, typing: Typing) {
        // `{name: …, value: …}` is an environment variable, whose value is text.
        let is_pair = map.len() == 2 && map.contains_key("name") && map.contains_key("value");
        for (key, item) in map.iter_mut() {
            let textual = TEXTUAL.contains(&key.as_str()) || (is_pair && key == "value");
            let typing = if typing == Typing::Object && textual { Typing::Text } else { typing };
            self.below(key, item, typing);
        }
    }

    fn below(&mut self, segment: &str, value: &mut Value, typing: Typing) {
        let length = self.pointer.len();
        push_segment(&mut self.pointer, segment);
        self.value(value, typing);
        self.pointer.truncate(length);
    }
}

/// Fields of Kubernetes whose values, or the values in which, are text.
const TEXTUAL: [&str; 10] = [
    "annotations",
    "args",
    "command",
    "data",
    "labels",
    "matchLabels",
    "metadata",
    "nodeSelector",
    "parameters",
    "stringData",
];

#[cfg(test)]
mod tests;
