//! Charts that render differently each time: `randAlphaNum`, `genCA`, a `lookup` that finds nothing here.
//!
//! Such a chart changes its objects at each commit that touches it, though nobody meant to. Two renders of the same
//! files show where.

use serde_json::Value;
use skiff_shared::desired::DesiredRow;
use skiff_shared::object::Digest;

use crate::store::Store;

/// Fields that are named of one object, and objects that are named of one chart.
const NAMED: usize = 5;

/// Returns a warning for each object that two renders of the same files do not agree on. Rows are sorted by id.
pub(super) fn warnings(first: &[DesiredRow], second: &[DesiredRow], store: &Store) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut more = 0;
    for row in first {
        let other = second.binary_search_by(|other| other.id.cmp(&row.id)).ok().map(|at| &second[at]);
        let differs = match other {
            Some(other) if other.body == row.body => continue,
            Some(other) => fields(row.body, other.body, store),
            None => "its name".to_owned(),
        };
        if warnings.len() == NAMED {
            more += 1;
            continue;
        }
        warnings.push(format!(
            "{}: {} renders differently each time ({differs}), so it changes at each commit that touches the chart: give the chart fixed values for it",
            row.origin, row.id
        ));
    }
    if more > 0 {
        warnings.push(format!("{more} more objects render differently each time"));
    }
    warnings
}

/// Names the fields in which two bodies differ.
fn fields(first: Digest, second: Digest, store: &Store) -> String {
    let read = |digest| {
        let body = store.get(digest).ok().flatten()?;
        serde_json::from_slice::<Value>(&body).ok()
    };
    let (Some(first), Some(second)) = (read(first), read(second)) else { return "its fields".to_owned() };
    let mut paths = Vec::new();
    differing(&first, &second, &mut String::new(), &mut paths);
    let more = paths.len().saturating_sub(NAMED);
    paths.truncate(NAMED);
    let named = paths.join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

/// Collects the paths at which two values differ; never the values, which may be secret.
fn differing(first: &Value, second: &Value, path: &mut String, paths: &mut Vec<String>) {
    let length = path.len();
    match (first, second) {
        (Value::Object(a), Value::Object(b)) => {
            let only_there = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(only_there) {
                path.push('.');
                path.push_str(key);
                let none = Value::Null;
                differing(a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none), path, paths);
                path.truncate(length);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                path.push_str(&format!("[{at}]"));
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
        assert_eq!(paths, [".spec.a", ".spec.gone", ".spec.list[0].x", ".spec.new"]);
    }
}
