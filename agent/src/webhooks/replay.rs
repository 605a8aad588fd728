//! What was here before: who has heard a webhook cannot send it again.

use std::collections::{HashSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

/// How long a webhook is remembered. Those that carry a time are older than that no more.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(15);

/// Webhooks that are remembered at most.
const MAX_REMEMBERED: usize = 4_096;

/// Webhooks by what proves them.
#[derive(Default)]
pub(super) struct Replays {
    order: VecDeque<(Timestamp, String)>,
    known: HashSet<String>,
}

impl Replays {
    /// Says whether it is the first of its kind, and remembers it.
    pub(super) fn is_new(&mut self, proof: String, now: Timestamp) -> bool {
        let is_over = |at: Timestamp| now.duration_since(at) > REMEMBERED;
        while self.order.front().is_some_and(|(at, _)| is_over(*at)) || self.order.len() >= MAX_REMEMBERED {
            if let Some((_, proof)) = self.order.pop_front() {
                self.known.remove(&proof);
            }
        }
        let is_new = self.known.insert(proof.clone());
        if is_new {
            self.order.push_back((now, proof));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_counts_once_and_the_memory_has_an_end() {
        let mut replays = Replays::default();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert!(replays.is_new("a".to_owned(), at(0)) && !replays.is_new("a".to_owned(), at(900)));
        assert!(replays.is_new("a".to_owned(), at(901)), "fifteen minutes later it is forgotten");
        for number in 0..2 * MAX_REMEMBERED {
            assert!(replays.is_new(number.to_string(), at(902)));
        }
        assert_eq!((replays.order.len(), replays.known.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    }
}
