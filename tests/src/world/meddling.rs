//! What other people and programs do to objects.

use skiff_shared::health::Health;
use skiff_shared::managed_fields::{Fields, ForeignOwner};
use skiff_shared::object::ObjectId;

use super::{Live, OWNED_REPLICAS, Scaler, World, has_health};
use crate::random::mix;

/// The managers that meddle.
pub(super) const MANAGERS: [&str; 2] = ["kubectl-edit", "autoscaler"];

/// One thing that somebody else does to an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meddling {
    /// Sets a field of ours to another value.
    TakeField,
    /// Removes a field of ours.
    DropField,
    /// Applies other values under our name, in a later second.
    ApplyAsUs,
    /// Applies other values under our name in the very second of our apply: no entry shows it.
    SameSecond,
    /// Scales it, as an autoscaler does.
    Scale,
    /// Adds a field that is not ours.
    Annotate,
    /// Takes our label away.
    Unlabel,
    Delete,
    /// Deletes it and creates another one under its name, without our label.
    Replace,
    /// Deletes it while a finalizer of theirs holds it for some steps.
    DeleteSlowly,
    /// Makes it belong to another object.
    Own,
}

impl Meddling {
    pub const ALL: [Self; 11] = [
        Self::TakeField,
        Self::DropField,
        Self::ApplyAsUs,
        Self::SameSecond,
        Self::Scale,
        Self::Annotate,
        Self::Unlabel,
        Self::Delete,
        Self::Replace,
        Self::DeleteSlowly,
        Self::Own,
    ];
}

impl World {
    /// Does one thing to an object that exists; nothing where it does not.
    pub fn meddle(&mut self, id: &ObjectId, what: Meddling) {
        let Some(live) = self.objects.get(id) else { return };
        self.meddled.insert(id.clone());
        let second = self.now.as_second();
        match what {
            // What is left to others is theirs to change.
            Meddling::Scale if live.scaled_by != Scaler::Us => {
                return self.touch(id, |live, _| edit(live, what, second));
            }
            Meddling::SameSecond if live.fields.ours.is_none_or(|ours| ours.time != second) => {}
            Meddling::Delete => self.doom(id),
            Meddling::DeleteSlowly => {
                self.touch(id, |live, _| live.finalizer = live.finalizer.max(3));
                self.doom(id);
            }
            Meddling::Replace => {
                self.remove(id);
                self.plant(id, None);
            }
            Meddling::TakeField
            | Meddling::DropField
            | Meddling::ApplyAsUs
            | Meddling::SameSecond
            | Meddling::Scale
            | Meddling::Annotate
            | Meddling::Unlabel
            | Meddling::Own => self.touch(id, |live, _| edit(live, what, second)),
        }
        self.disturbed.insert(id.clone(), self.rv);
    }

    /// Creates an object that is not ours, as if by hand or by another tool.
    pub fn plant(&mut self, id: &ObjectId, foreign: Option<ForeignOwner>) {
        let (uid, rv) = (self.next_uid(), self.next_rv());
        let live = Live {
            uid,
            rv,
            generation: 1,
            content: mix(rv),
            fixed: 0,
            replicas: 0,
            scaled_by: Scaler::Nobody,
            fields: Fields { ours: None, others: mix(rv ^ 1), status: 0 },
            health: Health::Healthy,
            ready_in: None,
            fails: false,
            finalizer: 0,
            deleting: false,
            labelled: false,
            app: None,
            has_owner: false,
            hold_until: None,
            tool: None,
            foreign,
            provides: None,
            silent: false,
            meddler: None,
            written: false,
        };
        self.create(id, live);
        self.disturbed.insert(id.clone(), rv);
    }
}

fn edit(live: &mut Live, what: Meddling, second: i64) {
    match what {
        Meddling::TakeField => {
            change(live);
            lose(live, 1);
            live.meddler = Some(MANAGERS[0]);
            live.fields.others = mix(live.fields.others ^ 2);
        }
        Meddling::DropField => {
            change(live);
            lose(live, 2);
        }
        Meddling::ApplyAsUs => {
            change(live);
            if let Some(ours) = &mut live.fields.ours {
                // In the second of our own apply this is the silent case.
                live.silent |= ours.time >= second;
                ours.time = ours.time.max(second);
            }
        }
        Meddling::SameSecond => {
            change(live);
            live.silent = true;
        }
        Meddling::Scale => {
            live.replicas = mix(live.replicas ^ 8) | 1;
            live.generation += 1;
            live.scaled_by = Scaler::Autoscaler;
            live.meddler = Some(MANAGERS[1]);
            live.fields.others = mix(live.fields.others ^ 7);
            if let Some(ours) = &mut live.fields.ours {
                ours.digest &= !OWNED_REPLICAS;
            }
        }
        Meddling::Annotate => live.fields.others = mix(live.fields.others ^ 3),
        Meddling::Unlabel => {
            lose(live, 4);
            live.labelled = false;
            live.fields.others = mix(live.fields.others ^ 4);
        }
        Meddling::Own => {
            live.has_owner = true;
            live.fields.others = mix(live.fields.others ^ 6);
        }
        Meddling::Delete | Meddling::Replace | Meddling::DeleteSlowly => {}
    }
}

/// Other values stand where ours stood.
fn change(live: &mut Live) {
    live.content = mix(live.content ^ 0xbad);
    live.generation += 1;
}

/// A path goes from our set; once gone, it cannot go again.
fn lose(live: &mut Live, path: u128) {
    if let Some(ours) = &mut live.fields.ours {
        ours.digest |= path << 64;
    }
}

impl World {
    /// An object becomes ill by itself, and well again some steps later.
    pub fn sicken(&mut self, id: &ObjectId) {
        if has_health(id) {
            self.touch(id, |live, _| {
                live.health = Health::Degraded;
                live.ready_in = Some(2);
                live.fields.status = mix(live.fields.status ^ 9);
            });
        }
    }
}
