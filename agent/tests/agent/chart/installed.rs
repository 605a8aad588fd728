//! The chart on a real API server: what the agent may do, what people may approve, and what a pod may be.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skiff_harness::chart::Release;
use skiff_harness::cluster::{Cluster, Options, User};
use skiff_harness::identity::Identity;
use skiff_shared::api::v1alpha1::{App, AppSpec};

const NAMESPACE: &str = "skiff-system";
const DEADLINE: Duration = Duration::from_secs(60);
const DIGEST: &str = "0123456789abcdef0123456789abcdef";

struct Installed {
    cluster: Cluster,
    agent: Client,
    documents: Vec<Value>,
}

/// Installs the chart into a namespace that admits only restricted pods.
async fn install(rbac: Value) -> Installed {
    let cluster = Cluster::start(Options::default()).await.expect("a cluster starts");
    let source = json!({"url": "https://git.example/shop", "ref": {"branch": "main"}});
    let values = json!({
        "cluster": {"name": "example"},
        "environments": [{"name": "production", "source": source}],
        "rbac": rbac,
    });
    let release = Release::skiff(NAMESPACE, values);
    release.install(&cluster).await.expect("the API server takes the chart");
    let documents = super::documents(&release.render(&cluster).await.expect("the chart renders"));
    let identity =
        Identity::of(&cluster, NAMESPACE, "skiff", Duration::from_secs(600)).await.expect("a token");
    let agent = identity.client().expect("a client");
    Installed { cluster, agent, documents }
}

impl Installed {
    fn apps(&self, user: User) -> Api<App> {
        Api::namespaced(self.cluster.client(user).expect("a client"), NAMESPACE)
    }

    /// Makes an app as the agent does, with a plan that waits for approval.
    async fn planned_app(&self) -> Api<App> {
        let apps: Api<App> = Api::namespaced(self.agent.clone(), NAMESPACE);
        let created = apps.create(&PostParams::default(), &App::new("web", AppSpec::default())).await;
        created.expect("the agent makes apps");
        let status = json!({"status": {"plan": {"digest": DIGEST}}});
        let patched = apps.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await;
        patched.expect("the agent writes their status");
        apps
    }
}

/// Returns the code and words of the server's refusal; 0 where it did not answer.
fn code<T>(answer: Result<T, kube::Error>) -> (u16, String) {
    match answer {
        Ok(_) => (200, String::new()),
        Err(kube::Error::Api(status)) => (status.code, status.message),
        Err(other) => (0, other.to_string()),
    }
}

async fn approve(apps: &Api<App>, digest: &str, by: &str) -> (u16, String) {
    let approval = json!({"spec": {"approval": {"digest": digest, "by": by}}});
    code(apps.patch("web", &PatchParams::default(), &Patch::Merge(approval)).await)
}

async fn create<K>(client: &Client, namespace: &str) -> u16
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug + Default,
    K: Serialize + DeserializeOwned,
    K::DynamicType: Default,
{
    let mut object = K::default();
    *object.meta_mut() = ObjectMeta { name: Some("state".to_owned()), ..ObjectMeta::default() };
    code(Api::<K>::namespaced(client.clone(), namespace).create(&PostParams::default(), &object).await).0
}

#[tokio::test]
async fn agent_with_few_rights_still_keeps_its_state_and_never_writes_what_people_ask() {
    let rules = json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]}]);
    let installed = install(json!({"mode": "custom", "rules": rules})).await;
    let agent = &installed.agent;
    assert_eq!(create::<ConfigMap>(agent, NAMESPACE).await, 200);
    assert_eq!(create::<Secret>(agent, NAMESPACE).await, 200);
    assert_eq!(create::<Lease>(agent, NAMESPACE).await, 200);
    assert_eq!(create::<ConfigMap>(agent, "default").await, 403);
    assert_eq!(create::<k8s_openapi::api::apps::v1::ReplicaSet>(agent, "default").await, 403);
    let apps = installed.planned_app().await;
    let (refused, message) = approve(&apps, DIGEST, "somebody").await;
    assert_eq!(refused, 403, "{message}");
}

#[tokio::test]
async fn approvals_are_bound_to_their_author_and_to_the_published_plan() {
    let installed = install(json!({"mode": "cluster"})).await;
    let agents = installed.planned_app().await;
    let people = installed.apps(User::Dev);
    // The policy is in force a moment after it was written.
    let in_force = async { while approve(&people, DIGEST, "ops").await.0 != 403 {} };
    tokio::time::timeout(DEADLINE, in_force).await.expect("the policy is enforced");

    let (refused, message) = approve(&people, DIGEST, "ops").await;
    assert_eq!(refused, 403);
    assert!(message.contains("spec.approval.by must be dev"), "{message}");
    let (refused, message) = approve(&people, &DIGEST.replace('0', "f"), "dev").await;
    assert_eq!(refused, 422);
    assert!(message.contains(&format!("is not the digest of the plan: {DIGEST}")), "{message}");
    let agent = format!("system:serviceaccount:{NAMESPACE}:skiff");
    let (refused, message) = approve(&agents, DIGEST, &agent).await;
    assert_eq!(refused, 403);
    assert!(message.contains("the agent may not approve its own plans"), "{message}");

    assert_eq!(approve(&people, DIGEST, "dev").await, (200, String::new()));
    let pause = json!({"spec": {"pause": {"reason": "holidays"}}});
    let paused = installed.apps(User::Ops).patch("web", &PatchParams::default(), &Patch::Merge(pause)).await;
    assert_eq!(code(paused).0, 200);
}

/// Runs helm as a person who sets a cluster up.
fn helm(cluster: &Cluster, arguments: &[&str]) -> Result<String, String> {
    let home = tempfile::tempdir().expect("a folder can be made");
    let output = std::process::Command::new(&cluster.lab().helm)
        .args(arguments)
        .args(["--namespace", NAMESPACE, "--kubeconfig"])
        .arg(cluster.kubeconfig(User::Admin))
        .env("HOME", home.path())
        .output()
        .expect("helm starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test]
async fn helm_installs_upgrades_rolls_back_and_uninstalls_and_leaves_the_apps() {
    let cluster = Cluster::start(Options::default()).await.expect("a cluster starts");
    let admin = cluster.client(User::Admin).expect("a client");
    let deployments: Api<Deployment> = Api::namespaced(admin.clone(), NAMESPACE);
    let replicas = async || {
        let found = deployments.get_opt("skiff").await.expect("the server answers");
        found.and_then(|found| found.spec.replicas)
    };
    let chart = super::chart().display().to_string();
    let values = format!("{chart}/rendered/values.yaml");
    let given = ["skiff", &chart, "--values", &values];

    let said = helm(&cluster, &[&["install", "--create-namespace"], &given[..]].concat()).expect("installed");
    assert!(said.contains("Skiff keeps this cluster, example, equal to Git."), "{said}");
    assert_eq!(replicas().await, Some(1));
    let apps: Api<App> = Api::namespaced(admin, NAMESPACE);
    let created = async || apps.create(&PostParams::default(), &App::new("web", AppSpec::default())).await;
    let established = async { while created().await.is_err() {} };
    tokio::time::timeout(DEADLINE, established).await.expect("an app can be made");

    helm(&cluster, &[&["upgrade", "--set", "replicas=2"], &given[..]].concat()).expect("upgraded");
    assert_eq!(replicas().await, Some(2));
    helm(&cluster, &["rollback", "skiff", "1"]).expect("rolled back");
    assert_eq!(replicas().await, Some(1));

    helm(&cluster, &["uninstall", "skiff"]).expect("uninstalled");
    assert_eq!(replicas().await, None);
    apps.get("web").await.expect("the app is still there");
    helm(&cluster, &[&["install"], &given[..]].concat()).expect("installed again");
    assert_eq!(replicas().await, Some(1));
    apps.get("web").await.expect("the app has survived both");
}

#[tokio::test]
async fn pod_of_the_agent_is_admitted_where_only_restricted_pods_are() {
    let installed = install(json!({"mode": "cluster"})).await;
    let admin = installed.cluster.client(User::Admin).expect("a client");
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let labelled = namespaces.patch(NAMESPACE, &PatchParams::default(), &Patch::Merge(label)).await;
    labelled.expect("the namespace is labelled");
    let template = &super::find(&installed.documents, "Deployment")["spec"]["template"];
    let pods: Api<Pod> = Api::namespaced(admin, NAMESPACE);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let pod = |spec: &Value| -> Pod {
        let pod =
            json!({"metadata": {"name": "agent", "labels": template["metadata"]["labels"]}, "spec": spec});
        serde_json::from_value(pod).expect("the template is a pod's")
    };
    assert_eq!(code(pods.create(&dry_run, &pod(&template["spec"])).await), (200, String::new()));
    // The namespace does refuse others.
    let mut careless = template["spec"].clone();
    careless["containers"][0]["securityContext"] = json!({});
    assert_eq!(code(pods.create(&dry_run, &pod(&careless)).await).0, 403);
}
