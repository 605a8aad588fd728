//! One object in two API groups: the API server serves some kinds so, and Git may change from one to the other.
//!
//! To the inventory these are two objects, one of which left Git. Only the uid tells that they are one; as long as it is
//! not known, nothing is deleted.

use std::sync::Arc;

use jiff::Timestamp;

use crate::inventory::Uid;
use crate::object::GroupKind;
use crate::plan::HeldReason;
use crate::sync::effect::{Effect, Notice};
use crate::sync::row::{Hold, Row, RowIx, Task};
use crate::sync::state::Machine;

/// What Git wants under the kind and name of an object that left it, in another API group.
pub(super) enum Twin {
    /// The object itself.
    Same,
    /// Nobody knows: it is not written yet.
    Unknown(Arc<GroupKind>),
}

impl Machine {
    /// Returns what Git wants in the place of an object that is about to be deleted, unless that is another object.
    pub(super) fn twin(&self, ix: RowIx, uid: &Uid) -> Option<Twin> {
        let id = &self.rows[ix.get()].id;
        let mut twins = Vec::new();
        for row in self.rows.iter().filter(|row| row.wanted.is_some() && row.id.is_twin_of(id)) {
            match known_uid(row) {
                Some(known) if known == uid => return Some(Twin::Same),
                Some(_) => {}
                // Something stands here, so what is not there is another object.
                None if row.absent => {}
                None => twins.push(row.id.kind().clone()),
            }
        }
        twins.pop().map(Twin::Unknown)
    }

    /// Leaves an object alone that Git wants in another API group.
    pub(super) fn spare(&mut self, ix: RowIx, twin: Twin, now: Timestamp, out: &mut Vec<Effect>) {
        match twin {
            // The record of the other one names the object.
            Twin::Same => self.forget(ix, now),
            Twin::Unknown(kind) => {
                let reason = HeldReason::AnotherGroup { kind };
                let row = self.row(ix);
                (row.task, row.held) = (Task::None, Some(Hold::Plan(Box::new(reason.clone()))));
                let id = row.id.clone();
                if let Some(run) = &mut self.run {
                    run.going.remove(&ix);
                }
                out.push(Effect::Notice(Notice::Held { id, reason }));
                self.progressed(now);
                self.changed(now);
            }
        }
    }
}

fn known_uid(row: &Row) -> Option<&Uid> {
    let seen = row.seen.as_ref().map(|seen| &seen.uid);
    seen.or_else(|| row.record.applied().map(|applied| &applied.uid))
}
