//! Whether an event is drift, which fields were lost, and who has them now.
//!
//! # The rule
//!
//! Compared with the answer to our last apply, an event is
//! - *replaced* if the uid is another one;
//! - *changed* if our entry differs, in its field set or in its time, or is gone;
//! - *ambiguous* if our entry is the same, the resourceVersion moved, no entry of another manager changed, and
//!   generation moved or no status entry changed either;
//! - *same* otherwise.
//!
//! Times have a resolution of one second, so an apply under our own name in the very second of ours leaves every
//! entry as it was: that is the ambiguous case without a moved generation. No clock is asked which second it is:
//! a write in a later second leaves its time in somebody's entry, which then differs from the recorded one. The case
//! with a moved generation is a client that put our entry back after changing our fields. A dry run decides both.

use super::{Entry, EntryError, FieldSet, Fields, Path};

/// A state of an object, as far as drift is judged by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark<'a> {
    pub uid: &'a str,
    /// Only compared for equality.
    pub rv: u64,
    pub generation: i64,
    pub fields: Fields,
}

/// What an event says about the fields that we own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nobody touched what is ours.
    Same,
    /// Somebody changed or removed a field of ours, or applied under our name.
    Changed,
    /// Another object stands under the same name.
    Replaced,
    /// Only a dry run can tell.
    Ambiguous,
}

/// Judges a state of an object against the answer to our last apply.
///
/// An object that is being deleted is for the caller to recognise first: its generation moved, too.
#[must_use]
pub fn judge(recorded: &Mark<'_>, now: &Mark<'_>) -> Verdict {
    if recorded.uid != now.uid {
        return Verdict::Replaced;
    }
    if recorded.fields.ours != now.fields.ours {
        return Verdict::Changed;
    }
    let is_silent = recorded.rv != now.rv && recorded.fields.others == now.fields.others;
    let is_open = recorded.generation != now.generation || recorded.fields.status == now.fields.status;
    if is_silent && is_open { Verdict::Ambiguous } else { Verdict::Same }
}

/// Returns the paths that were ours when recorded and are not now.
#[must_use]
pub fn drifted_paths(recorded: &FieldSet, now: &FieldSet) -> Vec<Path> {
    recorded.difference(now).paths().cloned().collect()
}

/// Who changed a field, as far as managedFields tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// `status`, `scale`, or empty for the object itself.
    pub subresource: String,
    /// In seconds; 0 for entries without a time.
    pub time: i64,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { manager, operation, subresource, time: _ } = self;
        write!(f, "{manager:?} ({operation}")?;
        if !subresource.is_empty() {
            write!(f, " on {subresource}")?;
        }
        f.write_str(")")
    }
}

impl Actor {
    fn of(entry: &Entry) -> Self {
        Self {
            manager: entry.manager.clone(),
            operation: entry.operation.clone(),
            subresource: entry.subresource.clone(),
            time: entry.seconds().unwrap_or(0),
        }
    }
}

/// Returns who took the lost fields, or else who is likeliest to have removed them.
///
/// `since` is the time of our entry as recorded. In this order:
/// 1. the manager that holds most of the lost paths and wrote at or after `since`, the newest of several;
/// 2. our own entry, if its time is after `since`: somebody applied under our name;
/// 3. whoever holds lost paths, whatever its time says: two API servers have two clocks;
/// 4. the newest entry of another manager at or after `since`.
///
/// `None` if nobody left a trace: who only removes a field leaves none.
///
/// # Errors
/// Fails if a stored field set is not an object of objects.
pub fn blame(entries: &[Entry], lost: &[Path], since: i64) -> Result<Option<Actor>, EntryError> {
    let (ours, others): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| entry.is_ours());
    let is_since = |entry: &Entry| entry.seconds() >= Some(since);
    let mut holders = Vec::new();
    for entry in &others {
        let set = entry.field_set()?;
        let held = lost.iter().filter(|path| set.touches(path)).count();
        if held > 0 {
            holders.push((is_since(entry), held, entry.seconds(), *entry));
        }
    }
    let holder = holders.into_iter().max_by_key(|(since, held, time, _)| (*since, *held, *time));
    let applier = ours.into_iter().find(|entry| entry.seconds() > Some(since));
    let newest = others.into_iter().filter(|entry| entry.subresource != "status" && is_since(entry));
    let found = match (holder, applier) {
        (Some((true, .., holder)), _) => Some(holder),
        (_, Some(applier)) => Some(applier),
        (Some((false, .., holder)), None) => Some(holder),
        (None, None) => newest.max_by_key(|entry| entry.seconds()),
    };
    Ok(found.map(Actor::of))
}

#[cfg(test)]
mod tests;
