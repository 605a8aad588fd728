//! Waiting: when a row is tried again, and what happens when its time has come.

use jiff::{SignedDuration, Timestamp};

use super::backoff::{self, Pace};
use super::event::Cause;
use super::row::{RowIx, Task};
use super::state::Machine;
use super::yielding::LetGo;

/// Within this time after a heal, another drift of the same object counts as a fight.
pub(super) const FIGHT: SignedDuration = SignedDuration::from_mins(2);

/// What a row waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// The next attempt of what failed, or the end of a contested object's rest.
    Retry,
    /// The next GET.
    Lookup,
    /// The end of a fight.
    Peace,
    /// The next comparison of the content.
    Compare,
}

impl Machine {
    /// Counts a failed attempt and returns when the next one may start.
    pub(super) fn pace(&mut self, ix: RowIx, cause: Option<Cause>, pace: Pace, now: Timestamp) -> Timestamp {
        let row = self.row(ix);
        let id = row.id.clone();
        let trouble = row.trouble();
        trouble.attempts += 1;
        if cause.is_some() {
            trouble.cause = cause;
            self.changed(now);
        }
        now + backoff::pause(&id, self.row(ix).trouble().attempts, pace)
    }

    /// Counts a check that was not answered and returns when the next one may start.
    pub(super) fn pause_check(&mut self, ix: RowIx, pace: Pace, now: Timestamp) -> Timestamp {
        let row = self.row(ix);
        let trouble = row.trouble();
        trouble.checks += 1;
        let checks = trouble.checks;
        now + backoff::pause(&row.id, checks, pace)
    }

    /// Lets a row rest until `at`; a later word replaces an earlier one.
    pub(super) fn retry_at(&mut self, ix: RowIx, at: Timestamp) {
        self.row(ix).trouble().not_before = Some(at);
        self.timers.insert((at, ix, Timer::Retry));
    }

    /// Asks for another GET of the row after a while.
    pub(super) fn look_again(&mut self, ix: RowIx, now: Timestamp) {
        let row = self.row(ix);
        let trouble = row.trouble();
        trouble.lookups += 1;
        let attempt = trouble.lookups;
        let at = now + backoff::pause(&row.id, attempt, Pace::Quick);
        self.timers.insert((at, ix, Timer::Lookup));
    }

    /// Asks for another GET of an object that was left to its owner: no watch tells when it is free.
    pub(super) fn look_at_owner(&mut self, ix: RowIx, now: Timestamp) {
        if self.timers.iter().any(|(_, other, timer)| *other == ix && *timer == Timer::Lookup) {
            return;
        }
        let row = self.row(ix);
        let trouble = row.trouble();
        trouble.lookups += 1;
        let attempt = trouble.lookups;
        let at = now + backoff::pause(&row.id, attempt, Pace::Slow);
        self.timers.insert((at, ix, Timer::Lookup));
    }

    /// Looks again at a contested object when it has been left as it is for as long as it was left alone
    /// before: then the fight is over.
    pub(super) fn expect_peace(&mut self, ix: RowIx, now: Timestamp) {
        let rest = self.rest_of(ix);
        self.timers.insert((now + rest, ix, Timer::Peace));
    }

    fn rest_of(&self, ix: RowIx) -> SignedDuration {
        let row = &self.rows[ix.get()];
        let strikes = row.trouble.as_ref().map_or(0, |trouble| trouble.strikes);
        backoff::hold(&row.id, strikes).max(SignedDuration::from_secs(1))
    }

    /// Moves rows whose waiting time is over back to where they are started from.
    pub(super) fn retire_waits(&mut self, now: Timestamp) {
        while let Some((at, ix, timer)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Retry => self.rested(ix, at),
                // What was forgotten meanwhile is nobody's business any more.
                Timer::Lookup if self.rows[ix.get()].is_known() => {
                    self.lookups.insert(ix);
                }
                Timer::Lookup => {}
                Timer::Peace => self.at_peace(ix, at, now),
                Timer::Compare => {
                    self.heals.insert(ix);
                }
            }
        }
    }

    fn rested(&mut self, ix: RowIx, at: Timestamp) {
        let row = self.row(ix);
        let Some(trouble) = &mut row.trouble else { return };
        if trouble.not_before != Some(at) {
            // It was told to wait longer meanwhile.
            return;
        }
        trouble.not_before = None;
        let (task, held) = (row.task, row.held.is_some());
        let begun = row.drift.is_some() || row.letting_go != LetGo::None;
        // An object that preflight refused is tried again by a new plan.
        self.replan |= held && task == Task::None;
        if begun {
            self.heals.insert(ix);
        }
        let unchecked = self.run.as_ref().is_some_and(|run| run.unchecked.contains(&ix));
        if task != Task::None || unchecked {
            self.due.insert(ix);
        }
    }

    fn at_peace(&mut self, ix: RowIx, at: Timestamp, now: Timestamp) {
        let rest = self.rest_of(ix);
        let row = self.row(ix);
        let drifted = row.drift.is_some();
        let Some(trouble) = &mut row.trouble else { return };
        let is_over = trouble.healed_at.is_some_and(|healed| healed + rest <= at);
        if is_over && !drifted && trouble.contested.take().is_some() {
            self.changed(now);
        }
    }
}
