//! A kubelet that runs nothing: it makes nodes, reports of every pod what a kubelet would, and has a log for each
//! container.
//!
//! A sync agent sees only what is reported, so it cannot tell. What is reported follows the pod's annotation
//! [`BEHAVIOUR`]; without one, pods that shall stay up become ready and the others succeed at once.

mod behaviour;
mod logs;
mod status;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

pub use behaviour::BEHAVIOUR;

use crate::background::Background;
use crate::cluster::{Cluster, User, client};
use behaviour::Behaviour;
use status::Report;

/// How many requests are in flight at once, so that ten thousand pods are not ten thousand connections.
const IN_FLIGHT: usize = 16;

/// A running fake kubelet; dropping it makes the nodes fall silent.
pub struct FakeKubelet {
    _background: Background,
}

impl FakeKubelet {
    /// Makes `count` ready nodes, `lab-node-1` and so on, and attends to every pod from then on.
    ///
    /// In a cluster without a scheduler it also chooses the node of each pod.
    pub async fn start(cluster: &Cluster, count: usize) -> anyhow::Result<Self> {
        let names: Vec<String> = (1..=count).map(|number| format!("lab-node-{number}")).collect();
        let nodes = Api::all(cluster.client(User::Kubelet)?);
        let background = Background::start("fake-kubelet")?;
        let logs = logs::serve(&background)?;
        for name in &names {
            register(&nodes, name, logs)
                .await
                .with_context(|| format!("failed to register the node {name}"))?;
        }
        let kubeconfig = cluster.kubeconfig(User::Kubelet);
        let binds = if cluster.has_scheduler() { Vec::new() } else { names };
        background.spawn(async move {
            // A client belongs to the runtime that it is made in.
            let client = client(&kubeconfig).expect("the same kubeconfig has just registered the nodes");
            attend(Attendant::new(client, binds)).await;
        });
        Ok(Self { _background: background })
    }
}

/// Creates a node with its capacity and then reports it ready, as a kubelet does.
async fn register(nodes: &Api<Node>, name: &str, logs: SocketAddr) -> kube::Result<()> {
    let capacity = json!({ "cpu": "1000", "memory": "4Ti", "ephemeral-storage": "10Ti", "pods": "20000" });
    let node = json!({
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
        },
        "status": { "capacity": capacity, "allocatable": capacity },
    });
    let node = serde_json::from_value(node).map_err(kube::Error::SerdeError)?;
    nodes.create(&PostParams::default(), &node).await?;
    let now = Timestamp::now();
    let ready = json!({ "status": { "conditions": [{
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the lab says so",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    }] } });
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(ready)).await?;
    let listens = json!({ "status": logs::status(logs) });
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(listens)).await?;
    // Admission taints every new node as not ready, and without a controller-manager nobody takes the taint away.
    let untainted = Patch::Merge(json!({ "spec": { "taints": null } }));
    nodes.patch(name, &PatchParams::default(), &untainted).await?;
    Ok(())
}

/// What all pods' tasks share.
struct Attendant {
    client: Client,
    /// The nodes to choose from; none where a scheduler chooses.
    binds: Vec<String>,
    turns: AtomicUsize,
    permits: Semaphore,
}

impl Attendant {
    fn new(client: Client, binds: Vec<String>) -> Arc<Self> {
        Arc::new(Self { client, binds, turns: AtomicUsize::new(0), permits: Semaphore::new(IN_FLIGHT) })
    }

    /// Returns the next number; pods get addresses and nodes by it.
    fn turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }
}

/// What is done for a pod now; a second event that asks for the same is ignored.
#[derive(Clone, PartialEq, Eq)]
enum Task {
    Bind,
    Report { behaviour: String },
    Remove,
}

/// Follows every pod of the cluster for ever.
async fn attend(attendant: Arc<Attendant>) {
    let pods = Api::<Pod>::all(attendant.client.clone());
    let mut events = std::pin::pin!(watcher(pods, watcher::Config::default()).default_backoff());
    let mut begun: HashMap<String, (Task, AbortHandle)> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        // An error is a watch that broke; the watcher waits and starts anew.
        let Ok(Some(event)) = events.try_next().await else { continue };
        while tasks.try_join_next().is_some() {}
        match event {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => {
                let Some(task) = task_for(&pod, &attendant) else { continue };
                let uid = pod.uid().unwrap_or_default();
                if begun.get(&uid).is_some_and(|(same, _)| *same == task) {
                    continue;
                }
                let work = perform(Arc::clone(&attendant), pod, task.clone());
                if let Some((_, former)) = begun.insert(uid, (task, tasks.spawn(work))) {
                    former.abort();
                }
            }
            watcher::Event::Delete(pod) => {
                if let Some((_, task)) = begun.remove(&pod.uid().unwrap_or_default()) {
                    task.abort();
                }
            }
            watcher::Event::Init | watcher::Event::InitDone => {}
        }
    }
}

/// Decides what a pod needs, if anything.
fn task_for(pod: &Pod, attendant: &Attendant) -> Option<Task> {
    let bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    if pod.metadata.deletion_timestamp.is_some() {
        Some(Task::Remove)
    } else if bound {
        Some(Task::Report { behaviour: pod.annotations().get(BEHAVIOUR).cloned().unwrap_or_default() })
    } else {
        (!attendant.binds.is_empty()).then_some(Task::Bind)
    }
}

async fn perform(attendant: Arc<Attendant>, pod: Pod, task: Task) {
    let pods = Api::<Pod>::namespaced(attendant.client.clone(), &pod.namespace().unwrap_or_default());
    match task {
        Task::Bind => {
            let node = choose_node(&pod, &attendant);
            insist(&attendant, || bind(&pods, &pod, &node)).await;
        }
        Task::Report { behaviour } => {
            let behaviour = Behaviour::parse(&behaviour);
            tokio::time::sleep(behaviour.as_ref().map_or(Duration::ZERO, |behaviour| behaviour.delay)).await;
            let report = Report { pod: &pod, number: attendant.turn(), now: Timestamp::now() };
            let status = Patch::Strategic(json!({ "status": report.status(&behaviour) }));
            let name = pod.name_any();
            let params = PatchParams::default();
            insist(&attendant, || async { pods.patch_status(&name, &params, &status).await.map(drop) }).await;
        }
        Task::Remove => insist(&attendant, || remove(&pods, &pod)).await,
    }
}

async fn bind(pods: &Api<Pod>, pod: &Pod, node: &str) -> kube::Result<()> {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": pod.name_any() },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    });
    let answer: Value =
        pods.create_subresource("binding", &pod.name_any(), &PostParams::default(), &binding).await?;
    drop(answer);
    Ok(())
}

async fn remove(pods: &Api<Pod>, pod: &Pod) -> kube::Result<()> {
    let at_once = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
        ..DeleteParams::default()
    };
    pods.delete(&pod.name_any(), &at_once).await.map(drop)
}

/// Repeats a request until the server has done or refused it; it may be away for a while in a test of faults.
async fn insist<F: Future<Output = kube::Result<()>>>(attendant: &Attendant, request: impl Fn() -> F) {
    loop {
        let permit = attendant.permits.acquire().await;
        let settled = match request().await {
            Ok(()) => true,
            Err(kube::Error::Api(answer)) => (400..500).contains(&answer.code) && answer.code != 429,
            Err(_) => false,
        };
        drop(permit);
        if settled {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Returns the node that a DaemonSet's pod must run on, or the next one in turn.
fn choose_node(pod: &Pod, attendant: &Attendant) -> String {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let terms = affinity
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref())
        .map(|selector| selector.node_selector_terms.as_slice());
    let pinned = terms
        .unwrap_or_default()
        .iter()
        .filter_map(|term| term.match_fields.as_ref())
        .flatten()
        .find(|field| field.key == "metadata.name")
        .and_then(|field| field.values.as_ref()?.first().cloned());
    pinned.unwrap_or_else(|| attendant.binds[attendant.turn() % attendant.binds.len()].clone())
}
