//! The rows are brought in line with the wanted set.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::desired::Desired;
use crate::desired::autoscaler::{self, Scaled};
use crate::hook::Parting;
use crate::inventory::Record;
use crate::object::ObjectId;
use crate::sync::row::{Hold, Row, RowIx, Task};
use crate::sync::state::Machine;

impl Machine {
    /// Brings the rows in line with the wanted set; returns why rows were held before. Rows that are
    /// neither wanted nor recorded go.
    pub(super) fn show(
        &mut self,
        desired: &Desired,
        renewed: bool,
        now: Timestamp,
    ) -> HashMap<ObjectId, Hold> {
        let mut held = HashMap::new();
        let mut partings = HashMap::new();
        for row in &mut self.rows {
            row.wanted = None;
            row.hook = None;
            let parting = row.parting.take();
            row.task = Task::None;
            if let Some(hold) = row.held.take() {
                held.insert(row.id.clone(), hold);
            }
            if renewed {
                row.trouble = None;
            }
            partings.extend(parting.map(|parting| (row.id.clone(), parting)));
        }
        let (rendered, live) = (autoscaler::rendered(desired), self.autoscaled.clone());
        let scaled = Scaled { rendered: &rendered, live: live.as_deref() };
        let is_pinned = self.course.is_pinned();
        for wanted in &desired.rows {
            let ix = self.index.get(&wanted.id).copied().unwrap_or_else(|| {
                let ix = RowIx::of(self.rows.len());
                self.index.insert(wanted.id.clone(), ix);
                self.rows.push(Row::new(wanted.id.clone(), wanted.version.clone()));
                ix
            });
            let row = self.row(ix);
            row.wanted = Some(wanted.body);
            row.wave = wanted.wave;
            let recorded = row.record != Record::None;
            if recorded && (&row.version, row.options) != (&wanted.version, wanted.options) {
                // What Git says of its pruning holds also if it is never written so.
                self.mark_dirty(ix, now);
            }
            let row = self.row(ix);
            let mut yields = scaled.yields_of(wanted, &row.record);
            if let Some(recorded) = row.recorded_yields().filter(|_| is_pinned && wanted.hook.is_none()) {
                // A stored release does not say what its app left to others.
                let mut all = yields.as_deref().cloned().unwrap_or_default();
                all.extend(recorded);
                yields = all.shared();
            }
            row.version = wanted.version.clone();
            row.options = wanted.options;
            row.hook.clone_from(&wanted.hook);
            row.parting = Parting::of(wanted.body, wanted.hook.as_deref());
            if wanted.hook.is_some() {
                row.drift = None;
            }
            row.yields = yields;
            let stands = row.seen.as_ref().is_some_and(|seen| !seen.deleting);
            if stands && row.recreation.take_if(|begun| begun.body != wanted.body).is_some() {
                self.mark_dirty(ix, now);
            }
            if wanted.hook.is_none() && self.row(ix).hook_run.take().is_some() {
                self.mark_dirty(ix, now);
            }
        }
        self.note_partings(&partings, now);
        self.compact(now);
        held
    }

    /// Has those rows stored whose part in the app's deletion is another than before.
    fn note_partings(&mut self, before: &HashMap<ObjectId, Parting>, now: Timestamp) {
        if before.is_empty() && self.rows.iter().all(|row| row.parting.is_none()) {
            return;
        }
        for at in 0..self.rows.len() {
            let row = &self.rows[at];
            if row.parting.as_ref() != before.get(&row.id) {
                self.mark_dirty(RowIx::of(at), now);
            }
        }
    }

    /// Drops rows that nothing speaks of any more and renames the others wherever they are named.
    fn compact(&mut self, now: Timestamp) {
        let speaks = Row::is_known;
        for at in 0..self.rows.len() {
            if !speaks(&self.rows[at]) && self.rows[at].is_stored() {
                self.mark_dirty(RowIx::of(at), now);
            }
        }
        let mut next = 0;
        let mut renamed = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            renamed.push(speaks(row).then(|| RowIx::of(next)));
            next += usize::from(speaks(row));
        }
        if next < self.rows.len() {
            self.rows.retain(speaks);
            self.index =
                self.rows.iter().enumerate().map(|(at, row)| (row.id.clone(), RowIx::of(at))).collect();
            let timers = std::mem::take(&mut self.timers).into_iter();
            self.timers =
                timers.filter_map(|(at, ix, timer)| Some((at, renamed[ix.get()]?, timer))).collect();
            let lookups = std::mem::take(&mut self.lookups).into_iter();
            self.lookups = lookups.filter_map(|ix| renamed[ix.get()]).collect();
        }
        self.find_hooks();
        self.unfinished.clear();
        self.heals.clear();
        self.due.clear();
        self.inspect.clear();
        for at in 0..self.rows.len() {
            self.doubt(RowIx::of(at));
        }
    }

    /// Forgets what another app has now: its record names the object, so ours need not.
    pub(super) fn give_up(&mut self, now: Timestamp) {
        let had = self.claims.conflicts.keys().filter_map(|id| self.index.get(id).copied());
        for ix in had.collect::<Vec<_>>() {
            if self.rows[ix.get()].record != Record::None {
                self.forget(ix, now);
            }
        }
    }
}
