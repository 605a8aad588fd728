//! Removal: an app that a person deletes, or that left the app list, loses its objects, and then is no more.
//!
//! What is wanted of such an app is what runs at its deletion, and nothing else: PreDelete hooks, then the prunes in
//! mirrored order, then PostDelete hooks. So it is a plan like any other, with its guards, its gate and its inventory, and
//! an agent that dies in between goes on where it was. What was stored of the app goes when nothing is on record any
//! more, and its `App` last of all: a word in it holds until then.

use std::sync::Arc;

use jiff::Timestamp;

use super::effect::Effect;
use super::event::{Answer, Failure};
use super::row::Row;
use super::state::{Machine, Open, Phase};
use crate::desired::{Desired, DesiredRow, Listing, Propagation, render_digest};
use crate::inventory::Record;
use crate::plan::{HeldReason, Removal};

impl Machine {
    /// Why all of the app is to go, if it is.
    pub(super) fn removal(&self) -> Option<Removal> {
        if let Some(deletion) = self.ask.delete {
            let orphans = deletion.cascade == Propagation::Orphan;
            // Where Git has the app, its objects would be taken over again at once.
            return (!orphans || self.is_unlisted())
                .then_some(Removal::Asked { sensitive_kinds: deletion.sensitive_kinds });
        }
        // An app that is listed again and cannot be rendered is not to go.
        let desired = self.desired.as_ref().filter(|_| self.unrendered.is_none())?;
        match desired.listing {
            Listing::Listed => None,
            Listing::Unlisted => Some(Removal::Unlisted),
            Listing::LastUnlisted => Some(Removal::LastUnlisted),
        }
    }

    /// Whether the newest app list has the app no more.
    pub(super) fn is_unlisted(&self) -> bool {
        self.course.git().is_some_and(|git| git.listing != Listing::Listed)
    }

    /// Whether the app is about to be gone: nothing of it is held, and no hook of its deletion has failed.
    pub(super) fn is_going(&self) -> bool {
        let holds = |row: &Row| row.held_reason().is_some_and(HeldReason::out_of_sync);
        self.removal().is_some() && !self.orphans() && self.failed.is_none() && !self.rows.iter().any(holds)
    }

    /// Whether the objects stay, and are only forgotten.
    pub(super) fn orphans(&self) -> bool {
        self.ask.delete.is_some_and(|deletion| deletion.cascade == Propagation::Orphan)
    }

    /// Returns what is wanted of an app that goes: the hooks of its deletion, of Git's set or, where Git has the app no
    /// more, those on record. Everything of an app that stays.
    pub fn farewell(&self, desired: &Arc<Desired>) -> Arc<Desired> {
        if self.removal().is_none() {
            return desired.clone();
        }
        let rows = if self.orphans() {
            Vec::new()
        } else if desired.listing == Listing::Listed {
            desired.rows.iter().filter_map(at_deletion).collect()
        } else {
            let mut rows: Vec<DesiredRow> = self.rows.iter().filter_map(on_record).collect();
            rows.sort_by(|a, b| a.id.cmp(&b.id));
            rows
        };
        Arc::new(Desired { render: render_digest(&rows), rows, ..Desired::clone(desired) })
    }

    /// Leaves the objects as they are.
    pub(super) fn let_go(&mut self, now: Timestamp) {
        (self.run, self.blocked, self.failed) = (None, None, None);
        self.phase = Phase::Idle;
        self.changed(now);
    }

    /// Removes what is stored of the app when nothing of it is left in the cluster.
    pub(super) fn advance_removal(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let waits = self.dissolving_at.is_some_and(|at| at > now);
        if self.ended || waits || !self.is_to_be_dissolved() || !self.may_write(now) {
            return;
        }
        let token = self.token(Open::Dissolve);
        out.push(Effect::Dissolve(token));
    }

    fn is_to_be_dissolved(&self) -> bool {
        let rests = self.phase == Phase::Idle && self.open.is_empty() && self.next.is_none() && !self.replan;
        let is_left = |row: &Row| {
            let kept = matches!(row.held_reason(), Some(HeldReason::Keep));
            row.record != Record::None && !kept && !self.orphans()
        };
        rests
            && self.removal().is_some()
            && self.is_unlisted()
            && self.failed.is_none()
            && self.blocked.is_none()
            && !self.rows.iter().any(is_left)
    }

    /// Takes the answer: the app is no more, or it is tried again.
    pub(super) fn dissolved(
        &mut self,
        result: &Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(_) => self.end(),
            Err(Failure::Fenced) => self.fenced(now, out),
            Err(_) => self.dissolving_at = Some(now + self.limits.publish_every * 5),
        }
    }

    /// Forgets the app: should it be listed again, it is a new one.
    fn end(&mut self) {
        let git = self.course.git().cloned();
        let fresh = Self::new(self.policy.clone(), self.apis.clone(), self.limits);
        let before = std::mem::replace(self, fresh);
        self.phase = Phase::Idle;
        self.ended = true;
        (self.tokens, self.lease, self.draining) = (before.tokens, before.lease, before.draining);
        (self.watches, self.blind, self.autoscaled) = (before.watches, before.blind, before.autoscaled);
        (self.claims, self.standings) = (before.claims, before.standings);
        (self.source_problem, self.config_problem) = (before.source_problem, before.config_problem);
        (self.revision, self.desired) = (before.revision, before.desired);
        self.course.know(git);
    }

    /// Whether nothing of the app is left, neither in the cluster nor stored.
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

/// Returns the row as it is wanted when the app is deleted, if it runs then.
fn at_deletion(row: &DesiredRow) -> Option<DesiredRow> {
    let hook = row.hook.as_ref()?.at_deletion()?;
    Some(DesiredRow { hook: Some(Arc::new(hook)), ..row.clone() })
}

/// The same for a row on record.
fn on_record(row: &Row) -> Option<DesiredRow> {
    let parting = row.parting?;
    Some(DesiredRow {
        id: row.id.clone(),
        version: row.version.clone(),
        body: parting.body,
        bytes: 0,
        wave: row.wave,
        options: row.options,
        yields: None,
        provides: None,
        scales: None,
        declares_replicas: false,
        hook: Some(Arc::new(parting.hook())),
        origin: "the inventory".into(),
    })
}
