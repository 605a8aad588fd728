//! One agent process as far as one app is concerned: a machine, its watches and its open requests.

mod heard;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use skiff_shared::desired::autoscaler::Autoscaled;
use skiff_shared::desired::{Desired, Listing};
use skiff_shared::inventory::Uid;
use skiff_shared::object::{ApiSet, Digest, GroupKind, ObjectId};
use skiff_shared::policy::{Mode, Policy};
use skiff_shared::report::{Report, RunRecord};
use skiff_shared::sync::effect::{DryRunIn, Effect, Notice, ShardSlot};
use skiff_shared::sync::event::{
    Answer, Ask, Deletion, Event, Failure, LeaseTerm, Observation, Point, Token,
};
use skiff_shared::sync::{Limits, Machine, Task};

pub use heard::{Flying, Heard, Looked, Standing, Told};

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

/// Requests and other effects, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub dry_runs: u32,
    pub gets: u32,
    pub applies: u32,
    pub heals: u32,
    pub adopts: u32,
    pub releases: u32,
    pub deletes: u32,
    pub keeps: u32,
    pub saves: u32,
    pub publishes: u32,
    pub forgets: u32,
}

impl Counts {
    pub fn writes(&self) -> u32 {
        self.applies + self.heals + self.adopts + self.releases + self.deletes
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
    pub heard: Heard,
    /// Git's newest set that was delivered.
    pub git: Option<Arc<Desired>>,
    /// The newest set that was delivered and may be written: Git's, or that of the release that the app is pinned to.
    pub desired: Option<Arc<Desired>>,
    /// The release that people want to be followed, and the one that is.
    pub pin: Option<Digest>,
    pub follows: Option<Digest>,
    pub paused: bool,
    /// The word of people that the app is deleted.
    pub deletion: Option<Deletion>,
    /// Objects that a person has said may go.
    pub confirmed: HashSet<Uid>,
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
            heard: Heard::default(),
            git: None,
            desired: None,
            pin: None,
            follows: None,
            paused: false,
            deletion: None,
            confirmed: HashSet::new(),
            asked_since_load: false,
            draining: false,
            wake: None,
            counts: Counts::default(),
            notices: Vec::new(),
            records: Vec::new(),
            published: None,
        }
    }

    /// Returns the set that may be written: of an app that goes, what runs then.
    pub fn wants(&self) -> Option<Arc<Desired>> {
        self.desired.as_ref().map(|desired| self.machine.farewell(desired))
    }

    /// Whether all of the app is to go.
    pub fn goes(&self) -> bool {
        let listed = |desired: &Arc<Desired>| desired.listing == Listing::Listed;
        self.deletion.is_some() || !self.git.as_ref().is_none_or(listed)
    }

    /// Tells a process that has just started which replicas live autoscalers decide.
    pub fn know_autoscaled(&mut self, known: &Arc<Autoscaled>) {
        let step = self.machine.step([Event::Autoscaled(Some(known.clone()))], Timestamp::UNIX_EPOCH);
        assert!(step.effects.is_empty(), "a process without a Lease does nothing");
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
    pub fn note(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::Observed(id, observation) => self.heard.observation(id, observation),
            Event::Desired(desired) => {
                self.git = Some(desired.clone());
                if self.pin.is_none() && self.follows.is_none() {
                    self.desired = Some(desired.clone());
                }
            }
            Event::Done { result: Ok(Answer::Pinned(set)), .. } => {
                self.follows = set.as_ref().map(|set| set.render);
                if self.follows == self.pin {
                    self.desired = set.clone().or_else(|| self.git.clone());
                }
            }
            Event::Asked(ask) => {
                self.asked_since_load = true;
                self.asked(ask);
            }
            // What was read may be older than a word that came meanwhile.
            Event::Loaded(loaded) if !self.asked_since_load => {
                self.asked(&loaded.ask);
            }
            Event::ApprovalTags(tags) => {
                self.heard.tagged.extend(tags.iter().filter(|tag| tag.is_good()).map(|tag| tag.plan))
            }
            Event::Policy(policy) => self.policy = policy.clone(),
            Event::Drain => self.draining = true,
            Event::Lease(LeaseTerm::Held { until }) => self.told_until = Some(*until),
            Event::Lease(LeaseTerm::Lost) => self.told_until = None,
            Event::Done { token, result } => {
                let Some(flying) = self.flights.remove(token) else { return };
                self.heard.answer(flying, result, now);
            }
            _ => {}
        }
    }

    fn asked(&mut self, ask: &Ask) {
        self.paused = ask.paused.is_some();
        self.deletion = ask.delete;
        self.confirmed.clone_from(&ask.prune);
        self.pin = ask.pin.as_ref().map(|pin| pin.release);
        if self.pin.is_none() && self.follows.is_none() {
            self.desired.clone_from(&self.git);
        } else if self.pin != self.follows {
            // Until the release is there, or where it is not kept any more, the app stays as it is.
            self.desired = self.machine.followed().cloned();
        }
        self.heard.approved = ask.approval.as_ref().map(|approval| approval.digest);
    }

    /// Notes the plan that waits for a person's word: what it shows is what may be approved.
    pub fn note_plan(&mut self) {
        if self.policy.mode == Mode::Auto || !matches!(self.machine.phase().word(), "Checking" | "Waiting") {
            return;
        }
        let Some(plan) = self.machine.report().plan else { return };
        let rows = self.machine.rows().iter().filter(|row| row.held.is_none());
        let content = rows.filter_map(|row| match (row.wanted, row.task) {
            (Some(body), _) if row.hook.is_some() => Some((row.id.clone(), Some(body))),
            (Some(body), Task::Write { .. }) => Some((row.id.clone(), Some(body))),
            (None, _) => Some((row.id.clone(), None)),
            (Some(_), _) => None,
        });
        self.heard.plans.insert(plan.digest, content.collect());
    }

    /// Notes that the server refuses to change an object as it stands.
    pub fn note_refusal(&mut self, token: Token, result: &Result<Answer, Failure>, version: u64) {
        let flying = self.flights.get(&token).filter(|flying| flying.place == Some(DryRunIn::Place));
        if let (Some(flying), Err(Failure::Rejected(_))) = (flying, result) {
            self.heard.refused.insert(flying.id.clone(), version);
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
