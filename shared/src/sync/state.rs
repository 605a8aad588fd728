//! The machine's state and its one entrance.

mod loading;
mod shard;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::effect::{Effect, ShardSlot, Step};
use super::event::{Ask, Blind, Cause, Event, LeaseTerm, Observation, Token};
use super::fail::Failed;
use super::pin::Course;
use super::row::{Flight, Op, Row, RowIx};
use super::run::Run;
use super::secure::Granted;
use super::shown::Shown;
use super::tags::Tags;
use super::waits::Timer;
use crate::desired::autoscaler::Autoscaled;
use crate::desired::{Assignment, Desired, Interval, Revision, Unrendered};
use crate::gate;
use crate::gate::depend::Standings;
use crate::gate::window::Opening;
use crate::hook::Release;
use crate::object::{ApiSet, GroupKind, ObjectId};
use crate::plan::Claims;
use crate::policy::Policy;
use crate::report::{HistoryEntry, Report};

pub(super) use shard::{SecureState, ShardState};

/// Bounds and paces of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Requests that one app has open at most.
    pub in_flight: usize,
    /// A write starts only if the Lease lasts longer than this.
    pub request_deadline: SignedDuration,
    /// How long a settled row may wait to be recorded when nothing is being synced.
    pub settle_after: SignedDuration,
    /// The same while a sync is writing.
    pub settle_during_sync: SignedDuration,
    /// How long changes are gathered before they are published.
    pub publish_after: SignedDuration,
    /// The shortest time between two publications.
    pub publish_every: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 32,
            request_deadline: SignedDuration::from_secs(10),
            settle_after: SignedDuration::from_millis(500),
            settle_during_sync: SignedDuration::from_secs(10),
            publish_after: SignedDuration::from_millis(300),
            publish_every: SignedDuration::from_secs(1),
        }
    }
}

/// Where a machine is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Without a Lease: nothing is done.
    Standby,
    /// Waiting for the recorded state.
    Loading,
    /// Nothing to sync; drift is healed.
    Idle,
    /// Dry runs of everything that will be written.
    Preflight,
    /// The plan is ready and may not go yet.
    Gated,
    /// Bodies are being stored in the cluster.
    Keeping,
    /// New objects are being recorded before their first write.
    Claiming,
    Applying,
    Pruning,
}

impl Phase {
    pub fn word(self) -> &'static str {
        match self {
            Self::Standby => "Standby",
            Self::Loading => "Loading",
            Self::Idle => "Idle",
            Self::Preflight => "Checking",
            Self::Gated => "Waiting",
            Self::Keeping | Self::Claiming | Self::Applying => "Applying",
            Self::Pruning => "Pruning",
        }
    }
}

/// A plan that was refused before its first write.
#[derive(Clone, Debug)]
pub(super) struct Blocked {
    pub problems: Vec<(ObjectId, Cause)>,
    pub attempts: u32,
    /// `None` while the retry is under way.
    pub retry_at: Option<Timestamp>,
}

/// The reading of the recorded state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Load {
    Idle,
    Asked,
    /// The Lease was lost since it was asked for: another agent may have written what the answer does not have.
    Outdated,
}

/// What a token was given out for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Open {
    Row(RowIx),
    Save(ShardSlot),
    Keep(ShardSlot),
    Show,
    Pin,
    Dissolve,
}

/// The state machine of one app.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) limits: Limits,
    pub(super) phase: Phase,
    pub(super) run: Option<Box<Run>>,
    pub(super) rows: Vec<Row>,
    pub(super) index: HashMap<ObjectId, RowIx>,
    /// The set that the rows show.
    pub(super) desired: Option<Arc<Desired>>,
    /// The newest set, not yet taken over.
    pub(super) next: Option<Arc<Desired>>,
    /// Whether that comes from Git or from a release of the past.
    pub(super) course: Course,
    pub(super) replan: bool,
    pub(super) policy: Policy,
    /// What the windows let through now; `None` until it has been looked at with the present policy.
    pub(super) opening: Option<Opening>,
    /// The apps that this one waits for.
    pub(super) standings: Standings,
    /// What the gate was last told to wait for.
    pub(super) told_wait: Option<gate::Wait>,
    pub(super) claims: Claims,
    pub(super) apis: Arc<ApiSet>,
    /// The live autoscalers; `None` while nobody knows them.
    pub(super) autoscaled: Option<Arc<Autoscaled>>,
    pub(super) ask: Ask,
    /// What approves in Git.
    pub(super) tags: Tags,
    /// What is stored of a plan that waits.
    pub(super) shown: Option<Box<Shown>>,
    /// A word of people's came after the recorded state was asked for: it is newer than what that has.
    pub(super) ask_is_newer: bool,
    pub(super) load: Load,
    pub(super) lease: LeaseTerm,
    pub(super) draining: bool,
    pub(super) tokens: u64,
    pub(super) open: HashMap<Token, Open>,
    /// Drifted rows that may be healed.
    pub(super) heals: BTreeSet<RowIx>,
    /// Rows whose object was, or is about to be, deleted to be created anew.
    pub(super) unfinished: BTreeSet<RowIx>,
    /// Rows whose state must be looked up.
    pub(super) lookups: BTreeSet<RowIx>,
    /// Rows of the plan that exist without being recorded, and have not been looked at.
    pub(super) inspect: BTreeSet<RowIx>,
    /// When something is to happen to rows.
    pub(super) timers: BTreeSet<(Timestamp, RowIx, Timer)>,
    /// Rows of the sync whose time to be tried again has come.
    pub(super) due: BTreeSet<RowIx>,
    pub(super) shards: Vec<ShardState>,
    pub(super) watches: HashMap<Arc<GroupKind>, u32>,
    /// The approved plan whose rest may go on.
    pub(super) granted: Option<Box<Granted>>,
    pub(super) blocked: Option<Blocked>,
    /// What hooks run for; `None` before the first set is taken over.
    pub(super) release: Option<Release>,
    /// The rows that are hooks.
    pub(super) hooks: Vec<RowIx>,
    /// Why the present release was given up, if it was.
    pub(super) failed: Option<Failed>,
    pub(super) revision: Option<Revision>,
    pub(super) applied: Option<Revision>,
    /// What the recorded objects were assigned by; `None` where nobody has said so yet.
    pub(super) assignment: Option<Arc<Assignment>>,
    pub(super) unrendered: Option<(Revision, Unrendered)>,
    pub(super) source_problem: Option<(String, String)>,
    pub(super) config_problem: Option<String>,
    pub(super) history: VecDeque<HistoryEntry>,
    /// The last commit whose first sync has ended here.
    pub(super) released: Option<String>,
    /// The last word to sync that has been carried out.
    pub(super) synced_for: Option<String>,
    /// Shards of a smaller count are still stored.
    pub(super) outgrown: bool,
    /// What was seen before the recorded state was there.
    pub(super) early: HashMap<ObjectId, Observation>,
    /// Kinds of recorded objects whose first list has not been read.
    pub(super) unlisted: BTreeSet<Arc<GroupKind>>,
    /// Where objects of a kind cannot be seen.
    pub(super) blind: BTreeMap<Arc<GroupKind>, Vec<Blind>>,
    /// Nothing is left of the app: it is told nowhere until the app list has it again.
    pub(super) ended: bool,
    /// Not before: after what is stored of the app could not be removed.
    pub(super) dissolving_at: Option<Timestamp>,
    pub(super) loaded_at: Option<Timestamp>,
    pub(super) changed_at: Option<Timestamp>,
    pub(super) published_at: Option<Timestamp>,
    pub(super) published: Option<Box<Report>>,
}

impl Machine {
    /// Returns a machine that waits for the Lease.
    pub fn new(policy: Policy, apis: Arc<ApiSet>, limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::Standby,
            run: None,
            rows: Vec::new(),
            index: HashMap::new(),
            desired: None,
            next: None,
            course: Course::default(),
            replan: false,
            policy,
            opening: None,
            standings: Standings::default(),
            told_wait: None,
            claims: Claims::default(),
            apis,
            autoscaled: None,
            ask: Ask::default(),
            tags: Tags::default(),
            shown: None,
            ask_is_newer: false,
            load: Load::Idle,
            lease: LeaseTerm::Lost,
            draining: false,
            tokens: 0,
            open: HashMap::new(),
            heals: BTreeSet::new(),
            unfinished: BTreeSet::new(),
            lookups: BTreeSet::new(),
            inspect: BTreeSet::new(),
            timers: BTreeSet::new(),
            due: BTreeSet::new(),
            shards: Vec::new(),
            watches: HashMap::new(),
            granted: None,
            blocked: None,
            release: None,
            hooks: Vec::new(),
            failed: None,
            revision: None,
            applied: None,
            assignment: None,
            unrendered: None,
            source_problem: None,
            config_problem: None,
            history: VecDeque::new(),
            released: None,
            synced_for: None,
            outgrown: false,
            early: HashMap::new(),
            unlisted: BTreeSet::new(),
            blind: BTreeMap::new(),
            ended: false,
            dissolving_at: None,
            loaded_at: None,
            changed_at: None,
            published_at: None,
            published: None,
        }
    }

    /// Takes what happened and returns what to do, and when to be called again at the latest.
    pub fn step(&mut self, events: impl IntoIterator<Item = Event>, now: Timestamp) -> Step {
        let mut step = Step::default();
        let mut events: Vec<Event> = events.into_iter().collect();
        // What forbids a write is known before an answer that would lead to one.
        events.sort_by_key(|event| !matches!(event, Event::Lease(_) | Event::Asked(_) | Event::Drain));
        for event in events {
            self.take(event, now, &mut step.effects);
        }
        self.advance(now, &mut step.effects);
        step.wake = self.next_wake(now);
        step
    }

    fn take(&mut self, event: Event, now: Timestamp, out: &mut Vec<Effect>) {
        match event {
            Event::Loaded(loaded) => self.loaded(*loaded, now, out),
            Event::Desired(desired) => self.wanted(desired, now),
            Event::Unmoved(revision) => self.unmoved(revision, now),
            Event::RenderFailed { revision, why, tried } => {
                let tried = tried.unwrap_or(Interval { start: now, end: now });
                self.render_failed(revision, why, tried, out);
                self.changed(now);
            }
            Event::SourceFailed { reason, message } => self.source_failed(reason, message, now, out),
            Event::SourceOk => self.source_ok(now),
            Event::ConfigRefused(problem) => self.config_refused(problem, now),
            Event::Policy(policy) => {
                if self.policy != policy {
                    self.changed(now);
                    self.replan = true;
                    self.heal_again();
                }
                self.policy = policy;
                self.opening = None;
            }
            Event::Standings(standings) => {
                self.standings = standings;
                self.changed(now);
            }
            Event::Claims(claims) => {
                self.replan |= self.claims != claims;
                self.claims = claims;
            }
            Event::Asked(ask) => {
                self.ask_is_newer = true;
                self.asked(ask, now);
            }
            Event::ApprovalTags(tags) => self.heard_of_tags(tags, now, out),
            Event::MakeRoom(releases) => self.make_room(&releases, now),
            Event::Apis(apis) => self.apis_changed(apis),
            Event::Autoscaled(targets) => self.autoscaled(targets),
            Event::HealthRules(kinds) => self.look_at_kinds(&kinds),
            Event::Observed(id, observation) => self.observed(&id, observation, now, out),
            Event::Relisted { kind, watch } => self.relisted(&kind, watch),
            Event::Blind { kind, places } => self.blinded(kind, places, now),
            Event::Done { token, result } => self.finished(token, result, now, out),
            Event::Lease(term) => self.leased(term, now),
            Event::Drain => {
                self.draining = true;
                self.changed(now);
            }
            Event::Tick => {}
        }
    }

    fn advance(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.phase == Phase::Standby && self.has_lease(now) && self.open.is_empty() {
            self.phase = Phase::Loading;
            if self.load == Load::Idle {
                self.ask_for_state(out);
            }
        }
        if matches!(self.phase, Phase::Standby | Phase::Loading) {
            return;
        }
        self.retire_waits(now);
        self.look_at_windows(now);
        self.advance_pin(now, out);
        if self.course.is_changing() {
            // What is written now could be what the other set does not have.
            self.settle(now, out);
            return self.publish(now, out);
        }
        if self.wants_takeover(now) {
            if self.rows_in_flight() == 0 {
                self.take_over(now, out);
            } else {
                // Nothing new is started, so that what is open ends and the newer set can take over.
                self.settle(now, out);
                return self.publish(now, out);
            }
        }
        self.start_heals(now, out);
        while self.advance_run(now, out) {}
        self.watch_deadline(now, out);
        while self.advance_run(now, out) {}
        self.advance_shown(now, out);
        self.clear_hooks(now, out);
        self.start_lookups(out);
        self.settle(now, out);
        self.publish(now, out);
        self.advance_removal(now, out);
        self.forget_releases(out);
    }

    /// Moves the sync one phase on; returns whether the phase changed.
    fn advance_run(&mut self, now: Timestamp, out: &mut Vec<Effect>) -> bool {
        let before = self.phase;
        match self.phase {
            Phase::Standby | Phase::Loading | Phase::Idle => {}
            Phase::Preflight => self.advance_preflight(now, out),
            Phase::Gated => self.advance_gate(now, out),
            Phase::Keeping => self.advance_keeping(now, out),
            Phase::Claiming => self.advance_claiming(now, out),
            Phase::Applying => self.advance_applying(now, out),
            Phase::Pruning => self.advance_pruning(now, out),
        }
        if self.phase != before {
            // What it waits for is another thing now.
            self.progressed(now);
            self.changed(now);
        }
        self.phase != before
    }

    /// Notes which rows are hooks.
    pub(super) fn find_hooks(&mut self) {
        let rows = self.rows.iter().enumerate();
        self.hooks = rows.filter(|(_, row)| row.is_hook()).map(|(at, _)| RowIx::of(at)).collect();
    }

    pub(super) fn changed(&mut self, now: Timestamp) {
        self.changed_at.get_or_insert(now);
    }

    pub(super) fn row(&mut self, ix: RowIx) -> &mut Row {
        &mut self.rows[ix.get()]
    }

    pub(super) fn has_lease(&self, now: Timestamp) -> bool {
        self.lease.covers(self.limits.request_deadline, now)
    }

    /// Whether a write may start now.
    pub(super) fn may_write(&self, now: Timestamp) -> bool {
        let loaded = !matches!(self.phase, Phase::Standby | Phase::Loading);
        loaded && !self.draining && self.ask.paused.is_none() && self.has_lease(now)
    }

    pub(super) fn token(&mut self, open: Open) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.open.insert(token, open);
        token
    }

    /// Opens a request for a row, which has none open.
    pub(super) fn depart(&mut self, ix: RowIx, op: Op) -> Token {
        let token = self.token(Open::Row(ix));
        let row = self.row(ix);
        debug_assert!(row.flight.is_none(), "{} has a request open", row.id);
        row.flight = Some(Flight { token, op, parked: None });
        token
    }

    pub(super) fn rows_in_flight(&self) -> usize {
        self.open.values().filter(|open| matches!(open, Open::Row(_))).count()
    }

    pub(super) fn has_room(&self) -> bool {
        self.open.len() < self.limits.in_flight
    }

    fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        if matches!(self.phase, Phase::Standby | Phase::Loading) {
            return None;
        }
        let timer = self.timers.first().map(|(at, ..)| *at);
        let shards = self.shards.iter().filter_map(|shard| self.shard_due(shard)).min();
        let securing = self.shards.iter().filter_map(ShardState::securing_due).min();
        let publish = self.publish_due();
        let blocked = self.blocked.as_ref().and_then(|blocked| blocked.retry_at);
        let pin = self.course.due();
        let window = self.opening.and_then(|opening| opening.until);
        let deadline = self.deadline();
        let dissolving = self.dissolving_at;
        let shown = self.shown.as_ref().and_then(|shown| shown.due());
        [timer, shards, securing, publish, blocked, pin, window, deadline, dissolving, shown]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// Whether recorded objects are healed without anybody's word on what is wanted: the source, or the release that
    /// the app is pinned to, cannot be read since the start.
    pub(super) fn heals_from_record(&self) -> bool {
        let unreadable = self.source_problem.is_some() || self.course.problem().is_some();
        self.desired.is_none() && self.next.is_none() && unreadable
    }

    /// Whether a drain is complete: nothing is open, everything is recorded and published.
    pub fn is_drained(&self) -> bool {
        let is_stored = |shard: &ShardState| shard.dirty.is_none() && shard.saving.is_none();
        let told = self.changed_at.is_none() && self.shards.iter().all(is_stored);
        let standby = matches!(self.phase, Phase::Standby | Phase::Loading);
        self.draining && self.open.is_empty() && (standby || told)
    }

    /// The sync phase, for tests and reports.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What hooks run for, for tests and reports; `None` before the first set is taken over.
    pub fn release(&self) -> Option<Release> {
        self.release
    }

    /// Everything that is known of every object, for tests and reports.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}
