//! Charts that render differently each time: `randAlphaNum`, `genCA`, a `lookup` that finds nothing here.
//!
//! Such a chart would change its objects at every render, though nobody meant to: a password at each commit, at each
//! restart of the agent. Two renders of the same files show where. What can be left to the cluster once the object
//! exists is left to it; the rest is told. And what an app has applied is rendered as it was then, so that a restart is
//! no change, and a deleted object comes back with the password that it had.

use std::collections::BTreeSet;
use std::io;

use serde_json::Value;
use skiff_shared::desired::DesiredRow;
use skiff_shared::desired::yields::{Field, Yields};
use skiff_shared::object::{Digest, ObjectId};
use skiff_shared::yaml::push_segment;

use super::{Rendered, collect};
use crate::store::Store;

/// Fields that are named of one object, and objects that are named of one chart.
const NAMED: usize = 5;

/// Lists whose items the API server knows by name, so that one field of an item can be left to the cluster.
const NAMED_ITEMS: [&str; 1] = ["/webhooks/"];

/// Leaves to the cluster what two renders of the same files do not agree on, as far as that can be; returns what that
/// is, and a warning for each object. Rows are sorted by id.
pub(super) fn settle(
    rows: &mut [DesiredRow],
    again: &[DesiredRow],
    store: &Store,
) -> (Vec<Changing>, Vec<String>) {
    let mut changing = Vec::new();
    let mut warnings = Vec::new();
    let mut more = 0;
    for row in rows {
        let other = again.binary_search_by(|other| other.id.cmp(&row.id)).ok().map(|at| &again[at]);
        let told = match other {
            Some(other) if other.body == row.body => continue,
            Some(other) => {
                let found = leave(row, other.body, store);
                let told = told(&found);
                changing.push(found);
                told
            }
            None => {
                "renders differently each time (its name), so every render creates another one: give the \
                     chart a fixed name for it"
                    .to_owned()
            }
        };
        if warnings.len() == NAMED {
            more += 1;
            continue;
        }
        warnings.push(format!("{}: {} {told}", row.origin, row.id));
    }
    if more > 0 {
        warnings.push(format!("{more} more objects render differently each time"));
    }
    (changing, warnings)
}

/// Puts back what an app has applied, where nothing but what changes at every render is otherwise. `applied` gives the
/// body that an object was last applied with; one that is not in the store any more is as if it had never been.
///
/// Fields are put back one by one, lists as a whole: where Git has changed another part of a list, an index does not say
/// any more which item it was.
///
/// # Errors
///
/// The store cannot be written.
pub fn put_back(
    rendered: &mut Rendered,
    applied: impl Fn(&ObjectId) -> Option<Digest>,
    store: &Store,
) -> io::Result<()> {
    for changing in &rendered.changing {
        let Ok(at) = rendered.rows.binary_search_by(|row| row.id.cmp(&changing.object)) else { continue };
        let row = &mut rendered.rows[at];
        let Some(before) = applied(&row.id).and_then(|digest| read(store, digest)) else { continue };
        let Some(mut now) = read(store, row.body) else { continue };
        for pointer in &changing.left {
            restore(&mut now, &before, pointer);
        }
        for list in changing.lists() {
            let inside = |pointer: &&String| pointer.starts_with(&format!("{list}/"));
            let pointers: Vec<&str> =
                changing.applied.iter().filter(inside).map(|pointer| &pointer[list.len()..]).collect();
            let (Some(then), Some(new)) = (before.pointer(list), now.pointer_mut(list)) else { continue };
            if is_alike(then, new, &pointers) {
                *new = then.clone();
            }
        }
        (row.body, row.bytes) = collect::keep(&now, store, &mut Vec::new())?;
    }
    Ok(())
}

/// Sets one field, none of whose parents is a list that may be one value, to what it was.
fn restore(now: &mut Value, before: &Value, pointer: &str) {
    if let (Some(then), Some(new)) = (before.pointer(pointer), now.pointer_mut(pointer)) {
        *new = then.clone();
    }
}

/// Whether two values differ at some pointers at most, each of which both have.
fn is_alike(then: &Value, new: &Value, pointers: &[&str]) -> bool {
    let mut masked = then.clone();
    for pointer in pointers {
        match (masked.pointer_mut(pointer), new.pointer(pointer)) {
            (Some(then), Some(new)) => *then = new.clone(),
            _ => return false,
        }
    }
    masked == *new
}

fn read(store: &Store, digest: Digest) -> Option<Value> {
    let body = store.get(digest).ok().flatten()?;
    serde_json::from_slice(&body).ok()
}

/// Fields of an object, by their pointers, that two renders of the same files do not agree on.
#[derive(Debug)]
pub struct Changing {
    object: ObjectId,
    /// They are left to the cluster, and stay as they were created.
    left: Vec<String>,
    /// Parts of lists that the API server may keep as one value: they are applied.
    applied: Vec<String>,
}

impl Changing {
    /// Returns the outermost lists that hold what is applied, each once.
    fn lists(&self) -> BTreeSet<&str> {
        self.applied.iter().filter_map(|pointer| outermost_list(pointer)).collect()
    }
}

/// Returns the pointer of the outermost list on a pointer's way.
fn outermost_list(pointer: &str) -> Option<&str> {
    let segments = pointer.match_indices('/').map(|(at, _)| at);
    segments.into_iter().find_map(|at| {
        let segment = pointer[at + 1..].split('/').next()?;
        is_index(segment).then_some(&pointer[..at])
    })
}

fn is_index(segment: &str) -> bool {
    segment.parse::<u32>().is_ok()
}

/// Adds to an object's yields what another render of it has otherwise.
fn leave(row: &mut DesiredRow, other: Digest, store: &Store) -> Changing {
    let mut changing = Changing { object: row.id.clone(), left: Vec::new(), applied: Vec::new() };
    let (Some(first), Some(second)) = (read(store, row.body), read(store, other)) else { return changing };
    let mut pointers = Vec::new();
    differing(&first, &second, &mut String::new(), &mut pointers);
    let mut yields = row.yields.as_deref().cloned().unwrap_or_default();
    for pointer in pointers {
        match Field::parse(&pointer).ok().filter(|_| !is_in_list(&pointer)) {
            Some(field) => {
                yields.fields.insert(field);
                changing.left.push(pointer);
            }
            None => changing.applied.push(pointer),
        }
    }
    row.yields = Yields::shared(yields);
    changing
}

/// Whether a field is in a list that may be one value for the API server: part of it cannot be left to others.
fn is_in_list(pointer: &str) -> bool {
    let names = |segments: &str| segments.split('/').any(is_index);
    let named = NAMED_ITEMS.iter().find_map(|list| pointer.strip_prefix(list)?.split_once('/'));
    match named {
        Some((_, below)) => names(below),
        None => names(pointer),
    }
}

fn told(changing: &Changing) -> String {
    let listed = |pointers: &[String]| {
        let more = pointers.len().saturating_sub(NAMED);
        let named = pointers.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        if more > 0 { format!("{named} and {more} more") } else { named }
    };
    let Changing { object: _, left, applied } = changing;
    match (left.is_empty(), applied.is_empty()) {
        (false, true) => format!(
            "renders differently each time ({}): it keeps there what it was created with; give the chart fixed \
             values to change that",
            listed(left)
        ),
        (_, false) => format!(
            "renders differently each time ({}), so it changes whenever its chart does: give the chart fixed values for \
             it",
            listed(applied)
        ),
        (true, true) => "renders differently each time: give the chart fixed values".to_owned(),
    }
}

/// Collects the pointers at which two values differ; never the values, which may be secret.
fn differing(first: &Value, second: &Value, path: &mut String, paths: &mut Vec<String>) {
    let length = path.len();
    match (first, second) {
        (Value::Object(a), Value::Object(b)) => {
            let only_there = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(only_there) {
                push_segment(path, key);
                let none = Value::Null;
                differing(a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none), path, paths);
                path.truncate(length);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                path.push_str(&format!("/{at}"));
                differing(a, b, path, paths);
                path.truncate(length);
            }
        }
        _ if first != second => paths.push(path.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_that_differ_are_named_by_their_paths() {
        let first = json!({"spec": {"a": 1, "list": [{"x": 1}, 2], "gone": 1}, "same": [1]});
        let second = json!({"spec": {"a": 2, "list": [{"x": 3}, 2], "new": 1}, "same": [1]});
        let mut paths = Vec::new();
        differing(&first, &second, &mut String::new(), &mut paths);
        assert_eq!(paths, ["/spec/a", "/spec/gone", "/spec/list/0/x", "/spec/new"]);
    }

    #[test]
    fn what_may_be_part_of_one_value_is_not_left_to_the_cluster() {
        for (pointer, expected) in [
            ("/data/password", false),
            ("/spec/template/metadata/annotations/checksum~1secret", false),
            ("/webhooks/0/clientConfig/caBundle", false),
            ("/webhooks/0/rules/0/operations", true),
            ("/spec/template/spec/containers/0/args/2", true),
        ] {
            assert_eq!(is_in_list(pointer), expected, "{pointer}");
        }
    }

    #[test]
    fn a_list_is_put_back_only_where_nothing_else_of_it_has_changed() {
        let then = json!([{"name": "token", "value": "a"}, {"name": "level", "value": "1"}]);
        for (now, expected) in [
            (json!([{"name": "token", "value": "b"}, {"name": "level", "value": "1"}]), true),
            (json!([{"name": "token", "value": "b"}, {"name": "level", "value": "2"}]), false),
            (json!([{"name": "level", "value": "1"}, {"name": "token", "value": "b"}]), false),
            (json!([]), false),
        ] {
            assert_eq!(is_alike(&then, &now, &["/0/value"]), expected, "{now}");
        }
        assert_eq!(outermost_list("/spec/containers/0/args/2"), Some("/spec/containers"));
        assert_eq!(outermost_list("/data/password"), None);
    }
}
