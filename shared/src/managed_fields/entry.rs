//! Whole entries of managedFields, kept only while somebody asks who changed what or while they are rewritten.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::digest::{EntryName, Fields, Reduced};
use super::{FIELD_MANAGER, FieldSet};

/// One entry as the API server wrote it. Serialized, it is again an item of `metadata.managedFields`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manager: String,
    /// `Apply` or `Update`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// The version in which the field set is written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// When the manager last changed a value; entries that the API server invents have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    fields_type: String,
    /// The field set as JSON.
    #[serde(rename = "fieldsV1", default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Box<RawValue>>,
    /// `status`, `scale`, or empty for the object itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

/// An entry that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The field set is not an object of objects.
    #[error("field set of manager {manager:?} cannot be read; managedFields of the object are damaged")]
    Fields {
        /// Whose entry it is.
        manager: String,
        /// What is wrong with the JSON.
        source: serde_json::Error,
    },
}

impl Entry {
    /// Builds our entry.
    pub(super) fn ours(api_version: &str, time: Option<String>, fields: &FieldSet) -> Self {
        Self {
            manager: FIELD_MANAGER.to_owned(),
            operation: "Apply".to_owned(),
            api_version: api_version.to_owned(),
            time,
            fields_type: "FieldsV1".to_owned(),
            fields: Some(fields.to_fields_v1()),
            subresource: String::new(),
        }
    }

    /// Returns the time of the entry in seconds.
    #[must_use]
    pub fn seconds(&self) -> Option<i64> {
        self.time.as_deref().and_then(parse_seconds)
    }

    /// Returns whether this is the entry of our applies.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.manager == FIELD_MANAGER && self.operation == "Apply" && self.subresource.is_empty()
    }

    /// Reads the field set; an entry without one names no field.
    ///
    /// # Errors
    /// Fails if the stored field set is not an object of objects.
    pub fn field_set(&self) -> Result<FieldSet, EntryError> {
        let Some(fields) = &self.fields else { return Ok(FieldSet::default()) };
        FieldSet::from_v1(fields.get())
            .map_err(|source| EntryError::Fields { manager: self.manager.clone(), source })
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        let Self { manager, operation, api_version, time, fields_type, fields, subresource } = self;
        let text = |fields: &Option<Box<RawValue>>| fields.as_ref().map(|fields| fields.get().to_owned());
        *manager == other.manager
            && *operation == other.operation
            && *api_version == other.api_version
            && *time == other.time
            && *fields_type == other.fields_type
            && *subresource == other.subresource
            && text(fields) == text(&other.fields)
    }
}

impl Eq for Entry {}

/// Returns our field set among the entries of an object; empty if nothing is ours.
///
/// # Errors
/// Fails if our stored field set is not an object of objects.
pub fn field_set_of(entries: &[Entry]) -> Result<FieldSet, EntryError> {
    entries.iter().rev().find(|entry| entry.is_ours()).map_or(Ok(FieldSet::default()), Entry::field_set)
}

impl Fields {
    /// Reduces entries that have been kept whole, to what reading their JSON directly gives.
    ///
    /// # Errors
    /// Fails if a stored field set is not an object of objects.
    pub fn of(entries: &[Entry]) -> Result<Self, EntryError> {
        let mut fields = Self::default();
        for entry in entries {
            let names = EntryName {
                manager: &entry.manager,
                operation: &entry.operation,
                subresource: &entry.subresource,
            };
            fields.add(&Reduced::new(names, entry.seconds(), entry.field_set()?.digest()));
        }
        Ok(fields)
    }
}

/// Reads the time of an entry; the API server writes whole seconds.
pub(super) fn parse_seconds(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}
