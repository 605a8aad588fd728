//! One document of a render on its way to a body: checked to be an object, then made what is sent.
//!
//! Between renderer and row. Checks only what would leave the program without an identity for the object; whether the
//! object is valid is the API server's to say. What is sent differs from what was written in these points:
//!
//! - Our two labels are set, and the namespace by the kind's scope.
//! - What only the server writes is dropped: `status`, `metadata.uid`, `resourceVersion` and their like.
//! - `stringData` of a Secret becomes `data`. Applied as `stringData` the server records `stringData` as ours, and
//!   neither a change of the value by somebody else nor a key removed from Git would ever be noticed.
//! - `rules` of a ClusterRole with an `aggregationRule` are dropped: a controller writes them, and would fight us.
//! - `generateName` of a hook becomes a `name` that its content decides: the same hook is found again.
//! - `annotations` and `labels` that are null or empty, of the object or of its pod template, are dropped: applied,
//!   they make us the owner of the whole map, and the first annotation of somebody else would look like drift.
//!
//! Every other null is sent as written, as `kubectl apply --server-side` does: the server then takes the field for
//! ours and unset, or null where a custom resource's schema says `nullable`; applying it again changes nothing.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::annotations::{self, Annotated, Role};
use super::scope::Scope;
use crate::api::{APP_LABEL, INSTANCE_LABEL};
use crate::object::{Digest, split_api_version};
use crate::yaml;

/// Fields of `metadata` that only the server writes.
const SERVER_FIELDS: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Characters of a name that the API server makes of `generateName` at most.
const NAME: usize = 63;

/// Characters of it that tell one content from another.
const SUFFIX: usize = 10;

/// Paths of the `metadata` of pod and job templates, in kinds of `apps` and `batch`.
const TEMPLATES: [&str; 3] =
    ["/spec/template/metadata", "/spec/jobTemplate/metadata", "/spec/jobTemplate/spec/template/metadata"];

/// Why a document is not an object that can be applied.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    #[error("{found} is not a Kubernetes object")]
    NotAnObject { found: &'static str },
    #[error("{object} has no {field}")]
    Missing { object: String, field: &'static str },
    #[error(
        "{object} has metadata.generateName but no metadata.name: give it a name, by which it can be found again"
    )]
    GeneratedName { object: String },
    #[error("{object}: {field} must be {wanted}, not {found}")]
    WrongType { object: String, field: String, wanted: &'static str, found: &'static str },
    #[error("{object}: {field} {value:?} cannot be part of an object's address")]
    Unaddressable { object: String, field: &'static str, value: String },
    #[error("{object} is namespaced but names no namespace, and the app has none: set one of the two")]
    NoNamespace { object: String },
}

/// An object as a document declares it.
#[derive(Clone, Debug)]
pub struct Manifest {
    map: Map<String, Value>,
    pub group: String,
    pub version: String,
    pub kind: String,
    /// As written; the kind's scope decides what becomes of it.
    pub namespace: Option<String>,
    /// Empty where the object is not applied.
    pub name: String,
    pub annotated: Annotated,
}

/// What the program around a manifest decides about it.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The value of the label `skiff.dev/instance`.
    pub instance: &'a str,
    /// The value of the label `skiff.dev/app`.
    pub app: &'a str,
    /// The app's namespace.
    pub namespace: Option<&'a str>,
    /// `None` where nobody knows the kind.
    pub scope: Option<Scope>,
}

/// Returns how messages name an object before it is checked: `Kind/namespace/name` as far as it says so.
pub fn described(value: &Value) -> String {
    value.as_object().map_or_else(|| "the object".to_owned(), describe)
}

/// Returns the items of a list, or the value itself. Lists within lists are taken apart too.
///
/// As Kubernetes' own readers do, items of a `FooList` that say no kind are of kind `Foo`.
pub fn explode(value: Value) -> Vec<Value> {
    let Some((list_kind, api_version)) = list_of(&value) else { return vec![value] };
    let Value::Object(mut map) = value else { return Vec::new() };
    let Some(Value::Array(items)) = map.remove("items") else { return Vec::new() };
    let item_kind = list_kind.strip_suffix("List").filter(|kind| !kind.is_empty());
    items
        .into_iter()
        .flat_map(|mut item| {
            if let (Value::Object(map), Some(kind)) = (&mut item, item_kind)
                && !map.contains_key("kind")
            {
                map.insert("kind".to_owned(), kind.into());
                map.entry("apiVersion").or_insert_with(|| api_version.as_str().into());
            }
            explode(item)
        })
        .collect()
}

fn list_of(value: &Value) -> Option<(String, String)> {
    let kind = value.get("kind")?.as_str()?;
    let api_version = value.get("apiVersion")?.as_str()?;
    let is_list = kind.ends_with("List") && matches!(value.get("items"), Some(Value::Array(_) | Value::Null));
    is_list.then(|| (kind.to_owned(), api_version.to_owned()))
}

impl Manifest {
    /// Checks that a document is an object. Fails with everything that is wrong with it.
    pub fn read(value: Value) -> Result<Self, Vec<Fault>> {
        let found = type_of(&value);
        let Value::Object(map) = value else { return Err(vec![Fault::NotAnObject { found }]) };
        if !map.contains_key("apiVersion") && !map.contains_key("kind") {
            return Err(vec![Fault::NotAnObject { found: "a mapping without apiVersion and kind" }]);
        }
        let mut reading = Reading { object: describe(&map), map: &map, faults: Vec::new() };
        let api_version = reading.text("apiVersion");
        let kind = reading.text("kind");
        let annotated = reading.texts("annotations").map(annotations::read).unwrap_or_default();
        let name = match annotated.role {
            Role::Object => reading.name(),
            Role::Hook(_) => reading.hook_name(),
            Role::Never | Role::Skip | Role::LeftOut(_) => String::new(),
        };
        let namespace = reading.namespace();
        reading.texts("labels");
        reading.secret();
        reading.addressable("kind", &kind);
        reading.addressable("metadata.name", &name);
        reading.addressable("metadata.namespace", namespace.as_deref().unwrap_or_default());
        if !reading.faults.is_empty() {
            return Err(reading.faults);
        }
        let (group, version) = split_api_version(&api_version);
        let (group, version) = (group.to_owned(), version.to_owned());
        Ok(Self { map, group, version, kind, namespace, name, annotated })
    }

    /// Returns the object as it was written.
    pub fn written(&self) -> &Map<String, Value> {
        &self.map
    }

    /// Returns how messages name the object: `Kind/namespace/name`.
    pub fn described(&self) -> String {
        describe(&self.map)
    }

    /// Returns the namespace that the object is applied to, and whether the one it names is left out.
    pub fn placed(&self, setting: &Setting<'_>) -> Result<(Option<String>, Stray), Fault> {
        let or_app = || self.namespace.as_deref().or(setting.namespace).map(str::to_owned);
        match setting.scope {
            Some(Scope::Cluster) => {
                let stray = self.namespace.clone().map_or(Stray::No, Stray::Namespace);
                Ok((None, stray))
            }
            Some(Scope::Namespaced) => match or_app() {
                Some(namespace) => Ok((Some(namespace), Stray::No)),
                None => Err(Fault::NoNamespace { object: self.described() }),
            },
            None => Ok((or_app(), Stray::No)),
        }
    }

    /// Turns the object into what is sent, in the namespace that [`Self::placed`] returned.
    pub fn into_sent(mut self, namespace: Option<&str>, setting: &Setting<'_>) -> Value {
        self.map.remove("status");
        let metadata = entry_map(&mut self.map, "metadata");
        for field in SERVER_FIELDS {
            metadata.remove(field);
        }
        if metadata.get("name").is_none_or(Value::is_null) {
            metadata.remove("generateName");
            metadata.insert("name".to_owned(), self.name.into());
        }
        match namespace {
            Some(namespace) => metadata.insert("namespace".to_owned(), namespace.into()),
            None => metadata.remove("namespace"),
        };
        drop_if_empty(metadata, "annotations");
        let labels = entry_map(metadata, "labels");
        labels.insert(INSTANCE_LABEL.to_owned(), setting.instance.into());
        labels.insert(APP_LABEL.to_owned(), setting.app.into());
        match (self.group.as_str(), self.kind.as_str()) {
            ("", "Secret") => string_data_to_data(&mut self.map),
            ("rbac.authorization.k8s.io", "ClusterRole") if is_set(&self.map, "aggregationRule") => {
                self.map.remove("rules");
            }
            _ => {}
        }
        let mut value = Value::Object(self.map);
        if matches!(self.group.as_str(), "apps" | "batch") {
            clean_templates(&mut value);
        }
        value
    }
}

/// A namespace that a cluster-scoped object names although it can have none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stray {
    No,
    Namespace(String),
}

/// Labels and annotations of the Namespace that `createNamespace` adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceMetadata {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// Returns the body of the Namespace that `createNamespace` adds.
pub fn namespace_object(name: &str, metadata: &NamespaceMetadata, setting: &Setting<'_>) -> Value {
    let mut labels = metadata.labels.clone();
    labels.insert(INSTANCE_LABEL.to_owned(), setting.instance.to_owned());
    labels.insert(APP_LABEL.to_owned(), setting.app.to_owned());
    let mut object = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "labels": labels,
            "name": name,
        },
    });
    if !metadata.annotations.is_empty() {
        object["metadata"]["annotations"] = serde_json::json!(metadata.annotations);
    }
    object
}

struct Reading<'a> {
    object: String,
    map: &'a Map<String, Value>,
    faults: Vec<Fault>,
}

impl<'a> Reading<'a> {
    fn metadata(&self, field: &str) -> Option<&'a Value> {
        self.map.get("metadata").and_then(|metadata| metadata.get(field)).filter(|value| !value.is_null())
    }

    fn missing(&mut self, field: &'static str) {
        self.faults.push(Fault::Missing { object: self.object.clone(), field });
    }

    fn wrong_type(&mut self, field: String, wanted: &'static str, found: &Value) {
        let found = type_of(found);
        self.faults.push(Fault::WrongType { object: self.object.clone(), field, wanted, found });
    }

    /// Returns a text that must be there, or an empty one beside a fault.
    fn required(&mut self, field: &'static str, value: Option<&Value>) -> String {
        match value {
            Some(Value::String(text)) if !text.is_empty() => return text.clone(),
            None | Some(Value::Null | Value::String(_)) => self.missing(field),
            Some(other) => self.wrong_type(field.to_owned(), "text (put it in quotes)", other),
        }
        String::new()
    }

    fn text(&mut self, field: &'static str) -> String {
        self.required(field, self.map.get(field))
    }

    fn name(&mut self) -> String {
        match self.map.get("metadata") {
            None | Some(Value::Null | Value::Object(_)) => {}
            Some(other) => {
                self.wrong_type("metadata".to_owned(), "a mapping", other);
                return String::new();
            }
        }
        if self.metadata("name").is_none() && self.metadata("generateName").is_some() {
            self.faults.push(Fault::GeneratedName { object: self.object.clone() });
            return String::new();
        }
        self.required("metadata.name", self.metadata("name"))
    }

    /// Returns the name of a hook, which may leave it to the server: then its content decides it.
    fn hook_name(&mut self) -> String {
        match (self.metadata("name"), self.metadata("generateName")) {
            (None, Some(Value::String(prefix))) if !prefix.is_empty() => {
                let mut content = Vec::new();
                yaml::to_canonical(&Value::Object(self.map.clone()), &mut content);
                let mut suffix = Digest::of(&content).to_string();
                suffix.truncate(SUFFIX);
                let kept: String = prefix.chars().take(NAME - SUFFIX).collect();
                kept + &suffix
            }
            _ => self.name(),
        }
    }

    fn namespace(&mut self) -> Option<String> {
        match self.metadata("namespace")? {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            other => {
                self.wrong_type("metadata.namespace".to_owned(), "text (put it in quotes)", other);
                None
            }
        }
    }

    /// Returns a mapping of `metadata` after checking that it holds texts only.
    fn texts(&mut self, field: &'static str) -> Option<&'a Map<String, Value>> {
        let value = self.metadata(field)?;
        self.texts_of(&format!("metadata.{field}"), value)
    }

    fn texts_of(&mut self, field: &str, value: &'a Value) -> Option<&'a Map<String, Value>> {
        let Value::Object(map) = value else {
            self.wrong_type(field.to_owned(), "a mapping", value);
            return None;
        };
        for (key, value) in map {
            if !matches!(value, Value::String(_) | Value::Null) {
                self.wrong_type(format!("{field}.{key}"), "text (put it in quotes)", value);
            }
        }
        Some(map)
    }

    fn secret(&mut self) {
        let is_secret = self.map.get("kind").is_some_and(|kind| kind == "Secret")
            && self.map.get("apiVersion").is_some_and(|version| version == "v1");
        if is_secret && let Some(texts) = self.map.get("stringData").filter(|value| !value.is_null()) {
            self.texts_of("stringData", texts);
        }
    }

    /// Refuses what would lead a request to another address.
    fn addressable(&mut self, field: &'static str, value: &str) {
        if matches!(value, "." | "..")
            || value.contains(['/', '%', '?', '#'])
            || value.contains(char::is_control)
        {
            let value = value.to_owned();
            self.faults.push(Fault::Unaddressable { object: self.object.clone(), field, value });
        }
    }
}

fn describe(map: &Map<String, Value>) -> String {
    let metadata =
        |field| map.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Value::as_str);
    let mut text = map.get("kind").and_then(Value::as_str).unwrap_or("the object").to_owned();
    for part in [metadata("namespace"), metadata("name").or_else(|| metadata("generateName"))] {
        if let Some(part) = part.filter(|part| !part.is_empty()) {
            text.push('/');
            text.push_str(part);
        }
    }
    text
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn is_set(map: &Map<String, Value>, field: &str) -> bool {
    map.get(field).is_some_and(|value| !value.is_null())
}

/// Returns the mapping at a key, which reading has checked to be a mapping, null or absent.
fn entry_map<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let entry = map.entry(key).or_insert(Value::Null);
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    entry.as_object_mut().expect("it was just made a mapping")
}

fn drop_if_empty(map: &mut Map<String, Value>, key: &str) {
    let empty = match map.get(key) {
        Some(Value::Null) => true,
        Some(Value::Object(inner)) => inner.is_empty(),
        _ => false,
    };
    if empty {
        map.remove(key);
    }
}

fn clean_templates(value: &mut Value) {
    for path in TEMPLATES {
        let Some(Value::Object(metadata)) = value.pointer_mut(path) else { continue };
        drop_if_empty(metadata, "annotations");
        drop_if_empty(metadata, "labels");
        if metadata.get("creationTimestamp").is_some_and(Value::is_null) {
            metadata.remove("creationTimestamp");
        }
    }
}

fn string_data_to_data(map: &mut Map<String, Value>) {
    let Some(Value::Object(texts)) = map.remove("stringData") else { return };
    if texts.is_empty() || map.get("data").is_some_and(|data| !data.is_object() && !data.is_null()) {
        return;
    }
    let data = entry_map(map, "data");
    for (key, value) in texts {
        data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
    }
}

#[cfg(test)]
mod tests;
