//! Autoscalers of the whole cluster: whose replicas are not Git's to decide.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use skiff_shared::desired::autoscaler::Autoscaled;
use skiff_shared::object::{GroupKind, ObjectId, split_api_version};
use skiff_shared::sync::event::Blind;
use tokio::sync::{mpsc, watch};

use super::super::live::{Live, Metadata};
use super::feed::Fed;

/// What is known of autoscalers; `None` before the first list.
pub type KnownAutoscalers = Option<Arc<Autoscaled>>;

/// Namespace and name of an autoscaler.
type Key = (Box<str>, Box<str>);

/// Turns what a feed says of autoscalers into the set of their targets.
pub(super) struct Autoscalers {
    /// What each scales, by namespace and name.
    targets: BTreeMap<Key, ObjectId>,
    /// What the list that is being read has shown.
    listed: BTreeMap<Key, ObjectId>,
    /// Namespaces that the server refuses to show: what was seen there is not forgotten.
    dark: BTreeSet<Arc<str>>,
    out: watch::Sender<KnownAutoscalers>,
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
    pub fn new(out: watch::Sender<KnownAutoscalers>) -> Self {
        Self { targets: BTreeMap::new(), listed: BTreeMap::new(), dark: BTreeSet::new(), out }
    }

    pub async fn run(mut self, mut events: mpsc::Receiver<Fed>) {
        while let Some(fed) = events.recv().await {
            self.take(fed);
        }
    }

    fn take(&mut self, fed: Fed) {
        match fed {
            Fed::Began => self.listed.clear(),
            Fed::Listed(live) => self.listed.extend(entry(&live)),
            Fed::Complete => {
                let (listed, dark) = (std::mem::take(&mut self.listed), &self.dark);
                self.targets.retain(|(namespace, _), _| dark.contains(&**namespace));
                self.targets.extend(listed);
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
                self.dark = places.iter().filter_map(|place| place.namespace.clone()).collect();
                for Blind { cause, .. } in places {
                    let reason = cause.reason.word();
                    tracing::warn!(reason, message = %cause.message, "autoscalers cannot be watched: name the replicas that they decide in ignoreDifferences");
                }
            }
            Fed::Failing(failure) => tracing::warn!(?failure, "autoscalers cannot be watched"),
            // A server that has just started may not serve them yet: what was known is no worse for it.
            Fed::Gone => tracing::warn!("the API server does not serve autoscalers"),
            Fed::Resumed => tracing::info!("autoscalers are watched again"),
        }
    }

    fn tell(&self) {
        let targets = self.targets.values().cloned().collect();
        let known = Autoscaled { targets, dark: self.dark.clone() };
        self.out.send_if_modified(|told| {
            let is_news = told.as_deref() != Some(&known);
            if is_news {
                *told = Some(Arc::new(known));
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skiff_shared::sync::event::{Cause, Refusal};

    use super::*;

    fn scaler(namespace: &str, name: &str) -> Box<Live> {
        let live = json!({
            "metadata": {"namespace": namespace, "name": name, "uid": name, "resourceVersion": "7"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}},
        });
        serde_json::from_value(live).expect("an object")
    }

    fn blind(namespaces: &[&str]) -> Fed {
        let cause = Cause { reason: Refusal::Forbidden, code: 403, message: String::new() };
        let place = |namespace: &&str| Blind { namespace: Some(Arc::from(*namespace)), cause: cause.clone() };
        Fed::Blind(namespaces.iter().map(place).collect())
    }

    #[test]
    fn what_is_not_shown_for_a_while_is_not_forgotten() {
        let (out, known) = watch::channel(None);
        let mut scalers = Autoscalers::new(out);
        let told = || {
            let known: Arc<Autoscaled> = known.borrow().clone().expect("a list was complete");
            let targets: Vec<String> = known.targets.iter().map(ToString::to_string).collect();
            format!("{} dark {:?}", targets.join(" "), known.dark)
        };
        let first = [Fed::Began, Fed::Listed(scaler("a", "x")), Fed::Listed(scaler("b", "y")), Fed::Complete];
        first.into_iter().for_each(|fed| scalers.take(fed));
        assert_eq!(told(), "Deployment/a/x Deployment/b/y dark {}");
        let second = [Fed::Began, Fed::Listed(scaler("a", "x")), blind(&["b", "c"]), Fed::Complete];
        second.into_iter().for_each(|fed| scalers.take(fed));
        assert_eq!(told(), r#"Deployment/a/x Deployment/b/y dark {"b", "c"}"#);
        scalers.take(Fed::Gone);
        assert_eq!(told(), r#"Deployment/a/x Deployment/b/y dark {"b", "c"}"#);
        let third = [Fed::Began, Fed::Listed(scaler("a", "x")), blind(&[]), Fed::Complete];
        third.into_iter().for_each(|fed| scalers.take(fed));
        assert_eq!(told(), "Deployment/a/x dark {}");
    }
}
