//! How much may be told of one thing in a time: a bucket that fills again.

use jiff::{SignedDuration, Timestamp};

/// Lets `burst` pass at once and one more for each `every` that goes by.
#[derive(Clone, Debug)]
pub struct Allowance {
    burst: u32,
    every: SignedDuration,
    left: u32,
    /// When `left` was last right.
    at: Option<Timestamp>,
}

impl Allowance {
    pub fn new(burst: u32, every: SignedDuration) -> Self {
        Self { burst, every, left: burst, at: None }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Timestamp) -> bool {
        let at = *self.at.get_or_insert(now);
        let grown = now.duration_since(at).as_millis() / self.every.as_millis().max(1);
        let grown = u32::try_from(grown.max(0)).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(grown).min(self.burst);
        if grown > 0 {
            // A full bucket starts anew; else what has passed towards the next one counts.
            let counted = self.every.saturating_mul(i32::try_from(grown).unwrap_or(i32::MAX));
            let kept = at.saturating_add(counted).unwrap_or(now);
            self.at = Some(if self.left == self.burst { now } else { kept });
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_for_each_interval() {
        let mut allowance = Allowance::new(2, SignedDuration::from_secs(10));
        let start = Timestamp::UNIX_EPOCH;
        let mut taken =
            |seconds| allowance.take(start.saturating_add(SignedDuration::from_secs(seconds)).unwrap());
        assert_eq!([taken(0), taken(0), taken(0)], [true, true, false]);
        assert_eq!([taken(9), taken(15), taken(16)], [false, true, false]);
        assert_eq!([taken(20), taken(21)], [true, false], "what had passed towards the next one counts");
        assert_eq!(
            [taken(1_000), taken(1_000), taken(1_000)],
            [true, true, false],
            "never more than a burst"
        );
    }
}
