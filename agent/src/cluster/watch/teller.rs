//! Objects of one kind: what a feed says, as events for the router.

use std::sync::Arc;

use skiff_shared::object::{GroupKind, Interner, ObjectId};
use skiff_shared::sync::event::{Observation, Point};
use tokio::sync::mpsc;

use crate::expr::HealthBook;

use super::super::generations::Generations;
use super::super::live::{Keep, Live, View};
use super::feed::Fed;
use super::{WatchEvent, Watched};

/// Turns what a feed says into events of one kind.
pub(super) struct Teller {
    pub kind: Arc<GroupKind>,
    pub generations: Generations,
    pub instance: Arc<str>,
    pub health: HealthBook,
    pub out: mpsc::Sender<WatchEvent>,
    /// Namespaces and apps: few strings for many objects.
    pub interner: Interner,
    pub watch: u32,
    /// A list has begun of which nothing was told yet: not every one that begins can be read.
    pub begins: bool,
}

impl Teller {
    pub async fn run(mut self, mut events: mpsc::Receiver<Fed>) {
        while let Some(fed) = events.recv().await {
            match fed {
                Fed::Began => self.begins = true,
                Fed::Listed(live) => {
                    self.begin();
                    self.present(&live, Keep::Digests).await;
                }
                Fed::Changed(live) => self.present(&live, Keep::Entries).await,
                Fed::Deleted(live) => {
                    let point = Point { watch: self.watch, rv: live.metadata.resource_version };
                    self.observed(&live, Observation::Absent(point)).await;
                }
                Fed::Complete => {
                    self.begin();
                    self.tell(None, Watched::Relisted { watch: self.watch }).await;
                }
                Fed::Gone => self.tell(None, Watched::Gone).await,
                Fed::Blind(places) => self.tell(None, Watched::Blind(places)).await,
                Fed::Failing(failure) => self.tell(None, Watched::Failing(failure)).await,
                Fed::Resumed => self.tell(None, Watched::Resumed).await,
            }
        }
    }

    fn begin(&mut self) {
        if std::mem::take(&mut self.begins) {
            self.watch = self.generations.begin(&self.kind);
        }
    }

    async fn present(&mut self, live: &Live, keep: Keep) {
        let view = View { kind: &self.kind, instance: &self.instance, health: &self.health };
        match live.seen(view, self.watch, keep) {
            Ok(seen) => self.observed(live, Observation::Present(Box::new(seen))).await,
            Err(error) => {
                let name = &live.metadata.name;
                tracing::error!(kind = %self.kind, %name, %error, "an object cannot be read");
            }
        }
    }

    async fn observed(&mut self, live: &Live, observation: Observation) {
        let namespace = live.metadata.namespace.as_deref().map(|name| self.interner.string(name));
        let app = live.app().map(|name| self.interner.string(name));
        let id = ObjectId::new(self.kind.clone(), namespace, &live.metadata.name);
        self.tell(app, Watched::Observed(id, observation)).await;
    }

    async fn tell(&self, app: Option<Arc<str>>, what: Watched) {
        // Without a router the process is about to end, and this task with it.
        let _ = self.out.send(WatchEvent { kind: self.kind.clone(), app, what }).await;
    }
}
