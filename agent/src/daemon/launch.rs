//! Starts the driver of an app: machine, mailbox, performer and publisher, put together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use skiff_shared::object::ApiSet;
use skiff_shared::policy::Policy;
use skiff_shared::report::Report;
use skiff_shared::sync::event::{Event, LeaseTerm};
use skiff_shared::sync::{Limits, Machine};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::access::ClusterAccess;
use super::apps::WantedSets;
use super::driver::Driver;
use super::herald::Herald;
use super::mailbox::Mailbox;
use super::past::Past;
use super::performer::Performer;
use super::registry::Registry;
use super::vital::Vital;
use crate::cluster::watch::KnownAutoscalers;
use crate::telemetry::{AppName, Telemetry};

/// What every driver is made of.
pub struct Launcher {
    pub cluster: Arc<ClusterAccess>,
    pub registry: Arc<Registry>,
    pub wanted: Arc<WantedSets>,
    pub telemetry: Telemetry,
    pub apis: watch::Receiver<Arc<ApiSet>>,
    pub lease: watch::Receiver<LeaseTerm>,
    pub autoscaled: watch::Receiver<KnownAutoscalers>,
    /// Until then an app waits for the first list of autoscalers.
    pub autoscaled_by: Instant,
    pub limits: Limits,
    /// The drivers that run; awaited when the process ends.
    pub drivers: TaskTracker,
    /// The tasks of each app's newest driver.
    pub newest: Mutex<HashMap<Arc<str>, TaskTracker>>,
    pub vital: Vital,
    /// Renders releases of the past again.
    pub past: Arc<Past>,
    /// Tells people.
    pub herald: Herald,
}

impl Launcher {
    /// Starts an app's driver. It begins when the one that the app had before has ended: two would write the same
    /// state.
    pub async fn launch(
        &self,
        app: &Arc<str>,
        environment: &Arc<str>,
        mailbox: Arc<Mailbox>,
        policy: Policy,
    ) {
        let apis = self.apis.borrow().clone();
        let machine = Machine::new(policy, apis, self.limits);
        let (report, reports) = watch::channel(None);
        let performer = Performer {
            app: app.clone(),
            cluster: self.cluster.clone(),
            mailbox: mailbox.clone(),
            telemetry: self.telemetry.app(AppName {
                environment: environment.to_string(),
                app: app.to_string(),
                namespace: None,
            }),
            report,
            tasks: TaskTracker::new(),
            registry: self.registry.clone(),
            wanted: self.wanted.clone(),
            past: self.past.clone(),
            herald: self.herald.clone(),
        };
        let mut autoscaled = self.autoscaled().await;
        loop {
            mailbox.send(Event::Autoscaled(autoscaled.clone()));
            // What was told to all apps meanwhile must not be taken back by what was known before.
            let newest = self.autoscaled.borrow().clone();
            if newest == autoscaled {
                break;
            }
            autoscaled = newest;
        }
        mailbox.send(Event::Lease(*self.lease.borrow()));
        let driver = Driver { machine, mailbox: mailbox.clone(), performer, registry: self.registry.clone() };
        let (tasks, before) = self.succeed(app);
        let cluster = self.cluster.clone();
        let run = async move {
            if let Some(before) = before {
                before.wait().await;
                // Nothing is told twice of what is watched already: this one has seen nothing of it.
                cluster.watches.relist();
            }
            driver.run().await;
        };
        self.vital.spawn_on(&self.drivers, format!("the driver of {app}"), tasks.track_future(run));
        let publisher = Publisher {
            app: app.clone(),
            environment: environment.clone(),
            cluster: self.cluster.clone(),
            herald: self.herald.clone(),
        };
        let publish = tasks.track_future(publisher.run(reports));
        self.vital.spawn_on(&self.drivers, format!("the publisher of {app}"), publish);
        tasks.close();
    }

    /// Waits until an app that is not known any more has no driver.
    pub async fn ended(&self, app: &str) {
        let tasks = {
            let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            newest.get(app).filter(|_| !self.registry.knows(app)).cloned()
        };
        if let Some(tasks) = tasks {
            tasks.wait().await;
        }
    }

    /// Returns where the tasks of an app's next driver belong, and those of the driver before it.
    fn succeed(&self, app: &Arc<str>) -> (TaskTracker, Option<TaskTracker>) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks = TaskTracker::new();
        let before = newest.insert(app.clone(), tasks.clone());
        (tasks, before)
    }

    /// Returns what is scaled as far as it is known: without the first list a replica count that an autoscaler has set
    /// could be taken for drift.
    async fn autoscaled(&self) -> KnownAutoscalers {
        let mut autoscaled = self.autoscaled.clone();
        let listed = tokio::time::timeout_at(self.autoscaled_by, autoscaled.wait_for(Option::is_some)).await;
        listed.ok().and_then(Result::ok).and_then(|known| known.clone())
    }
}

/// Keeps an app's object: sends the newest report on, one request at a time.
struct Publisher {
    app: Arc<str>,
    environment: Arc<str>,
    cluster: Arc<ClusterAccess>,
    herald: Herald,
}

impl Publisher {
    /// Runs until the driver is gone and its last report is out.
    async fn run(self, mut reports: watch::Receiver<Option<Box<Report>>>) {
        while reports.changed().await.is_ok() {
            self.publish_newest(&mut reports).await;
        }
        self.publish_newest(&mut reports).await;
    }

    /// Sends the newest report until one has arrived.
    async fn publish_newest(&self, reports: &mut watch::Receiver<Option<Box<Report>>>) {
        let mut pause = Duration::from_millis(500);
        loop {
            let Some(report) = reports.borrow_and_update().clone() else { return };
            match self.cluster.state.publish(&self.app, &self.environment, &report, Timestamp::now()).await {
                Ok(published) => {
                    if let Some(published) = published {
                        self.herald.published(&self.app, published);
                    }
                    return;
                }
                Err(failure) => tracing::warn!(app = %self.app, ?failure, "failed to publish the status"),
            }
            if reports.has_changed().is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
    }
}
