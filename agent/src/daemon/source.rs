//! Pollers: one task per source, however many environments and apps read it.
//!
//! First of the adapters: asks a repository for its reference, or a chart repository for its newest version, fetches what
//! has moved, and tells the environments. A failure changes nothing: it is told, and tried again after a back-off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use skiff_shared::desired::Interval;
use skiff_shared::gate::approval::ApprovalTag;
use tokio_util::sync::CancellationToken;

use super::sought::Sought;
use super::sources::Readers;
use crate::blocking::Transfers;
use crate::charts::{self, Chart, Charts, Wanted};
use crate::git::{self, Cache, Polled, Retry, Revision, Source, next_poll};
use crate::telemetry::chain;

/// What is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A reference of a Git repository.
    Git(Source),
    /// A chart of a chart repository.
    Chart(Wanted),
}

/// What a source stands at.
#[derive(Clone, Debug)]
pub enum State {
    Git(Fetched<Revision>),
    Chart(Fetched<Chart>),
}

/// Something that was fetched, with the times of it.
#[derive(Debug)]
pub struct Fetched<T> {
    pub what: Arc<T>,
    pub seen_at: Timestamp,
    pub took: Interval,
}

impl<T> Clone for Fetched<T> {
    fn clone(&self) -> Self {
        let Self { what, seen_at, took } = self;
        Self { what: what.clone(), seen_at: *seen_at, took: *took }
    }
}

/// What a poller tells those who read its source.
#[derive(Clone, Debug)]
pub enum Sourced {
    /// The source stands here now.
    Moved(State),
    /// It was asked for and stands where it stood.
    Unmoved,
    Failed(Trouble),
    /// All tags that approve plans, as the repository has them now.
    Approvals(Arc<[ApprovalTag]>),
}

/// Why a source cannot be read.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub reason: &'static str,
    pub message: String,
    pub tried: Interval,
}

/// Asks one source, again and again.
pub struct Poller {
    pub subject: Arc<Subject>,
    pub cache: Arc<Cache>,
    pub charts: Arc<Charts>,
    pub transfers: Transfers,
    /// Tells this agent's polls from those of the rest of the fleet.
    pub salt: Arc<str>,
    /// The plans whose approvals are waited for.
    pub sought: Arc<Sought>,
    pub readers: Arc<Readers>,
    pub stop: CancellationToken,
}

/// A poll.
#[derive(Clone, Copy)]
struct Asked {
    at: Timestamp,
    /// What the server has said since then holds still.
    since: Instant,
}

/// Why a poll failed.
struct Failure {
    reason: &'static str,
    message: String,
    retry: Retry,
}

impl Subject {
    /// Returns the repository's address, for people.
    pub fn url(&self) -> String {
        match self {
            Self::Git(source) => source.url.canonical(),
            Self::Chart(wanted) => wanted.chart.repository.clone(),
        }
    }

    /// Whether tags there approve plans.
    fn takes_approvals(&self) -> bool {
        matches!(self, Self::Git(source) if source.approvals.is_some())
    }
}

impl Poller {
    pub async fn run(self) {
        let mut known: Option<State> = None;
        let mut failures = 0;
        let mut polls: u64 = 0;
        let mut more = self.sought.more();
        let mut is_hurried = false;
        loop {
            more.mark_unchanged();
            let start = Timestamp::now();
            let interval = self.readers.interval();
            let now = Instant::now();
            // Who does not wait for the next poll wants to know what is there now.
            let since = if is_hurried { Some(now) } else { now.checked_sub(interval / 2) };
            let since = since.unwrap_or(now);
            let retry = match self.ask(known.as_ref(), Asked { at: start, since }).await {
                Ok(moved) => {
                    failures = 0;
                    self.readers.tell(&self.subject, moved.clone().map_or(Sourced::Unmoved, Sourced::Moved));
                    known = moved.or(known);
                    None
                }
                Err(Failure { reason, message, retry }) => {
                    failures += 1;
                    let tried = Interval { start, end: Timestamp::now() };
                    self.readers.tell(&self.subject, Sourced::Failed(Trouble { reason, message, tried }));
                    Some(retry)
                }
            };
            polls += 1;
            let url = self.subject.url();
            let polled = Polled { url: &url, salt: &self.salt, attempt: polls, failures, retry };
            let now = Timestamp::now();
            let pause = next_poll(&polled, interval, now).duration_since(now);
            let pause = Duration::try_from(pause).unwrap_or(interval);
            is_hurried = tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.readers.hurried() => true,
                Ok(()) = more.changed(), if self.subject.takes_approvals() => true,
                () = tokio::time::sleep(pause) => false,
            };
        }
    }

    /// Polls once; returns what the source stands at if it moved.
    async fn ask(&self, known: Option<&State>, asked: Asked) -> Result<Option<State>, Failure> {
        match (&*self.subject, known) {
            (Subject::Git(source), known) => {
                let known = known.and_then(State::revision).map(|fetched| fetched.what.clone());
                let moved = self.ask_git(source, known, asked.since).await?;
                Ok(moved.map(|what| State::Git(Fetched::since(asked.at, what))))
            }
            (Subject::Chart(wanted), known) => {
                let known = known.and_then(State::chart).map(|fetched| fetched.what.clone());
                let moved = self.ask_charts(wanted, known, asked.since.elapsed()).await?;
                Ok(moved.map(|what| State::Chart(Fetched::since(asked.at, what))))
            }
        }
    }

    async fn ask_git(
        &self,
        source: &Source,
        known: Option<Arc<Revision>>,
        since: Instant,
    ) -> Result<Option<Arc<Revision>>, Failure> {
        let (cache, asked, before) = (self.cache.clone(), source.clone(), known.clone());
        let sought = self.sought.now();
        let update = self.transfers.run(move || match asked.approvals {
            Some(_) => {
                let (update, tags) =
                    cache.update_with_approvals(&asked, before.as_deref(), &sought, since)?;
                Ok((update, Some(tags)))
            }
            None => Ok((cache.update_since(&asked, before.as_deref(), since)?, None)),
        });
        let update = update.await;
        let failed = |error: git::FetchError| Failure {
            reason: error.reason(),
            message: chain(&error),
            retry: error.retry(),
        };
        let (update, tags) = update.map_err(failed)?;
        if let Some(tags) = tags {
            self.readers.tell(&self.subject, Sourced::Approvals(tags.into()));
        }
        let git::Update::Moved(revision) = update else { return Ok(None) };
        if let Some(known) = known.filter(|known| revision.committed_at < known.committed_at) {
            let url = source.url.to_string();
            tracing::warn!(%url, from = %known, to = %revision, "the source moved back to an older commit");
        }
        if !revision.signers.is_empty() {
            let (url, signers) = (source.url.to_string(), revision.signers.join(" and "));
            tracing::info!(%url, %revision, "the revision is signed by {signers}");
        }
        Ok(Some(Arc::new(*revision)))
    }

    async fn ask_charts(
        &self,
        wanted: &Wanted,
        known: Option<Arc<Chart>>,
        fresh: Duration,
    ) -> Result<Option<Arc<Chart>>, Failure> {
        let (charts, asked, before) = (self.charts.clone(), wanted.clone(), known.clone());
        let update = self.transfers.run(move || charts.update(&asked, before.as_deref(), fresh)).await;
        let failed = |error: charts::ChartError| Failure {
            reason: error.reason(),
            message: chain(&error),
            retry: error.retry(),
        };
        let charts::Update::Moved(chart) = update.map_err(failed)? else { return Ok(None) };
        let is_other = |known: &Arc<Chart>| known.release.version == chart.release.version;
        if let Some(known) = known.filter(is_other) {
            let (from, to) = (&known.release.digest, &chart.release.digest);
            let repository = &chart.release.repository;
            tracing::warn!(%repository, chart = %chart.release, from, to, "a version was published again with other content");
        }
        Ok(Some(chart))
    }
}

impl State {
    pub fn revision(&self) -> Option<&Fetched<Revision>> {
        match self {
            Self::Git(fetched) => Some(fetched),
            Self::Chart(_) => None,
        }
    }

    pub fn chart(&self) -> Option<&Fetched<Chart>> {
        match self {
            Self::Chart(fetched) => Some(fetched),
            Self::Git(_) => None,
        }
    }
}

impl<T> Fetched<T> {
    fn since(start: Timestamp, what: Arc<T>) -> Self {
        Self { what, seen_at: start, took: Interval { start, end: Timestamp::now() } }
    }
}
