//! All sources that are read: who reads which, and a poller for each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skiff_shared::trace::canonical_repository;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::registry::Registry;
use super::sought::Sought;
use super::source::{Poller, Sourced, State, Subject};
use super::vital::Vital;
use crate::blocking::Transfers;
use crate::charts::{Charts, Wanted};
use crate::git::{Cache, Source};
use crate::telemetry::chain;

/// News of one source.
#[derive(Clone, Debug)]
pub struct Told {
    pub subject: Arc<Subject>,
    pub sourced: Sourced,
}

/// The pollers of the agent.
pub struct Sources {
    cache: Arc<Cache>,
    charts: Arc<Charts>,
    transfers: Transfers,
    salt: Arc<str>,
    sought: Arc<Sought>,
    vital: Vital,
    running: Mutex<Vec<Running>>,
    /// Environments whose app lists have not been read: nobody knows what their apps read.
    unlisted: Mutex<BTreeSet<String>>,
}

struct Running {
    subject: Arc<Subject>,
    readers: Arc<Readers>,
    stop: CancellationToken,
}

/// Who reads a source. The source is asked as long as this is kept.
pub struct Following {
    pub subject: Arc<Subject>,
    sources: Arc<Sources>,
    reader: u64,
}

/// Those who read one source.
#[derive(Default)]
pub struct Readers {
    listening: Mutex<Listening>,
    hurry: Notify,
}

#[derive(Default)]
struct Listening {
    readers: Vec<Reader>,
    /// What the source was found at, and the last failure after that: for those who come later.
    state: Option<State>,
    failed: Option<Sourced>,
    number: u64,
}

struct Reader {
    number: u64,
    interval: Duration,
    sender: mpsc::UnboundedSender<Told>,
}

impl Sources {
    pub fn new(
        cache: Arc<Cache>,
        charts: Arc<Charts>,
        salt: Arc<str>,
        registry: &Registry,
        vital: Vital,
    ) -> Arc<Self> {
        let (running, unlisted) = (Mutex::default(), Mutex::default());
        let (transfers, sought) = (Transfers::default(), registry.sought.clone());
        Arc::new(Self { cache, charts, transfers, salt, sought, vital, running, unlisted })
    }

    /// Tells `sender` of a source from now on, and at once what is known of it.
    pub fn follow(
        self: &Arc<Self>,
        subject: Subject,
        interval: Duration,
        sender: mpsc::UnboundedSender<Told>,
    ) -> Following {
        let mut running = self.running();
        if let Some(found) = running.iter().find(|running| *running.subject == subject) {
            let reader = found.readers.join(&found.subject, interval, sender);
            return Following { subject: found.subject.clone(), sources: self.clone(), reader };
        }
        let (subject, readers) = (Arc::new(subject), Arc::new(Readers::default()));
        let reader = readers.join(&subject, interval, sender);
        let stop = CancellationToken::new();
        let poller = Poller {
            subject: subject.clone(),
            cache: self.cache.clone(),
            charts: self.charts.clone(),
            transfers: self.transfers.clone(),
            salt: self.salt.clone(),
            sought: self.sought.clone(),
            readers: readers.clone(),
            stop: stop.clone(),
        };
        self.vital.spawn("a poller", poller.run());
        running.push(Running { subject: subject.clone(), readers, stop });
        Following { subject, sources: self.clone(), reader }
    }

    /// Asks the sources at once that are in one of these repositories, however these are written; returns how many they
    /// are.
    pub fn wake(&self, urls: &[String]) -> usize {
        let named: Vec<String> = urls.iter().map(|url| canonical_repository(url)).collect();
        let running = self.running();
        let is_named = |running: &&Running| {
            let own = canonical_repository(&running.subject.url());
            named.iter().any(|named| named.eq_ignore_ascii_case(&own))
        };
        let woken = running.iter().filter(is_named);
        woken.map(|running| running.readers.hurry.notify_one()).count()
    }

    /// Notes that an environment's app list is not known, or that the environment is no more.
    pub fn list_unread(&self, environment: &str) {
        self.unlisted().insert(environment.to_owned());
    }

    /// Notes that the sources of an environment's apps are followed, or that there are none.
    pub fn list_read(&self, environment: &str) {
        self.unlisted().remove(environment);
    }

    /// Removes from the disk what was fetched of sources that nobody reads any more. Blocks.
    pub fn forget(&self) {
        if !self.unlisted().is_empty() {
            return;
        }
        // Held meanwhile: what is removed must not be followed at the same time.
        let running = self.running();
        let mut fetched: Vec<Source> = Vec::new();
        let mut wanted: Vec<Wanted> = Vec::new();
        for running in &*running {
            match &*running.subject {
                Subject::Git(source) => fetched.push(source.clone()),
                Subject::Chart(chart) => wanted.push(chart.clone()),
            }
        }
        if let Err(error) = self.cache.retain(&fetched) {
            tracing::warn!(error = chain(&error), "repositories that are no longer read stay on disk");
        }
        // A chart repository that has not answered yet may stand at an archive that is here.
        let all_known = running.iter().all(|running| running.readers.is_known());
        if all_known && let Err(error) = self.charts.retain(&wanted) {
            tracing::warn!(%error, "charts that are no longer used stay on disk");
        }
    }

    fn leave(&self, subject: &Arc<Subject>, reader: u64) {
        let mut running = self.running();
        running.retain(|running| {
            let is_left = Arc::ptr_eq(&running.subject, subject) && running.readers.leave(reader);
            if is_left {
                running.stop.cancel();
            }
            !is_left
        });
    }

    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unlisted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unlisted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.sources.leave(&self.subject, self.reader);
    }
}

impl Readers {
    /// Adds a reader and returns its number. One that comes when the source cannot be read wants it tried again.
    fn join(&self, subject: &Arc<Subject>, interval: Duration, sender: mpsc::UnboundedSender<Told>) -> u64 {
        let mut listening = self.listening();
        let hurries = listening.failed.is_some()
            || listening
                .readers
                .iter()
                .map(|reader| reader.interval)
                .min()
                .is_some_and(|least| interval < least);
        let known = listening.state.clone().map(Sourced::Moved).into_iter().chain(listening.failed.clone());
        for sourced in known {
            // A reader that is gone already leaves by itself.
            let _gone = sender.send(Told { subject: subject.clone(), sourced });
        }
        listening.number += 1;
        let number = listening.number;
        listening.readers.push(Reader { number, interval, sender });
        if hurries {
            self.hurry.notify_one();
        }
        number
    }

    /// Removes a reader; says whether it was the last one.
    fn leave(&self, number: u64) -> bool {
        let mut listening = self.listening();
        listening.readers.retain(|reader| reader.number != number);
        listening.readers.is_empty()
    }

    pub fn tell(&self, subject: &Arc<Subject>, sourced: Sourced) {
        let mut listening = self.listening();
        match &sourced {
            Sourced::Moved(state) => (listening.state, listening.failed) = (Some(state.clone()), None),
            Sourced::Unmoved => listening.failed = None,
            // Whoever comes later hears of them at the next poll.
            Sourced::Approvals(_) => {}
            Sourced::Failed(_) => listening.failed = Some(sourced.clone()),
        }
        for reader in &listening.readers {
            // A reader that is gone leaves by itself.
            let _gone = reader.sender.send(Told { subject: subject.clone(), sourced: sourced.clone() });
        }
    }

    /// Returns how often the source is to be asked: as the most eager reader wants it.
    pub fn interval(&self) -> Duration {
        let least = self.listening().readers.iter().map(|reader| reader.interval).min();
        least.unwrap_or(Duration::from_secs(60))
    }

    /// Returns when somebody does not want to wait for the next poll.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    fn is_known(&self) -> bool {
        self.listening().state.is_some()
    }

    fn listening(&self) -> MutexGuard<'_, Listening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
