//! What the machine knows of one stored shard of the inventory.

use jiff::Timestamp;

use crate::object::Digest;
use crate::sync::event::Token;

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

impl ShardState {
    /// When storing bodies or a claim is tried again.
    pub(super) fn securing_due(&self) -> Option<Timestamp> {
        let needed = self.keep == SecureState::Needed || self.claim == SecureState::Needed;
        self.not_before.filter(|_| needed)
    }
}
