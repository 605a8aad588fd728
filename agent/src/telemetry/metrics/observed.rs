//! What gauges are read from: the newest state of every app, source and of the cluster itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use opentelemetry::KeyValue;
use skiff_shared::gate::Wait;
use skiff_shared::report::{Condition, Outcome, Report};

use super::Source;
use crate::telemetry::AppName;

/// What gauges show when somebody looks.
#[derive(Default)]
pub(super) struct Observed {
    apps: Mutex<BTreeMap<AppName, AppState>>,
    /// The labels that the agent's file gives the cluster, as they are shown.
    cluster: Mutex<Vec<KeyValue>>,
    /// When each environment's source was last read, or else first asked for.
    sources: Mutex<BTreeMap<String, Timestamp>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct AppState {
    life: u64,
    pub(super) report: Option<Shown>,
    pub(super) last_sync: Option<Timestamp>,
}

/// The part of a report that numbers can show.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) sync: &'static str,
    pub(super) health: &'static str,
    pub(super) phase: &'static str,
    pub(super) objects: [(&'static str, u32); 5],
    pub(super) total: u32,
    /// Objects held back, by the word of the reason.
    pub(super) held: BTreeMap<&'static str, u32>,
    pub(super) conditions: Vec<ShownCondition>,
    pub(super) gate: Option<Wait>,
    pub(super) applied: Option<Applied>,
}

/// A condition without its message.
#[derive(Clone, Debug)]
pub(super) struct ShownCondition {
    pub(super) kind: &'static str,
    pub(super) status: bool,
    pub(super) reason: String,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    /// The commit's first 48 bits, which a float holds exactly.
    pub(super) number: u64,
    pub(super) committed_at: Option<Timestamp>,
}

impl Observed {
    pub(super) fn apps(&self) -> MutexGuard<'_, BTreeMap<AppName, AppState>> {
        lock(&self.apps)
    }

    pub(super) fn cluster(&self) -> MutexGuard<'_, Vec<KeyValue>> {
        lock(&self.cluster)
    }

    pub(super) fn sources(&self) -> MutexGuard<'_, BTreeMap<String, Timestamp>> {
        lock(&self.sources)
    }

    pub(super) fn change(&self, source: Source<'_>, change: impl FnOnce(&mut AppState)) {
        let mut apps = self.apps();
        if !apps.contains_key(source.app) {
            apps.insert(source.app.clone(), AppState::default());
        }
        if let Some(state) = apps.get_mut(source.app) {
            state.life = source.life;
            change(state);
        }
    }

    pub(super) fn end(&self, source: Source<'_>) {
        let mut apps = self.apps();
        if apps.get(source.app).is_some_and(|state| state.life == source.life) {
            apps.remove(source.app);
        }
    }
}

impl AppState {
    pub(super) fn show(&mut self, report: &Report) {
        self.report = Some(Shown::of(report));
        // The history knows of the syncs before this process.
        let synced = report.history.iter().filter(|entry| entry.outcome == Outcome::Success);
        synced.filter_map(|entry| entry.healthy_at).for_each(|time| self.synced_at(time));
    }

    pub(super) fn synced_at(&mut self, time: Timestamp) {
        self.last_sync = self.last_sync.max(Some(time));
    }
}

impl Shown {
    fn of(report: &Report) -> Self {
        let objects = &report.objects;
        Self {
            sync: report.sync.word(),
            health: report.health.word(),
            phase: report.phase,
            objects: [
                ("healthy", objects.healthy),
                ("out_of_sync", objects.out_of_sync),
                ("drifted", objects.drifted),
                ("held", objects.held),
                ("failed", objects.failed),
            ],
            total: objects.total,
            held: report.held.clone(),
            conditions: report.conditions.iter().map(ShownCondition::of).collect(),
            gate: report.gate.clone(),
            applied: report.applied.as_ref().and_then(|revision| {
                let head = revision.id().get(..12)?;
                let number = u64::from_str_radix(head, 16).ok()?;
                Some(Applied { number, committed_at: revision.committed_at })
            }),
        }
    }
}

impl ShownCondition {
    fn of(condition: &Condition) -> Self {
        let Condition { kind, status, reason, message: _ } = condition;
        Self { kind, status: *status, reason: reason.clone() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
