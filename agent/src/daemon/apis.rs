//! What the cluster serves, kept current: discovery at the start, whenever a kind may have come or gone, and now and
//! then, as not everything is told.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skiff_shared::object::ApiSet;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::apps::WantedSets;
use super::vital::Vital;
use crate::cluster::Connection;
use crate::cluster::chance::somewhere_in;
use crate::cluster::discovery::{Discovered, discover};
use crate::telemetry::chain;

/// Discovery is repeated at this interval while something is missing: an aggregated API comes, and comes back, without
/// a word.
const REPEAT: Duration = Duration::from_secs(30);

/// A complete discovery is trusted for a time in this range: nobody tells of a control plane that was upgraded.
const TRUSTED: Range<Duration> = Duration::from_mins(8)..Duration::from_mins(12);

const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The newest discovery, for everybody who needs it.
#[derive(Clone)]
pub struct Apis {
    /// `None` before the first complete answer.
    pub discovered: watch::Receiver<Option<Arc<Discovered>>>,
    pub set: watch::Receiver<Arc<ApiSet>>,
}

/// What discovery goes on with.
pub struct Discovery {
    pub connection: Connection,
    /// Tells that a kind may have come or gone.
    pub changed: mpsc::Receiver<()>,
    /// What the apps want may be of a kind that is not there.
    pub wanted: Arc<WantedSets>,
}

/// How the last try to discover ended.
enum Tried {
    Found { complete: bool, trusted_until: Instant },
    Failed { pause: Duration },
}

impl Discovery {
    /// Discovers until stopped.
    pub fn start(self, vital: &Vital, stop: CancellationToken) -> Apis {
        let (discovered, discovered_receiver) = watch::channel(None);
        let (set, set_receiver) = watch::channel(Arc::default());
        vital.spawn("discovery", async move {
            stop.run_until_cancelled(self.run(discovered, set)).await;
        });
        Apis { discovered: discovered_receiver, set: set_receiver }
    }

    async fn run(
        mut self,
        discovered: watch::Sender<Option<Arc<Discovered>>>,
        set: watch::Sender<Arc<ApiSet>>,
    ) {
        let mut pause = FIRST_PAUSE;
        loop {
            let tried = match discover(&self.connection).await {
                Ok(found) => {
                    pause = FIRST_PAUSE;
                    let complete = found.apis.incomplete.is_empty();
                    tell(found, &discovered, &set);
                    Tried::Found { complete, trusted_until: Instant::now() + somewhere_in(&TRUSTED) }
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "failed to discover the cluster's kinds");
                    pause = (pause * 2).min(REPEAT);
                    Tried::Failed { pause }
                }
            };
            self.until_due(&tried, &set).await;
        }
    }

    /// Waits until it is time to discover again.
    async fn until_due(&mut self, tried: &Tried, set: &watch::Sender<Arc<ApiSet>>) {
        let pause = if let Tried::Failed { pause } = tried { *pause } else { REPEAT };
        loop {
            tokio::select! {
                Some(()) = self.changed.recv() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let is_good = match *tried {
                Tried::Found { complete, trusted_until } => complete && Instant::now() < trusted_until,
                Tried::Failed { .. } => false,
            };
            let apis = set.borrow().clone();
            if !is_good || self.wanted.lacks(&apis) {
                return;
            }
        }
    }
}

/// Hands on what is new.
fn tell(
    found: Discovered,
    discovered: &watch::Sender<Option<Arc<Discovered>>>,
    set: &watch::Sender<Arc<ApiSet>>,
) {
    if discovered.borrow().as_deref() == Some(&found) {
        return;
    }
    if **set.borrow() != found.apis {
        set.send_replace(Arc::new(found.apis.clone()));
    }
    discovered.send_replace(Some(Arc::new(found)));
}
