//! The cluster adapter against a real API server. The tests share one, each in namespaces of its own.

#[path = "cluster/discovery.rs"]
mod discovery;
#[path = "cluster/reach.rs"]
mod reach;
#[path = "cluster/requests.rs"]
mod requests;
#[path = "cluster/secrets.rs"]
mod secrets;
#[path = "cluster/watch.rs"]
mod watching;

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use skiff::cluster::connection::KubeconfigChoice;
use skiff::cluster::discovery::discover;
use skiff::cluster::requests::{Requests, Sending};
use skiff::cluster::watch::{WatchEvent, Watches};
use skiff::cluster::{Connection, Generations};
use skiff_harness::cluster::{Cluster, Options, User};
use skiff_shared::object::{ApiSet, Digest, Interner, ObjectId, Target};
use skiff_shared::sync::effect::WithFields;
use skiff_shared::sync::event::{Answer, AppliedAnswer, Failure};
use tokio::sync::{Mutex, mpsc, watch};

/// The value of the instance label in these tests.
const INSTANCE: &str = "lab";

/// Whom the agent acts as: somebody whose requests are in the audit log, and who may do everything.
const AGENT: User = User::Ops;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the cluster that the running tests share; it ends with the last of them.
async fn shared() -> Arc<Cluster> {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let started = Arc::new(Cluster::start(Options::default()).await.expect("a cluster starts"));
    *shared = Arc::downgrade(&started);
    started
}

/// What one test needs: a cluster, an agent's view of it, and a namespace of its own.
struct World {
    cluster: Arc<Cluster>,
    connection: Connection,
    apis: watch::Sender<Arc<ApiSet>>,
    generations: Generations,
    requests: Requests,
    namespace: String,
}

async fn connect(cluster: &Cluster, user: User) -> Connection {
    let choice = KubeconfigChoice { path: Some(cluster.kubeconfig(user)), ..KubeconfigChoice::default() };
    Connection::kubeconfig(choice).await.expect("the lab's kubeconfig is right")
}

impl World {
    async fn new(namespace: &str) -> Self {
        Self::on(shared().await, namespace).await
    }

    async fn on(cluster: Arc<Cluster>, namespace: &str) -> Self {
        let connection = connect(&cluster, AGENT).await;
        let discovered = discover(&connection).await.expect("the cluster says what it serves");
        let apis = watch::Sender::new(Arc::new(discovered.apis));
        let generations = Generations::default();
        let requests =
            Requests::new(connection.clone(), apis.subscribe(), generations.clone(), INSTANCE.into());
        let world =
            Self { cluster, connection, apis, generations, requests, namespace: namespace.to_owned() };
        world
            .apply(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }))
            .await;
        world
    }

    /// Asks the cluster again what it serves.
    async fn rediscover(&self) {
        let discovered = discover(&self.connection).await.expect("the cluster says what it serves");
        self.apis.send_replace(Arc::new(discovered.apis));
    }

    /// Applies an object as the agent does.
    async fn apply(&self, object: Value) -> AppliedAnswer {
        match self.try_apply(object).await.expect("the object is accepted") {
            Answer::Applied(answer) => *answer,
            other => panic!("not the answer to an apply: {other:?}"),
        }
    }

    async fn try_apply(&self, object: Value) -> Result<Answer, Failure> {
        self.requests.apply(&sending(&object)).await
    }

    /// Returns a ConfigMap of this test's namespace with our label.
    fn config_map(&self, name: &str, data: &Value) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": { "skiff.dev/instance": INSTANCE, "skiff.dev/app": "shop" },
            },
            "data": data,
        })
    }

    fn id(&self, group: &str, kind: &str, name: &str) -> ObjectId {
        Interner::default().object(group, kind, Some(&self.namespace), name)
    }

    /// Returns watches of one instance, and what they tell.
    fn watches(&self, instance: &str) -> (Watches, mpsc::Receiver<WatchEvent>) {
        let (out, events) = mpsc::channel(64);
        let watches = Watches::new(
            self.connection.clone(),
            self.apis.subscribe(),
            self.generations.clone(),
            instance.into(),
            out,
        );
        (watches, events)
    }

    /// Runs kubectl as a person and returns what it printed.
    fn kubectl(&self, user: User, arguments: &[&str]) -> String {
        let output = self
            .cluster
            .kubectl(user)
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .output()
            .expect("kubectl starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?} failed: {errors}");
        String::from_utf8(output.stdout).expect("kubectl speaks UTF-8")
    }
}

fn target(object: &Value) -> Target {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (group, version) =
        skiff_shared::object::split_api_version(text("/apiVersion").expect("an apiVersion"));
    let id = Interner::default().object(
        group,
        text("/kind").expect("a kind"),
        text("/metadata/namespace"),
        text("/metadata/name").expect("a name"),
    );
    Target { id, version: version.into() }
}

fn sending(object: &Value) -> Sending {
    let body = Bytes::from(object.to_string());
    let digest = Digest::of(&body);
    Sending {
        target: target(object),
        digest,
        body,
        yields: None,
        uid: None,
        releases: None,
        with_fields: WithFields::Yes,
    }
}

/// Repeats `probe` until it answers, and gives up after a while.
async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let tries = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, tries).await.unwrap_or_else(|_| panic!("gave up waiting until {what}"))
}
