//! Keeps what the stored renders of all apps take together within its bound.
//!
//! It counts and forwards: which releases go is decided by the pure core, and each app's machine lets go of its own.

use std::sync::Arc;

use skiff_shared::retention;
use skiff_shared::sync::event::Event;

use super::registry::Registry;
use crate::state::State;

/// Looks whenever an app has stored something, or sizes have become known; until the process ends.
pub async fn run(registry: Arc<Registry>, state: Arc<State>, limit: u64) {
    let mut noted = registry.noted();
    while noted.changed().await.is_ok() {
        noted.borrow_and_update();
        for (app, releases) in retention::excess(&registry.stored(), &state.sizes(), limit) {
            tracing::debug!(%app, releases = releases.len(), "stored renders make room for newer ones");
            registry.send(&app, Event::MakeRoom(releases));
        }
    }
}
