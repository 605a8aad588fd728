//! Removes what crashes have left of the agent's own state, while this agent is the one at work.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use skiff_shared::sync::event::LeaseTerm;
use tokio::sync::watch;

use super::registry::Registry;
use crate::state::{Removed, State};
use crate::telemetry::chain;

/// The apps come first: their state is read in this time.
const AFTER_START: Duration = Duration::from_secs(15);

/// Something that was left behind while the agent works is removed after this time at the latest.
const INTERVAL: Duration = Duration::from_mins(10);

/// Removes leftovers, and tells how large what stays is.
pub struct Remover {
    pub state: Arc<State>,
    pub registry: Arc<Registry>,
    pub lease: watch::Receiver<LeaseTerm>,
    pub request_deadline: SignedDuration,
}

impl Remover {
    /// Looks for leftovers whenever the Lease was gained and when a removal has failed; never otherwise, as a quiet
    /// agent sends no request.
    pub async fn run(mut self) {
        let is_held = |term: &LeaseTerm| matches!(term, LeaseTerm::Held { .. });
        while self.lease.wait_for(is_held).await.is_ok() {
            // Another agent may have worked, and crashed, since this one held the Lease.
            self.state.suspect();
            let mut pause = AFTER_START;
            while !self.is_lost_within(pause).await {
                if self.state.is_littered() {
                    self.remove().await;
                }
                pause = INTERVAL;
            }
        }
    }

    /// Waits for this time, or until the Lease is lost.
    async fn is_lost_within(&mut self, pause: Duration) -> bool {
        let lost = self.lease.wait_for(|term| *term == LeaseTerm::Lost);
        tokio::time::timeout(pause, lost).await.is_ok()
    }

    async fn remove(&self) {
        let may_write = || self.lease.borrow().covers(self.request_deadline, Timestamp::now());
        match self.state.remove_leftovers(may_write).await {
            Ok(Removed { renders: 0, shards: 0 }) => {}
            Ok(Removed { renders, shards }) => {
                tracing::info!(renders, shards, "removed what was left of earlier state");
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "what may be left of earlier state is not removed yet")
            }
        }
        // What is stored is counted now: it may be more than its bound.
        self.registry.look_again();
    }
}
