//! Yielding: fields of an object that others decide once it exists.
//!
//! The way to an apply that leaves fields out: an object that is not there is created as Git has it; then our entry is
//! made to let go of the fields; then the rest is applied, to that very object. Only leaving them out would have the
//! API server reset them, and what was read before could not be sent without taking back what was set since.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::effect::{Content, Effect, Urgency, WithFields};
use super::event::Answer;
use super::row::{Op, Row, RowIx, Task};
use super::state::Machine;
use crate::desired::BodyDigest;
use crate::desired::autoscaler::{self, Scaled};
use crate::desired::yields::Yields;
use crate::inventory::Uid;
use crate::object::ObjectId;

/// How far a row is on the way to an apply that leaves fields to others. On this way its entry is not judged: what
/// others take is theirs already.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum LetGo {
    /// Not on that way.
    #[default]
    None,
    /// It was created as Git has it, and our entry still has everything.
    Due,
    /// Our entry has let go, on the object with this uid. `created`: it was created on this way.
    Done { uid: Uid, created: bool },
}

/// The next request that brings an object to a body.
enum Way {
    Create,
    Release(Arc<Yields>),
    Apply(Content),
}

impl Row {
    /// Whether the recorded apply left to others what is left to them now.
    pub(super) fn yields_as_recorded(&self) -> bool {
        self.record.applied().is_none_or(|applied| applied.yields == self.yields)
    }

    /// Whether what others take may be theirs to take: only a request that looks who owns what can tell.
    pub(super) fn yields_to_managers(&self) -> bool {
        self.recorded_yields().is_some_and(|yields| !yields.managers.is_empty())
    }

    pub(super) fn recorded_yields(&self) -> Option<&Yields> {
        self.record.applied()?.yields.as_deref()
    }

    fn way_to(&self, body: BodyDigest, creates: bool) -> Way {
        if creates {
            return Way::Create;
        }
        let Some(yields) = &self.yields else { return Way::Apply(Content::whole(body)) };
        if let LetGo::Done { uid, .. } = &self.release {
            return Way::Apply(Content { body, yields: Some(yields.clone()), uid: Some(uid.clone()) });
        }
        if self.seen.is_none() && self.absent {
            return Way::Apply(Content::whole(body));
        }
        let Some(applied) = self.record.applied() else {
            return Way::Release(yields.clone());
        };
        let same_object = self.seen.as_ref().is_none_or(|seen| seen.uid == applied.uid);
        if same_object && applied.yields.as_ref() == Some(yields) && self.release == LetGo::None {
            return Way::Apply(Content {
                body,
                yields: Some(yields.clone()),
                uid: Some(applied.uid.clone()),
            });
        }
        Way::Release(yields.clone())
    }
}

impl Machine {
    /// Sends the next request that brings a row to `body`.
    pub(super) fn send_body(&mut self, ix: RowIx, body: BodyDigest, urgency: Urgency, out: &mut Vec<Effect>) {
        let row = &self.rows[ix.get()];
        let target = row.target();
        let heals = urgency == Urgency::Heal;
        let fields = if heals || row.drift.is_some() { WithFields::Yes } else { WithFields::No };
        match row.way_to(body, self.creates(ix)) {
            Way::Create => {
                self.row(ix).absent = false;
                let token = self.depart(ix, Op::Apply { body, heals });
                out.push(Effect::Create(token, target, body));
            }
            Way::Release(yields) => {
                let token = self.depart(ix, Op::Release);
                out.push(Effect::Release(token, target, body, yields));
            }
            Way::Apply(content) => {
                // Whatever becomes of it, the object may be there afterwards.
                self.row(ix).absent = false;
                let token = self.depart(ix, Op::Apply { body, heals });
                out.push(Effect::Apply(token, target, content, urgency, fields));
            }
        }
    }

    /// Takes the answer that our entry has let go.
    pub(super) fn released(&mut self, ix: RowIx, answer: Answer) {
        match answer {
            Answer::Released(Some(uid)) => {
                let row = self.row(ix);
                let created = row.release == LetGo::Due;
                row.release = LetGo::Done { uid, created };
                self.go_on_yielding(ix);
            }
            _ => _ = self.lookups.insert(ix),
        }
    }

    /// Starts the next request of a row that is on the way to yield.
    pub(super) fn go_on_yielding(&mut self, ix: RowIx) {
        match self.rows[ix.get()].task {
            Task::Writing { .. } => self.due.insert(ix),
            _ => self.heals.insert(ix),
        };
    }

    /// Begins the way anew after a request of it that was not answered as asked: the object may be another one, or gone.
    pub(super) fn yields_anew(&mut self, ix: RowIx) {
        let row = self.row(ix);
        if row.yields.is_none() {
            return;
        }
        if row.release != LetGo::Due {
            row.release = LetGo::None;
        }
        self.lookups.insert(ix);
    }

    /// Takes over which replicas live autoscalers decide.
    pub(super) fn autoscaled(&mut self, targets: Option<Arc<BTreeSet<ObjectId>>>) {
        if self.autoscaled == targets {
            return;
        }
        self.autoscaled = targets;
        let Some(desired) = self.desired.clone() else { return };
        let rendered = autoscaler::rendered(&desired);
        let scaled = Scaled { rendered: &rendered, live: self.autoscaled.as_deref() };
        self.replan |= desired.rows.iter().any(|wanted| {
            let row = self.index.get(&wanted.id).map(|ix| &self.rows[ix.get()]);
            row.is_some_and(|row| row.yields != scaled.yields_of(wanted, row.recorded_yields()))
        });
    }
}
