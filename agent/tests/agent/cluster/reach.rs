//! Watches of an agent that has rights in some namespaces only.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use skiff::cluster::connection::KubeconfigChoice;
use skiff::cluster::watch::{WatchEvent, Watched, Watches};
use skiff::cluster::{Connection, Generations};
use skiff_harness::cluster::User;
use skiff_harness::identity::Identity;
use skiff_shared::object::GroupKind;
use skiff_shared::sync::event::{Blind, Observation, Refusal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{PATIENCE, World, until};

const NAMESPACES: [&str; 3] = ["reach-a", "reach-b", "reach-c"];

/// What a watch has told up to the end of a list.
#[derive(Debug)]
struct Told {
    names: BTreeSet<String>,
    blind: Option<Vec<Blind>>,
    watch: u32,
}

async fn next(events: &mut mpsc::Receiver<WatchEvent>) -> Watched {
    timeout(PATIENCE, events.recv()).await.expect("an event comes").expect("the watch goes on").what
}

async fn list(events: &mut mpsc::Receiver<WatchEvent>) -> Told {
    let (mut names, mut blind) = (BTreeSet::new(), None);
    loop {
        match next(events).await {
            Watched::Observed(id, Observation::Present(_)) => _ = names.insert(id.to_string()),
            Watched::Blind(places) => blind = Some(places),
            Watched::Relisted { watch } => return Told { names, blind, watch },
            other => panic!("{other:?}"),
        }
    }
}

/// Lets the narrow account see a namespace, and waits until the server knows.
async fn let_in(world: &World, namespace: &str) {
    let account = format!("--serviceaccount={}:narrow", world.namespace);
    let binding =
        ["create", "rolebinding", "narrow", "--clusterrole=view", &account, "--namespace", namespace];
    world.kubectl(User::Admin, &binding);
    let user = format!("--as=system:serviceaccount:{}:narrow", world.namespace);
    until("the right is in force", async || {
        let mut kubectl = world.cluster.kubectl(User::Admin);
        kubectl.args(["auth", "can-i", "watch", "configmaps", &user, "--namespace", namespace]);
        kubectl.output().expect("kubectl starts").status.success().then_some(())
    })
    .await;
}

async fn narrow(world: &World) -> Connection {
    world.kubectl(User::Admin, &["create", "serviceaccount", "narrow"]);
    let lifetime = Duration::from_secs(600);
    let identity = Identity::of(&world.cluster, &world.namespace, "narrow", lifetime).await.expect("a token");
    let path = Some(identity.kubeconfig().to_owned());
    let choice = KubeconfigChoice { path, ..KubeconfigChoice::default() };
    Connection::kubeconfig(choice).await.expect("the kubeconfig is right")
}

#[tokio::test]
async fn namespaces_are_one_list_and_a_refused_one_is_named_until_it_is_shown() {
    let world = World::new(NAMESPACES[0]).await;
    let connection = narrow(&world).await;
    for namespace in NAMESPACES {
        world.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})).await;
        let labels = json!({"skiff.dev/instance": "reach", "skiff.dev/app": "shop"});
        let metadata = json!({"name": "web", "namespace": namespace, "labels": labels});
        world.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await;
    }
    let_in(&world, "reach-a").await;
    let_in(&world, "reach-b").await;
    let (out, mut events) = mpsc::channel(64);
    let apis = world.apis.subscribe();
    let watches = Watches::new(connection, apis, Generations::default(), "reach".into(), out)
        .within(NAMESPACES.map(Arc::from).to_vec())
        .looking_again_after(Duration::from_millis(100));
    watches.ensure(&Arc::new(GroupKind::new("", "ConfigMap")));

    let first = list(&mut events).await;
    assert_eq!(first.watch, 1);
    assert_eq!(Vec::from_iter(first.names), ["ConfigMap/reach-a/web", "ConfigMap/reach-b/web"]);
    let blind = first.blind.expect("what is not shown is named");
    let [Blind { namespace, cause }] = &blind[..] else { panic!("{blind:?}") };
    assert_eq!((namespace.as_deref(), cause.reason), (Some("reach-c"), Refusal::Forbidden));

    world.kubectl(User::Dev, &["delete", "configmap", "web", "--namespace", "reach-b"]);
    let gone = next(&mut events).await;
    assert!(matches!(gone, Watched::Observed(_, Observation::Absent(point)) if point.watch == 1), "{gone:?}");

    let_in(&world, "reach-c").await;
    let second = list(&mut events).await;
    assert_eq!((second.watch, second.blind), (2, Some(Vec::new())));
    assert_eq!(Vec::from_iter(second.names), ["ConfigMap/reach-a/web", "ConfigMap/reach-c/web"]);
    assert_eq!(watches.ended(), []);
}
