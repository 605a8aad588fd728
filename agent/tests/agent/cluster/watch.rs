//! What watches tell: lists, changes, kinds that come and go, a server that goes away.

use std::sync::Arc;
use std::time::Duration;

use kube::core::CustomResourceExt as _;
use serde_json::{Value, json};
use skiff::cluster::watch::{AppEvent, WatchEvent, Watched};
use skiff_harness::cluster::{Cluster, Component, Options, User};
use skiff_shared::api::v1alpha1::App;
use skiff_shared::health::Health;
use skiff_shared::object::{GroupKind, ObjectId};
use skiff_shared::sync::event::{Observation, Seen};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{PATIENCE, World, until};

/// Returns the next event.
async fn next(events: &mut mpsc::Receiver<WatchEvent>) -> WatchEvent {
    timeout(PATIENCE, events.recv()).await.expect("an event comes").expect("the watch goes on")
}

/// Returns the next event of an object.
async fn observed(events: &mut mpsc::Receiver<WatchEvent>) -> (ObjectId, Observation) {
    loop {
        if let Watched::Observed(id, observation) = next(events).await.what {
            return (id, observation);
        }
    }
}

async fn present(events: &mut mpsc::Receiver<WatchEvent>) -> (ObjectId, Seen) {
    match observed(events).await {
        (id, Observation::Present(seen)) => (id, *seen),
        (id, Observation::Absent(_)) => panic!("{id} is absent"),
    }
}

/// Returns the generation of the next complete list.
async fn relisted(events: &mut mpsc::Receiver<WatchEvent>) -> u32 {
    loop {
        if let Watched::Relisted { watch } = next(events).await.what {
            return watch;
        }
    }
}

fn kind(group: &str, kind: &str) -> Arc<GroupKind> {
    Arc::new(GroupKind::new(group, kind))
}

/// Returns a ConfigMap that carries the test's own instance.
fn labelled(world: &World, name: &str, data: &Value) -> Value {
    let mut object = world.config_map(name, data);
    object["metadata"]["labels"]["skiff.dev/instance"] = world.namespace.as_str().into();
    object
}

#[tokio::test]
async fn a_watch_lists_our_objects_and_then_tells_what_happens_to_them() {
    let world = World::new("watch").await;
    world.apply(world.config_map("of-another-instance", &json!({}))).await;
    let applied = world.apply(labelled(&world, "web", &json!({ "a": "1" }))).await.applied;
    let (watches, mut events) = world.watches("watch");
    watches.ensure(&kind("", "ConfigMap"));
    watches.ensure(&kind("", "ConfigMap"));

    let first = next(&mut events).await;
    assert_eq!(first.app.as_deref(), Some("shop"));
    let Watched::Observed(id, Observation::Present(listed)) = first.what else { panic!("{first:?}") };
    assert_eq!(id, world.id("", "ConfigMap", "web"));
    assert_eq!((&listed.uid, listed.at.rv, listed.fields), (&applied.uid, applied.rv, applied.fields));
    assert_eq!((listed.at.watch, listed.entries.as_ref().map(|entries| entries.len())), (1, None));
    assert_eq!(relisted(&mut events).await, 1);

    world.kubectl(
        User::Dev,
        &["patch", "configmap", "web", "--type=merge", "--patch", r#"{"data":{"a":"2"}}"#],
    );
    let (_, changed) = present(&mut events).await;
    assert_ne!(changed.fields.ours, applied.fields.ours);
    let entries = changed.entries.expect("a change brings the entries");
    assert!(entries.iter().any(|entry| entry.manager == "kubectl-patch"), "{entries:?}");
    let asked = world.requests.get(&super::target(&world.config_map("web", &json!({})))).await;
    let Ok(skiff_shared::sync::event::Answer::Got(Observation::Present(got))) = asked else {
        panic!("{asked:?}")
    };
    assert_eq!((got.at, &got.fields), (changed.at, &changed.fields), "a GET is in the order of the watch");

    world.kubectl(User::Dev, &["label", "configmap", "web", "skiff.dev/instance-"]);
    let (id, lost) = observed(&mut events).await;
    assert!(matches!(lost, Observation::Absent(point) if point.rv > changed.at.rv), "{id}: {lost:?}");

    world.apply(labelled(&world, "web", &json!({ "a": "1" }))).await;
    assert!(present(&mut events).await.1.is_ours);
    world.kubectl(User::Dev, &["delete", "configmap", "web"]);
    assert!(matches!(observed(&mut events).await, (_, Observation::Absent(_))));
    assert_eq!(watches.ended(), []);
}

#[tokio::test]
async fn health_is_read_from_the_event() {
    let world = World::new("watch-health").await;
    let (watches, mut events) = world.watches("watch-health");
    watches.ensure(&kind("apps", "Deployment"));
    relisted(&mut events).await;
    world
        .apply(json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "none",
                "namespace": world.namespace,
                "labels": { "skiff.dev/instance": "watch-health" },
            },
            "spec": {
                "replicas": 0,
                "selector": { "matchLabels": { "app": "none" } },
                "template": {
                    "metadata": { "labels": { "app": "none" } },
                    "spec": { "containers": [{ "name": "web", "image": "web:1" }] },
                },
            },
        }))
        .await;
    loop {
        let (_, seen) = present(&mut events).await;
        if seen.health.health == Health::Healthy {
            break;
        }
    }
}

#[tokio::test]
async fn a_list_is_renewed_after_its_time_and_begins_a_generation() {
    let world = World::new("watch-renewal").await;
    let (watches, mut events) = world.watches("watch-renewal");
    let watches = watches.renewed_within(Duration::from_millis(100)..Duration::from_millis(200));
    world.apply(labelled(&world, "web", &json!({}))).await;
    watches.ensure(&kind("", "ConfigMap"));
    for generation in 1..=3 {
        assert_eq!(present(&mut events).await.1.at.watch, generation);
        assert_eq!(relisted(&mut events).await, generation);
    }
}

#[tokio::test]
async fn a_kind_is_watched_when_it_appears_and_told_when_it_is_gone() {
    let world = World::new("watch-kinds").await;
    let (watches, mut events) = world.watches("watch-kinds");
    let (changed, mut definitions) = mpsc::channel(8);
    let _definitions = watches.definitions(changed);
    watches.ensure(&kind("watch.example", "Gadget"));
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "gadgets.watch.example" },
        "spec": {
            "group": "watch.example",
            "scope": "Namespaced",
            "names": { "plural": "gadgets", "kind": "Gadget" },
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } },
            }],
        },
    });
    let gadget = json!({
        "apiVersion": "watch.example/v1",
        "kind": "Gadget",
        "metadata": {
            "name": "web",
            "namespace": world.namespace,
            "labels": { "skiff.dev/instance": "watch-kinds" },
        },
    });
    // Also the watch of definitions begins some time; what it was too late for it tells when it lists again.
    until("the definition is told", async || {
        world.apply(definition.clone()).await;
        world.kubectl(User::Admin, &["annotate", "--overwrite", "crd", "gadgets.watch.example", &noise()]);
        timeout(Duration::from_millis(500), definitions.recv()).await.ok().flatten()
    })
    .await;
    until("the kind is served", async || {
        world.rediscover().await;
        world.try_apply(gadget.clone()).await.ok()
    })
    .await;
    assert_eq!(present(&mut events).await.0, world.id("watch.example", "Gadget", "web"));

    world.kubectl(User::Admin, &["delete", "crd", "gadgets.watch.example"]);
    loop {
        if next(&mut events).await.what == Watched::Gone {
            break;
        }
    }
    assert!(timeout(PATIENCE, definitions.recv()).await.is_ok());
}

/// Returns an annotation that differs each time.
fn noise() -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!("noise={}", COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

#[tokio::test]
async fn what_people_ask_is_told_when_it_changes_and_only_then() {
    let world = World::new("watch-apps").await;
    world.apply(serde_json::to_value(App::crd()).unwrap()).await;
    let (watches, _events) = world.watches("watch-apps");
    let (out, mut asks) = mpsc::channel(8);
    let _apps = watches.apps("watch-apps", out);
    let app = |spec: Value| {
        json!({
            "apiVersion": "skiff.dev/v1alpha1",
            "kind": "App",
            "metadata": { "name": "shop", "namespace": "watch-apps" },
            "spec": spec,
        })
    };
    until("the kind is served", async || {
        world.rediscover().await;
        world.try_apply(app(json!({}))).await.ok()
    })
    .await;
    let next = async |asks: &mut mpsc::Receiver<AppEvent>| {
        timeout(PATIENCE, asks.recv()).await.expect("an event comes").expect("the watch goes on")
    };
    let AppEvent::Asked { app: name, ask } = next(&mut asks).await else { panic!("deleted") };
    assert_eq!((&*name, ask.paused), ("shop", None));

    let status = r#"{"status":{"sync":"Synced","health":"Healthy","phase":"Idle","conditions":[],"counts":{"total":0,"healthy":0,"outOfSync":0,"drifted":0,"held":0,"failed":0}}}"#;
    world.kubectl(
        User::Dev,
        &["patch", "apps.skiff.dev", "shop", "--subresource=status", "--type=merge", "--patch", status],
    );
    world.kubectl(
        User::Dev,
        &[
            "patch",
            "apps.skiff.dev",
            "shop",
            "--type=merge",
            "--patch",
            r#"{"spec":{"pause":{"reason":"holidays"}}}"#,
        ],
    );
    let AppEvent::Asked { ask, .. } = next(&mut asks).await else { panic!("deleted") };
    assert_eq!(ask.paused.as_deref(), Some("holidays"));
    world.kubectl(User::Dev, &["delete", "apps.skiff.dev", "shop"]);
    assert_eq!(next(&mut asks).await, AppEvent::Deleted { app: "shop".into() });
}

#[tokio::test]
async fn a_server_that_cannot_stream_lists_is_asked_for_pages() {
    let flags = vec!["--feature-gates=WatchList=false".to_owned()];
    let options = Options {
        apiserver_flags: flags,
        without_scheduler: true,
        without_controller_manager: true,
        ..Options::default()
    };
    let cluster = Arc::new(Cluster::start(options).await.expect("a cluster starts"));
    let world = World::on(cluster, "pages").await;
    for number in 0..300 {
        world.apply(labelled(&world, &format!("map-{number}"), &json!({}))).await;
    }
    let mark = world.cluster.audit().mark().unwrap();
    let (watches, mut events) = world.watches("pages");
    // An empty list of metadata is null.
    watches.ensure(&kind("", "ServiceAccount"));
    assert_eq!(relisted(&mut events).await, 1);
    watches.ensure(&kind("", "ConfigMap"));
    let mut names = std::collections::BTreeSet::new();
    loop {
        match next(&mut events).await.what {
            Watched::Observed(id, _) => names.insert(id.name().to_owned()),
            Watched::Relisted { watch: 1 } => break,
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(names.len(), 300);
    let asked = world.cluster.audit().since(mark, super::AGENT.name()).unwrap();
    let pages =
        asked.iter().filter(|entry| entry.resource == "configmaps" && entry.uri.contains("limit=250"));
    assert_eq!(pages.count(), 2);
    world.apply(labelled(&world, "map-0", &json!({ "a": "1" }))).await;
    assert_eq!(present(&mut events).await.0.name(), "map-0");
}

#[tokio::test]
async fn a_watch_survives_its_server() {
    let options = Options { without_scheduler: true, without_controller_manager: true, ..Options::default() };
    let cluster = Arc::new(Cluster::start(options).await.expect("a cluster starts"));
    let world = World::on(cluster, "away").await;
    let (watches, mut events) = world.watches("away");
    watches.ensure(&kind("", "ConfigMap"));
    relisted(&mut events).await;
    world.cluster.kill(Component::Apiserver).unwrap();
    loop {
        if let Watched::Failing(failure) = next(&mut events).await.what {
            assert!(matches!(failure, skiff_shared::sync::event::Failure::Unknown(_)), "{failure:?}");
            break;
        }
    }
    world.cluster.restart(Component::Apiserver).await.unwrap();
    world.apply(labelled(&world, "web", &json!({}))).await;
    assert_eq!(present(&mut events).await.0.name(), "web");
}
