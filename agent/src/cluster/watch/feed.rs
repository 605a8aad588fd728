//! The loop of one watch: list, follow, resume, list again.
//!
//! It never ends by itself. Where only some namespaces are watched, their lists are one list, and their streams end
//! together: what was told belongs to one generation. What is not an event of an object is told too: that the kind is
//! gone, what may not be seen, that the server cannot be reached, that it can again.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use skiff_shared::object::{ApiSet, GroupKind};
use skiff_shared::sync::event::{Blind, Failure, Refusal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::chance::somewhere_in;
use super::super::live::Live;
use super::super::path::{self, Part};
use super::stream::{Collection, Events, Said};

/// Bookmarks come about every minute: a stream silent for longer than two is dead.
const SILENCE: Duration = Duration::from_secs(130);

/// The objects of a list come one after another: a pause this long is a server that hangs, and other lists wait.
const LIST_SILENCE: Duration = Duration::from_secs(30);

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
    /// Where objects are looked for; everywhere where there is none.
    pub namespaces: Arc<[Arc<str>]>,
    /// How long a list is trusted; a moment in it is picked by chance.
    pub renew: Range<Duration>,
    /// After this time the server is asked again for what it refused to show.
    pub look_again: Duration,
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
    /// Where the server refuses to show objects now.
    Blind(Vec<Blind>),
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
    let mut blind = Vec::new();
    loop {
        let parts = source.located().await;
        let began = Instant::now();
        match source.round(&parts, &sink, &mut patience, &mut blind).await {
            // However often the server says so, lists are not read one after the other.
            End::Renew => sleep_until(began + BACKOFF.start).await,
            End::Gone => {
                sink.tell(Fed::Gone).await;
                source.until_discovery_changes().await;
            }
            End::Failed(failure) => patience.lose(failure, &sink).await,
        }
    }
}

/// A part whose list has been read, and what follows it.
struct Followed<'a> {
    part: &'a Part,
    events: Events,
    version: String,
}

impl Source {
    /// Returns the collections to watch, waiting until discovery has the kind.
    async fn located(&mut self) -> Vec<Part> {
        let kind = match &self.place {
            Place::Path(path) => return vec![Part { namespace: None, path: path.clone() }],
            Place::Kind(kind) => kind.clone(),
        };
        loop {
            if let Some(parts) = path::of_kind(&self.apis.borrow_and_update(), &kind, &self.namespaces) {
                return parts;
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

    /// Reads the lists of all parts as one, and follows them for as long as they are good. A part that the server
    /// refuses to show is left out: the others are none the worse for it.
    async fn round(
        &self,
        parts: &[Part],
        sink: &Sink,
        patience: &mut Patience,
        told: &mut Vec<Blind>,
    ) -> End {
        sink.tell(Fed::Began).await;
        let (mut followed, mut blind) = (Vec::new(), Vec::new());
        for part in parts {
            match self.list(&part.path, sink).await {
                Ok((events, version)) => followed.push(Followed { part, events, version }),
                Err(Failure::Rejected(cause)) => {
                    blind.push((part, Blind { namespace: part.namespace.clone(), cause }));
                }
                Err(failure) => return End::of(failure),
            }
        }
        let (dark, places): (Vec<&Part>, Vec<Blind>) = blind.into_iter().unzip();
        if *told != places {
            told.clone_from(&places);
            sink.tell(Fed::Blind(places)).await;
        }
        if !followed.is_empty() {
            sink.tell(Fed::Complete).await;
        }
        patience.gain(sink).await;
        let renew_at = Instant::now() + somewhere_in(&self.renew);
        let mut ends: FuturesUnordered<_> =
            followed.into_iter().map(|followed| self.follow_on(followed, renew_at, sink)).collect();
        tokio::select! {
            Some(end) = ends.next() => end,
            () = self.until_shown(&dark) => End::Renew,
        }
    }

    /// Waits until the server shows one of these parts; for ever if there is none.
    async fn until_shown(&self, dark: &[&Part]) {
        if dark.is_empty() {
            return std::future::pending().await;
        }
        // A server that has just started refuses everybody until it has read its roles.
        let mut pause = BACKOFF.start;
        loop {
            sleep(pause.min(self.look_again)).await;
            pause = pause.saturating_mul(2);
            for part in dark {
                if !matches!(self.tried(&part.path).await, Err(Failure::Rejected(_))) {
                    return;
                }
            }
        }
    }

    /// Asks for a list and what follows it, as [`Source::list`] does, without reading it.
    async fn tried(&self, path: &str) -> Result<(), Failure> {
        if self.collection.open_with_list(path).await?.is_none() {
            let page = self.collection.page(path, "").await?;
            self.collection.open_after(path, &page.metadata.resource_version).await?;
        }
        Ok(())
    }

    /// Follows one part, opening its stream again where it ended, until its list has to be read again.
    async fn follow_on(&self, followed: Followed<'_>, renew_at: Instant, sink: &Sink) -> End {
        let Followed { part, mut events, mut version } = followed;
        let mut patience = Patience::default();
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
                match self.collection.open_after(&part.path, &version).await {
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
        loop {
            match timeout(LIST_SILENCE, events.next()).await.unwrap_or(Said::Ended) {
                Said::Present(live) => sink.tell(Fed::Listed(live)).await,
                Said::ListEnds(version) => return Ok((events, version)),
                Said::Failed(failure) => return Err(failure),
                Said::Ended => return Err(Failure::Unknown("the list ended before its end".to_owned())),
                Said::Deleted(_) | Said::UpTo(_) => {}
            }
        }
    }

    async fn list_by_pages(&self, path: &str, sink: &Sink) -> Result<(Events, String), Failure> {
        let mut token = String::new();
        loop {
            let page = self.collection.page(path, &token).await?;
            for live in page.items {
                sink.tell(Fed::Listed(Box::new(live))).await;
            }
            token = page.metadata.next;
            if token.is_empty() {
                let version = page.metadata.resource_version;
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
            // The rights to follow it are gone: what is left to see shows with the lists.
            Failure::Rejected(_) => Self::Renew,
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
