//! The file, the variables over it, and which of them each value came from.
//!
//! The `config` crate merges; our YAML loader reads, so that the agent has one reader of YAML and every value a line.

use config::{Source, Value as Setting, ValueKind};
use serde_json::{Number, Value};
use skiff_shared::desired::Problem;
use skiff_shared::yaml::{self, Document, Lines, Options, push_segment};

use super::ConfigErrors;

type Map = serde_json::Map<String, Value>;

/// What the names of the agent's variables begin with.
pub(super) const PREFIX: &str = "SKIFF__";

const PARTING: &str = "__";
const MAX_INDEX: usize = 999;

/// The merged settings and where each was written.
pub(super) struct Layers {
    pub(super) value: Value,
    /// Mistakes of the variables themselves.
    pub(super) problems: Vec<Problem>,
    file: String,
    lines: Lines,
    overrides: Vec<Override>,
}

/// One variable and the value that it sets.
#[derive(Clone, Debug)]
struct Override {
    variable: String,
    /// For messages.
    pointer: String,
    /// For the `config` crate: `environments[0].name`.
    path: String,
    value: Value,
}

/// Reads the file and lays the variables over it.
pub(super) fn merge(
    bytes: &[u8],
    file: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Layers, ConfigErrors> {
    let unreadable = |error: yaml::YamlError| ConfigErrors::one(error.place(file), error.kind.to_string());
    let text = yaml::decode(bytes).map_err(unreadable)?;
    let document = yaml::load(&text).map_err(unreadable)?;
    let (Value::Object(settings), lines) = document.into_parts() else {
        return Err(ConfigErrors::one(format!("{file}:1"), "expected a mapping".to_owned()));
    };
    let (overrides, mut problems) = read_variables(variables);
    let (settings, paths): (Map, Map) = settings.into_iter().partition(|(key, _)| is_plain(key));
    problems.extend(paths.keys().map(|key| unknown_key(key, file, &lines)));
    let merged = config::Config::builder()
        .add_source(FileLayer(settings))
        .add_source(VariableLayer(overrides.clone()))
        .build()
        .map_err(|error| ConfigErrors::one(file.to_owned(), error.to_string()))?;
    Ok(Layers { value: from_setting(merged.cache), problems, file: file.to_owned(), lines, overrides })
}

/// Says whether the `config` crate takes a key at the top as it is, not as a path into the settings.
fn is_plain(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn unknown_key(key: &str, file: &str, lines: &Lines) -> Problem {
    let mut pointer = String::new();
    push_segment(&mut pointer, key);
    let line = lines.line_of(&pointer).unwrap_or(1);
    Problem { place: format!("{file}:{line}"), message: format!("unknown key {key:?}") }
}

impl Layers {
    /// Returns where a value was written: `config.yaml:12` or `variable SKIFF__…`.
    pub(super) fn place(&self, pointer: &str) -> String {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match self.overrides.iter().rfind(|set| within(pointer, &set.pointer)) {
            Some(set) => format!("variable {}", set.variable),
            None => format!("{}:{}", self.file, self.line(pointer)),
        }
    }

    /// Returns the line of the file where a value, or what is around it, is written.
    pub(super) fn line(&self, pointer: &str) -> u32 {
        self.lines.line_of(pointer).unwrap_or(1)
    }
}

fn read_variables(variables: impl IntoIterator<Item = (String, String)>) -> (Vec<Override>, Vec<Problem>) {
    // An empty variable is how a pod template says that there is none.
    let mut named: Vec<(String, String)> =
        variables.into_iter().filter(|(name, text)| name.starts_with(PREFIX) && !text.is_empty()).collect();
    named.sort();
    let mut overrides = Vec::new();
    let mut problems = Vec::new();
    for (variable, text) in named {
        match read_variable(&variable, &text) {
            Ok(set) => overrides.push(set),
            Err(message) => problems.push(Problem { place: format!("variable {variable}"), message }),
        }
    }
    (overrides, problems)
}

fn read_variable(variable: &str, text: &str) -> Result<Override, String> {
    let name = variable.strip_prefix(PREFIX).unwrap_or(variable);
    let keys: Vec<String> = name.split(PARTING).map(key).collect();
    if keys.iter().any(String::is_empty) {
        return Err("names no key: it should read like SKIFF__AGENT__NAMESPACE".to_owned());
    }
    if let [cluster, facts, ..] = keys.as_slice()
        && cluster == "cluster"
        && (facts == "labels" || facts == "vars")
    {
        return Err(format!("{cluster}.{facts} can be set in the file alone: variables know no lower case"));
    }
    let mut pointer = String::new();
    let mut path = String::new();
    for key in &keys {
        push_segment(&mut pointer, key);
        match key.parse::<usize>() {
            Ok(index) if index > MAX_INDEX => return Err(format!("{index} is no place in a list")),
            Ok(index) => path.push_str(&format!("[{index}]")),
            Err(_) if path.is_empty() => path.push_str(key),
            Err(_) => path.push_str(&format!(".{key}")),
        }
    }
    let value = read_text(text).map_err(|error| error.kind.to_string())?;
    Ok(Override { variable: variable.to_owned(), pointer, path, value })
}

/// Turns `SELF_HEAL` into `selfHeal`.
fn key(words: &str) -> String {
    let mut key = String::new();
    for (index, word) in words.split('_').enumerate() {
        let word = word.to_ascii_lowercase();
        match word.char_indices().nth(1) {
            _ if index == 0 => key.push_str(&word),
            None => key.push_str(&word.to_ascii_uppercase()),
            Some((second, _)) => {
                let (first, rest) = word.split_at(second);
                key.push_str(&first.to_ascii_uppercase());
                key.push_str(rest);
            }
        }
    }
    key
}

fn read_text(text: &str) -> Result<Value, yaml::YamlError> {
    let mut documents = yaml::documents(text, Options::default());
    documents.next().transpose().map(|document: Option<Document>| document.map_or(Value::Null, |it| it.value))
}

#[derive(Clone, Debug)]
struct FileLayer(Map);

impl Source for FileLayer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, Setting>, config::ConfigError> {
        Ok(self.0.iter().map(|(key, value)| (key.clone(), Setting::new(None, into_kind(value)))).collect())
    }
}

#[derive(Clone, Debug)]
struct VariableLayer(Vec<Override>);

impl Source for VariableLayer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, Setting>, config::ConfigError> {
        let settings = self.0.iter();
        Ok(settings.map(|set| (set.path.clone(), Setting::new(None, into_kind(&set.value)))).collect())
    }
}

fn into_kind(value: &Value) -> ValueKind {
    match value {
        Value::Null => ValueKind::Nil,
        Value::Bool(truth) => ValueKind::Boolean(*truth),
        Value::Number(number) => number_kind(number),
        Value::String(text) => ValueKind::String(text.clone()),
        Value::Array(items) => {
            ValueKind::Array(items.iter().map(|item| Setting::new(None, into_kind(item))).collect())
        }
        Value::Object(map) => {
            let settings = map.iter().map(|(key, value)| (key.clone(), Setting::new(None, into_kind(value))));
            ValueKind::Table(settings.collect())
        }
    }
}

fn number_kind(number: &Number) -> ValueKind {
    match (number.as_i64(), number.as_u64()) {
        (Some(number), _) => ValueKind::I64(number),
        (None, Some(number)) => ValueKind::U64(number),
        (None, None) => ValueKind::Float(number.as_f64().unwrap_or_default()),
    }
}

fn from_setting(setting: Setting) -> Value {
    match setting.kind {
        ValueKind::Nil => Value::Null,
        ValueKind::Boolean(truth) => Value::Bool(truth),
        ValueKind::I64(number) => Value::from(number),
        ValueKind::U64(number) => Value::from(number),
        ValueKind::I128(number) => Value::from(i64::try_from(number).unwrap_or_default()),
        ValueKind::U128(number) => Value::from(u64::try_from(number).unwrap_or_default()),
        ValueKind::Float(number) => Value::from(number),
        ValueKind::String(text) => Value::String(text),
        ValueKind::Array(items) => items.into_iter().map(from_setting).collect(),
        ValueKind::Table(map) => map.into_iter().map(|(key, setting)| (key, from_setting(setting))).collect(),
    }
}
