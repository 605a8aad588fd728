//! Heals, gathered: somebody who fights the agent would otherwise fill the list of Events.

use jiff::{SignedDuration, Timestamp};

use crate::sync::effect::Drift;

/// How long heals are gathered before they are told.
const GATHER: SignedDuration = SignedDuration::from_secs(10);

/// How far apart two such news of an app are at least.
const APART: SignedDuration = SignedDuration::from_mins(5);

/// Heals that are named at most.
const NAMED: usize = 5;

/// The heals of one app that have not been told yet.
#[derive(Debug, Default)]
pub(super) struct Heals {
    named: Vec<String>,
    count: usize,
    due: Option<Timestamp>,
    told: Option<Timestamp>,
}

impl Heals {
    pub(super) fn add(&mut self, drift: &Drift, now: Timestamp) {
        self.count += 1;
        let named = format!("{}: {}", drift.id, drift.story());
        if self.named.len() < NAMED && !self.named.contains(&named) {
            self.named.push(named);
        }
        let gathered = now + GATHER;
        self.due.get_or_insert(self.told.map_or(gathered, |told| gathered.max(told + APART)));
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Returns what has been gathered, once that is due.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<String> {
        self.due.filter(|due| *due <= now)?;
        let Self { named, count, .. } = std::mem::take(self);
        self.told = Some(now);
        let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
        let more = if count > named.len() { "; and more" } else { "" };
        Some(format!("drift was healed {times}: {}{more}", named.join("; ")))
    }
}
