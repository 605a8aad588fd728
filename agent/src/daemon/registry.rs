//! The running apps by name: who gets which event.
//!
//! Between everything that observes and the drivers. It forwards and decides nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use skiff_shared::gate::depend::Standing;
use skiff_shared::object::{Digest, GroupKind, ObjectId};
use skiff_shared::ownership::OnRecord;
use skiff_shared::policy::Policy;
use skiff_shared::retention::Stored;
use skiff_shared::sync::event::{Blind, Event, LeaseTerm};
use tokio::sync::watch;

use super::mailbox::Mailbox;
use super::sought::Sought;

/// The apps that are being driven.
#[derive(Default)]
pub struct Registry {
    apps: Mutex<BTreeMap<Arc<str>, Entry>>,
    /// The process ends: apps that are added now are drained like the others.
    draining: AtomicBool,
    /// What is wrong with the configuration that came last, for apps that are added later.
    refused: Mutex<Option<String>>,
    /// Where objects cannot be seen, for apps that are added later.
    blind: Mutex<BTreeMap<Arc<GroupKind>, Vec<Blind>>>,
    /// Changes whenever an app owns something else than before.
    noted: watch::Sender<()>,
    /// Changes whenever a name becomes free for another environment.
    freed: watch::Sender<()>,
    /// Mailboxes of drivers that are being drained: they have to know how long the Lease lasts.
    leaving: Mutex<Vec<Weak<Mailbox>>>,
    /// The plans whose approvals are looked for in Git.
    pub sought: Arc<Sought>,
}

/// What one app has on record, by object.
pub type Owned = HashMap<ObjectId, Recorded>;

/// How one object is on record.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    pub how: OnRecord,
    /// What it was last applied with.
    pub applied: Option<Digest>,
}

struct Entry {
    environment: Arc<str>,
    mailbox: Arc<Mailbox>,
    /// The newest list of its environment lacks it: another environment may take it over.
    is_free: bool,
    /// `None`: its driver has not read it yet.
    owned: Option<Arc<Owned>>,
    bodies: Arc<HashSet<Digest>>,
    /// What it needs of its stored renders.
    stored: Stored,
    /// What the app's list last said of it, as far as that is known.
    policy: Option<Policy>,
    depends_on: BTreeSet<Arc<str>>,
    has_dependents: bool,
    /// What it last told those that depend on it.
    standing: Standing,
}

/// Two environments of this agent name an app alike.
#[derive(Debug, thiserror::Error)]
#[error(
    "app {app:?} is in the environments {first:?} and {second:?}: app names are unique per agent, rename one"
)]
pub struct NameTaken {
    app: Arc<str>,
    first: Arc<str>,
    second: Arc<str>,
}

impl Registry {
    fn apps(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Entry>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an app and returns its mailbox; an app of the same environment is returned as it runs. One that another
    /// environment lists no longer is drained there, and what it owns stays known.
    pub fn add(&self, app: &Arc<str>, environment: &Arc<str>) -> Result<(Arc<Mailbox>, Added), NameTaken> {
        let mut apps = self.apps();
        let (mut owned, mut bodies) = (None, Arc::default());
        if let Some(entry) = apps.get_mut(app) {
            if entry.environment == *environment {
                entry.is_free = false;
                return Ok((entry.mailbox.clone(), Added::WasThere));
            }
            if !entry.is_free {
                let (first, second) = (entry.environment.clone(), environment.clone());
                return Err(NameTaken { app: app.clone(), first, second });
            }
            self.leaves(&entry.mailbox);
            (owned, bodies) = (entry.owned.clone(), entry.bodies.clone());
        }
        let mailbox = Arc::new(Mailbox::default());
        let entry = Entry {
            environment: environment.clone(),
            mailbox: mailbox.clone(),
            is_free: false,
            owned,
            bodies,
            stored: Stored::default(),
            policy: None,
            depends_on: BTreeSet::new(),
            has_dependents: apps.values().any(|other| other.depends_on.contains(app)),
            standing: Standing::default(),
        };
        apps.insert(app.clone(), entry);
        if let Some(problem) = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            mailbox.send(Event::ConfigRefused(Some(problem)));
        }
        for (kind, places) in &*self.blind.lock().unwrap_or_else(PoisonError::into_inner) {
            mailbox.send(Event::Blind { kind: kind.clone(), places: places.clone() });
        }
        if self.draining.load(Ordering::Relaxed) {
            mailbox.send(Event::Drain);
        }
        Ok((mailbox, Added::New))
    }

    /// Notes the policy that an app's list says.
    pub fn rule(&self, app: &str, policy: Policy) {
        if let Some(entry) = self.apps().get_mut(app) {
            entry.policy = Some(policy);
        }
    }

    /// Returns the policy that an app's list last said.
    pub fn policy(&self, app: &str) -> Option<Policy> {
        self.apps().get(app)?.policy.clone()
    }

    /// Drains an app and forgets it.
    pub fn remove(&self, app: &str) {
        if let Some(entry) = self.apps().remove(app) {
            self.leaves(&entry.mailbox);
        }
    }

    /// Lets another environment take over an app that this one lists no longer.
    pub fn free(&self, app: &str, environment: &str) {
        let mut apps = self.apps();
        let entry = apps.get_mut(app).filter(|entry| &*entry.environment == environment);
        let is_news = entry.is_some_and(|entry| !std::mem::replace(&mut entry.is_free, true));
        drop(apps);
        if is_news {
            self.freed.send_replace(());
        }
    }

    /// Returns what changes whenever a name becomes free for another environment.
    pub fn freed(&self) -> watch::Receiver<()> {
        self.freed.subscribe()
    }

    fn leaves(&self, mailbox: &Arc<Mailbox>) {
        mailbox.send(Event::Drain);
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.push(Arc::downgrade(mailbox));
    }

    /// Whether an app is this environment's.
    pub fn is_of(&self, app: &str, environment: &str) -> bool {
        self.apps().get(app).is_some_and(|entry| &*entry.environment == environment)
    }

    /// Sends an event to an app as long as it is this environment's.
    pub fn send_from(&self, environment: &str, app: &str, event: Event) {
        if let Some(entry) = self.apps().get(app).filter(|entry| &*entry.environment == environment) {
            entry.mailbox.send(event);
        }
    }

    /// Sends an event to one app; returns whether there is such an app.
    pub fn send(&self, app: &str, event: Event) -> Sent {
        let apps = self.apps();
        match apps.get(app) {
            Some(entry) => {
                entry.mailbox.send(event);
                Sent::Delivered
            }
            None => Sent::Unknown,
        }
    }

    /// Returns the names of an environment's apps.
    pub fn apps_of(&self, environment: &str) -> Vec<Arc<str>> {
        let apps = self.apps();
        apps.iter()
            .filter(|(_, entry)| &*entry.environment == environment)
            .map(|(app, _)| app.clone())
            .collect()
    }

    /// Returns the environments that have apps.
    pub fn environments(&self) -> BTreeSet<Arc<str>> {
        let apps = self.apps();
        apps.values().map(|entry| entry.environment.clone()).collect()
    }

    /// Returns the environment of an app.
    pub fn environment_of(&self, app: &str) -> Option<Arc<str>> {
        self.apps().get(app).map(|entry| entry.environment.clone())
    }

    pub fn knows(&self, app: &str) -> bool {
        self.apps().contains_key(app)
    }

    /// Tells every app, also those that are being drained, how long the Lease lasts.
    pub fn leased(&self, term: LeaseTerm) {
        self.broadcast(&Event::Lease(term));
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|mailbox| {
            mailbox.upgrade().inspect(|mailbox| mailbox.send(Event::Lease(term))).is_some()
        });
    }

    /// Sends an event to every app.
    pub fn broadcast(&self, event: &Event) {
        for entry in self.apps().values() {
            entry.mailbox.send(event.clone());
        }
    }

    /// Ends every app, also those to come, once what they write is written.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.broadcast(&Event::Drain);
    }

    /// Tells every app, also those to come, what is wrong with the configuration that came last.
    pub fn config_refused(&self, problem: Option<String>) {
        let apps = self.apps();
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&problem);
        for entry in apps.values() {
            entry.mailbox.send(Event::ConfigRefused(problem.clone()));
        }
    }

    /// Notes which apps an app depends on, and tells it how far those are.
    pub fn depend(&self, app: &str, on: BTreeSet<Arc<str>>) {
        let mut apps = self.apps();
        let Some(entry) = apps.get_mut(app) else { return };
        if entry.depends_on == on {
            return;
        }
        entry.depends_on = on;
        let named: BTreeSet<Arc<str>> =
            apps.values().flat_map(|entry| entry.depends_on.iter().cloned()).collect();
        for (name, entry) in apps.iter_mut() {
            let newly = named.contains(name) && !entry.has_dependents;
            entry.has_dependents = named.contains(name);
            if newly {
                // It has told nobody yet how it stands.
                entry.mailbox.send(Event::Tick);
            }
        }
        tell_standings(&apps, app);
    }

    pub fn has_dependents(&self, app: &str) -> bool {
        self.apps().get(app).is_some_and(|entry| entry.has_dependents)
    }

    /// Notes how an app stands, and tells those that depend on it if that is news.
    pub fn stands(&self, app: &str, standing: Standing) {
        let mut apps = self.apps();
        let Some(entry) = apps.get_mut(app) else { return };
        if entry.standing == standing {
            return;
        }
        entry.standing = standing;
        let dependents = apps.iter().filter(|(_, entry)| entry.depends_on.contains(app));
        dependents.for_each(|(dependent, _)| tell_standings(&apps, dependent));
    }

    /// Tells every app, also those to come, where objects of a kind cannot be seen.
    pub fn blind(&self, kind: &Arc<GroupKind>, places: &[Blind]) {
        let apps = self.apps();
        self.blind.lock().unwrap_or_else(PoisonError::into_inner).insert(kind.clone(), places.to_vec());
        for entry in apps.values() {
            entry.mailbox.send(Event::Blind { kind: kind.clone(), places: places.to_vec() });
        }
    }

    /// Notes what an app owns and which bodies and stored renders it needs, as its driver knows it.
    pub fn note(&self, app: &str, owned: Owned, bodies: HashSet<Digest>, stored: Stored) {
        let mut apps = self.apps();
        if let Some(entry) = apps.get_mut(app) {
            (entry.owned, entry.bodies, entry.stored) = (Some(Arc::new(owned)), Arc::new(bodies), stored);
        }
        drop(apps);
        self.noted.send_replace(());
    }

    /// Lets those look again who act on what apps own and need.
    pub fn look_again(&self) {
        self.noted.send_replace(());
    }

    /// Returns what every app needs of its stored renders.
    pub fn stored(&self) -> BTreeMap<Arc<str>, Stored> {
        let apps = self.apps();
        apps.iter().map(|(app, entry)| (app.clone(), entry.stored.clone())).collect()
    }

    /// Returns what changes whenever an app owns or needs something else than before.
    pub fn noted(&self) -> watch::Receiver<()> {
        self.noted.subscribe()
    }

    /// Returns what one app owns.
    pub fn owned_by(&self, app: &str) -> Arc<Owned> {
        let apps = self.apps();
        apps.get(app).and_then(|entry| entry.owned.clone()).unwrap_or_default()
    }

    /// Waits until it is known what one app has on record, and returns that; nothing of an app that does not run.
    pub async fn recorded_of(&self, app: &str) -> Arc<Owned> {
        let mut noted = self.noted();
        loop {
            match self.apps().get(app).map(|entry| entry.owned.clone()) {
                Some(Some(owned)) => return owned,
                None => return Arc::default(),
                Some(None) => {}
            }
            // The sender is this registry's.
            if noted.changed().await.is_err() {
                return Arc::default();
            }
        }
    }

    /// Returns what every app owns.
    pub fn owned(&self) -> BTreeMap<Arc<str>, Arc<Owned>> {
        let apps = self.apps();
        apps.iter().map(|(app, entry)| (app.clone(), entry.owned.clone().unwrap_or_default())).collect()
    }

    /// Returns the bodies that any app needs, as far as its driver has told.
    pub fn bodies(&self) -> HashSet<Digest> {
        let apps = self.apps();
        apps.values().flat_map(|entry| entry.bodies.iter().copied()).collect()
    }
}

/// Tells an app how those stand that it depends on. One that does not run has not arrived.
fn tell_standings(apps: &BTreeMap<Arc<str>, Entry>, app: &str) {
    let Some(entry) = apps.get(app) else { return };
    let standing = |name: &Arc<str>| apps.get(name).map(|entry| entry.standing.clone()).unwrap_or_default();
    let standings = entry.depends_on.iter().map(|name| (name.clone(), standing(name))).collect();
    entry.mailbox.send(Event::Standings(standings));
}

/// Whether an app was new to the registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    New,
    WasThere,
}

/// Whether an event had somebody to go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    Delivered,
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_app_changes_its_environment_once_that_lets_it_go() {
        let registry = Registry::default();
        let [app, first, second]: [Arc<str>; 3] = ["web", "first", "second"].map(Arc::from);
        let (old, _) = registry.add(&app, &first).expect("the name is free");
        assert!(registry.add(&app, &second).is_err());

        registry.free(&app, &first);
        let (new, added) = registry.add(&app, &second).expect("the name is free again");
        assert_eq!(added, Added::New);
        registry.leased(LeaseTerm::Lost);
        registry.send_from(&first, &app, Event::SourceOk);
        registry.send_from(&second, &app, Event::Tick);
        let left = old.drain(None).await;
        assert!(matches!(left[..], [Event::Drain, Event::Lease(_)]), "{left:?}");
        let came = new.drain(None).await;
        assert!(matches!(came[..], [Event::Lease(_), Event::Tick]), "{came:?}");
        assert!(registry.add(&app, &first).is_err(), "it is the second one's now");
    }
}
