//! Reporting: the machine's state as a [`Report`], published when something visible changed.

mod conditions;
mod objects;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::effect::Effect;
use super::row::{Row, RowIx, Task};
use super::run::Run;
use super::state::{Machine, Open, Phase};
use crate::desired::Revision;
use crate::gate::depend::{self, Standing};
use crate::gate::{self, Wait};
use crate::health::Health;
use crate::hook::SyncPhase;
use crate::inventory::Record;
use crate::policy::Mode;
use crate::report::{
    MAX_ROWS, ObjectCounts, PlanReport, Report, StoredSet, SyncStatus, WindowReport, shortened,
};
use objects::{failure_of, is_drifted, is_held_back, is_synced};

/// Characters of a message that a status shows at most; the log has it whole.
const MESSAGE: usize = 1_000;

/// How long the first report after a start waits for the lists of all kinds.
const LISTS: SignedDuration = SignedDuration::from_secs(10);

/// Things waited for that a status names at most.
const NAMED: usize = 5;

impl Machine {
    /// Returns when the state is to be published; `None` when nothing changed.
    pub(super) fn publish_due(&self) -> Option<Timestamp> {
        if !self.has_something_to_say() {
            return None;
        }
        let gathered = self.changed_at? + self.limits.publish_after;
        let spaced = self.published_at.map_or(gathered, |at| at + self.limits.publish_every);
        // A restart must not show healthy objects as unknown until their lists have been read.
        let listed = self.loaded_at.filter(|_| !self.unlisted.is_empty()).map_or(gathered, |at| at + LISTS);
        Some(gathered.max(spaced).max(listed))
    }

    /// Whether a report of this machine says more than that it has just been started, or stands by.
    fn has_something_to_say(&self) -> bool {
        let failed = self.source_problem.is_some() || self.unrendered.is_some();
        let told = self.desired.is_some() || failed || self.course.problem().is_some();
        let dissolves = self.open.values().any(|open| *open == Open::Dissolve);
        told && !self.ended && !dissolves && !matches!(self.phase, Phase::Standby | Phase::Loading)
    }

    pub(super) fn publish(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let last_words = self.draining && self.changed_at.is_some() && self.open.is_empty();
        if !last_words && self.publish_due().is_none_or(|due| due > now) {
            return;
        }
        self.changed_at = None;
        if !self.has_something_to_say() {
            return;
        }
        let report = Box::new(self.report());
        if self.published.as_ref() == Some(&report) {
            return;
        }
        self.published_at = Some(now);
        self.published = Some(report.clone());
        out.push(Effect::Publish(report));
    }

    /// Returns the state of the app as it would be published now.
    pub fn report(&self) -> Report {
        let objects = self.counts();
        Report {
            sync: self.sync_status(&objects),
            health: self.app_health(),
            revision: self.revision.clone(),
            applied: self.applied.clone(),
            assignment: self.assignment.as_deref().cloned(),
            policy: self.policy.clone(),
            phase: self.phase_word(),
            unlisted: self.is_unlisted(),
            waiting_for: self.waiting_for(),
            gate: self.gate(),
            plan: self.run.as_ref().map(|run| self.plan_report(run)),
            conditions: self.conditions(&objects),
            objects,
            held: self.held(),
            rows: self.object_reports(),
            history: self.history.iter().cloned().collect(),
            pinned: self.pin_report(),
            window: self.window(),
            synced_for: self.synced_for.clone(),
        }
    }

    fn phase_word(&self) -> &'static str {
        match self.phase {
            Phase::Idle if self.removal().is_some() && !self.rows.iter().any(Row::is_on_record) => "Deleted",
            Phase::Applying | Phase::Pruning if self.removal().is_some() => "Deleting",
            phase => phase.word(),
        }
    }

    fn plan_report(&self, run: &Run) -> PlanReport {
        let digest = self.digest_of(run);
        // It may be approved already and wait for something else.
        let by = self.words().on(digest).filter(|_| self.policy.mode == Mode::Manual);
        PlanReport {
            digest,
            set: self.shown_set().map(|(render, stored)| StoredSet { render, stored }),
            counts: run.counts(),
            changes: run.plan.changes(MAX_ROWS),
            approved_by: run.approved_by.clone().or(by),
        }
    }

    /// Returns what the windows say now, where there are any.
    fn window(&self) -> Option<WindowReport> {
        let opening = self.opening.filter(|_| !self.policy.windows.is_empty())?;
        let until = if opening.open { opening.until } else { opening.opens_at };
        Some(WindowReport { open: opening.open, until })
    }

    /// Returns what the app tells those that depend on it.
    pub fn standing(&self) -> Standing {
        let rests = self.phase == Phase::Idle && self.next.is_none() && self.unrendered.is_none();
        // Who waits for this app waits for those that it waits for itself, also where it has nothing to do.
        let alone = |revision: &Revision| depend::waits_for(&self.standings, revision).is_empty();
        let arrived = rests
            && self.revision.as_ref().is_some_and(alone)
            && self.sync_status(&self.counts()) == SyncStatus::Synced
            && matches!(self.app_health(), Health::Healthy | Health::Suspended);
        Standing::of(self.revision.as_ref(), arrived)
    }

    fn counts(&self) -> ObjectCounts {
        let mut counts = ObjectCounts::default();
        for row in self.rows.iter().filter(|row| row.is_hook()) {
            counts.held += u32::from(is_held_back(row));
            counts.failed += u32::from(failure_of(row).is_some());
        }
        let kept = self.rows.iter().filter(|row| !row.is_hook());
        for row in kept.filter(|row| row.wanted.is_some() || row.record != Record::None) {
            counts.total += 1;
            counts.healthy += u32::from(row.health() == Health::Healthy);
            counts.out_of_sync += u32::from(!is_synced(row));
            counts.held += u32::from(is_held_back(row));
            counts.drifted += u32::from(is_drifted(row));
            counts.failed += u32::from(failure_of(row).is_some());
        }
        counts
    }

    /// Counts what is held back by the reason for it.
    fn held(&self) -> BTreeMap<&'static str, u32> {
        let mut held = BTreeMap::new();
        let reasons = self.rows.iter().filter(|row| is_held_back(row)).filter_map(Row::held_reason);
        reasons.for_each(|reason| *held.entry(reason.word()).or_default() += 1);
        held
    }

    /// Returns what the gate waits for, where a plan stands before it.
    fn gate(&self) -> Option<Wait> {
        match self.verdict() {
            Some(gate::Verdict::Wait(wait)) if self.phase == Phase::Gated => Some(wait),
            _ => None,
        }
    }

    fn sync_status(&self, objects: &ObjectCounts) -> SyncStatus {
        let unknown = self.desired.is_none() || matches!(self.phase, Phase::Standby | Phase::Loading);
        if unknown {
            SyncStatus::Unknown
        } else if objects.out_of_sync > 0
            || self.blocked.is_some()
            || self.next.is_some()
            || self.removal().is_some()
            || self.pin_report().is_some_and(|pin| pin.differs || pin.problem.is_some())
            || self.rows.iter().any(|row| row.is_hook() && is_held_back(row))
        {
            SyncStatus::OutOfSync
        } else {
            SyncStatus::Synced
        }
    }

    /// Returns the worst health of the wanted objects.
    fn app_health(&self) -> Health {
        if self.desired.is_none() && self.rows.is_empty() {
            return Health::Unknown;
        }
        let judged = self.rows.iter().filter(|row| row.wanted.is_some() && !row.is_hook());
        let judged = judged.filter(|row| !row.options.ignore_health);
        judged.map(|row| self.health_of(row)).fold(Health::Healthy, Health::worst)
    }

    /// Held objects that were never written are no sign of ill health.
    fn health_of(&self, row: &Row) -> Health {
        if row.held.is_some() && row.record == Record::None { Health::Healthy } else { row.health() }
    }

    pub(super) fn waiting_for(&self) -> Vec<String> {
        let Some(run) = &self.run else { return Vec::new() };
        match self.phase {
            Phase::Preflight => {
                let unchecked = run.unchecked.iter().map(|ix| &self.rows[ix.get()]);
                first_few(unchecked.map(|row| format!("{} to be checked", row.id)))
            }
            Phase::Gated => self.gate().iter().map(ToString::to_string).collect(),
            Phase::Keeping => vec!["the rendered bodies to be stored in the cluster".to_owned()],
            Phase::Claiming => vec!["the inventory to be stored in the cluster".to_owned()],
            Phase::Applying | Phase::Pruning => {
                let waits = |row: &&Row| !row.is_ready() || matches!(row.task, Task::AwaitGone | Task::Prune);
                let hooks = self.hooks_waited_for(run);
                let awaits_kind =
                    |row: &Row| self.index.get(&row.id).is_some_and(|ix| run.awaiting_kind.contains(ix));
                let prunes = run.plan.prunes.iter().skip(run.pruned);
                let prunes =
                    prunes.map(|prune| format!("{} to be pruned when everything is healthy", prune.id));
                let rows = self.rows.iter().filter(waits).map(|row| describe_wait(row, awaits_kind(row)));
                let mut named = first_few(hooks.into_iter());
                named.extend(first_few(rows));
                named.extend(first_few(prunes));
                named
            }
            Phase::Standby | Phase::Loading | Phase::Idle => Vec::new(),
        }
    }

    /// Names the hooks whose turn it is, or those that run after a failure.
    fn hooks_waited_for(&self, run: &Run) -> Vec<String> {
        let cleans_up = |ix: &&RowIx| {
            let row = &self.rows[ix.get()];
            run.failed.is_some() && row.held.is_none() && self.left(**ix).contains(SyncPhase::SyncFail)
        };
        let after_failure = self.hooks.iter().filter(cleans_up).map(|ix| (SyncPhase::SyncFail, *ix));
        let turn = run.hooks.first().map(|(phase, wave, _)| (*phase, *wave));
        let due =
            run.hooks.iter().filter(|(phase, wave, _)| !run.is_given_up() && Some((*phase, *wave)) == turn);
        let due = due.map(|(phase, _, ix)| (*phase, *ix)).chain(after_failure);
        due.map(|(phase, ix)| describe_hook(phase, &self.rows[ix.get()])).collect()
    }
}

fn first_few(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut named: Vec<String> = all.take(NAMED + 1).collect();
    if named.len() > NAMED {
        named.truncate(NAMED);
        named.push("and more".to_owned());
    }
    named
}

fn describe_wait(row: &Row, awaits_kind: bool) -> String {
    if matches!(row.task, Task::AwaitGone | Task::Prune) {
        return format!("{} to be gone", row.id);
    }
    if awaits_kind {
        return format!("{} to be written (its kind {} is not served yet)", row.id, row.id.kind());
    }
    let health = || row.seen.as_ref().and_then(|seen| seen.health.message.clone());
    let message = failure_of(row).or_else(health).unwrap_or_default();
    let colon = if message.is_empty() { "" } else { ": " };
    format!("{} to be healthy (now {}{colon}{message})", row.id, row.health().word())
}

fn describe_hook(phase: SyncPhase, row: &Row) -> String {
    let state = match (row.held_reason(), row.is_running()) {
        (Some(reason), _) => format!("it is held: {reason}"),
        (None, true) => {
            let message = row.seen.as_ref().and_then(|seen| seen.health.message.as_deref());
            format!("now {}", message.unwrap_or(row.health().word()))
        }
        (None, false) => "it has not been created yet".to_owned(),
    };
    format!("{phase} hook {} to succeed ({state})", row.id)
}

fn cut(message: &str) -> String {
    shortened(message, MESSAGE)
}
