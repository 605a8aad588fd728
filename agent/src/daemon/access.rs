//! What all apps share of the cluster: requests, state, watches, lanes and bodies on disk.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use skiff_shared::desired::BodyDigest;
use skiff_shared::object::Interner;
use skiff_shared::report::Recorded;
use skiff_shared::sync::event::{Cause, Failure, Loaded, Refusal};
use tokio_util::sync::CancellationToken;

use crate::cluster::marked::Marked;
use crate::cluster::requests::Requests;
use crate::cluster::watch::Watches;
use crate::expr::HealthBook;
use crate::lanes::Lanes;
use crate::lease::Right;
use crate::state::{State, StateError};
use crate::store::Store;
use crate::telemetry::chain;

/// How long to wait before recorded state that could not be read is read again.
const RELOAD: Duration = Duration::from_secs(2);

/// The most time that one try to read an app's recorded state takes. Bodies that came are on disk for the next one.
const LOAD: Duration = Duration::from_mins(2);

/// The cluster as one agent reaches it.
pub struct ClusterAccess {
    pub requests: Requests,
    /// How kinds of apps say how they are.
    pub health: HealthBook,
    /// The agent's own namespace: where objects are dry-run whose own does not exist yet.
    pub namespace: String,
    pub watches: Watches,
    pub marked: Marked,
    pub state: Arc<State>,
    pub store: Arc<Store>,
    pub lanes: Lanes,
    pub right: Right,
    pub interner: Arc<Mutex<Interner>>,
    /// Ends the process in good order: another agent is at work.
    pub stop: CancellationToken,
}

impl ClusterAccess {
    /// Reads an app's recorded state, again and again until it is there: nothing may be decided
    /// without it.
    pub async fn load(&self, app: &str) -> Loaded {
        loop {
            match tokio::time::timeout(LOAD, self.try_load(app)).await {
                Ok(Ok(loaded)) => return loaded,
                Ok(Err(error)) => {
                    tracing::error!(app, error = chain(&error), "failed to load recorded state");
                }
                Err(_) => tracing::error!(app, seconds = LOAD.as_secs(), "recorded state is read too slowly"),
            }
            tokio::time::sleep(RELOAD).await;
        }
    }

    async fn try_load(&self, app: &str) -> Result<Loaded, StateError> {
        let mut inventory = self.state.load(app, &self.interner).await?;
        self.state.restore(&inventory, &self.store).await?;
        // Where there is none yet the first status makes it: a definition that was installed in this moment answers
        // the first creation only after two seconds.
        let found = self.state.find_app(app).await.map_err(StateError::App)?;
        let recorded = found.as_ref().and_then(|found| Some(found.status.as_ref()?.recorded()));
        let ask = found.map(|found| found.spec.ask()).unwrap_or_default();
        let recorded: Recorded = recorded.unwrap_or_default();
        if recorded.applied.is_some() && inventory.is_incomplete() {
            let found = self.marked.of_app(app).await.map_err(StateError::Lost)?;
            let objects = inventory.rebuild(found);
            if objects > 0 {
                tracing::warn!(
                    app,
                    objects,
                    "the inventory was lost: what carries the app's labels is taken for its own, and nothing of it is pruned until `skiff sync`"
                );
            }
        }
        Ok(Loaded { inventory, recorded, ask })
    }

    /// Returns a body as it is sent.
    pub async fn body(&self, digest: BodyDigest) -> Result<Bytes, Failure> {
        let store = self.store.clone();
        let read = tokio::task::spawn_blocking(move || store.get(digest)).await;
        let failed =
            |message: String| Failure::Unavailable(Cause { reason: Refusal::Unclassified, code: 0, message });
        match read {
            Ok(Ok(Some(body))) => Ok(body.into()),
            Ok(Ok(None)) => Err(failed(format!("body {digest} is not on disk any more"))),
            Ok(Err(error)) => Err(failed(format!("body {digest} cannot be read: {error}"))),
            Err(_) => Err(Failure::NotSent),
        }
    }

    /// Another agent has changed the recorded state: this one ends.
    pub fn stop_work(&self) {
        tracing::error!("another agent has changed the recorded state of an app: this one ends");
        self.stop.cancel();
    }
}
