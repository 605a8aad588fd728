//! How often each kind has been listed: the coarse half of the order of observations.
//!
//! Resource versions go back when a store is restored, so they are compared only within one list and
//! what follows it. A watch begins a generation with every list; an answer belongs to the generation in
//! which it arrived, because a list that began before it cannot be newer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use skiff_shared::object::GroupKind;

/// The present generation of every watched kind. Shared by watches and requests; they only ever rise.
#[derive(Clone, Default, Debug)]
pub struct Generations(Arc<Mutex<HashMap<GroupKind, u32>>>);

impl Generations {
    /// Returns the generation of a kind; 0 before its first list.
    pub fn current(&self, kind: &GroupKind) -> u32 {
        self.lock().get(kind).copied().unwrap_or_default()
    }

    /// Starts the next generation of a kind and returns it.
    pub(super) fn begin(&self, kind: &GroupKind) -> u32 {
        let mut generations = self.lock();
        let generation = generations.entry(kind.clone()).or_default();
        *generation += 1;
        *generation
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<GroupKind, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
