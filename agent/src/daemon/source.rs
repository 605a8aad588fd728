//! Pollers: one task per source, however many environments read it.
//!
//! First of the adapters: asks the repository for its reference, fetches a moved one, and tells the
//! environments. A failure changes nothing: it is told, and tried again after a back-off.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use skiff_shared::desired::Interval;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::git::{Cache, FetchError, Polled, Revision, Source, Update, next_poll};
use crate::telemetry::chain;

/// What a poller tells the environments that read its source.
#[derive(Clone, Debug)]
pub enum Sourced {
    /// The reference stands here now.
    Moved {
        revision: Arc<Revision>,
        seen_at: Timestamp,
        fetched: Interval,
    },
    /// It was asked for and stands where it stood.
    Unmoved,
    Failed {
        reason: &'static str,
        message: String,
        tried: Interval,
    },
}

/// Asks one source, again and again.
pub struct Poller {
    pub cache: Arc<Cache>,
    pub source: Source,
    pub interval: Duration,
    /// Tells this agent's polls from those of the rest of the fleet.
    pub salt: Arc<str>,
    pub readers: Vec<mpsc::Sender<Sourced>>,
    pub stop: CancellationToken,
}

impl Poller {
    pub async fn run(self) {
        let mut known: Option<Arc<Revision>> = None;
        let mut failures = 0;
        let mut polls: u64 = 0;
        loop {
            let start = Timestamp::now();
            let retry = match self.ask(known.clone(), start).await {
                Ok(Some(moved)) => {
                    known = Some(moved);
                    failures = 0;
                    None
                }
                Ok(None) => {
                    failures = 0;
                    None
                }
                Err(error) => {
                    failures += 1;
                    let retry = error.retry();
                    let tried = Interval { start, end: Timestamp::now() };
                    self.tell(Sourced::Failed { reason: error.reason(), message: chain(&error), tried })
                        .await;
                    Some(retry)
                }
            };
            polls += 1;
            let url = self.source.url.canonical();
            let polled = Polled { url: &url, salt: &self.salt, attempt: polls, failures, retry };
            let now = Timestamp::now();
            let pause = next_poll(&polled, self.interval, now).duration_since(now);
            let pause = Duration::try_from(pause).unwrap_or(self.interval);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Polls once and tells the readers; returns the revision if it moved.
    async fn ask(
        &self,
        known: Option<Arc<Revision>>,
        start: Timestamp,
    ) -> Result<Option<Arc<Revision>>, FetchError> {
        let (cache, source, before) = (self.cache.clone(), self.source.clone(), known.clone());
        let asked = tokio::task::spawn_blocking(move || cache.update(&source, before.as_deref())).await;
        let update = asked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        match update {
            Update::Unchanged => {
                self.tell(Sourced::Unmoved).await;
                Ok(None)
            }
            Update::Moved(revision) => {
                let end = Timestamp::now();
                let revision = Arc::new(*revision);
                if let Some(known) = known.filter(|known| revision.committed_at < known.committed_at) {
                    let url = self.source.url.to_string();
                    tracing::warn!(%url, from = %known, to = %revision, "the source moved back to an older commit");
                }
                let fetched = Interval { start, end };
                self.tell(Sourced::Moved { revision: revision.clone(), seen_at: start, fetched }).await;
                Ok(Some(revision))
            }
        }
    }

    async fn tell(&self, sourced: Sourced) {
        for reader in &self.readers {
            // A reader that is gone has been reconfigured away; its poller follows.
            let _gone = reader.send(sourced.clone()).await;
        }
    }
}
