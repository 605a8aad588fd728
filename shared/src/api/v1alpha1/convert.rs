//! A [`Report`] becomes a status, and what a status remembers is read back.

use jiff::Timestamp;

use super::{
    AppStatus, Assignment, ChartRelease, Condition, Counts, HistoryEntry, MAX_HISTORY, MAX_MESSAGE,
    MAX_ROW_MESSAGE, ObjectRow, Pinned, PlanSummary, PlannedChange, Revision, StoredSet, SyncPolicy,
    WindowState,
};
use crate::desired;
use crate::plan::Action;
use crate::report::{self, Outcome, Recorded, Report, shortened};
use crate::trace::Traceparent;

/// Longest trailer that is kept, in bytes: version 00 has 55, later ones may append fields.
const MAX_TRACEPARENT: usize = 256;

impl AppStatus {
    /// Returns the status that shows `report` on an app of this environment. A condition that is as it was in `previous` keeps the
    /// time of its last change.
    pub fn of(environment: &str, report: &Report, previous: Option<&Self>, now: Timestamp) -> Self {
        let known = previous.map_or(&[][..], |previous| &previous.conditions);
        Self {
            environment: environment.to_owned(),
            sync: report.sync.word().to_owned(),
            health: report.health.word().to_owned(),
            phase: report.phase.to_owned(),
            message: shortened(&headline(report), MAX_ROW_MESSAGE),
            revision: report.revision.as_ref().map(Revision::of),
            applied: report.applied.as_ref().map(Revision::of),
            assignment: report.assignment.as_ref().map(Assignment::of),
            unlisted: report.unlisted,
            policy: Some(SyncPolicy::of(&report.policy)),
            plan: report.plan.as_ref().map(PlanSummary::of),
            waiting_for: report.waiting_for.iter().map(|text| shortened(text, MAX_ROW_MESSAGE)).collect(),
            conditions: report
                .conditions
                .iter()
                .map(|condition| Condition::of(condition, known, now))
                .collect(),
            counts: Counts::of(report.objects),
            objects: report.rows.iter().take(report::MAX_ROWS).map(ObjectRow::of).collect(),
            history: report.history.iter().take(MAX_HISTORY).map(HistoryEntry::of).collect(),
            pinned: report.pinned.as_ref().map(Pinned::of),
            window: report.window.map(|report::WindowReport { open, until }| WindowState { open, until }),
            synced_for: report.synced_for.clone(),
        }
    }
}

impl AppStatus {
    /// Returns the revision that was last taken from Git.
    pub fn newest(&self) -> Option<desired::Revision> {
        self.revision.as_ref().or(self.applied.as_ref()).map(Revision::read)
    }

    /// Returns what an agent that starts anew takes from the status that the one before it left.
    pub fn recorded(&self) -> Recorded {
        Recorded {
            applied: self.applied.as_ref().map(Revision::read),
            assignment: self.assignment.as_ref().map(Assignment::read),
            history: self.history.iter().filter_map(HistoryEntry::read).collect(),
            synced_for: self.synced_for.clone(),
        }
    }
}

/// Returns the one line that a list of apps has room for: what the app waits for, else what is wrong.
fn headline(report: &Report) -> String {
    if !report.waiting_for.is_empty() {
        return report.waiting_for.join("; ");
    }
    let unready = report.conditions.iter().find(|condition| condition.kind == "Ready" && !condition.status);
    if let Some(unready) = unready.filter(|condition| !condition.message.is_empty()) {
        return unready.message.clone();
    }
    let troubled = report.rows.iter().find(|row| !row.message.is_empty());
    troubled.map_or_else(String::new, |row| {
        let place = row.namespace.as_deref().map_or_else(String::new, |namespace| format!("{namespace}/"));
        format!("{}/{place}{}: {}", row.kind, row.name, row.message)
    })
}

impl Revision {
    pub(crate) fn of(revision: &desired::Revision) -> Self {
        Self {
            name: revision.to_string(),
            url: revision.url.clone(),
            reference: revision.reference.clone(),
            commit: revision.commit.clone(),
            author: shortened(&revision.author, MAX_ROW_MESSAGE),
            subject: shortened(&revision.subject, MAX_ROW_MESSAGE),
            committed_at: revision.committed_at,
            traceparent: revision.traceparent.as_deref().and_then(valid),
            chart: revision.chart.as_ref().map(ChartRelease::of),
        }
    }
}

/// Returns a trailer that names a trace. Whoever wrote the commit wrote it: what it could be else has no place in a status.
fn valid(trailer: &str) -> Option<String> {
    let is_valid = trailer.len() <= MAX_TRACEPARENT && trailer.parse::<Traceparent>().is_ok();
    is_valid.then(|| trailer.trim().to_owned())
}

impl ChartRelease {
    fn of(chart: &desired::ChartRelease) -> Self {
        let desired::ChartRelease { repository, name, version, digest } = chart.clone();
        Self { repository, name, version, digest }
    }

    fn read(&self) -> desired::ChartRelease {
        let Self { repository, name, version, digest } = self.clone();
        desired::ChartRelease { repository, name, version, digest }
    }
}

impl Revision {
    fn read(&self) -> desired::Revision {
        desired::Revision {
            url: self.url.clone(),
            reference: self.reference.clone(),
            commit: self.commit.clone(),
            author: self.author.clone(),
            subject: self.subject.clone(),
            committed_at: self.committed_at,
            traceparent: self.traceparent.clone(),
            chart: self.chart.as_ref().map(ChartRelease::read),
        }
    }
}

impl Assignment {
    fn of(assignment: &desired::Assignment) -> Self {
        let desired::Assignment { environment, url, path, facts } = assignment.clone();
        Self { environment, url, path, facts }
    }

    fn read(&self) -> desired::Assignment {
        let Self { environment, url, path, facts } = self.clone();
        desired::Assignment { environment, url, path, facts }
    }
}

impl PlanSummary {
    fn of(plan: &report::PlanReport) -> Self {
        let count = |wanted| plan.counts.iter().filter(|(action, _)| *action == wanted).map(|(_, n)| n).sum();
        Self {
            digest: plan.digest.to_string(),
            created: count(Action::Created),
            configured: count(Action::Configured),
            recreated: count(Action::Recreated),
            pruned: count(Action::Pruned),
            unchanged: count(Action::Unchanged),
            held: count(Action::Held),
            failed: count(Action::Failed),
            changes: plan.changes.iter().map(PlannedChange::of).collect(),
            set: plan.set.as_ref().map(StoredSet::of),
            approved_by: plan.approved_by.clone(),
        }
    }
}

impl StoredSet {
    fn of(set: &report::StoredSet) -> Self {
        Self { render: set.render.to_string(), stored: set.stored.clone() }
    }
}

impl Pinned {
    fn of(pinned: &report::PinReport) -> Self {
        Self {
            release: pinned.release.to_string(),
            revision: pinned.revision.as_ref().map(ToString::to_string).unwrap_or_default(),
            reason: pinned.reason.clone(),
        }
    }
}

impl PlannedChange {
    fn of(change: &report::PlannedChange) -> Self {
        let report::PlannedChange { action, id, adopts } = change;
        Self { action: action.word().to_owned(), object: id.to_string(), adopts: *adopts }
    }
}

impl Condition {
    fn of(condition: &report::Condition, known: &[Self], now: Timestamp) -> Self {
        let status = if condition.status { "True" } else { "False" };
        let before = known.iter().find(|known| known.kind == condition.kind && known.status == status);
        Self {
            kind: condition.kind.to_owned(),
            status: status.to_owned(),
            reason: condition.reason.clone(),
            message: shortened(&condition.message, MAX_MESSAGE),
            last_transition_time: before.map_or(now, |before| before.last_transition_time),
        }
    }
}

impl Counts {
    fn of(counts: report::ObjectCounts) -> Self {
        let report::ObjectCounts { total, healthy, out_of_sync, drifted, held, failed } = counts;
        Self { total, healthy, out_of_sync, drifted, held, failed }
    }
}

impl ObjectRow {
    fn of(row: &report::ObjectReport) -> Self {
        Self {
            group: row.group.clone(),
            kind: row.kind.clone(),
            namespace: row.namespace.clone(),
            name: row.name.clone(),
            sync: row.sync.word().to_owned(),
            health: row.health.word().to_owned(),
            message: shortened(&row.message, MAX_ROW_MESSAGE),
            held: row.held.map(str::to_owned),
            prunable: row.prunable.as_ref().map(ToString::to_string),
        }
    }
}

impl HistoryEntry {
    fn of(entry: &report::HistoryEntry) -> Self {
        Self {
            number: entry.number,
            revision: Revision::of(&entry.revision),
            assignment: Assignment::of(&entry.assignment),
            render: entry.render.to_string(),
            seen_at: entry.seen_at,
            applied_at: entry.applied_at,
            healthy_at: entry.healthy_at,
            approved_by: entry.approved_by.clone(),
            outcome: entry.outcome.word().to_owned(),
            counts: entry.counts.iter().map(|(action, count)| (action.word().to_owned(), *count)).collect(),
            pinned: entry.pinned,
            stored: entry.stored.clone(),
            without: entry.without.iter().map(ToString::to_string).collect(),
        }
    }

    /// Reads an entry back; one that another version wrote and that cannot be read is left out.
    fn read(&self) -> Option<report::HistoryEntry> {
        Some(report::HistoryEntry {
            number: self.number,
            revision: self.revision.read(),
            assignment: self.assignment.read(),
            render: self.render.parse().ok()?,
            seen_at: self.seen_at,
            applied_at: self.applied_at,
            healthy_at: self.healthy_at,
            approved_by: self.approved_by.clone(),
            outcome: Outcome::read(&self.outcome)?,
            counts: self
                .counts
                .iter()
                .filter_map(|(word, count)| Some((Action::read(word)?, *count)))
                .collect(),
            pinned: self.pinned,
            stored: self.stored.clone(),
            without: self.without.iter().map(|digest| digest.parse().ok()).collect::<Option<_>>()?,
        })
    }
}
