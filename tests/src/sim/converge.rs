//! Runs a simulation until nothing moves any more.

use jiff::{SignedDuration, Timestamp};
use skiff_shared::sync::effect::Effect;
use skiff_shared::sync::event::Event;

use super::{Fate, Sim};
use crate::random::Random;
use crate::rules::{Kept, keep};

/// Wake-ups in a row that change nothing before a run is called waiting.
const PATIENCE: u32 = 60;

/// Wake-ups in a row, with or without progress, after which a fair world should be at rest: a machine that
/// keeps writing the same has no end.
const LONG: u32 = 3_000;

/// How a run came to rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Nothing happens and nothing is planned.
    Idle,
    /// It keeps trying something that the world does not grant.
    Waiting,
}

/// One thing that may happen next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Move {
    Word { at: usize },
    Perform { at: usize },
    Answer { at: usize },
    Show { at: usize, stream: usize },
    World,
}

impl Sim {
    /// Runs in order and without faults until nothing moves.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn settle(&mut self) -> Result<End, crate::rules::Broken> {
        self.run(None)
    }

    /// Runs without faults until nothing moves, in the order that chance gives or in the natural one.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn run(&mut self, mut random: Option<&mut Random>) -> Result<End, crate::rules::Broken> {
        let (mut wakes, mut idle_wakes) = (0, 0);
        let mut before = self.progress();
        loop {
            let moves = self.moves();
            if let Some(choice) = choose(&moves, random.as_deref_mut()) {
                self.make(choice, random.as_deref_mut())?;
                continue;
            }
            let after = self.progress();
            idle_wakes = if before == after { idle_wakes + 1 } else { 0 };
            before = after;
            let Some(wake) = self.next_wake() else { return Ok(End::Idle) };
            // What the last of them has changed may still be told.
            if idle_wakes > PATIENCE && (self.is_told() || idle_wakes > 2 * PATIENCE) {
                return Ok(End::Waiting);
            }
            wakes += 1;
            keep("a-fair-world-comes-to-rest", wakes < LONG, || format!("{wakes} wake-ups"))?;
            self.jump(wake)?;
        }
    }

    /// Lets so much happen in the natural order; returns whether anything is left to happen.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn advance(&mut self, count: usize) -> Result<bool, crate::rules::Broken> {
        for _ in 0..count {
            if let Some(choice) = choose(&self.moves(), None) {
                self.make(choice, None)?;
            } else if let Some(wake) = self.next_wake() {
                self.jump(wake)?;
            } else {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What changes when anything real happens.
    fn progress(&self) -> (usize, u64) {
        let saved: u64 =
            self.world.stores.values().map(|store| store.revisions().values().sum::<u64>()).sum();
        (self.world.objects.len(), saved + self.world.version())
    }

    /// Whether every machine has published what it would report; one that only stands by never does.
    fn is_told(&self) -> bool {
        self.replicas.iter().all(|replica| replica.published.as_ref() == Some(&replica.machine.report()))
    }

    pub fn next_wake(&self) -> Option<Timestamp> {
        self.replicas.iter().filter_map(|replica| replica.wake).min()
    }

    /// Lets time pass and wakes who wanted to be woken.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn jump(&mut self, to: Timestamp) -> Kept {
        self.world.now = self.world.now.max(to);
        for at in 0..self.replicas.len() {
            let wake = self.replicas[at].wake;
            if wake.is_some_and(|wake| wake <= self.world.now) {
                self.step(at, vec![Event::Tick])?;
            }
        }
        Ok(())
    }

    /// Lets time pass whether somebody wanted to be woken or not.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn wait(&mut self, time: SignedDuration) -> Kept {
        let to = self.world.now + time;
        while let Some(wake) = self.next_wake().filter(|wake| *wake <= to) {
            self.jump(wake)?;
            self.run_now()?;
        }
        self.world.now = to;
        Ok(())
    }

    /// Does everything that can be done without letting time pass.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn run_now(&mut self) -> Kept {
        while let Some(choice) = choose(&self.moves(), None) {
            self.make(choice, None)?;
        }
        Ok(())
    }

    /// Runs in order until the first process has sent a request that `is_it` picks; returns its place among those that
    /// the server has not seen yet.
    ///
    /// # Errors
    /// Names the rule that is broken, or says that there is no such request.
    pub fn run_until(&mut self, is_it: impl Fn(&Effect) -> bool) -> Result<usize, crate::rules::Broken> {
        loop {
            if let Some(index) = self.replicas[0].sent.iter().position(&is_it) {
                return Ok(index);
            }
            if let Some(choice) = choose(&self.moves(), None) {
                self.make(choice, None)?;
                continue;
            }
            let wake = self.next_wake();
            keep("what-is-waited-for-is-sent", wake.is_some(), || "everything is at rest".to_owned())?;
            self.jump(wake.unwrap_or(self.world.now))?;
        }
    }

    /// Runs in order for so many things, time among them; returns whether there was as much to do.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn run_moves(&mut self, count: u32) -> Result<bool, crate::rules::Broken> {
        for _ in 0..count {
            match (choose(&self.moves(), None), self.next_wake()) {
                (Some(choice), _) => self.make(choice, None)?,
                (None, Some(wake)) => self.jump(wake)?,
                (None, None) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Everything that may happen next without time passing.
    pub(crate) fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (at, replica) in self.replicas.iter().enumerate() {
            moves.extend((!replica.words.is_empty()).then_some(Move::Word { at }));
            moves.extend((!replica.answers.is_empty()).then_some(Move::Answer { at }));
            let streams = replica.streams.values().filter(|stream| !stream.queue.is_empty());
            moves.extend(streams.enumerate().map(|(stream, _)| Move::Show { at, stream }));
            moves.extend((!replica.sent.is_empty()).then_some(Move::Perform { at }));
        }
        moves.extend(self.world.is_restless().then_some(Move::World));
        moves
    }

    pub(crate) fn make(&mut self, choice: Move, mut random: Option<&mut Random>) -> Kept {
        let mut index = |length: usize| random.as_deref_mut().map_or(0, |random| random.below(length));
        match choice {
            Move::Word { at } => {
                let events = self.replicas[at].words.pop_front().unwrap_or_default();
                self.step(at, events)
            }
            Move::Perform { at } => {
                let index = index(self.replicas[at].sent.len());
                self.perform(at, index, Fate::Fine)
            }
            Move::Answer { at } => {
                let index = index(self.replicas[at].answers.len());
                let event = self.replicas[at].answers.remove(index);
                self.step(at, vec![event])
            }
            Move::Show { at, stream } => {
                let index = index(1_000_000);
                self.show(at, stream, index)
            }
            Move::World => {
                self.tire()?;
                if self.world.live_on() {
                    self.tell_apis();
                }
                self.flow();
                Ok(())
            }
        }
    }

    /// Checks that a machine at rest stays at rest, however often and late it is woken.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn stays_idle(&mut self) -> Kept {
        for hours in [0, 1, 24, 24 * 30] {
            self.world.now += SignedDuration::from_hours(hours);
            for at in 0..self.replicas.len() {
                let before = self.replicas[at].notices.len();
                let counts = self.replicas[at].counts;
                self.step(at, vec![Event::Tick])?;
                let replica = &self.replicas[at];
                let idle = replica.is_quiet()
                    && replica.wake.is_none()
                    && replica.notices.len() == before
                    && replica.counts == counts;
                keep("idle-means-idle", idle, || format!("{:?} {:?}", replica.sent, replica.wake))?;
            }
        }
        Ok(())
    }
}

fn choose(moves: &[Move], random: Option<&mut Random>) -> Option<Move> {
    match random {
        Some(random) if !moves.is_empty() => Some(*random.pick(moves)),
        _ => moves.first().copied(),
    }
}
