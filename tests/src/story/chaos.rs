//! One step of chaos: mostly the ordinary next thing, sometimes a fault.

use std::sync::Arc;

use jiff::SignedDuration;
use skiff_shared::inventory::Uid;
use skiff_shared::managed_fields::ForeignOwner;
use skiff_shared::object::ObjectId;
use skiff_shared::sync::event::{Event, Pin};

use super::Story;
use crate::notation;
use crate::rules::Kept;
use crate::sim::{Fate, Move};
use crate::world::{Meddling, Weather};

impl Story {
    pub(super) fn chaos(&mut self) -> Kept {
        let faults = self.faults;
        let dice = [
            (3, Kind::Commit),
            (faults.crashes, Kind::Crash),
            (faults.leases, Kind::Lease),
            (faults.watches, Kind::Watch),
            (faults.meddling, Kind::Meddle),
            (faults.weather, Kind::Weather),
            (faults.words, Kind::Word),
            (8, Kind::Time),
        ];
        let mut number = self.random.below(100);
        for (share, kind) in dice {
            if number < share {
                return self.happen(kind);
            }
            number -= share;
        }
        self.ordinary()
    }

    fn happen(&mut self, kind: Kind) -> Kept {
        match kind {
            Kind::Commit => {
                self.commit();
            }
            Kind::Crash => return self.crash(),
            Kind::Lease => self.swap_lease(),
            Kind::Watch => return self.trouble_watch(),
            Kind::Meddle => self.meddle(),
            Kind::Weather => {
                let weather = Weather {
                    webhook_down: self.random.chance(40),
                    quota_full: self.random.chance(20),
                    creates_denied: self.random.chance(10),
                    state_full: self.random.chance(10),
                };
                self.sim.world.weather = weather;
                self.sim.note(|| format!("    {weather:?}"));
            }
            Kind::Word => self.word(),
            Kind::Time => return self.pass_time(),
        }
        Ok(())
    }

    fn ordinary(&mut self) -> Kept {
        let moves = self.sim.moves();
        if moves.is_empty() {
            return self.pass_time();
        }
        match *self.random.pick(&moves) {
            Move::Perform { at } => {
                let index = self.random.below(self.sim.replicas[at].sent.len());
                let fate = self.fate(at, index);
                self.sim.perform(at, index, fate)
            }
            Move::Answer { at } | Move::Show { at, .. } | Move::Word { at } if self.random.chance(25) => {
                let events = self.batch(at);
                self.sim.step(at, events)
            }
            other => self.sim.make(other, Some(&mut self.random)),
        }
    }

    /// Gathers several things that happen at once.
    fn batch(&mut self, at: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            let replica = &mut self.sim.replicas[at];
            match self.random.below(3) {
                0 => events.extend(replica.words.pop_front().unwrap_or_default()),
                1 if !replica.answers.is_empty() => {
                    let index = self.random.below(replica.answers.len());
                    events.push(replica.answers.remove(index));
                }
                _ => {
                    let (stream, index) = (self.random.below(4), self.random.below(1_000));
                    events.extend(self.sim.next_shown(at, stream, index));
                }
            }
        }
        events
    }

    fn fate(&mut self, at: usize, index: usize) -> Fate {
        let effect = &self.sim.replicas[at].sent[index];
        // Three lost checks let an object through unchecked, which is meant; a refused one stays refused.
        let refused = match effect {
            skiff_shared::sync::effect::Effect::DryRun(_, _, content, ..) => {
                self.sim.world.bodies.get(&content.body).is_some_and(|body| body.refused.is_some())
            }
            _ => false,
        };
        if refused || !self.random.chance(self.faults.requests) {
            return Fate::Fine;
        }
        *self.random.pick(&[
            Fate::LostOnTheWay,
            Fate::LostOnReturn,
            Fate::Throttled,
            Fate::Unavailable,
            Fate::NotSent,
        ])
    }

    /// Kills a process; what it had sent arrives or not.
    fn crash(&mut self) -> Kept {
        let at = self.random.below(self.sim.replicas.len());
        if self.random.chance(30) {
            // It is asked to end and goes on to answer for what is open.
            self.sim.step(at, vec![Event::Drain])?;
            for _ in 0..self.random.below(20) {
                self.ordinary()?;
            }
        }
        while !self.sim.replicas[at].sent.is_empty() {
            if self.random.chance(50) {
                self.sim.perform(at, 0, Fate::LostOnReturn)?;
            } else {
                self.sim.replicas[at].sent.remove(0);
            }
        }
        let held = self.sim.replicas[at].until.is_some();
        self.sim.restart(at);
        let replica = &mut self.sim.replicas[at];
        if !held {
            replica.until = None;
            replica.words.pop_front();
        }
        if replica.git.is_none() {
            let head = self.head.clone();
            replica.words.retain(|words| !matches!(words.first(), Some(Event::Desired(_))));
            replica.words.extend(head.map(|head| vec![Event::Desired(head)]));
        }
        if self.ask != Default::default() {
            replica.words.push_front(vec![Event::Asked(self.ask.clone())]);
        }
        if !self.tags.is_empty() {
            replica.words.push_back(vec![Event::ApprovalTags(self.tags.clone())]);
        }
        Ok(())
    }

    /// The Lease is lost, or found again by one of the processes, whatever the other still has open.
    fn swap_lease(&mut self) {
        let now = self.sim.world.now;
        match self.sim.replicas.iter().position(|replica| replica.until.is_some()) {
            Some(holder) => {
                let lost = self.sim.replicas[holder].lose_lease();
                self.sim.replicas[holder].words.push_front(vec![lost]);
            }
            None => {
                let at = self.random.below(self.sim.replicas.len());
                let lease = self.sim.replicas[at].lease(now);
                self.sim.replicas[at].words.push_back(vec![lease]);
            }
        }
    }

    /// A watch breaks off and lists anew later, or tells something twice.
    fn trouble_watch(&mut self) -> Kept {
        let at = self.random.below(self.sim.replicas.len());
        let kinds: Vec<_> = self.sim.replicas[at].streams.keys().cloned().collect();
        if kinds.is_empty() {
            return Ok(());
        }
        let kind = self.random.pick(&kinds).clone();
        let Some(stream) = self.sim.replicas[at].streams.get_mut(&kind) else { return Ok(()) };
        if self.random.chance(50) {
            stream.pending = true;
            stream.queue.clear();
            self.sim.note(|| format!("    the watch of {kind} breaks"));
            return Ok(());
        }
        match stream.last.clone() {
            Some((id, observation)) => self.sim.step(at, vec![Event::Observed(id, observation)]),
            None => Ok(()),
        }
    }

    fn meddle(&mut self) {
        if self.random.chance(10) {
            return self.plant();
        }
        let ids: Vec<ObjectId> = self.sim.world.objects.keys().cloned().collect();
        let id = self.random.pick(&ids).clone();
        let fixture = id.is("", "Namespace") && id.name() != "fresh";
        if fixture {
            return;
        }
        if self.random.chance(15) {
            self.sim.world.sicken(&id);
            return self.sim.flow();
        }
        let what = *self.random.pick(&Meddling::ALL);
        self.sim.meddle_with(&id, what);
        if id.kind().kind.as_ref() == "CustomResourceDefinition" {
            self.sim.tell_apis();
        }
    }

    /// Somebody makes an object that Git wants and that is not there.
    fn plant(&mut self) {
        let Some(head) = &self.head else { return };
        let world = &self.sim.world;
        let is_possible = |id: &ObjectId| {
            let home = id.namespace().map(|name| notation::object(&format!("Namespace/{name}")));
            let home_is_there =
                home.is_none_or(|home| world.objects.get(&home).is_some_and(|home| !home.deleting));
            !world.objects.contains_key(id) && home_is_there && id.kind().kind.as_ref() == "ConfigMap"
        };
        let free: Vec<ObjectId> = head.rows.iter().map(|row| row.id.clone()).filter(is_possible).collect();
        if free.is_empty() {
            return;
        }
        let id = self.random.pick(&free).clone();
        let owner = self.random.chance(30).then(|| ForeignOwner::ArgoCd { application: "old".into() });
        self.sim.note(|| format!("    {id} is made by somebody"));
        self.sim.world.plant(&id, owner);
        self.sim.flow();
    }

    fn word(&mut self) {
        match self.random.below(7) {
            3 => {
                self.confirm();
                if !self.tags.is_empty() && self.random.chance(40) {
                    self.tags.pop();
                    self.say(&Event::ApprovalTags(self.tags.clone()));
                } else {
                    self.approve();
                }
            }
            4 => self.pin(),
            5 => {
                self.ask.pin = None;
                self.sim.world.runs.clear();
                self.say(&Event::Asked(self.ask.clone()));
            }
            6 => self.autoscale(),
            0 => {
                self.ask.paused = if self.ask.paused.is_some() { None } else { Some("lunch".to_owned()) };
                self.say(&Event::Asked(self.ask.clone()));
            }
            1 => {
                self.ask.sync = Some(format!("please {}", self.random.below(1_000)));
                self.say(&Event::Asked(self.ask.clone()));
            }
            _ => {
                let policy = super::policy(&mut self.random);
                for replica in &mut self.sim.replicas {
                    replica.words.push_back(vec![Event::Policy(policy.clone())]);
                }
            }
        }
    }

    /// Lets an object go that left Git and is held, if there is one.
    fn confirm(&mut self) {
        let lead = self.lead();
        let rows = self.sim.replicas[lead].machine.report().rows;
        let prunable: Vec<Uid> = rows.into_iter().filter_map(|row| row.prunable).collect();
        if !prunable.is_empty() {
            self.ask.prune.insert(self.random.pick(&prunable).clone());
            self.say(&Event::Asked(self.ask.clone()));
        }
    }

    /// Pins the app to a release of its history, kept or not.
    fn pin(&mut self) {
        let lead = self.lead();
        let history = self.sim.replicas[lead].machine.report().history;
        if history.is_empty() {
            return;
        }
        let release = self.random.pick(&history).render;
        self.ask.pin = Some(Pin { release, reason: "incident".to_owned() });
        // A word of a person's: what a release has run may run again for it.
        self.sim.world.runs.clear();
        self.say(&Event::Asked(self.ask.clone()));
    }

    /// An autoscaler comes or goes.
    fn autoscale(&mut self) {
        let scaled = *self.random.pick(&["Deployment/shop/web", "Deployment/shop/api"]);
        let target = notation::object(scaled);
        let mut known = (*self.sim.autoscaled).clone();
        if !known.targets.remove(&target) {
            known.targets.insert(target);
        }
        self.sim.autoscaled = Arc::new(known);
        self.say(&Event::Autoscaled(Some(self.sim.autoscaled.clone())));
    }

    fn pass_time(&mut self) -> Kept {
        if self.random.chance(60)
            && let Some(wake) = self.sim.next_wake()
        {
            return self.sim.jump(wake);
        }
        let millis = i64::try_from(self.random.below(2_500)).expect("a small number");
        let to = self.sim.world.now + SignedDuration::from_millis(millis);
        self.sim.jump(to)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Commit,
    Crash,
    Lease,
    Watch,
    Meddle,
    Weather,
    Word,
    Time,
}
