//! One agent process as far as one app is concerned: a machine, its watches and its open requests.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use skiff_shared::desired::{BodyDigest, Desired};
use skiff_shared::inventory::Uid;
use skiff_shared::object::{ApiSet, GroupKind, ObjectId};
use skiff_shared::policy::Policy;
use skiff_shared::report::{Report, RunRecord};
use skiff_shared::sync::effect::{DryRunIn, Effect, Notice, ShardSlot};
use skiff_shared::sync::event::{Answer, Event, Failure, LeaseTerm, Observation, Point, Seen, Token};
use skiff_shared::sync::{Limits, Machine};

use crate::world::{Change, World};

/// How long a Lease lasts after each renewal.
pub const LEASE: SignedDuration = SignedDuration::from_secs(15);

/// One watch: a list first, then what happens.
#[derive(Clone, Debug)]
pub struct Stream {
    pub generation: u32,
    /// Not listed yet: the kind may not be served.
    pub pending: bool,
    pub queue: VecDeque<Shown>,
    /// Delivered before, to be delivered again by chance.
    pub last: Option<(ObjectId, Observation)>,
}

/// What a stream delivers.
#[derive(Clone, Debug)]
pub enum Shown {
    Object(ObjectId, Observation),
    ListEnds,
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

/// An open request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flying {
    pub id: ObjectId,
    /// Where a dry run is sent; `None` for other requests.
    pub place: Option<DryRunIn>,
    pub writes: bool,
    /// What was wanted of the object when it was sent.
    pub wanted: Option<BodyDigest>,
}

/// Requests and other effects, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub dry_runs: u32,
    pub gets: u32,
    pub applies: u32,
    pub heals: u32,
    pub adopts: u32,
    pub deletes: u32,
    pub keeps: u32,
    pub saves: u32,
    pub publishes: u32,
    pub forgets: u32,
}

impl Counts {
    pub fn writes(&self) -> u32 {
        self.applies + self.heals + self.adopts + self.deletes
    }
}

/// A machine and everything between it and the server.
#[derive(Clone, Debug)]
pub struct Replica {
    pub app: Arc<str>,
    pub machine: Machine,
    pub policy: Policy,
    /// Until when it holds the Lease, as it believes.
    pub until: Option<Timestamp>,
    /// The same as the machine was last told; a lost Lease reaches it later.
    pub told_until: Option<Timestamp>,
    /// Events that come from outside the cluster, in order; each group in one batch.
    pub words: VecDeque<Vec<Event>>,
    pub streams: BTreeMap<Arc<GroupKind>, Stream>,
    /// Effects that the server has not seen yet.
    pub sent: Vec<Effect>,
    /// Answers on their way.
    pub answers: Vec<Event>,
    /// Objects with an open request, by token.
    pub flights: HashMap<Token, Flying>,
    /// The shard revisions that this process knows.
    pub revisions: BTreeMap<ShardSlot, u64>,
    pub told: HashMap<ObjectId, Told>,
    pub looked: HashMap<ObjectId, Looked>,
    /// The newest set that was delivered.
    pub desired: Option<Arc<Desired>>,
    pub paused: bool,
    /// A word of people's came after the recorded state was asked for.
    pub asked_since_load: bool,
    pub draining: bool,
    pub wake: Option<Timestamp>,
    pub counts: Counts,
    pub notices: Vec<Notice>,
    pub records: Vec<RunRecord>,
    pub published: Option<Report>,
}

impl Replica {
    /// Returns a process that has just started.
    pub fn start(app: &str, policy: Policy, apis: ApiSet, limits: Limits) -> Self {
        Self {
            app: app.into(),
            machine: Machine::new(policy.clone(), Arc::new(apis), limits),
            policy,
            until: None,
            told_until: None,
            words: VecDeque::new(),
            streams: BTreeMap::new(),
            sent: Vec::new(),
            answers: Vec::new(),
            flights: HashMap::new(),
            revisions: BTreeMap::new(),
            told: HashMap::new(),
            looked: HashMap::new(),
            desired: None,
            paused: false,
            asked_since_load: false,
            draining: false,
            wake: None,
            counts: Counts::default(),
            notices: Vec::new(),
            records: Vec::new(),
            published: None,
        }
    }

    pub fn lease(&mut self, now: Timestamp) -> Event {
        self.until = Some(now + LEASE);
        Event::Lease(LeaseTerm::Held { until: now + LEASE })
    }

    pub fn lose_lease(&mut self) -> Event {
        self.until = None;
        let gone = |event: &Event| matches!(event, Event::Lease(LeaseTerm::Held { .. }));
        for words in &mut self.words {
            words.retain(|event| !gone(event));
        }
        Event::Lease(LeaseTerm::Lost)
    }

    /// Starts a watch, or notes that one is wanted.
    pub fn watch(&mut self, kind: &Arc<GroupKind>) {
        let fresh = || Stream { generation: 0, pending: true, queue: VecDeque::new(), last: None };
        self.streams.entry(kind.clone()).or_insert_with(fresh);
    }

    /// Lists the kinds whose watch has not begun or broke off, where they are served.
    pub fn list(&mut self, world: &World) {
        for (kind, stream) in &mut self.streams {
            if stream.pending && world.apis.kinds.contains_key(&**kind) {
                stream.pending = false;
                stream.generation += 1;
                stream.last = None;
                stream.queue.clear();
                let objects = world.objects.iter().filter(|(id, live)| id.kind() == kind && live.labelled);
                stream.queue.extend(objects.map(|(id, live)| {
                    let seen = world.seen(live, stream.generation);
                    Shown::Object(id.clone(), Observation::Present(Box::new(seen)))
                }));
                stream.queue.push_back(Shown::ListEnds);
            }
        }
    }

    /// Tells the watches of a change.
    pub fn hear(&mut self, change: &Change, world: &World) {
        let Some(stream) = self.streams.get_mut(change.id.kind()) else { return };
        if stream.pending {
            return;
        }
        let watch = stream.generation;
        let observation = match &change.ours {
            Some(live) => Observation::Present(Box::new(world.seen(live, watch))),
            None => Observation::Absent(Point { watch, rv: change.rv }),
        };
        stream.queue.push_back(Shown::Object(change.id.clone(), observation));
    }

    /// Notes what an event tells, as the rules will ask for it.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Observed(id, observation) => self.note_observation(id, observation),
            Event::Desired(desired) => self.desired = Some(desired.clone()),
            Event::Asked(ask) => {
                self.asked_since_load = true;
                self.paused = ask.paused.is_some();
            }
            // What was read may be older than a word that came meanwhile.
            Event::Loaded(loaded) if !self.asked_since_load => {
                self.paused = loaded.ask.paused.is_some();
            }
            Event::Policy(policy) => self.policy = policy.clone(),
            Event::Drain => self.draining = true,
            Event::Lease(LeaseTerm::Held { until }) => self.told_until = Some(*until),
            Event::Lease(LeaseTerm::Lost) => self.told_until = None,
            Event::Done { token, result } => {
                let Some(flying) = self.flights.remove(token) else { return };
                let id = flying.id;
                match result {
                    Ok(Answer::Applied(answer)) => self.note_seen(&id, &answer.seen),
                    Ok(Answer::Got(observation)) => {
                        self.note_observation(&id, observation);
                        self.looked.remove(&id);
                        if let Observation::Present(seen) = observation {
                            let may_go = seen.is_ours && !seen.has_owner && !seen.deleting;
                            self.looked.insert(id, Looked { uid: seen.uid.clone(), may_go });
                        }
                    }
                    // What a dry run would create is not there, so it is not dying either.
                    Ok(Answer::DryRun { exists: false, .. }) if flying.place == Some(DryRunIn::Place) => {
                        self.told.remove(&id);
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            _ => {}
        }
    }

    fn note_observation(&mut self, id: &ObjectId, observation: &Observation) {
        match observation {
            Observation::Present(seen) => self.note_seen(id, seen),
            Observation::Absent(point) => self.tell(id, Told { rv: point.rv, deleting: false }),
        }
    }

    fn note_seen(&mut self, id: &ObjectId, seen: &Seen) {
        self.tell(id, Told { rv: seen.at.rv, deleting: seen.deleting });
    }

    fn tell(&mut self, id: &ObjectId, told: Told) {
        if self.told.get(id).is_none_or(|before| before.rv <= told.rv) {
            self.told.insert(id.clone(), told);
        }
    }

    /// Answers an effect by its token.
    pub fn answer(&mut self, token: Token, result: Result<Answer, Failure>) {
        self.answers.push(Event::Done { token, result });
    }

    /// Whether nothing is on its way to the machine or from it.
    pub fn is_quiet(&self) -> bool {
        let watched = |stream: &Stream| stream.queue.is_empty();
        self.words.is_empty()
            && self.sent.is_empty()
            && self.answers.is_empty()
            && self.streams.values().all(watched)
    }
}
