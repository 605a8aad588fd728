//! An independent witness: a watch of its own on one kind of object, which notes when each change arrived.
//!
//! What the agent says of its own speed is checked against this. It starts at the present and lists nothing, so that it
//! costs nothing on a cluster of ten thousand objects.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::TryStreamExt as _;
use kube::api::{DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::core::ApiResource;
use kube::{Api, Client, Resource};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// A running watch; it ends when it is dropped.
pub struct Witness {
    sightings: mpsc::UnboundedReceiver<Sighting>,
    task: AbortHandle,
}

/// A change, as it arrived.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub at: Instant,
    pub name: String,
    pub is_deletion: bool,
    /// The whole object; where it is a deletion, its last state.
    pub object: Value,
}

impl Witness {
    /// Watches the objects of a kind in a namespace from now on.
    pub async fn start<K>(client: Client, namespace: &str) -> anyhow::Result<Self>
    where
        K: Resource<DynamicType = ()>,
    {
        let kind = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &kind);
        let listed = api.list_metadata(&ListParams::default().limit(1)).await;
        let listed = listed.with_context(|| format!("failed to list {}", kind.plural))?;
        let version = listed.metadata.resource_version.context("a list has a version")?;
        let (sender, sightings) = mpsc::unbounded_channel();
        let watching = async move {
            // A watch that breaks ends the channel, which whoever waits reports.
            let _broken = watch(&api, version, &sender).await;
        };
        Ok(Self { sightings, task: tokio::spawn(watching).abort_handle() })
    }

    /// Waits for the next change of an object that is as wanted; changes before it are forgotten.
    pub async fn until(
        &mut self,
        name: &str,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Sighting) -> bool,
    ) -> anyhow::Result<Sighting> {
        let waiting = async {
            loop {
                let sighting = self.sightings.recv().await.context("the witness's watch broke off")?;
                if sighting.name == name && wanted(&sighting) {
                    return Ok(sighting);
                }
            }
        };
        match tokio::time::timeout(within, waiting).await {
            Ok(sighting) => sighting,
            Err(_) => bail!("gave up waiting until {what} after {} s", within.as_secs()),
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(
    api: &Api<DynamicObject>,
    mut version: String,
    sender: &mpsc::UnboundedSender<Sighting>,
) -> kube::Result<()> {
    loop {
        let mut events = Box::pin(api.watch(&WatchParams::default().timeout(290), &version).await?);
        while let Some(event) = events.try_next().await? {
            let at = Instant::now();
            let (object, is_deletion) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(mark) => {
                    version = mark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            };
            version = object.metadata.resource_version.clone().unwrap_or(version);
            let name = object.metadata.name.clone().unwrap_or_default();
            let object = serde_json::to_value(object).unwrap_or_default();
            if sender.send(Sighting { at, name, is_deletion, object }).is_err() {
                return Ok(());
            }
        }
    }
}
