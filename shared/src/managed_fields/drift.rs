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
/// In this order: the manager that holds most of the lost paths now, the newest of several; our own entry, if its
/// time is after `since`, because somebody applied under our name; the newest entry of another manager at or after
/// `since` (the time of our entry as recorded). `None` if nobody left a trace: removing a field leaves none.
///
/// # Errors
/// Fails if a stored field set is not an object of objects.
pub fn blame(entries: &[Entry], lost: &[Path], since: i64) -> Result<Option<Actor>, EntryError> {
    let (ours, others): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| entry.is_ours());
    let mut holders = Vec::new();
    for entry in &others {
        let held = entry.field_set()?;
        holders.push((lost.iter().filter(|path| held.touches(path)).count(), entry.seconds(), entry));
    }
    let holder =
        holders.into_iter().filter(|(held, ..)| *held > 0).max_by_key(|(held, time, _)| (*held, *time));
    let applier = || ours.iter().find(|entry| entry.seconds() > Some(since));
    let newest = || {
        let is_since = |entry: &&&Entry| entry.subresource != "status" && entry.seconds() >= Some(since);
        others.iter().filter(is_since).max_by_key(|entry| entry.seconds())
    };
    let found = holder.map(|(.., entry)| entry).or_else(applier).or_else(newest);
    Ok(found.map(|entry| Actor::of(entry)))
}

#[cfg(test)]
mod tests;
