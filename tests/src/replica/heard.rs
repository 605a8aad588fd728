//! What a process was told so far, as the rules will ask for it.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use skiff_shared::desired::BodyDigest;
use skiff_shared::health::Health;
use skiff_shared::inventory::Uid;
use skiff_shared::managed_fields::ForeignOwner;
use skiff_shared::object::{Digest, ObjectId};
use skiff_shared::sync::effect::{DryRunIn, Effect, Urgency};
use skiff_shared::sync::event::{Answer, Failure, Observation, Seen};

/// An open request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flying {
    pub id: ObjectId,
    /// Where a dry run is sent; `None` for other requests.
    pub place: Option<DryRunIn>,
    pub writes: bool,
    /// The body that an apply of the sync carries, or that an adoption prepares; `None` for other requests.
    pub syncs: Option<BodyDigest>,
    /// What was wanted of the object when it was sent.
    pub wanted: Option<BodyDigest>,
}

/// What the server last told of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    pub rv: u64,
    pub deleting: bool,
}

/// What the last GET told of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Looked {
    pub uid: Uid,
    pub may_go: bool,
}

/// Whose an object is that the app does not have yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    Absent,
    Ours,
    Theirs(Option<ForeignOwner>),
}

/// What an approved plan may do: bodies to write, `None` for objects to delete.
pub type Content = BTreeSet<(ObjectId, Option<BodyDigest>)>;

#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub told: HashMap<ObjectId, Told>,
    pub looked: HashMap<ObjectId, Looked>,
    /// The newest version in which an object was told to be healthy.
    pub healthy: HashMap<ObjectId, u64>,
    /// The version that the last write of a sync was answered with.
    pub written: HashMap<ObjectId, u64>,
    /// Bodies whose write has been answered, whatever the answer.
    pub tried: HashSet<(ObjectId, BodyDigest)>,
    /// Objects that were told to be on their way to their end: they are written when that is over, whatever
    /// is written meanwhile.
    pub dying: HashSet<ObjectId>,
    /// When writes of a sync failed.
    pub failures: HashMap<ObjectId, Vec<Timestamp>>,
    pub standing: HashMap<ObjectId, Standing>,
    /// The version of the world in which the change of an object was last refused.
    pub refused: HashMap<ObjectId, u64>,
    /// The plans that were shown to be approved.
    pub plans: HashMap<Digest, Content>,
    /// The plan that a person approved.
    pub approved: Option<Digest>,
    /// The plans that good tags in Git have ever approved: what began goes on without them.
    pub tagged: BTreeSet<Digest>,
}

impl Flying {
    pub fn of(effect: &Effect, id: &ObjectId, wanted: Option<BodyDigest>) -> Self {
        let (place, syncs) = match effect {
            Effect::DryRun(_, _, _, place, _) => (Some(*place), None),
            Effect::Apply(_, _, content, Urgency::Apply, _) => (None, Some(content.body)),
            Effect::Create(_, _, body) => (None, Some(*body)),
            // What is wanted is deleted to be created anew.
            Effect::Adopt(..) | Effect::Delete(..) => (None, wanted),
            _ => (None, None),
        };
        Self { id: id.clone(), place, writes: crate::rules::is_write(effect), syncs, wanted }
    }
}

impl Heard {
    pub fn answer(&mut self, flying: Flying, result: &Result<Answer, Failure>, now: Timestamp) {
        let Flying { id, place, syncs, .. } = flying;
        if let Some(body) = syncs.filter(|_| !matches!(result, Ok(Answer::Adopted))) {
            self.tried.insert((id.clone(), body));
            if result.is_err() {
                self.failures.entry(id.clone()).or_default().push(now);
            }
        }
        match result {
            Ok(Answer::Applied(answer)) => {
                self.standing.insert(id.clone(), Standing::Ours);
                self.seen(&id, &answer.seen);
                if syncs.is_some() {
                    self.written.insert(id, answer.applied.rv);
                }
            }
            Ok(Answer::Got(observation)) => self.got(id, observation),
            // What a dry run would create is not there, so it is not dying either.
            Ok(Answer::DryRun { exists: false, .. }) if place == Some(DryRunIn::Place) => {
                self.told.remove(&id);
                self.standing.insert(id, Standing::Absent);
            }
            Ok(Answer::DryRun { .. }) => {
                self.standing.remove(&id);
            }
            // Without its namespace or its kind there is no object.
            Err(Failure::NotFound(_)) => {
                self.standing.insert(id, Standing::Absent);
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn got(&mut self, id: ObjectId, observation: &Observation) {
        self.observation(&id, observation);
        self.looked.remove(&id);
        let Observation::Present(seen) = observation else {
            self.standing.insert(id, Standing::Absent);
            return;
        };
        let ours = seen.is_ours && !matches!(seen.foreign, Some(ForeignOwner::Skiff { .. }));
        let standing = if ours { Standing::Ours } else { Standing::Theirs(seen.foreign.clone()) };
        self.standing.insert(id.clone(), standing);
        let may_go = seen.is_ours && !seen.has_owner && !seen.deleting;
        self.looked.insert(id, Looked { uid: seen.uid.clone(), may_go });
    }

    pub fn observation(&mut self, id: &ObjectId, observation: &Observation) {
        match observation {
            Observation::Present(seen) => self.seen(id, seen),
            Observation::Absent(point) => self.tell(id, Told { rv: point.rv, deleting: false }),
        }
    }

    fn seen(&mut self, id: &ObjectId, seen: &Seen) {
        if matches!(seen.health.health, Health::Healthy | Health::Suspended) {
            let newest = self.healthy.entry(id.clone()).or_default();
            *newest = seen.at.rv.max(*newest);
        }
        if seen.deleting {
            self.dying.insert(id.clone());
        }
        self.tell(id, Told { rv: seen.at.rv, deleting: seen.deleting });
    }

    fn tell(&mut self, id: &ObjectId, told: Told) {
        if self.told.get(id).is_none_or(|before| before.rv <= told.rv) {
            self.told.insert(id.clone(), told);
        }
    }
}
