//! Routes what the watches see to the app that it concerns, and tells every app what concerns them all.

use std::collections::HashMap;
use std::sync::Arc;

use skiff_shared::object::{ApiSet, GroupKind, ObjectId};
use skiff_shared::rights::{self, MissingRight};
use skiff_shared::sync::event::{Ask, Blind, Event, LeaseTerm};
use tokio::sync::{mpsc, watch};

use super::registry::{Registry, Sent};
use super::vital::Vital;
use crate::cluster::watch::{AppEvent, KnownAutoscalers, WatchEvent, Watched};
use crate::http::Readiness;

/// What is told to apps from outside of them.
pub struct Heard {
    pub seen: mpsc::Receiver<WatchEvent>,
    pub asks: mpsc::Receiver<AppEvent>,
    pub lease: watch::Receiver<LeaseTerm>,
    pub autoscaled: watch::Receiver<KnownAutoscalers>,
    pub apis: watch::Receiver<Arc<ApiSet>>,
}

impl Heard {
    /// Starts the tasks that pass it on.
    pub fn pass_on(self, vital: &Vital, registry: &Arc<Registry>, readiness: &Readiness) {
        let Self { seen, asks, lease, autoscaled, apis } = self;
        vital.spawn("the router", objects(seen, registry.clone()));
        vital.spawn("the router of requests", self::asks(asks, registry.clone()));
        vital.spawn("the lease's messenger", tell_lease(lease, registry.clone(), readiness.clone()));
        vital.spawn("the autoscalers' messenger", tell_autoscaled(autoscaled, registry.clone()));
        vital.spawn("discovery's messenger", tell_apis(apis, registry.clone()));
    }
}

/// Forwards what happens to objects until the watches end.
pub async fn objects(mut events: mpsc::Receiver<WatchEvent>, registry: Arc<Registry>) {
    let mut homes: HashMap<ObjectId, Arc<str>> = HashMap::new();
    while let Some(WatchEvent { kind, app, what }) = events.recv().await {
        match what {
            Watched::Observed(id, observation) => {
                let event = Event::Observed(id.clone(), observation);
                route(&mut homes, &registry, id, app, event);
            }
            Watched::Relisted { watch } => registry.broadcast(&Event::Relisted { kind, watch }),
            Watched::Blind(places) => {
                tell_blind(&kind, &places);
                registry.blind(&kind, &places);
            }
            Watched::Gone => tracing::warn!(%kind, "the cluster does not serve the kind any more"),
            Watched::Failing(failure) => tracing::warn!(%kind, ?failure, "objects cannot be watched"),
            Watched::Resumed => tracing::info!(%kind, "objects are watched again"),
        }
    }
}

fn tell_blind(kind: &GroupKind, places: &[Blind]) {
    if places.is_empty() {
        tracing::info!(%kind, "objects are seen everywhere again");
    }
    for Blind { namespace, cause } in places {
        let place = namespace.as_deref().unwrap_or("any namespace");
        let missing = rights::describe(MissingRight::read(&cause.message));
        let reason = cause.reason.word();
        tracing::warn!(%kind, place, reason, message = %cause.message, missing, "objects cannot be seen");
    }
}

/// Forwards what people ask until the watch ends. A deleted `App` takes its requests with it.
pub async fn asks(mut events: mpsc::Receiver<AppEvent>, registry: Arc<Registry>) {
    while let Some(event) = events.recv().await {
        let (app, ask) = match event {
            AppEvent::Asked { app, ask } => (app, ask),
            AppEvent::Deleted { app } => (app, Ask::default()),
        };
        registry.send(&app, Event::Asked(ask));
    }
}

/// Sends an event to the app that the object's label names, and to the one that it named before: the
/// label itself may be what somebody changed. One that names no app of ours goes to all of them, as
/// each machine knows its own objects.
fn route(
    homes: &mut HashMap<ObjectId, Arc<str>>,
    registry: &Registry,
    id: ObjectId,
    app: Option<Arc<str>>,
    event: Event,
) {
    let before = homes.get(&id).cloned();
    let Some(app) = app.filter(|app| registry.knows(app)) else {
        return registry.broadcast(&event);
    };
    if let Some(before) = before.filter(|before| *before != app) {
        registry.send(&before, event.clone());
    }
    if registry.send(&app, event) == Sent::Delivered {
        homes.insert(id, app);
    }
}

async fn tell_lease(mut lease: watch::Receiver<LeaseTerm>, registry: Arc<Registry>, readiness: Readiness) {
    while lease.changed().await.is_ok() {
        let term = *lease.borrow_and_update();
        readiness.known("lease", if term == LeaseTerm::Lost { "another agent holds it" } else { "held" });
        registry.leased(term);
    }
}

async fn tell_autoscaled(mut autoscaled: watch::Receiver<KnownAutoscalers>, registry: Arc<Registry>) {
    while autoscaled.changed().await.is_ok() {
        let targets = autoscaled.borrow_and_update().clone();
        registry.broadcast(&Event::Autoscaled(targets));
    }
}

async fn tell_apis(mut apis: watch::Receiver<Arc<ApiSet>>, registry: Arc<Registry>) {
    while apis.changed().await.is_ok() {
        let set = apis.borrow_and_update().clone();
        registry.broadcast(&Event::Apis(set));
    }
}
