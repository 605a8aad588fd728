//! What the machine knows of one stored shard of the inventory.

use jiff::Timestamp;

use crate::object::Digest;
use crate::sync::effect::StatePart;
use crate::sync::event::{Cause, Token};

/// What the machine knows of one stored shard.
#[derive(Clone, Default, Debug)]
pub(in crate::sync) struct ShardState {
    pub renders: Vec<Vec<String>>,
    /// What the newest of them holds.
    pub kept: Option<Digest>,
    /// Stored renders to remove once the shard is stored without them.
    pub dropping: Vec<String>,
    /// The save on its way.
    pub saving: Option<Token>,
    /// Since when rows differ from what is stored.
    pub dirty: Option<Timestamp>,
    /// Not before: after a failed save.
    pub not_before: Option<Timestamp>,
    pub attempts: u32,
    /// What could not be stored at the last try, and why.
    pub trouble: Option<(StatePart, Cause)>,
    pub claim: SecureState,
    pub keep: SecureState,
}

/// How far a shard's part in securing a sync has come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::sync) enum SecureState {
    #[default]
    Done,
    Needed,
    Sent(Token),
}

/// Failures in a row after which people are told of it: one may pass before anybody has read of it.
const TOLD_AFTER: u32 = 2;

impl ShardState {
    /// Notes that a part of it is stored.
    pub(in crate::sync) fn stored(&mut self, what: StatePart) {
        if self.trouble.as_ref().is_none_or(|(failed, _)| *failed == what) {
            (self.attempts, self.not_before, self.trouble) = (0, None, None);
        }
    }

    /// Returns what cannot be stored, and why, once it is more than a moment's trouble.
    pub(in crate::sync) fn lasting_trouble(&self) -> Option<&(StatePart, Cause)> {
        self.trouble.as_ref().filter(|_| self.attempts >= TOLD_AFTER)
    }

    /// When storing bodies or a claim is tried again.
    pub(super) fn securing_due(&self) -> Option<Timestamp> {
        let needed = self.keep == SecureState::Needed || self.claim == SecureState::Needed;
        self.not_before.filter(|_| needed)
    }
}
