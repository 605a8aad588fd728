//! Charts that render differently each time: `randAlphaNum`, `genCA`, a `lookup` that finds nothing here.
//!
//! Such a chart would change its objects at every render, though nobody meant to: a password at each commit, at each
//! restart of the agent. Two renders of the same files show where. What can be left to the cluster once the object
//! exists is left to it; the rest is told.

use serde_json::Value;
use skiff_shared::desired::DesiredRow;
use skiff_shared::desired::yields::{Field, Yields};
use skiff_shared::object::Digest;
use skiff_shared::yaml::push_segment;

use crate::store::Store;

/// Fields that are named of one object, and objects that are named of one chart.
const NAMED: usize = 5;

/// Lists whose items the API server knows by name, so that one field of an item can be left to the cluster.
const NAMED_ITEMS: [&str; 1] = ["/webhooks/"];

/// Leaves to the cluster what two renders of the same files do not agree on, as far as that can be, and returns a
/// warning for each object. Rows are sorted by id.
pub(super) fn settle(rows: &mut [DesiredRow], again: &[DesiredRow], store: &Store) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut more = 0;
    for row in rows {
        let other = again.binary_search_by(|other| other.id.cmp(&row.id)).ok().map(|at| &again[at]);
        let told = match other {
            Some(other) if other.body == row.body => continue,
            Some(other) => told(&leave(row, other.body, store)),
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
    warnings
}

/// Fields by their pointers that two renders do not agree on.
#[derive(Default)]
struct Changing {
    /// They stay as they were created.
    left: Vec<String>,
    /// They change at every render.
    applied: Vec<String>,
}

/// Adds to an object's yields what another render of it has otherwise.
fn leave(row: &mut DesiredRow, other: Digest, store: &Store) -> Changing {
    let read = |digest| {
        let body = store.get(digest).ok().flatten()?;
        serde_json::from_slice::<Value>(&body).ok()
    };
    let (Some(first), Some(second)) = (read(row.body), read(other)) else { return Changing::default() };
    let mut pointers = Vec::new();
    differing(&first, &second, &mut String::new(), &mut pointers);
    let mut changing = Changing::default();
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
    let names = |segments: &str| segments.split('/').any(|segment| segment.parse::<u32>().is_ok());
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
    let Changing { left, applied } = changing;
    match (left.is_empty(), applied.is_empty()) {
        (false, true) => format!(
            "renders differently each time ({}): it keeps there what it was created with; give the chart fixed \
             values to change that",
            listed(left)
        ),
        (_, false) => format!(
            "renders differently each time ({}), so it changes at every render, also when the agent is restarted: give \
             the chart fixed values for it",
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
}
