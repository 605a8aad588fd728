//! Times picked by chance, so that the agents of a fleet do not ask all at once.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::time::Duration;

/// Returns a time in the range.
pub fn somewhere_in(range: &Range<Duration>) -> Duration {
    let chance = RandomState::new().hash_one(()) % 1_024;
    let chance = u32::try_from(chance).expect("the remainder is small");
    range.start + range.end.saturating_sub(range.start) * chance / 1_024
}
