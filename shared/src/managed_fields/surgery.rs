//! Rewrites a managedFields list: takes over other managers' fields, gives up fields of ours.
//!
//! The results are whole lists for a JSON patch that replaces `/metadata/managedFields` together with
//! `/metadata/resourceVersion`; patching single paths is refused by the API server in ways that cannot be told apart.
//! Nothing is sent here. Both work on the entries as read, and change nothing but what they say.

use serde_json::Value;

use super::path::Kind;
use super::{Element, Entry, EntryError, FIELD_MANAGER, FieldSet, Path, field_set_of};

/// What to take over.
#[derive(Clone, Copy, Debug)]
pub struct Adoption<'a> {
    /// The version in which we apply the object; our entry keeps its own if we have one already.
    pub api_version: &'a str,
    /// The managers whose fields become ours, such as `kubectl-client-side-apply`.
    pub take: &'a [&'a str],
    /// Fields that stay with whom they are: without this the first apply that omits them would reset them.
    pub yielded: &'a [Path],
}

/// An adoption, ready to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adopted {
    /// The whole new list.
    pub entries: Vec<Entry>,
    /// Our field set in it. What of it the next apply does not send is removed from the object.
    pub ours: FieldSet,
    /// Entries of the named managers that are written in another API version; they are still in the list.
    pub other_versions: Vec<Entry>,
}

/// Merges the entries of the named managers into ours.
///
/// Entries of subresources and of other API versions stay as they are. Our entry takes the place of the first one
/// merged and the newest time of all merged; without a time if none has one
/// ([`BEFORE_FIRST_APPLY`](super::BEFORE_FIRST_APPLY), which has to be named as any other manager).
///
/// # Errors
/// Fails if a stored field set is not an object of objects.
pub fn adopt(entries: &[Entry], adoption: &Adoption<'_>) -> Result<Adopted, EntryError> {
    let is_named = |entry: &Entry| {
        entry.subresource.is_empty() && !entry.is_ours() && adoption.take.contains(&entry.manager.as_str())
    };
    let version = our_entry(entries).map_or(adoption.api_version, |entry| &entry.api_version);
    let is_merged = |entry: &Entry| entry.is_ours() || (is_named(entry) && entry.api_version == version);
    let mut ours = FieldSet::default();
    let mut newest: Option<&Entry> = None;
    for entry in entries.iter().filter(|entry| is_merged(entry)) {
        ours = ours.union(&entry.field_set()?);
        newest = newest.filter(|newest| newest.seconds() >= entry.seconds()).or(Some(entry));
    }
    let ours = ours.subtract(adoption.yielded);
    let time = newest.and_then(|entry| entry.time.clone());
    let merged = (!ours.is_empty()).then(|| Entry::ours(version, time, &ours));
    let other_versions = entries.iter().filter(|entry| is_named(entry) && !is_merged(entry));
    let other_versions = other_versions.cloned().collect();
    Ok(Adopted { entries: replaced(entries, is_merged, merged), ours, other_versions })
}

/// Gives up the given paths of our entry, and parents that this leaves empty.
///
/// Returns the whole new list; without our entry if nothing is left of it.
///
/// # Errors
/// Fails if our stored field set is not an object of objects.
pub fn release(entries: &[Entry], paths: &[Path]) -> Result<Vec<Entry>, EntryError> {
    let rest = field_set_of(entries)?.subtract(paths);
    let ours = our_entry(entries).filter(|_| !rest.is_empty());
    let ours = ours.map(|entry| Entry::ours(&entry.api_version, entry.time.clone(), &rest));
    Ok(replaced(entries, Entry::is_ours, ours))
}

/// A field that cannot be given up.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error(transparent)]
    Entry(EntryError),
    /// The API server keeps a list or a map above it as one field.
    #[error("{field} cannot be left to others alone: to the API server {whole} is one field; name that one")]
    PartOfWhole { field: Path, whole: Path },
}

/// Gives up fields that JSON pointers name, as [`release`] does; `object` is what was applied and tells which item of a
/// list a position means.
///
/// # Errors
/// Fails if a stored field set cannot be read, or if a field is only a part of what some manager has as a whole.
pub fn release_fields(
    entries: &[Entry],
    pointers: &[Path],
    object: &Value,
) -> Result<Vec<Entry>, ReleaseError> {
    let ours = field_set_of(entries).map_err(ReleaseError::Entry)?;
    let sets = entries.iter().filter(|entry| entry.subresource.is_empty()).map(Entry::field_set);
    let all = sets.collect::<Result<Vec<_>, _>>().map_err(ReleaseError::Entry)?;
    // Where another manager has written the whole since, our entry says nothing of it.
    let all = all.iter().fold(ours.clone(), |all, set| all.union(set));
    let mut paths = Vec::new();
    for pointer in pointers {
        let field = ours.spell(pointer, object);
        if ours.at_or_below(&field).next().is_some() {
            paths.push(field);
            continue;
        }
        let field = all.spell(pointer, object);
        if let Some(whole) = all.whole_of(&field).filter(|_| has(object, pointer)) {
            return Err(ReleaseError::PartOfWhole { field, whole });
        }
    }
    if paths.is_empty() {
        return Ok(entries.to_vec());
    }
    release(entries, &paths).map_err(ReleaseError::Entry)
}

/// Whether an object has a value where a JSON pointer leads.
fn has(object: &Value, pointer: &Path) -> bool {
    pointer.elements().iter().try_fold(object, |value, element| child(value, element)).is_some()
}

fn child<'a>(value: &'a Value, element: &Element) -> Option<&'a Value> {
    match (value, element.kind()) {
        (Value::Array(items), Kind::Index(position)) => items.get(position.parse::<usize>().ok()?),
        (value, Kind::Index(name) | Kind::Field(name)) => value.get(name),
        (_, Kind::Key(_) | Kind::Value(_)) => None,
    }
}

fn our_entry(entries: &[Entry]) -> Option<&Entry> {
    entries.iter().rev().find(|entry| entry.is_ours())
}

/// Puts one entry in the place of the first of several.
fn replaced(entries: &[Entry], is_replaced: impl Fn(&Entry) -> bool, by: Option<Entry>) -> Vec<Entry> {
    debug_assert!(by.as_ref().is_none_or(|entry| entry.manager == FIELD_MANAGER));
    let mut by = by;
    let kept = |entry: &Entry| if is_replaced(entry) { by.take() } else { Some(entry.clone()) };
    entries.iter().filter_map(kept).collect()
}

#[cfg(test)]
mod tests;
