//! Autoscalers of the whole cluster: whose replicas are not Git's to decide.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use skiff_shared::object::{GroupKind, ObjectId, split_api_version};
use skiff_shared::sync::event::Blind;
use tokio::sync::{mpsc, watch};

use super::super::live::{Live, Metadata};
use super::feed::Fed;

/// The objects whose replicas autoscalers decide; `None` before the first list.
pub type Autoscaled = Option<Arc<BTreeSet<ObjectId>>>;

/// Namespace and name of an autoscaler.
type Key = (Box<str>, Box<str>);

/// Turns what a feed says of autoscalers into the set of their targets.
pub(super) struct Autoscalers {
    /// What each scales, by namespace and name.
    targets: BTreeMap<Key, ObjectId>,
    /// What the list that is being read has shown.
    listed: BTreeMap<Key, ObjectId>,
    out: watch::Sender<Autoscaled>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    scale_target_ref: TargetRef,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct TargetRef {
    api_version: String,
    kind: String,
    name: String,
}

impl Autoscalers {
    pub fn new(out: watch::Sender<Autoscaled>) -> Self {
        Self { targets: BTreeMap::new(), listed: BTreeMap::new(), out }
    }

    pub async fn run(mut self, mut events: mpsc::Receiver<Fed>) {
        while let Some(fed) = events.recv().await {
            match fed {
                Fed::Began => self.listed.clear(),
                Fed::Listed(live) => self.listed.extend(entry(&live)),
                Fed::Complete => {
                    self.targets = std::mem::take(&mut self.listed);
                    self.tell();
                }
                Fed::Changed(live) => {
                    // One that is going goes on scaling until it is gone.
                    self.targets.extend(entry(&live));
                    self.tell();
                }
                Fed::Deleted(live) => {
                    self.targets.remove(&key(&live));
                    self.tell();
                }
                Fed::Blind(places) => {
                    for Blind { cause, .. } in places {
                        let reason = cause.reason.word();
                        tracing::warn!(reason, message = %cause.message, "autoscalers cannot be watched: name the replicas that they decide in ignoreDifferences");
                    }
                }
                Fed::Failing(failure) => tracing::warn!(?failure, "autoscalers cannot be watched"),
                Fed::Gone => {
                    self.targets.clear();
                    self.tell();
                }
                Fed::Resumed => tracing::info!("autoscalers are watched again"),
            }
        }
    }

    fn tell(&self) {
        let targets: BTreeSet<ObjectId> = self.targets.values().cloned().collect();
        self.out.send_if_modified(|told| {
            let is_news = told.as_deref() != Some(&targets);
            if is_news {
                *told = Some(Arc::new(targets));
            }
            is_news
        });
    }
}

fn key(live: &Live) -> Key {
    let Metadata { name, namespace, .. } = &live.metadata;
    (namespace.clone().unwrap_or_default(), name.clone())
}

/// Returns what an autoscaler scales, as far as its spec can be read.
fn entry(live: &Live) -> Option<(Key, ObjectId)> {
    let TargetRef { api_version, kind, name } = live.read_spec::<Spec>().ok()?.scale_target_ref;
    let (group, _) = split_api_version(&api_version);
    let key = key(live);
    let kind = Arc::new(GroupKind::new(group, &kind));
    let target = ObjectId::new(kind, Some(Arc::from(&*key.0)), &name);
    Some((key, target))
}
