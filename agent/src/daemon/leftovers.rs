//! Removes what crashes have left of the agent's own state, while this agent is the one at work.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use skiff_shared::sync::event::LeaseTerm;
use tokio::sync::watch;

use crate::state::{Removed, State};
use crate::telemetry::chain;

/// The apps come first: their state is read in this time.
const AFTER_START: Duration = Duration::from_secs(15);

/// Something that was left behind while the agent works is removed after this time at the latest.
const INTERVAL: Duration = Duration::from_mins(10);

/// Looks for leftovers whenever the Lease was gained and when a removal has failed; never otherwise, as a quiet agent
/// sends no request.
pub async fn run(state: Arc<State>, mut lease: watch::Receiver<LeaseTerm>, request_deadline: SignedDuration) {
    let is_held = |term: &LeaseTerm| matches!(term, LeaseTerm::Held { .. });
    while lease.wait_for(is_held).await.is_ok() {
        // Another agent may have worked, and crashed, since this one held the Lease.
        state.suspect();
        let mut pause = AFTER_START;
        while !is_lost_within(&mut lease, pause).await {
            if state.is_littered() {
                remove(&state, &lease, request_deadline).await;
            }
            pause = INTERVAL;
        }
    }
}

/// Waits for this time, or until the Lease is lost.
async fn is_lost_within(lease: &mut watch::Receiver<LeaseTerm>, pause: Duration) -> bool {
    tokio::time::timeout(pause, lease.wait_for(|term| *term == LeaseTerm::Lost)).await.is_ok()
}

async fn remove(state: &State, lease: &watch::Receiver<LeaseTerm>, request_deadline: SignedDuration) {
    let may_write = || lease.borrow().covers(request_deadline, Timestamp::now());
    match state.remove_leftovers(may_write).await {
        Ok(Removed { renders: 0, shards: 0 }) => {}
        Ok(Removed { renders, shards }) => {
            tracing::info!(renders, shards, "removed what was left of earlier state");
        }
        Err(error) => {
            tracing::warn!(error = chain(&error), "what may be left of earlier state is not removed yet")
        }
    }
}
