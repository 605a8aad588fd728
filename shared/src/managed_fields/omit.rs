//! Leaves fields out of an object that is about to be applied.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::Value;

use super::path::{Kind, Pairs};
use super::set::selects;
use super::{Element, Entry, EntryError, FieldSet, Path};

/// Removes fields from an object, with parents that this leaves empty: an empty map that is applied says "the whole map
/// is ours". What the object does not have is passed over, and so is a field that names an item of a list.
pub fn omit(object: &mut Value, paths: &[Path]) {
    let mut paths: Vec<&Path> = paths.iter().collect();
    // The last position of a list goes first, and items that are named otherwise after all positions, so that the places
    // of the others stay.
    paths.sort_by(|a, b| in_order(b.elements(), a.elements()));
    for path in paths {
        omit_one(object, path.elements(), None);
    }
}

/// Returns the fields that the named managers own: leaves only, as a parent says nothing of what is below it.
///
/// # Errors
/// Fails if a stored field set is not an object of objects.
pub fn owned_by(entries: &[Entry], managers: &BTreeSet<Box<str>>) -> Result<Vec<Path>, EntryError> {
    let named = |entry: &&Entry| !entry.is_ours() && entry.subresource != "status";
    let mut paths = Vec::new();
    for entry in entries.iter().filter(named).filter(|entry| managers.contains(entry.manager.as_str())) {
        let set: FieldSet = entry.field_set()?;
        paths.extend(set.paths().filter(|path| set.at_or_below(path).nth(1).is_none()).cloned());
    }
    Ok(paths)
}

fn in_order(a: &[Element], b: &[Element]) -> Ordering {
    let position = |element: &Element| match element.kind() {
        Kind::Index(position) => position.parse::<usize>().ok(),
        _ => None,
    };
    let pairs = a.iter().zip(b).map(|(a, b)| match (position(a), position(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => a.cmp(b),
    });
    pairs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// Removes one field below `value`, the item that `item` selects where it is one; returns whether nothing is left.
fn omit_one(value: &mut Value, path: &[Element], item: Option<&Element>) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    match value {
        Value::Object(map) => {
            let (Kind::Field(name) | Kind::Index(name)) = first.kind() else { return false };
            if rest.is_empty() {
                if item.is_none_or(|item| !is_key(item, name)) {
                    map.remove(name);
                }
            } else if map.get_mut(name).is_some_and(|child| omit_one(child, rest, None)) {
                map.remove(name);
            }
            map.is_empty()
        }
        Value::Array(items) => {
            let place = match first.kind() {
                Kind::Index(position) => position.parse().ok().filter(|at| *at < items.len()),
                _ => items.iter().position(|item| selects(first, item)),
            };
            let Some(place) = place else { return false };
            if rest.is_empty() || omit_one(&mut items[place], rest, Some(first)) {
                items.remove(place);
            }
            items.is_empty()
        }
        _ => false,
    }
}

/// Whether a field is one of those that an item of a list is found by.
fn is_key(item: &Element, name: &str) -> bool {
    let Kind::Key(keys) = item.kind() else { return false };
    serde_json::from_str::<Pairs<'_>>(keys).is_ok_and(|Pairs(pairs)| pairs.iter().any(|(key, _)| key == name))
}
