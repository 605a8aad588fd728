//! The apps of one environment: their drivers, and who wants which object.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use skiff_shared::desired::{Assignment, Desired, Interval, Listing, Revision, Unrendered, render_digest};
use skiff_shared::environment::AppName;
use skiff_shared::object::{ApiSet, Digest, ObjectId};
use skiff_shared::ownership::{self, AppObjects, Known};
use skiff_shared::plan::Claims;
use skiff_shared::policy::Policy;
use skiff_shared::sync::event::Event;

use super::launch::Launcher;
use super::lists::Lists;
use super::mailbox::Mailbox;
use super::registry::{Added, Owned, Registry};
use crate::git::{self, CommitId};
use crate::state::KnownApp;
use crate::store::Hold;

/// Waits between tries to list the apps of before: a busy API server refuses some. After about half a
/// minute the agent goes on with what Git lists.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(16);

/// What every app of the agent wants, for the decision who has which object.
#[derive(Default)]
pub struct WantedSets {
    sets: Mutex<BTreeMap<Arc<str>, WantedSet>>,
    /// What each environment has read.
    pub lists: Lists,
    /// An object is on its way from one app to another.
    handing_over: AtomicBool,
}

/// What is known of what an app wants.
#[derive(Clone)]
struct WantedSet {
    environment: Arc<str>,
    /// The set of the release that the app is pinned to: what it wants, whatever Git has.
    pinned: Option<Arc<Desired>>,
    /// The newest rendered set.
    now: Option<Arc<Desired>>,
    /// The one before it, which the app may still be writing.
    before: Option<Arc<Desired>>,
    /// The newest revision has been rendered; otherwise the app may want anything.
    known: bool,
    /// The newest list has the app: a render that was begun for an older one must not count.
    listed: bool,
}

impl WantedSet {
    /// Returns what is known of a listed app before its first render.
    fn of(environment: Arc<str>) -> Self {
        Self { environment, pinned: None, now: None, before: None, known: false, listed: true }
    }

    /// Returns the set that the app follows.
    fn followed(&self) -> Option<&Arc<Desired>> {
        self.pinned.as_ref().or(self.now.as_ref())
    }
}

/// Rendered sets by app that wait until ownership is decided.
#[derive(Clone, Default)]
pub struct Waiting(Arc<Mutex<BTreeMap<Arc<str>, WaitingSet>>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, WaitingSet>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A set that waits, and what is told after it.
pub struct WaitingSet {
    desired: Arc<Desired>,
    /// A newer revision cannot be rendered.
    failed: Option<Event>,
}

/// The apps of one environment.
pub struct Apps {
    pub environment: Arc<str>,
    pub assignment: Assignment,
    pub launcher: Arc<Launcher>,
    pub registry: Arc<Registry>,
    pub wanted: Arc<WantedSets>,
    /// Apps of this environment that have a driver.
    pub running: BTreeSet<Arc<str>>,
    /// Apps of before whose drivers have not been started yet.
    pub known: Vec<KnownMailbox>,
    /// The revisions that those stood at.
    pub recorded: Vec<Revision>,
    /// Sets that wait until every app of the revision is rendered: something would leave them.
    pub waiting: Waiting,
    /// An app of the list is another environment's.
    pub is_refused: bool,
}

/// An app of before whose driver has not been started yet.
pub struct KnownMailbox {
    pub app: Arc<str>,
    pub mailbox: Arc<Mailbox>,
    pub policy: Option<Policy>,
}

/// Sends events to apps of an environment from the renders that run at once.
#[derive(Clone)]
pub struct AppSender {
    environment: Arc<str>,
    registry: Arc<Registry>,
    wanted: Arc<WantedSets>,
    waiting: Waiting,
}

impl Apps {
    pub fn sender(&self) -> AppSender {
        AppSender {
            environment: self.environment.clone(),
            registry: self.registry.clone(),
            wanted: self.wanted.clone(),
            waiting: self.waiting.clone(),
        }
    }

    pub fn tell_all(&self, event: &Event) {
        for app in &self.running {
            self.registry.send_from(&self.environment, app, event.clone());
        }
    }

    /// Finds the apps that the environment had when the agent last ran, and opens their mailboxes: what
    /// the watches see from now on waits there. Nothing may be watched before all are open.
    pub async fn find_known(&mut self) {
        let mut pause = FIRST_PAUSE;
        let known = loop {
            match self.launcher.cluster.state.known_apps(&self.environment).await {
                Ok(known) => break known,
                Err(failure) => {
                    let environment = &self.environment;
                    tracing::warn!(%environment, ?failure, "the apps of before cannot be listed yet");
                    if pause > LAST_PAUSE {
                        return;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        };
        for KnownApp { name, revision, policy } in known {
            let app: Arc<str> = name.into();
            self.recorded.extend(revision);
            match self.registry.add(&app, &self.environment) {
                Ok((mailbox, Added::New)) => self.known.push(KnownMailbox { app, mailbox, policy }),
                Ok((_, Added::WasThere)) => {}
                Err(error) => tracing::error!(environment = %self.environment, %error, "app refused"),
            }
        }
    }

    /// Returns the newest commit that a source's reference stood at, as far as the apps of before say.
    pub fn stood_at(&self, source: &git::Source) -> Option<CommitId> {
        let (url, reference) = (source.url.canonical(), source.reference.short_name());
        let same = self.recorded.iter().filter(|it| it.url == url && it.reference == reference);
        same.max_by_key(|revision| revision.committed_at)?.commit.parse().ok()
    }

    /// Starts the drivers of the known apps: their objects are healed also while the source cannot be
    /// read.
    pub async fn resume(&mut self, policy: &Policy) {
        self.hold_to(policy);
        for KnownMailbox { app, mailbox, policy: recorded } in std::mem::take(&mut self.known) {
            // Until the list is read again, an app is allowed no more than it was before.
            let own = recorded.unwrap_or_else(|| policy.clone());
            let both = policy.clone().narrowed(&own);
            self.registry.rule(&app, own);
            self.launcher.launch(&app, &self.environment, mailbox, both).await;
            self.running.insert(app);
        }
    }

    /// Holds running apps to their environment's policy while their list cannot be read: they may do what both let
    /// happen.
    pub fn hold_to(&self, policy: &Policy) {
        for app in &self.running {
            let own = self.registry.policy(app).unwrap_or_else(|| policy.clone());
            self.registry.send_from(&self.environment, app, Event::Policy(policy.clone().narrowed(&own)));
        }
    }

    /// Sees to it that somebody can tell of trouble: an environment without apps gets one of its name.
    pub async fn ensure_one(&mut self, environment: &AppName, policy: &Policy) {
        if self.running.is_empty() {
            self.ensure(environment, policy).await;
        }
    }

    /// Starts the app's driver, or gives a running one its policy; says whether there is one now.
    pub async fn ensure(&mut self, name: &AppName, policy: &Policy) -> Ensured {
        let app: Arc<str> = name.as_str().into();
        let added = self.registry.add(&app, &self.environment);
        if added.is_ok() {
            self.registry.rule(&app, policy.clone());
        }
        match added {
            Ok((mailbox, Added::New)) => {
                self.wanted.take_over(&app, &self.environment);
                self.launcher.launch(&app, &self.environment, mailbox, policy.clone()).await;
                self.running.insert(app);
                Ensured::Running
            }
            Ok((mailbox, Added::WasThere)) => {
                mailbox.send(Event::Policy(policy.clone()));
                self.running.insert(app);
                Ensured::Running
            }
            Err(error) => {
                tracing::error!(environment = %self.environment, %error, "app refused");
                self.is_refused = true;
                Ensured::Refused
            }
        }
    }

    /// Tells apps that are no longer listed that nothing of them is wanted, as soon as it is known what the other apps
    /// want: what they have may have gone there.
    pub fn only(&mut self, listed: &BTreeSet<Arc<str>>, revision: &Revision) {
        self.is_refused = false;
        self.running.retain(|app| self.registry.is_of(app, &self.environment));
        let listing = if listed.is_empty() { Listing::LastUnlisted } else { Listing::Unlisted };
        for app in self.running.difference(listed) {
            let desired = Desired {
                revision: revision.clone(),
                assignment: self.assignment.clone(),
                rows: Vec::new(),
                render: render_digest(&[]),
                warnings: vec!["the app is no longer in the app list".to_owned()],
                listing,
                seen_at: Timestamp::now(),
                fetched: None,
                rendered: None,
            };
            let desired = Arc::new(desired);
            self.wanted.set(app, &self.environment, desired.clone());
            self.wanted.unlist(app);
            self.waiting.lock().insert(app.clone(), WaitingSet { desired, failed: None });
            self.registry.free(app, &self.environment);
        }
    }

    pub fn is_listed(&self, app: &str) -> bool {
        self.wanted.is_listed(app, &self.environment)
    }

    /// Notes that nobody knows what an app wants.
    pub fn unknown(&self, app: &str) {
        self.wanted.unknown(app);
    }

    /// Notes the apps of the list: nobody knows what those want that have not been rendered.
    pub fn expect(&self, listed: &BTreeSet<Arc<str>>) {
        // One that is listed again is not to go, whether it can be rendered or not.
        let goes = |app: &Arc<str>, set: &mut WaitingSet| {
            listed.contains(app) && set.desired.listing != Listing::Listed
        };
        self.waiting.lock().extract_if(.., goes).for_each(drop);
        listed.iter().for_each(|app| self.wanted.expect(app, &self.environment));
    }

    /// Notes the commit at which the environment's list was read.
    pub fn list_read(&self, revision: &Revision) {
        self.wanted.lists.read(&self.environment, revision);
    }

    /// Tells every app that the list it is in cannot be read.
    pub fn list_is_bad(&self, revision: &Revision, why: &Unrendered) {
        let (revision, why) = (revision.clone(), why.clone());
        self.tell_all(&Event::RenderFailed { revision, why, tried: None });
    }

    /// Goes on with objects that are on their way from one app to another: somebody owns something else.
    pub fn go_on_with_hand_overs(&self) {
        if self.wanted.handing_over.load(Ordering::Relaxed) {
            self.settle_ownership();
        }
    }

    /// Decides, now that the revision is rendered, who has which object, and lets the sets go that
    /// waited for it.
    pub fn settle_ownership(&self) {
        self.wanted.tell_claims(&self.registry);
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for (app, WaitingSet { desired, failed }) in waiting {
            self.registry.send_from(&self.environment, &app, Event::Desired(desired));
            if let Some(failed) = failed {
                self.registry.send_from(&self.environment, &app, failed);
            }
        }
    }
}

/// Whether an app has a driver after it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ensured {
    Running,
    /// Another environment has an app of this name.
    Refused,
}

impl AppSender {
    /// Whether the app is still this environment's: a render that was begun before may end after.
    fn is_listed(&self, app: &str) -> bool {
        self.wanted.is_listed(app, &self.environment)
    }

    /// Tells an app that its newest revision cannot be rendered.
    pub fn failed(&self, app: &Arc<str>, revision: Revision, why: Unrendered, tried: Interval) {
        if !self.is_listed(app) {
            return;
        }
        self.wanted.unknown(app);
        let failed = Event::RenderFailed { revision, why, tried: Some(tried) };
        match self.waiting.lock().get_mut(app) {
            Some(set) => set.failed = Some(failed),
            None => self.registry.send_from(&self.environment, app, failed),
        }
    }

    /// Tells an app that the newest revision has what the one before it had.
    pub fn unmoved(&self, app: &Arc<str>, revision: Revision) {
        if !self.is_listed(app) {
            return;
        }
        self.wanted.confirmed(app);
        match self.waiting.lock().get_mut(app) {
            Some(set) => {
                Arc::make_mut(&mut set.desired).revision = revision;
                set.failed = None;
            }
            None => self.registry.send_from(&self.environment, app, Event::Unmoved(revision)),
        }
    }

    /// Takes a rendered set: one that lets nothing go and takes nothing from others is sent at once, any
    /// other waits until every app of the revision is rendered and it is known who wants what.
    pub fn wanted(&self, app: &Arc<str>, desired: Desired, hold: Hold) {
        if !self.is_listed(app) {
            return;
        }
        let desired = Arc::new(desired);
        self.wanted.set(app, &self.environment, desired.clone());
        // From here on the bodies are live as those of the app's newest set.
        drop(hold);
        self.waiting.lock().remove(app);
        let owned = self.registry.owned_by(app);
        let wanted: HashSet<&ObjectId> = desired.rows.iter().map(|row| &row.id).collect();
        let new: Vec<&ObjectId> = wanted.iter().copied().filter(|id| !owned.contains_key(id)).collect();
        let takes = |others: &Owned| new.iter().any(|id| others.contains_key(id));
        let takes = self.registry.owned().iter().any(|(other, others)| other != app && takes(others));
        if !takes && owned.keys().all(|id| wanted.contains(id)) {
            let claims = self.wanted.claims(&self.registry).remove(app).unwrap_or_default();
            self.registry.send_from(&self.environment, app, Event::Claims(claims));
            self.registry.send_from(&self.environment, app, Event::Desired(desired));
        } else {
            let mut waiting = self.waiting.lock();
            waiting.insert(app.clone(), WaitingSet { desired, failed: None });
        }
    }
}

impl WantedSets {
    fn sets(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, WantedSet>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, app: &Arc<str>, environment: &Arc<str>) {
        let mut sets = self.sets();
        let environment = environment.clone();
        sets.entry(app.clone()).or_insert_with(|| WantedSet::of(environment)).listed = true;
    }

    /// Notes the release that an app is pinned to, or that it follows Git again.
    pub fn pin(&self, app: &Arc<str>, pinned: Option<Arc<Desired>>, registry: &Registry) {
        let Some(environment) = registry.environment_of(app) else { return };
        let mut sets = self.sets();
        sets.entry(app.clone()).or_insert_with(|| WantedSet::of(environment)).pinned = pinned;
    }

    /// Decides who has which object, and tells every app.
    pub fn tell_claims(&self, registry: &Registry) {
        for (app, claims) in self.claims(registry) {
            registry.send(&app, Event::Claims(claims));
        }
    }

    fn set(&self, app: &Arc<str>, environment: &Arc<str>, desired: Arc<Desired>) {
        let mut sets = self.sets();
        let before = sets.remove(app);
        let listed = before.as_ref().is_none_or(|set| set.listed);
        let pinned = before.as_ref().and_then(|set| set.pinned.clone());
        let before = before.and_then(|set| set.now);
        let environment = environment.clone();
        let set = WantedSet { environment, pinned, now: Some(desired), before, known: true, listed };
        sets.insert(app.clone(), set);
    }

    fn unlist(&self, app: &str) {
        if let Some(set) = self.sets().get_mut(app) {
            set.listed = false;
        }
    }

    fn is_listed(&self, app: &str, environment: &Arc<str>) -> bool {
        self.sets().get(app).is_none_or(|set| set.listed && set.environment == *environment)
    }

    /// Makes an app another environment's, which has not said yet what it wants of it.
    fn take_over(&self, app: &Arc<str>, environment: &Arc<str>) {
        let mut sets = self.sets();
        if let Some(set) = sets.get_mut(app).filter(|set| set.environment != *environment) {
            let before = set.now.take().or_else(|| set.before.take());
            *set = WantedSet { before, ..WantedSet::of(environment.clone()) };
        }
    }

    fn unknown(&self, app: &str) {
        if let Some(set) = self.sets().get_mut(app) {
            set.known = false;
        }
    }

    fn confirmed(&self, app: &str) {
        if let Some(set) = self.sets().get_mut(app) {
            set.known = set.now.is_some();
        }
    }

    /// Returns the bodies of every app's newest set, and of the one before, which may be being written.
    pub fn bodies(&self) -> HashSet<Digest> {
        let sets = self.sets();
        let sets = sets.values().flat_map(|set| set.before.iter().chain(&set.now).chain(&set.pinned));
        sets.flat_map(|desired| &desired.rows).map(|row| row.body).collect()
    }

    /// Whether an app wants an object of a kind, or of a version, that is not served.
    pub fn lacks(&self, apis: &ApiSet) -> bool {
        let sets = self.sets();
        let mut rows = sets.values().flat_map(|set| &set.now).flat_map(|desired| &desired.rows);
        rows.any(|row| !apis.served(row.id.kind(), &row.version))
    }

    pub fn remove(&self, app: &str) {
        self.sets().remove(app);
    }

    fn claims(&self, registry: &Registry) -> BTreeMap<Arc<str>, Claims> {
        let owned = registry.owned();
        let wanted = self.sets().clone();
        let apps: Vec<AppObjects<'_>> = wanted
            .iter()
            .map(|(app, set)| AppObjects {
                app: app.clone(),
                environment: set.environment.clone(),
                known: if set.known || set.pinned.is_some() { Known::Yes } else { Known::No },
                wanted: set.followed().into_iter().flat_map(|set| &set.rows).map(|row| &row.id).collect(),
                before: set.before.iter().flat_map(|before| &before.rows).map(|row| &row.id).collect(),
                owned: owned
                    .get(app)
                    .into_iter()
                    .flat_map(|owned| owned.iter().map(|(id, recorded)| (id, recorded.how)))
                    .collect(),
            })
            .collect();
        let mut claims = ownership::assign(&apps);
        for (app, set) in wanted.iter().filter(|(_, set)| !set.listed) {
            claims.entry(app.clone()).or_default().unread = self.lists.unread(&set.environment);
        }
        let handing_over = claims.values().any(|claims| !claims.handed_over.is_empty());
        self.handing_over.store(handing_over, Ordering::Relaxed);
        claims
    }
}
