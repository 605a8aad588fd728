//! Yielding: fields of an object that others decide once it exists.
//!
//! The way to an apply that leaves fields out: an object that is not there is created as Git has it; then our entry is
//! made to let go of the fields; then the rest is applied, to that very object. Only leaving them out would have the
//! API server reset them, and what was read before could not be sent without taking back what was set since.

use std::sync::Arc;

use super::effect::{Content, Effect, Urgency, WithFields};
use super::event::Answer;
use super::row::{Op, Row, RowIx, Task};
use super::state::Machine;
use crate::desired::BodyDigest;
use crate::desired::autoscaler::{self, Autoscaled, Scaled};
use crate::desired::yields::{Field, Yields};
use crate::inventory::Uid;

/// How far a row is on the way to an apply that leaves fields to others. On this way its entry is not judged: what
/// others take is theirs already. A way that was begun is gone to its end, whatever becomes of the sync.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum LetGo {
    /// Not on that way.
    #[default]
    None,
    /// Our entry still has everything. `created`: it was created on this way, as Git has it.
    Due { yields: Arc<Yields>, created: bool },
    /// Our entry has let go, on the object with this uid.
    Done { yields: Arc<Yields>, created: bool, uid: Uid },
}

impl LetGo {
    /// What is let go of.
    fn yields(&self) -> Option<&Arc<Yields>> {
        match self {
            Self::None => None,
            Self::Due { yields, .. } | Self::Done { yields, .. } => Some(yields),
        }
    }

    /// Whether the object was created on this way, and not told of since.
    pub(super) fn has_created(&self) -> bool {
        matches!(self, Self::Due { created: true, .. } | Self::Done { created: true, .. })
    }
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
        self.record.applied().is_none_or(|applied| applied.leaves(self.yields.as_ref()))
    }

    /// Whether the object that was applied is without what is left to others now.
    pub(super) fn leaves_already(&self) -> bool {
        self.record.applied().is_some_and(|applied| applied.leaves(self.yields.as_ref()))
    }

    /// Whether what others take may be theirs to take: only a request that looks who owns what can tell.
    pub(super) fn yields_to_managers(&self) -> bool {
        self.recorded_yields().is_some_and(|yields| !yields.managers.is_empty())
    }

    pub(super) fn recorded_yields(&self) -> Option<&Yields> {
        self.record.applied()?.yields.as_deref()
    }

    /// Whether a write of it was begun that must not stay half done: fields are being let go of, or what stood in its
    /// place was deleted for it.
    pub fn has_begun(&self) -> bool {
        let makes_room = self.recreation.is_some() && (self.absent || self.is_deleting());
        self.letting_go != LetGo::None || makes_room
    }

    fn way_to(&self, body: BodyDigest, yields: Option<&Arc<Yields>>, creates: bool) -> Way {
        if creates {
            return Way::Create;
        }
        let Some(yields) = yields else { return Way::Apply(Content::whole(body)) };
        if let LetGo::Done { yields: gone, uid, .. } = &self.letting_go
            && gone == yields
        {
            return Way::Apply(Content::left(body, yields, uid));
        }
        if self.seen.is_none() && self.absent {
            return Way::Apply(Content::whole(body));
        }
        let Some(applied) = self.record.applied() else {
            return Way::Release(yields.clone());
        };
        let same_object = self.seen.as_ref().is_none_or(|seen| seen.uid == applied.uid);
        // A position means another item in another body.
        let same_fields = applied.body == body || !yields.has_positions();
        // Another entry may be that of an apply of ours whose answer was lost, and which left nothing to others.
        let as_recorded = self.seen.as_ref().is_none_or(|seen| seen.fields.ours == applied.fields.ours);
        let is_free = applied.leaves(Some(yields)) && self.letting_go == LetGo::None && as_recorded;
        if same_object && same_fields && is_free {
            return Way::Apply(Content::left(body, yields, &applied.uid));
        }
        Way::Release(yields.clone())
    }
}

impl Machine {
    /// Returns what a request for a row leaves to others: a sync what is wanted now; a heal what the last apply left, as
    /// nobody may have said yes to anything else, and replicas that a live autoscaler decides.
    pub(super) fn left_by(&self, ix: RowIx, heals: bool) -> Option<Arc<Yields>> {
        let row = &self.rows[ix.get()];
        if !heals || row.is_finished_as_wanted() {
            return row.yields.clone();
        }
        if let Some(begun) = row.letting_go.yields() {
            return Some(begun.clone());
        }
        let recorded = row.record.applied().and_then(|applied| applied.yields.clone());
        if !self.autoscaled.as_ref().is_some_and(|known| known.targets.contains(&row.id)) {
            return recorded;
        }
        let mut all = recorded.as_deref().cloned().unwrap_or_default();
        all.fields.insert(Field::replicas());
        all.shared()
    }

    /// Sends the next request that brings a row to `body`.
    pub(super) fn send_body(&mut self, ix: RowIx, body: BodyDigest, urgency: Urgency, out: &mut Vec<Effect>) {
        let row = &self.rows[ix.get()];
        let target = row.target();
        let heals = urgency == Urgency::Heal;
        let fields = if heals || row.drift.is_some() { WithFields::Yes } else { WithFields::No };
        let yields = self.left_by(ix, heals);
        match row.way_to(body, yields.as_ref(), self.creates(ix)) {
            Way::Create => {
                self.row(ix).absent = false;
                let token = self.depart(ix, Op::Apply { body, heals });
                out.push(Effect::Create(token, target, body));
            }
            Way::Release(yields) => {
                let created = row.letting_go.has_created();
                self.row(ix).letting_go = LetGo::Due { yields: yields.clone(), created };
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
        let row = self.row(ix);
        match (answer, std::mem::take(&mut row.letting_go)) {
            (Answer::Released(Some(uid)), LetGo::Due { yields, created }) => {
                row.letting_go = LetGo::Done { yields, created, uid };
                self.go_on_yielding(ix);
            }
            (_, before) => {
                row.letting_go = before;
                self.lookups.insert(ix);
            }
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
        let yields = row.letting_go != LetGo::None || row.yields.is_some() || row.recorded_yields().is_some();
        if !yields {
            return;
        }
        if !matches!(row.letting_go, LetGo::Due { created: true, .. }) {
            row.letting_go = LetGo::None;
        }
        self.lookups.insert(ix);
    }

    /// Takes over which replicas live autoscalers decide.
    pub(super) fn autoscaled(&mut self, known: Option<Arc<Autoscaled>>) {
        if self.autoscaled == known {
            return;
        }
        self.autoscaled = known;
        let Some(desired) = self.desired.clone() else { return };
        let rendered = autoscaler::rendered(&desired);
        let scaled = Scaled { rendered: &rendered, live: self.autoscaled.as_deref() };
        self.replan |= desired.rows.iter().any(|wanted| {
            let row = self.index.get(&wanted.id).map(|ix| &self.rows[ix.get()]);
            row.is_some_and(|row| row.yields != scaled.yields_of(wanted, &row.record))
        });
    }
}
