//! Waiting for what a cluster shall come to: by watch, with a deadline, and with the last state in the complaint.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::bail;
use futures::TryStreamExt as _;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long anything may take on a machine that builds meanwhile.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until the object `name` is there and as wanted, and returns it; `what` completes "gave up waiting until".
pub async fn until<K>(api: &Api<K>, name: &str, what: &str, wanted: impl Fn(&K) -> bool) -> anyhow::Result<K>
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    until_seen(api, name, what, |object| object.filter(|object| wanted(object)).cloned()).await
}

/// Waits until there is no object `name`.
pub async fn until_gone<K>(api: &Api<K>, name: &str) -> anyhow::Result<()>
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let gone = |object: Option<&K>| object.is_none().then_some(());
    until_seen(api, name, &format!("{name} is gone"), gone).await
}

async fn until_seen<K, T>(
    api: &Api<K>,
    name: &str,
    what: &str,
    judge: impl Fn(Option<&K>) -> Option<T>,
) -> anyhow::Result<T>
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let mut last = None;
    let watching = async {
        let mut states = std::pin::pin!(watcher::watch_object(api.clone(), name).default_backoff());
        loop {
            // An error is a watch that broke; the watcher waits and starts anew.
            let Ok(Some(state)) = states.try_next().await else { continue };
            if let Some(result) = judge(state.as_ref()) {
                return result;
            }
            last = state;
        }
    };
    match tokio::time::timeout(DEADLINE, watching).await {
        Ok(result) => Ok(result),
        Err(_) => {
            bail!("gave up waiting until {what} after {} s; last seen: {}", DEADLINE.as_secs(), show(&last))
        }
    }
}

fn show<K: Serialize>(object: &Option<K>) -> String {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(metadata) = value.get_mut("metadata").and_then(|metadata| metadata.as_object_mut()) {
        metadata.remove("managedFields");
    }
    format!("{value:#}")
}
