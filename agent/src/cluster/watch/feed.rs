//! The loop of one watch: list, follow, resume, list again.
//!
//! It never ends by itself. What is not an event of an object is told too: that the kind is gone, that
//! the server cannot be reached, that it can again.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use skiff_shared::object::{ApiSet, GroupKind};
use skiff_shared::sync::event::{Failure, Refusal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::live::Live;
use super::super::path;
use super::stream::{Collection, Events, Said};

/// Bookmarks come about every minute: a stream silent for longer than two is dead.
const SILENCE: Duration = Duration::from_secs(130);

/// A kind that the server does not know is looked for again after this time, or when discovery changes.
const GONE_FOR: Duration = Duration::from_secs(60);

/// Objects that a feed may be ahead of its reader.
const AHEAD: usize = 16;

const BACKOFF: Range<Duration> = Duration::from_millis(500)..Duration::from_secs(30);

/// Where the collection of a feed is.
pub(super) enum Place {
    /// At all objects of a kind, wherever discovery says they are.
    Kind(Arc<GroupKind>),
    /// At a path that is always there.
    Path(String),
}

/// What a feed needs.
pub(super) struct Source {
    pub collection: Collection,
    pub place: Place,
    pub apis: watch::Receiver<Arc<ApiSet>>,
    /// How long a list is trusted; a moment in it is picked by chance.
    pub renew: Range<Duration>,
    /// Lists that may be read at once.
    pub lists: Arc<Semaphore>,
}

/// What a feed tells.
pub(super) enum Fed {
    /// A list begins; every object that there is follows.
    Began,
    Listed(Box<Live>),
    /// The list is complete.
    Complete,
    Changed(Box<Live>),
    Deleted(Box<Live>),
    /// The server does not know the kind.
    Gone,
    /// The first failure after things went well.
    Failing(Failure),
    /// Things go well again.
    Resumed,
}

/// Why a round of list and follow is over.
enum End {
    /// The list has to be read again.
    Renew,
    Gone,
    /// No list could be read.
    Failed(Failure),
}

/// Where a feed goes. What nobody takes any more is dropped: the task is about to be aborted.
pub(super) struct Sink(mpsc::Sender<Fed>);

impl Sink {
    async fn tell(&self, fed: Fed) {
        let _ = self.0.send(fed).await;
    }
}

/// Returns the two ends of a feed. It is short, so that a slow reader slows the list down.
pub(super) fn channel() -> (Sink, mpsc::Receiver<Fed>) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    (Sink(sender), receiver)
}

/// Feeds `sink` until the task is aborted.
pub(super) async fn feed(mut source: Source, sink: Sink) {
    let mut patience = Patience::default();
    loop {
        let path = source.located().await;
        match source.round(&path, &sink, &mut patience).await {
            End::Renew => {}
            End::Gone => {
                sink.tell(Fed::Gone).await;
                source.until_discovery_changes().await;
            }
            End::Failed(failure) => patience.lose(failure, &sink).await,
        }
    }
}

impl Source {
    /// Returns the collection's path, waiting until discovery has it.
    async fn located(&mut self) -> String {
        let kind = match &self.place {
            Place::Path(path) => return path.clone(),
            Place::Kind(kind) => kind.clone(),
        };
        loop {
            if let Some(path) = path::of_kind(&self.apis.borrow_and_update(), &kind) {
                return path;
            }
            self.until_discovery_changes().await;
        }
    }

    async fn until_discovery_changes(&mut self) {
        // A closed channel means that nobody discovers any more; the timer still looks.
        let changed = async {
            if self.apis.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let _ = timeout(GONE_FOR, changed).await;
    }

    /// Reads a list and follows it for as long as it is good.
    async fn round(&self, path: &str, sink: &Sink, patience: &mut Patience) -> End {
        let (mut events, mut version) = match self.list(path, sink).await {
            Ok(listed) => listed,
            Err(failure) => return End::of(failure),
        };
        patience.gain(sink).await;
        let renew_at = Instant::now() + somewhere_in(&self.renew);
        loop {
            let failure = match self.follow(events, &mut version, renew_at, sink).await {
                Ok(()) => return End::Renew,
                Err(failure) => failure,
            };
            if let Some(failure) = failure {
                match End::of(failure) {
                    End::Failed(failure) => patience.lose(failure, sink).await,
                    end => return end,
                }
            }
            events = loop {
                match self.collection.open_after(path, &version).await {
                    Ok(opened) => break opened,
                    Err(failure) => match End::of(failure) {
                        End::Failed(failure) => patience.lose(failure, sink).await,
                        end => return end,
                    },
                }
            };
            patience.gain(sink).await;
        }
    }

    /// Reads the whole list, and returns the stream that follows it.
    async fn list(&self, path: &str, sink: &Sink) -> Result<(Events, String), Failure> {
        let _turn = self.lists.acquire().await.expect("the semaphore is never closed");
        let Some(mut events) = self.collection.open_with_list(path).await? else {
            return self.list_by_pages(path, sink).await;
        };
        sink.tell(Fed::Began).await;
        loop {
            match timeout(SILENCE, events.next()).await.unwrap_or(Said::Ended) {
                Said::Present(live) => sink.tell(Fed::Listed(live)).await,
                Said::ListEnds(version) => {
                    sink.tell(Fed::Complete).await;
                    return Ok((events, version));
                }
                Said::Failed(failure) => return Err(failure),
                Said::Ended => return Err(Failure::Unknown("the list ended before its end".to_owned())),
                Said::Deleted(_) | Said::UpTo(_) => {}
            }
        }
    }

    async fn list_by_pages(&self, path: &str, sink: &Sink) -> Result<(Events, String), Failure> {
        sink.tell(Fed::Began).await;
        let mut token = String::new();
        loop {
            let page = self.collection.page(path, &token).await?;
            for live in page.items {
                sink.tell(Fed::Listed(Box::new(live))).await;
            }
            token = page.metadata.next;
            if token.is_empty() {
                let version = page.metadata.resource_version;
                sink.tell(Fed::Complete).await;
                return Ok((self.collection.open_after(path, &version).await?, version));
            }
        }
    }

    /// Tells what happens until it is time for a new list, or until the stream is over (`None`) or fails.
    async fn follow(
        &self,
        mut events: Events,
        version: &mut String,
        renew_at: Instant,
        sink: &Sink,
    ) -> Result<(), Option<Failure>> {
        loop {
            let said = tokio::select! {
                said = timeout(SILENCE, events.next()) => said.unwrap_or(Said::Ended),
                () = sleep_until(renew_at) => return Ok(()),
            };
            match said {
                Said::Present(live) => {
                    *version = live.metadata.resource_version.to_string();
                    sink.tell(Fed::Changed(live)).await;
                }
                Said::Deleted(live) => {
                    *version = live.metadata.resource_version.to_string();
                    sink.tell(Fed::Deleted(live)).await;
                }
                Said::UpTo(reached) | Said::ListEnds(reached) => *version = reached,
                Said::Ended => return Err(None),
                Said::Failed(failure) => return Err(Some(failure)),
            }
        }
    }
}

impl End {
    fn of(failure: Failure) -> Self {
        match failure {
            Failure::NotFound(_) => Self::Gone,
            // 410: the version is too old for the server to follow it.
            Failure::Unavailable(cause) if cause.reason == Refusal::Conflict => Self::Renew,
            failure => Self::Failed(failure),
        }
    }
}

/// How often in a row things went wrong.
#[derive(Default)]
struct Patience {
    failures: u32,
}

impl Patience {
    /// Tells of the first failure and waits, longer each time.
    async fn lose(&mut self, failure: Failure, sink: &Sink) {
        let asked = match &failure {
            Failure::Throttled(Some(wait)) => wait.unsigned_abs(),
            _ => Duration::ZERO,
        };
        if self.failures == 0 {
            sink.tell(Fed::Failing(failure)).await;
        }
        let wait = BACKOFF.start.saturating_mul(1 << self.failures.min(16)).min(BACKOFF.end);
        self.failures += 1;
        sleep(somewhere_in(&(wait / 2..wait)).max(asked)).await;
    }

    async fn gain(&mut self, sink: &Sink) {
        if std::mem::take(&mut self.failures) > 0 {
            sink.tell(Fed::Resumed).await;
        }
    }
}

/// Returns a time in the range by chance, so that agents and watches do not ask all at once.
fn somewhere_in(range: &Range<Duration>) -> Duration {
    let chance = RandomState::new().hash_one(()) % 1_024;
    let chance = u32::try_from(chance).expect("the remainder is small");
    range.start + range.end.saturating_sub(range.start) * chance / 1_024
}
