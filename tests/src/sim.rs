//! Moves a world and its machines, one small thing at a time, and checks the rules at each.

mod converge;
mod perform;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use skiff_shared::desired::Desired;
use skiff_shared::desired::autoscaler::Autoscaled;
use skiff_shared::inventory::Applied;
use skiff_shared::object::ObjectId;
use skiff_shared::policy::Policy;
use skiff_shared::report::{Recorded, Report};
use skiff_shared::sync::Limits;
use skiff_shared::sync::effect::Effect;
use skiff_shared::sync::event::{Answer, Approval, Ask, Event, LeaseTerm};

pub use converge::End;
pub(crate) use converge::Move;
pub use perform::Fate;

use crate::notation;
use crate::replica::{Counts, Flying, Replica, Shown};
use crate::rules::{self, Kept, keep};
use crate::world::{Meddling, World};

/// Requests that may be sent while no time passes, for each object: more is a loop that spins.
const BUSY: u32 = 400;

/// Things that happen in one life: more than any needs.
const ENDLESS: u64 = 100_000;

/// A world and the processes in it.
#[derive(Clone, Debug)]
pub struct Sim {
    pub world: World,
    pub replicas: Vec<Replica>,
    pub limits: Limits,
    /// The live autoscalers.
    pub autoscaled: Arc<Autoscaled>,
    /// What happened, line by line; kept only when asked for.
    pub trace: Option<Vec<String>>,
    /// Effects in order; kept only when asked for.
    pub writes: Option<Vec<Effect>>,
    /// Things that happened so far.
    pub steps: u64,
    /// Steps taken at the present time of the world.
    spun: (Timestamp, u32),
}

impl Sim {
    /// Returns a cluster with the namespaces `shop` and `other` and nothing else.
    pub fn new() -> Self {
        let mut world = World::default();
        for namespace in ["Namespace/shop", "Namespace/other"] {
            world.plant(&notation::object(namespace), None);
        }
        world.changes.clear();
        let spun = (world.now, 0);
        Self {
            world,
            replicas: Vec::new(),
            limits: Limits::default(),
            autoscaled: Arc::default(),
            trace: None,
            writes: None,
            steps: 0,
            spun,
        }
    }

    /// Returns a cluster with one app `shop` under the default policy, its agent holding the Lease.
    pub fn shop() -> Self {
        Self::with_policy(Policy::default())
    }

    pub fn with_policy(policy: Policy) -> Self {
        let mut sim = Self::new();
        sim.start("shop", policy);
        sim
    }

    /// Starts a process for an app and gives it the Lease; returns its place.
    pub fn start(&mut self, app: &str, policy: Policy) -> usize {
        let mut replica = Replica::start(app, policy, self.world.apis.clone(), self.limits);
        replica.know_autoscaled(&self.autoscaled);
        let lease = replica.lease(self.world.now);
        replica.words.push_back(vec![lease]);
        self.replicas.push(replica);
        self.replicas.len() - 1
    }

    /// Ends a process as SIGKILL does and starts its successor, which reads Git again.
    pub fn restart(&mut self, at: usize) {
        let old = &self.replicas[at];
        let (app, policy, desired) = (old.app.clone(), old.policy.clone(), old.git.clone());
        // What a plan stands for is so whoever has shown it.
        let shown = old.heard.plans.clone();
        let mut replica = Replica::start(&app, policy, self.world.apis.clone(), self.limits);
        replica.heard.plans = shown;
        replica.know_autoscaled(&self.autoscaled);
        let lease = replica.lease(self.world.now);
        replica.words.push_back(vec![lease]);
        replica.words.extend(desired.map(|desired| vec![Event::Desired(desired)]));
        self.note(|| format!("--- {app} is killed and starts anew"));
        self.replicas[at] = replica;
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    /// Renders a set for the first process's app and tells it.
    pub fn commit<'a>(&mut self, commit: &str, lines: impl IntoIterator<Item = &'a str>) -> Arc<Desired> {
        let app = self.replicas[0].app.clone();
        let desired = notation::desired(&mut self.world, &app, commit, lines);
        self.say(0, Event::Desired(desired.clone()));
        desired
    }

    /// Queues a word from outside for a process.
    pub fn say(&mut self, at: usize, event: Event) {
        if let Event::Asked(ask) = &event {
            let app = self.replicas[at].app.clone();
            self.world.apps.entry(app).or_default().1 = ask.clone();
        }
        self.replicas[at].words.push_back(vec![event]);
    }

    /// Asks for a sync, as a person does through the `App` object.
    pub fn ask(&mut self, ask: Ask) {
        self.say(0, Event::Asked(ask));
    }

    /// Says yes to the plan that waits, beside what was asked before.
    pub fn say_yes(&mut self, ask: &mut Ask) {
        let digest = self.report().plan.expect("a plan that waits").digest;
        ask.approval = Some(Approval { digest, by: "ops".into() });
        self.ask(ask.clone());
    }

    /// Runs until a plan waits, says yes to it, and runs on until nothing is left to do.
    pub fn approve(&mut self, ask: &mut Ask) {
        self.settle().expect("sound");
        self.say_yes(ask);
        self.settle().expect("sound");
    }

    pub fn meddle(&mut self, object: &str, what: Meddling) {
        self.meddle_with(&notation::object(object), what);
    }

    pub fn meddle_with(&mut self, id: &ObjectId, what: Meddling) {
        self.note(|| format!("    somebody: {what:?} {id}"));
        self.world.meddle(id, what);
        self.flow();
    }

    pub fn report(&self) -> Report {
        self.replicas[0].machine.report()
    }

    pub fn counts(&self) -> Counts {
        self.replicas[0].counts
    }

    /// Forgets what was counted and told so far.
    pub fn reset(&mut self) {
        for replica in &mut self.replicas {
            replica.counts = Counts::default();
            replica.notices.clear();
            replica.records.clear();
        }
    }

    /// Carries changes of the world into the watches.
    pub fn flow(&mut self) {
        for change in std::mem::take(&mut self.world.changes) {
            for replica in &mut self.replicas {
                replica.hear(&change, &self.world);
            }
        }
        for replica in &mut self.replicas {
            replica.list(&self.world);
        }
    }

    /// Tells every process which kinds are served now.
    pub fn tell_apis(&mut self) {
        let apis = Arc::new(self.world.apis.clone());
        for replica in &mut self.replicas {
            replica.words.push_back(vec![Event::Apis(apis.clone())]);
        }
    }

    /// Lets a machine take events, and its effects go out.
    ///
    /// # Errors
    /// Names the rule that an effect breaks.
    pub fn step(&mut self, at: usize, mut events: Vec<Event>) -> Kept {
        let now = self.world.now;
        let replica = &mut self.replicas[at];
        let short = SignedDuration::from_secs(12);
        if replica.until.is_some_and(|until| until.duration_since(now) < short) {
            events.insert(0, replica.lease(now));
        }
        for event in &mut events {
            if let (Event::Lease(LeaseTerm::Held { until }), Some(renewed)) = (&mut *event, replica.until) {
                // A renewal overtakes the word of an older one.
                *until = renewed;
            }
            if let Event::Done { token, result: Ok(Answer::Applied(answer)) } = &*event
                && let Some(flying) = replica.flights.get(token)
            {
                let Applied { uid, rv, body, .. } = answer.applied.clone();
                self.world.answered.insert((flying.id.clone(), uid, rv, body));
            }
            replica.note(event, now);
        }
        if self.trace.is_some() {
            for event in &events {
                let line = format!("{now} {at} <- {}", brief(event));
                self.note(|| line);
            }
        }
        self.tire()?;
        self.spin(now)?;
        let step = self.replicas[at].machine.step(events, now);
        self.replicas[at].wake = step.wake;
        let past = step.wake.is_some_and(|wake| wake <= now);
        keep("wake-ups-are-in-the-future", !past, || format!("{:?}", step.wake))?;
        self.replicas[at].note_plan();
        for effect in step.effects {
            self.send(at, effect)?;
        }
        rules::of_step(&self.replicas[at])?;
        self.flow();
        Ok(())
    }

    /// Counts what happens in a life.
    pub(crate) fn tire(&mut self) -> Kept {
        self.steps += 1;
        keep("a-life-ends", self.steps < ENDLESS, || format!("{} steps", self.steps))
    }

    /// Counts steps that cost no time: a machine that spins is broken.
    fn spin(&mut self, now: Timestamp) -> Kept {
        let (since, steps) = self.spun;
        self.spun = if since == now { (now, steps + 1) } else { (now, 0) };
        let objects: usize = self.replicas.iter().map(|replica| replica.machine.rows().len() + 2).sum();
        let bound = BUSY * u32::try_from(objects).unwrap_or(u32::MAX);
        keep("no-work-without-end", steps < bound, || format!("{steps} steps at {now}"))
    }

    fn send(&mut self, at: usize, effect: Effect) -> Kept {
        if self.trace.is_some() {
            let line = format!("{} {at} -> {}", self.world.now, brief_effect(&effect));
            self.note(|| line);
        }
        let replica = &self.replicas[at];
        rules::of_effect(&self.world, replica, &self.replicas, &effect, self.limits)?;
        let replica = &mut self.replicas[at];
        count(&mut replica.counts, &effect);
        if let Some(writes) = &mut self.writes {
            writes.push(effect.clone());
        }
        match effect {
            Effect::Watch(kind) => replica.watch(&kind),
            Effect::Publish(report) => {
                let Report { applied, assignment, history, synced_for, .. } = (*report).clone();
                self.world.apps.entry(replica.app.clone()).or_default().0 =
                    Recorded { applied, assignment, history, synced_for };
                replica.published = Some(*report);
            }
            Effect::Finished(record) => replica.records.push(*record),
            Effect::Notice(notice) => replica.notices.push(notice),
            effect => {
                if matches!(effect, Effect::Load) {
                    replica.asked_since_load = false;
                }
                if let (Some(id), Some(token)) = (rules::subject(&effect), perform::token(&effect)) {
                    let row = replica.machine.rows().iter().find(|row| row.id == *id);
                    let flying = Flying::of(&effect, id, row.and_then(|row| row.wanted));
                    if matches!(effect, Effect::Delete(..)) {
                        // Another delete begins with another look.
                        replica.heard.looked.remove(id);
                    }
                    replica.flights.insert(token, flying);
                }
                replica.sent.push(effect);
            }
        }
        Ok(())
    }

    /// Delivers the next thing of a watch; `index` chooses among the queue, objects keep their order.
    ///
    /// # Errors
    /// Names the rule that is broken by what follows.
    pub fn show(&mut self, at: usize, stream: usize, index: usize) -> Kept {
        let Some(event) = self.next_shown(at, stream, index) else { return Ok(()) };
        self.step(at, vec![event])
    }

    /// Takes an event out of a watch's queue: not over the end of a list, and none before its elder.
    pub fn next_shown(&mut self, at: usize, stream: usize, index: usize) -> Option<Event> {
        let streams = &mut self.replicas[at].streams;
        let key = streams.iter().filter(|(_, stream)| !stream.queue.is_empty()).nth(stream)?.0.clone();
        let stream = streams.get_mut(&key)?;
        let before_end = stream.queue.iter().position(|shown| matches!(shown, Shown::ListEnds));
        let open = before_end.map_or(stream.queue.len(), |end| end.max(1));
        let mut index = index % open;
        if let Shown::Object(id, _) = &stream.queue[index] {
            let same = |shown: &Shown| matches!(shown, Shown::Object(other, _) if other == id);
            index = stream.queue.iter().position(same).unwrap_or(index);
        }
        match stream.queue.remove(index)? {
            Shown::ListEnds => Some(Event::Relisted { kind: key, watch: stream.generation }),
            Shown::Object(id, observation) => {
                stream.last = Some((id.clone(), observation.clone()));
                Some(Event::Observed(id, observation))
            }
        }
    }
}

impl Default for Sim {
    fn default() -> Self {
        Self::new()
    }
}

fn count(counts: &mut Counts, effect: &Effect) {
    use skiff_shared::sync::effect::Urgency;
    let counter = match effect {
        Effect::DryRun(..) => &mut counts.dry_runs,
        Effect::Get(..) => &mut counts.gets,
        Effect::Apply(_, _, _, Urgency::Heal, _) => &mut counts.heals,
        Effect::Apply(..) | Effect::Create(..) => &mut counts.applies,
        Effect::Adopt(..) => &mut counts.adopts,
        Effect::Release(..) => &mut counts.releases,
        Effect::Delete(..) => &mut counts.deletes,
        Effect::Keep(..) => &mut counts.keeps,
        Effect::Save(..) => &mut counts.saves,
        Effect::Publish(..) => &mut counts.publishes,
        Effect::Forget(..) => &mut counts.forgets,
        _ => return,
    };
    *counter += 1;
}

fn brief(event: &Event) -> String {
    match event {
        Event::Loaded(loaded) => {
            let inventory = &loaded.inventory;
            let rows = inventory.shards.iter().flat_map(|shard| &shard.rows);
            let rows: Vec<_> =
                rows.map(|row| format!("{} {}", row.id, row.record.applied().is_some())).collect();
            format!("Loaded {} {rows:?}", inventory.count)
        }
        Event::Desired(desired) => {
            let rows: Vec<_> = desired.rows.iter().map(|row| format!("{}@{}", row.id, row.wave)).collect();
            format!("Desired {} {rows:?}", desired.revision)
        }
        Event::Apis(_) => "Apis".to_owned(),
        Event::Observed(id, observation) => format!("Observed {id} {}", brief_observation(observation)),
        Event::Done { token, result } => format!("Done {} {}", token.0, brief_result(result)),
        event => format!("{event:?}"),
    }
}

fn brief_observation(observation: &skiff_shared::sync::event::Observation) -> String {
    use skiff_shared::sync::event::Observation;
    match observation {
        Observation::Present(seen) => format!(
            "{}.{} {} {:?}{}{}",
            seen.at.watch,
            seen.at.rv,
            seen.uid,
            seen.health.health,
            if seen.deleting { " deleting" } else { "" },
            if seen.is_ours { "" } else { " foreign" }
        ),
        Observation::Absent(point) => format!("{}.{} absent", point.watch, point.rv),
    }
}

fn brief_result(
    result: &Result<skiff_shared::sync::event::Answer, skiff_shared::sync::event::Failure>,
) -> String {
    use skiff_shared::sync::event::Answer;
    match result {
        Ok(Answer::Applied(answer)) => format!("applied {} rv {}", answer.applied.uid, answer.applied.rv),
        Ok(Answer::Got(observation)) => format!("got {}", brief_observation(observation)),
        Ok(Answer::DryRun { exists, .. }) => format!("passed, exists: {exists}"),
        other => format!("{other:?}"),
    }
}

fn brief_effect(effect: &Effect) -> String {
    match effect {
        Effect::Save(token, slot, shard) => {
            let rows: Vec<_> = shard
                .rows
                .iter()
                .map(|row| format!("{} {}", row.id, row.record.applied().is_some()))
                .collect();
            format!("Save {} {}/{} {rows:?} {:?}", token.0, slot.index, slot.count, shard.renders)
        }
        Effect::Get(token, target) => format!("Get {} {}", token.0, target.id),
        Effect::DryRun(token, target, content, place, _) => {
            format!("DryRun {} {} {} {place:?}", token.0, target.id, content.body)
        }
        Effect::Apply(token, target, content, urgency, _) => {
            format!("Apply {} {} {content:?} {urgency:?}", token.0, target.id)
        }
        Effect::Create(token, target, body) => format!("Create {} {} {body}", token.0, target.id),
        Effect::Adopt(token, target) => format!("Adopt {} {}", token.0, target.id),
        Effect::Delete(token, target, uid, propagation) => {
            format!("Delete {} {} {uid} {propagation:?}", token.0, target.id)
        }
        Effect::Publish(report) => {
            format!("Publish {} {:?} {:?}", report.sync.word(), report.phase, report.waiting_for)
        }
        Effect::Finished(record) => format!("Finished {} {:?}", record.revision, record.outcome),
        effect => format!("{effect:?}"),
    }
}
