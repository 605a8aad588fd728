//! Waiting times. Jitter is a hash of what waits and how often it has, so that a replay is exact.

use jiff::SignedDuration;

use super::event::Refusal;
use crate::object::{Hashing, ObjectId};

/// What kind of failure is waited out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Likely to pass by itself: from 200 ms to a minute.
    Quick,
    /// Passes when somebody changes something: from 30 s to 15 minutes.
    Slow,
}

impl Pace {
    /// Returns how soon a refused request is worth repeating. An API server that has just been started
    /// answers `Forbidden` to everybody until it has read its roles, so that word is not the last.
    pub fn after(refusal: Refusal) -> Self {
        if refusal == Refusal::Forbidden { Self::Quick } else { Self::Slow }
    }

    /// Returns the first and the longest pause in milliseconds.
    fn bounds(self) -> (i64, i64) {
        match self {
            Self::Quick => (200, 60_000),
            Self::Slow => (30_000, 900_000),
        }
    }
}

/// Returns how long to wait before attempt number `attempt` (1 is the first repetition).
pub fn pause(id: &ObjectId, attempt: u32, pace: Pace) -> SignedDuration {
    let (base, cap) = pace.bounds();
    jittered(base, cap, attempt, &id.to_string())
}

/// Returns how long to wait before attempt number `attempt` at something that concerns a whole app.
pub fn pause_of_app(attempt: u32, pace: Pace) -> SignedDuration {
    let (base, cap) = pace.bounds();
    jittered(base, cap, attempt, "")
}

/// Returns how long a contested object is left alone after its `strikes`-th time in a row; the first
/// three are healed at once.
pub fn hold(id: &ObjectId, strikes: u32) -> SignedDuration {
    if strikes <= 3 { SignedDuration::ZERO } else { jittered(1_000, 300_000, strikes - 3, &id.to_string()) }
}

/// Doubles `base` milliseconds with each attempt up to `cap` and adds up to a quarter of it.
fn jittered(base: i64, cap: i64, attempt: u32, key: &str) -> SignedDuration {
    let doubled = base.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(cap);
    let hash = Hashing::default().part(key.as_bytes()).part(&attempt.to_be_bytes()).finish();
    let share = i64::from(u16::from_be_bytes([hash.0[0], hash.0[1]]));
    SignedDuration::from_millis(doubled + doubled * share / (4 * 65_536))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Interner;

    #[test]
    fn pauses_double_up_to_their_cap() {
        let id = Interner::default().object("", "ConfigMap", Some("shop"), "a");
        let first = pause(&id, 1, Pace::Quick);
        assert!((200..=250).contains(&first.as_millis()), "{first}");
        let late = pause(&id, 40, Pace::Quick);
        assert!((60_000..=75_000).contains(&late.as_millis()), "{late}");
    }

    #[test]
    fn a_contested_object_is_healed_three_times_at_once() {
        let id = Interner::default().object("", "ConfigMap", Some("shop"), "a");
        assert!(hold(&id, 3).is_zero());
        assert!(hold(&id, 4) >= SignedDuration::from_secs(1));
        assert!(hold(&id, 60) >= SignedDuration::from_secs(300));
    }
}
