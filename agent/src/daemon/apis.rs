//! What the cluster serves, kept current: discovery at the start and whenever a kind may have come or gone.

use std::sync::Arc;
use std::time::Duration;

use skiff_shared::object::ApiSet;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::vital::Vital;
use crate::cluster::Connection;
use crate::cluster::discovery::{Discovered, discover};
use crate::telemetry::chain;

/// An incomplete discovery is repeated at this interval: an aggregated API came back without a word.
const REPEAT: Duration = Duration::from_secs(30);

/// The newest discovery, for everybody who needs it.
#[derive(Clone)]
pub struct Apis {
    /// `None` before the first complete answer.
    pub discovered: watch::Receiver<Option<Arc<Discovered>>>,
    pub set: watch::Receiver<Arc<ApiSet>>,
}

/// Discovers until stopped; `changed` tells that a kind may have come or gone.
pub fn start(
    connection: Connection,
    mut changed: mpsc::Receiver<()>,
    vital: &Vital,
    stop: CancellationToken,
) -> Apis {
    let (discovered, discovered_receiver) = watch::channel(None);
    let (set, set_receiver) = watch::channel(Arc::default());
    vital.spawn("discovery", async move {
        let mut pause = Duration::from_millis(200);
        loop {
            let next = match discover(&connection).await {
                Ok(found) => {
                    pause = Duration::from_millis(200);
                    let incomplete = !found.apis.incomplete.is_empty();
                    tell(found, &discovered, &set);
                    incomplete.then_some(REPEAT)
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "failed to discover the cluster's kinds");
                    pause = (pause * 2).min(REPEAT);
                    Some(pause)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = changed.recv() => {}
                () = after(next) => {}
            }
        }
    });
    Apis { discovered: discovered_receiver, set: set_receiver }
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

async fn after(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}
