//! The objects of an app as a status shows them, the worst first.

use jiff::Timestamp;

use super::{NAMED, cut};
use crate::health::Health;
use crate::hook::{Ended, SyncPhase};
use crate::inventory::Record;
use crate::plan::HeldReason;
use crate::report::{MAX_ROWS, ObjectReport, SyncStatus};
use crate::sync::event::Cause;
use crate::sync::hooks::describe;
use crate::sync::row::Row;
use crate::sync::state::Machine;

impl Machine {
    /// Returns the objects worth showing, the worst first.
    pub(super) fn object_reports(&self) -> Vec<ObjectReport> {
        let is_shown = |row: &&Row| {
            let idle_hook = row.hook.is_some() && row.held.is_none() && run_of(row).is_none();
            (row.wanted.is_some() || row.record != Record::None) && !idle_hook
        };
        let mut rows: Vec<&Row> = self.rows.iter().filter(is_shown).collect();
        let badness = |row: &Row| {
            let failed =
                failure_of(row).is_some() || matches!(run_of(row), Some((_, Some(Ended::Failed(_)))));
            (!failed, row.held.is_none(), !is_drifted(row), is_synced(row), std::cmp::Reverse(row.health()))
        };
        let order = |a: &&Row, b: &&Row| badness(a).cmp(&badness(b)).then_with(|| a.id.cmp(&b.id));
        if rows.len() > MAX_ROWS {
            // Only the worst are put in order: there may be thousands of others.
            rows.select_nth_unstable_by(MAX_ROWS, order);
            rows.truncate(MAX_ROWS);
        }
        rows.sort_by(order);
        rows.into_iter().map(|row| self.object_report(row)).collect()
    }

    /// Why preflight stopped at the object, if it did.
    fn refusal_of(&self, row: &Row) -> Option<String> {
        let (_, cause) = self.blocked.as_ref()?.problems.iter().find(|(id, _)| *id == row.id)?;
        Some(describe_cause(cause))
    }

    /// Says that nobody knows how the object is: its kind has gone since it was written.
    fn kindless(&self, row: &Row) -> Option<String> {
        let kind = row.id.kind();
        let served = self.apis.served(kind, &row.version);
        (row.wanted.is_some() && !served).then(|| format!("its kind {kind} is not served"))
    }

    fn object_report(&self, row: &Row) -> ObjectReport {
        let held = row.held_reason().map(ToString::to_string);
        let drift = row.drift.as_ref().filter(|drift| !drift.is_open()).map(|_| describe_drift(row));
        let health = row.seen.as_ref().and_then(|seen| seen.health.message.clone());
        let refused = self.refusal_of(row);
        let task = outstanding(row).map(str::to_owned).or_else(|| self.kindless(row));
        let hook = run_of(row).map(|(phase, ended)| describe_run(phase, ended, health.as_deref()));
        let trouble = failure_of(row).or(refused).or(held).or(hook).or_else(|| describe_fight(row));
        let message = trouble.or(drift).or(task).or(health).or_else(|| describe_co_manager(row));
        let message = message.unwrap_or_default();
        ObjectReport {
            group: row.id.kind().group.to_string(),
            kind: row.id.kind().kind.to_string(),
            namespace: row.id.namespace().map(str::to_owned),
            name: row.id.name().to_owned(),
            sync: if is_synced(row) { SyncStatus::Synced } else { SyncStatus::OutOfSync },
            health: match run_of(row) {
                Some((_, Some(Ended::Succeeded))) => Health::Healthy,
                Some((_, Some(Ended::Failed(_)))) => Health::Degraded,
                Some((_, None)) | None => self.health_of(row),
            },
            message: cut(&message),
            held: row.held_reason().map(HeldReason::word),
            prunable: row
                .held_reason()
                .filter(|reason| reason.is_confirmable())
                .and_then(|_| Some(row.record.applied()?.uid.clone())),
        }
    }
}

/// Returns the phase that a hook has come to, and how it ended in it.
fn run_of(row: &Row) -> Option<(SyncPhase, Option<&Ended>)> {
    let run = row.hook_run.as_ref()?;
    Some((run.phase?, run.ended.as_ref()))
}

fn describe_run(phase: SyncPhase, ended: Option<&Ended>, health: Option<&str>) -> String {
    let (what, colon) = (ended.map(describe), if health.is_some() { ": " } else { "" });
    let what = what.unwrap_or_else(|| format!("runs{colon}{}", health.unwrap_or_default()));
    format!("{phase} hook, {what}")
}

pub(super) fn is_synced(row: &Row) -> bool {
    if row.is_hook() {
        return !is_held_back(row);
    }
    let as_wanted =
        if row.wanted.is_some() { row.is_current() && !row.is_deleting() } else { row.held.is_some() };
    // What asks to be left alone is as it asks.
    let is_left = row.held_reason().is_some_and(HeldReason::is_asked_for);
    (as_wanted || is_left) && !is_held_back(row) && !is_drifted(row)
}

/// Says what a sync has still to do with an object that nothing else is told of.
fn outstanding(row: &Row) -> Option<&'static str> {
    match (row.wanted, &row.record) {
        (None, _) => Some("it is no longer in Git and still to be pruned"),
        (Some(_), Record::None | Record::Claimed) => Some("it is still to be written"),
        (Some(_), Record::Settled(_)) if !row.is_current() => Some("it is still to be written as in Git"),
        (Some(_), Record::Settled(_)) => None,
    }
}

/// Whether the plan leaves the object in a state that is not Git's.
pub(super) fn is_held_back(row: &Row) -> bool {
    let ignored = row.wanted.is_none() && row.options.ignore_extraneous;
    !ignored && row.held_reason().is_some_and(HeldReason::out_of_sync)
}

pub(super) fn is_drifted(row: &Row) -> bool {
    row.drift.as_ref().is_some_and(|drift| !drift.is_open())
}

pub(super) fn failure_of(row: &Row) -> Option<String> {
    Some(describe_cause(row.trouble.as_ref()?.cause.as_ref()?))
}

fn describe_cause(cause: &Cause) -> String {
    format!("{}: {}", cause.reason.word(), cause.message)
}

/// Says who keeps changing an object back, and until when it is left alone.
pub(super) fn describe_fight(row: &Row) -> Option<String> {
    let trouble = row.trouble.as_ref()?;
    let manager = trouble.contested.as_ref()?;
    let rest = trouble.not_before.map(|until| format!(", left alone until {until:.0}"));
    Some(format!("contested by {manager:?}{}", rest.unwrap_or_default()))
}

/// Says which other tool has fields of an object that we have applied.
pub(super) fn describe_co_manager(row: &Row) -> Option<String> {
    let applied = row.wanted.is_some() && row.record.applied().is_some() && !row.is_hook();
    let tool = row.co_manager().filter(|_| applied)?;
    Some(format!("co-managed by {tool}"))
}

pub(super) fn describe_drift(row: &Row) -> String {
    let Some(drift) = &row.drift else { return String::new() };
    let who = drift.what.actor.as_ref().map_or_else(String::new, |actor| format!(" by {:?}", actor.manager));
    let paths: Vec<String> = drift.what.paths.iter().take(NAMED).map(ToString::to_string).collect();
    let colon = if paths.is_empty() { "" } else { ": " };
    let held = match row.held_until() {
        Some(until) if until == Timestamp::MAX => ", and is left so by an annotation".to_owned(),
        Some(until) => format!(", and is not healed until {until}"),
        None => String::new(),
    };
    format!("{} {}{who}{colon}{}{held}", row.id, drift.what.kind.word(), paths.join(", "))
}
