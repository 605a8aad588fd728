//! `App` objects: what people ask, told when it changes.

use std::collections::{HashMap, HashSet};

use skiff_shared::api::v1alpha1::AppSpec;
use skiff_shared::sync::event::Blind;
use tokio::sync::mpsc;

use super::super::live::{Live, Metadata};
use super::AppEvent;
use super::feed::Fed;

/// Turns what a feed says of `App` objects into what people ask.
pub(super) struct Apps {
    /// The uid and generation of each spec that was told: our own status changes nothing of what people
    /// ask.
    known: HashMap<Box<str>, (Box<str>, i64)>,
    /// What the list that is being read has shown.
    listed: HashSet<Box<str>>,
    out: mpsc::Sender<AppEvent>,
}

impl Apps {
    pub fn new(out: mpsc::Sender<AppEvent>) -> Self {
        Self { known: HashMap::new(), listed: HashSet::new(), out }
    }

    pub async fn run(mut self, mut events: mpsc::Receiver<Fed>) {
        while let Some(fed) = events.recv().await {
            match fed {
                Fed::Began => self.listed.clear(),
                Fed::Listed(live) => {
                    self.listed.insert(live.metadata.name.clone());
                    self.asked(&live).await;
                }
                Fed::Complete => self.complete().await,
                Fed::Changed(live) => self.asked(&live).await,
                Fed::Deleted(live) => self.deleted(&live.metadata.name).await,
                Fed::Blind(places) => {
                    for Blind { cause, .. } in places {
                        tracing::warn!(reason = cause.reason.word(), message = %cause.message, "App objects cannot be watched");
                    }
                }
                Fed::Failing(failure) => tracing::warn!(?failure, "App objects cannot be watched"),
                Fed::Gone => {
                    tracing::warn!("the cluster does not serve App objects: install the chart's CRD")
                }
                Fed::Resumed => tracing::info!("App objects are watched again"),
            }
        }
    }

    async fn asked(&mut self, live: &Live) {
        let Metadata { name, uid, generation, .. } = &live.metadata;
        let spec = (uid.clone(), *generation);
        if self.known.insert(name.clone(), spec.clone()) == Some(spec) {
            return;
        }
        match live.read_spec::<AppSpec>() {
            Ok(spec) => {
                let _ = self.out.send(AppEvent::Asked { app: name.clone().into(), ask: spec.ask() }).await;
            }
            Err(error) => tracing::error!(app = %name, %error, "the spec of an App cannot be read"),
        }
    }

    async fn complete(&mut self) {
        let gone: Vec<_> = self.known.keys().filter(|name| !self.listed.contains(*name)).cloned().collect();
        for name in gone {
            self.deleted(&name).await;
        }
    }

    async fn deleted(&mut self, name: &str) {
        self.known.remove(name);
        let _ = self.out.send(AppEvent::Deleted { app: name.into() }).await;
    }
}
