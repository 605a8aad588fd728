//! Watches: what happens to our objects, to the kinds of the cluster, and what people ask of apps.
//!
//! One stream per kind, selected by the label of this agent. Objects are reduced while they are read and
//! kept nowhere; where they belong is for the router to say.

mod apps;
mod autoscalers;
mod definitions;
mod feed;
mod stream;
mod teller;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skiff_shared::api::INSTANCE_LABEL;
use skiff_shared::desired::autoscaler;
use skiff_shared::health;
use skiff_shared::object::{ApiSet, GroupKind, Interner, ObjectId};
use skiff_shared::sync::event::{Ask, Blind, Failure, Observation};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::expr::HealthBook;

use super::connection::Connection;
use super::generations::Generations;
use super::path::segment;
use apps::Apps;
use autoscalers::Autoscalers;
use feed::{Place, Source, channel, feed};
use stream::{Collection, Form};
use teller::Teller;

pub use autoscalers::KnownAutoscalers;

/// Lists that are read at once: each passes every object of a kind through memory.
const LISTS: usize = 2;

/// How long a list is trusted: a store that was restored from a backup is silent in an open stream, and
/// so are rights that were taken away.
const RENEW: Range<Duration> = Duration::from_mins(30)..Duration::from_mins(60);

/// What the server refuses to show is asked for again after this time: rights are given without a word.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What a watch of a kind tells.
#[derive(Clone, PartialEq, Debug)]
pub struct WatchEvent {
    pub kind: Arc<GroupKind>,
    /// The app that the object says it is of.
    pub app: Option<Arc<str>>,
    pub what: Watched,
}

/// The parts of a [`WatchEvent`].
#[derive(Clone, PartialEq, Debug)]
pub enum Watched {
    /// An object is there, or is not there any more or has lost our label: a GET tells which.
    Observed(ObjectId, Observation),
    /// Every object of ours has been told since the list began.
    Relisted { watch: u32 },
    /// The cluster does not serve the kind any more; nothing of it exists.
    Gone,
    /// Where the server refuses to show objects of the kind now; nowhere if there is no place.
    Blind(Vec<Blind>),
    /// The server cannot be heard; what is known may be out of date.
    Failing(Failure),
    /// The server can be heard again, and nothing was missed.
    Resumed,
}

/// What people do to an `App`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppEvent {
    Asked { app: Arc<str>, ask: Ask },
    Deleted { app: Arc<str> },
}

/// The watches of an agent. Dropping it ends them.
pub struct Watches {
    connection: Connection,
    apis: watch::Receiver<Arc<ApiSet>>,
    generations: Generations,
    instance: Arc<str>,
    health: HealthBook,
    namespaces: Arc<[Arc<str>]>,
    out: mpsc::Sender<WatchEvent>,
    renew: Range<Duration>,
    look_again: Duration,
    lists: Arc<Semaphore>,
    running: Mutex<HashMap<GroupKind, Task>>,
}

/// A task that ends with this value.
pub struct Task(JoinHandle<()>);

impl Task {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }

    /// Whether the task has ended, which none of them does unless it panicked.
    pub fn has_ended(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watches {
    /// Prepares watches of what carries this `instance`; events go to `out`, which slows them down when
    /// it is full.
    pub fn new(
        connection: Connection,
        apis: watch::Receiver<Arc<ApiSet>>,
        generations: Generations,
        instance: Arc<str>,
        out: mpsc::Sender<WatchEvent>,
    ) -> Self {
        Self {
            connection,
            apis,
            generations,
            instance,
            health: HealthBook::default(),
            namespaces: Arc::default(),
            out,
            renew: RENEW,
            look_again: LOOK_AGAIN,
            lists: Arc::new(Semaphore::new(LISTS)),
            running: Mutex::default(),
        }
    }

    /// Judges health also by what apps say of their kinds.
    #[must_use]
    pub fn judging_by(self, health: HealthBook) -> Self {
        Self { health, ..self }
    }

    /// Lists are read again after a time in this range.
    #[must_use]
    pub fn renewed_within(self, renew: Range<Duration>) -> Self {
        Self { renew, ..self }
    }

    /// Objects are watched in each of these namespaces; everywhere where there is none.
    #[must_use]
    pub fn within(self, namespaces: Vec<Arc<str>>) -> Self {
        Self { namespaces: namespaces.into(), ..self }
    }

    /// What the server refuses to show is asked for again after this time.
    #[must_use]
    pub fn looking_again_after(self, look_again: Duration) -> Self {
        Self { look_again, ..self }
    }

    /// Watches a kind, if it is not watched yet. A kind that is not served is waited for.
    pub fn ensure(&self, kind: &Arc<GroupKind>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.contains_key(&**kind) {
            running.insert(GroupKind::clone(kind), Task::spawn(self.follow(kind.clone())));
        }
    }

    /// Lists every watched kind anew, for an app that begins while they are being watched.
    pub fn relist(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, task) in running.iter_mut() {
            *task = Task::spawn(self.follow(Arc::new(kind.clone())));
        }
    }

    /// Returns the kinds whose watch has ended, which is a defect: the process cannot go on.
    pub fn ended(&self) -> Vec<GroupKind> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().filter(|(_, task)| task.has_ended()).map(|(kind, _)| kind.clone()).collect()
    }

    fn follow(&self, kind: Arc<GroupKind>) -> impl Future<Output = ()> + use<> {
        let form = if health::needs(&kind).is_metadata_only() { Form::Metadata } else { Form::Whole };
        let selector = Some(format!("{INSTANCE_LABEL}={}", self.instance));
        let source = self.source(Place::Kind(kind.clone()), form, selector);
        let teller = Teller {
            kind,
            generations: self.generations.clone(),
            instance: self.instance.clone(),
            health: self.health.clone(),
            out: self.out.clone(),
            interner: Interner::default(),
            watch: 0,
            begins: false,
        };
        let (sink, events) = channel();
        async move {
            tokio::join!(feed(source, sink), teller.run(events));
        }
    }

    /// Watches the definitions of kinds, and says when discovery should be asked again.
    pub fn definitions(&self, changed: mpsc::Sender<()>) -> Task {
        let kind = GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition");
        let source = self.source(Place::Kind(Arc::new(kind)), Form::Metadata, None);
        let (sink, events) = channel();
        let look_again = self.look_again;
        Task::spawn(async move {
            tokio::join!(feed(source, sink), definitions::run(events, changed, look_again));
        })
    }

    /// Watches the autoscalers of all namespaces, and says what they scale.
    pub fn autoscalers(&self, out: watch::Sender<KnownAutoscalers>) -> Task {
        let source = self.source(Place::Kind(Arc::new(autoscaler::kind())), Form::Whole, None);
        let (sink, events) = channel();
        Task::spawn(async move {
            tokio::join!(feed(source, sink), Autoscalers::new(out).run(events));
        })
    }

    /// Watches the `App` objects of a namespace.
    pub fn apps(&self, namespace: &str, out: mpsc::Sender<AppEvent>) -> Task {
        let path = format!("/apis/skiff.dev/v1alpha1/namespaces/{}/apps", segment(namespace));
        let source = self.source(Place::Path(path), Form::Whole, None);
        let (sink, events) = channel();
        Task::spawn(async move {
            tokio::join!(feed(source, sink), Apps::new(out).run(events));
        })
    }

    fn source(&self, place: Place, form: Form, selector: Option<String>) -> Source {
        let collection = Collection {
            connection: self.connection.clone(),
            form,
            selector,
            streams_lists: AtomicBool::new(true),
        };
        Source {
            collection,
            place,
            apis: self.apis.clone(),
            namespaces: self.namespaces.clone(),
            renew: self.renew.clone(),
            look_again: self.look_again,
            lists: self.lists.clone(),
        }
    }
}
