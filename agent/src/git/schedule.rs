//! When a repository is asked next. Pure: the time is an argument, and chance is a hash, so that a fleet spreads itself
//! over the interval and a test can repeat what happened.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::error::Retry;

/// The first wait after a failure that is likely to pass.
const FIRST: Duration = Duration::from_secs(5);
/// The longest wait after such failures, unless the interval is longer.
const LONGEST: Duration = Duration::from_secs(600);
/// The longest that a server is believed.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// Waits differ by this share, in percent.
const JITTER: u32 = 20;

/// What is known of a repository after it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled<'a> {
    /// The canonical URL: agents that share it still differ by `salt`.
    pub url: &'a str,
    /// What tells this agent from others, as its cluster's name.
    pub salt: &'a str,
    /// How often the repository was asked so far.
    pub attempt: u64,
    /// How often in a row it failed.
    pub failures: u32,
    /// What the last failure said; nothing after a success.
    pub retry: Option<Retry>,
}

/// Returns when to ask again.
pub fn next_poll(polled: &Polled<'_>, interval: Duration, now: Timestamp) -> Timestamp {
    let share = jitter(polled);
    let wait = match polled.retry {
        None | Some(Retry::AtInterval | Retry::OnChange) => around(interval, share),
        Some(Retry::Backoff) => around(back_off(polled.failures, interval), share),
        // Never before the server said, and not all agents at that moment.
        Some(Retry::After(asked)) => after(asked.min(LONGEST_ASKED), share),
    };
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

fn back_off(failures: u32, interval: Duration) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST.min(interval).saturating_mul(doubled).min(LONGEST.max(interval))
}

/// Returns the wait, up to the jitter's share shorter or longer.
fn around(wait: Duration, share: u32) -> Duration {
    wait.saturating_mul(100 - JITTER).saturating_add(wait.saturating_mul(2 * JITTER) / 1000 * share) / 100
}

/// Returns the wait, up to the jitter's share longer.
fn after(wait: Duration, share: u32) -> Duration {
    wait.saturating_add(wait.saturating_mul(JITTER) / 1000 * share / 100)
}

/// Returns a number from 0 to 1000 that only this poll of this agent has.
fn jitter(polled: &Polled<'_>) -> u32 {
    let Polled { url, salt, attempt, failures: _, retry: _ } = polled;
    let digest = Sha256::digest(format!("{url}\n{salt}\n{attempt}"));
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    number % 1001
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);

    fn wait(polled: Polled<'_>) -> f64 {
        let now: Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
        next_poll(&polled, INTERVAL, now).duration_since(now).as_secs_f64()
    }

    fn polled(attempt: u64, failures: u32, retry: Option<Retry>) -> Polled<'static> {
        Polled { url: "https://git.example/shop", salt: "cluster-1", attempt, failures, retry }
    }

    #[test]
    fn polls_spread_over_a_fifth_around_the_interval() {
        let waits: Vec<f64> = (0..1000).map(|attempt| wait(polled(attempt, 0, None))).collect();
        assert!(waits.iter().all(|wait| (48.0..=72.0).contains(wait)));
        let mean = waits.iter().sum::<f64>() / 1000.0;
        assert!((59.0..61.0).contains(&mean), "{mean}");
        assert!(waits.iter().any(|wait| *wait < 49.0) && waits.iter().any(|wait| *wait > 71.0));
    }

    #[test]
    fn same_poll_always_waits_the_same_and_other_agents_differ() {
        assert_eq!(wait(polled(7, 0, None)).to_bits(), wait(polled(7, 0, None)).to_bits());
        let other = Polled { salt: "cluster-2", ..polled(7, 0, None) };
        assert_ne!(wait(polled(7, 0, None)).to_bits(), wait(other).to_bits());
    }

    #[test]
    fn failures_double_the_wait_up_to_ten_minutes() {
        let expected = [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0];
        for (failures, expected) in (1..).zip(expected) {
            let wait = wait(polled(failures.into(), failures, Some(Retry::Backoff)));
            assert!((expected * 0.8..=expected * 1.2).contains(&wait), "{failures}: {wait}");
        }
        assert!(wait(polled(1, u32::MAX, Some(Retry::Backoff))) <= 720.0);
    }

    #[test]
    fn short_interval_is_never_outwaited_by_the_first_failure() {
        let now = Timestamp::UNIX_EPOCH;
        let next = next_poll(&polled(1, 1, Some(Retry::Backoff)), Duration::from_secs(1), now);
        assert!(next.duration_since(now) <= SignedDuration::from_millis(1200));
    }

    #[test]
    fn server_that_asks_for_time_gets_it() {
        for attempt in 0..100 {
            let wait = wait(polled(attempt, 1, Some(Retry::After(Duration::from_secs(300)))));
            assert!((300.0..=360.0).contains(&wait), "{wait}");
        }
        let year = Duration::from_secs(365 * 24 * 3600);
        assert!(wait(polled(1, 1, Some(Retry::After(year)))) <= 3600.0 * 1.2);
    }

    #[test]
    fn faults_that_wait_for_people_are_asked_about_at_the_interval() {
        for retry in [Retry::AtInterval, Retry::OnChange] {
            assert!((48.0..=72.0).contains(&wait(polled(9, 9, Some(retry)))));
        }
    }
}
