//! The verbs that look into an app, `tree`, `events` and `logs`, against a real cluster with its controllers.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_json::json;
use skiff_e2e::manifests;
use skiff_e2e::site::Site;
use skiff_harness::cluster::{Options, User};

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector: {app: web}
  ports: [{port: 80}]
";

const STATEFUL_SET: &str = "apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: db
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers: [{name: db, image: registry.example/db}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
";

const BATCH: &str = "apiVersion: batch/v1
kind: Job
metadata:
  name: batch
spec:
  template:
    spec:
      restartPolicy: Never
      initContainers: [{name: prepare, image: registry.example/prepare}]
      containers: [{name: work, image: registry.example/work}]
";

/// Puts everything of the app into one namespace.
fn shop(image: &str) -> String {
    let web = manifests::deployment("web", 2, image);
    let objects = [web.as_str(), SERVICE, STATEFUL_SET, BATCH];
    let mut text = manifests::namespace("development");
    for object in objects {
        text += "---\n";
        text += &manifests::in_namespace("development", object);
    }
    text
}

/// Returns the tree without what differs in every cluster: ages, messages and the ends of names.
fn shape(tree: &str) -> String {
    let generated = ["ReplicaSet/web-", "Pod/web-", "Pod/batch-", "EndpointSlice/web-"];
    let name = |line: &str| {
        let known = generated.iter().find_map(|start| Some(line.find(start)? + start.len()));
        let begin = line.find(char::is_alphabetic).unwrap_or_default();
        let end = known.or_else(|| Some(begin + line[begin..].find(' ')?)).unwrap_or(line.len());
        line[..end].to_owned()
    };
    let health =
        |line: &str| ["Healthy", "Progressing"].into_iter().find(|word| line.contains(word)).unwrap_or("-");
    tree.lines().skip(1).map(|line| format!("{} {}\n", name(line), health(line))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_look_into_an_app() -> anyhow::Result<()> {
    // The claims of the StatefulSet are never bound: no scheduler waits for them.
    let mut site = Site::start(Options { without_scheduler: true, ..Options::default() }).await?;
    let mut repository = site.repository("shop")?;
    repository.write("apps/shop.yaml", shop("registry.example/web:1"));
    let commit = repository.commit("a shop")?;
    site.start_agent(json!([Site::environment("staging", repository.url(), "apps")]))?;
    site.synced("staging", &commit).await?;

    let (tree, code) = site.skiff(User::Admin, &["tree", "staging"]).await?;
    assert_eq!(code, 0, "{tree}");
    insta::assert_snapshot!(shape(&tree), @r"
    App/staging Healthy
    ├─ Namespace/development Healthy
    ├─ Service/development/web Healthy
    │  └─ EndpointSlice/web- Healthy
    ├─ Deployment/development/web Healthy
    │  └─ ReplicaSet/web- Healthy
    │     ├─ Pod/web- Healthy
    │     └─ Pod/web- Healthy
    ├─ StatefulSet/development/db Healthy
    │  ├─ PersistentVolumeClaim/data-db-0 Healthy
    │  └─ Pod/db-0 Healthy
    └─ Job/development/batch Healthy
       └─ Pod/batch- Healthy
    ");
    let (all, _) = site.skiff(User::Admin, &["tree", "staging", "--all"]).await?;
    assert!(all.contains("ControllerRevision/db-"), "{all}");
    let (names, _) = site.skiff(User::Admin, &["tree", "staging", "-o", "name"]).await?;
    assert!(names.lines().any(|line| line.starts_with("Pod/development/web-")), "{names}");

    let (events, code) = site.skiff(User::Admin, &["events", "staging"]).await?;
    assert_eq!(code, 0, "{events}");
    assert!(events.contains("ScalingReplicaSet") && events.contains("Created pod: web-"), "{events}");
    assert!(!events.contains("lab-node-1"), "a node is none of the app's: {events}");

    logs_are_read(&site).await?;

    let mut logs = site.skiff_follows(User::Admin, &["logs", "staging", "--follow", "--container", "web"])?;
    let mut events = site.skiff_follows(User::Admin, &["events", "staging", "--watch"])?;
    let mut apps = site.skiff_follows(User::Admin, &["get", "staging", "--watch", "-o", "wide"])?;
    logs.says("line 8").await?;
    apps.says(&commit[..12]).await?;
    let old = writers(logs.lines());
    repository.write("apps/shop.yaml", shop("registry.example/web:2"));
    let next = repository.commit("another image")?;
    apps.holds(|lines| lines.iter().any(|line| line.contains(&next[..12]) && line.contains("Synced")))
        .await?;
    // The second ReplicaSet was not there when the app was first looked at.
    events.says("Scaled up replica set web-").await?;
    events.holds(|lines| lines.iter().filter(|line| line.contains("Created pod: web-")).count() == 4).await?;
    logs.holds(|lines| {
        let is_new = |line: &&String| writers(std::slice::from_ref(line)).is_disjoint(&old);
        lines.iter().filter(is_new).any(|line| line.ends_with(" line 1"))
    })
    .await
    .context("a pod that comes later is read from its beginning")
}

async fn logs_are_read(site: &Site) -> anyhow::Result<()> {
    let (logs, code) =
        site.skiff(User::Admin, &["logs", "staging", "--kind", "deployment", "--tail", "1"]).await?;
    assert_eq!(code, 0, "{logs}");
    let lines: Vec<&str> = logs.lines().collect();
    let is_last = |line: &&str| line.starts_with("[web-") && line.ends_with(" line 3");
    assert!(lines.len() == 2 && lines.iter().all(is_last), "{logs}");
    let (previous, _) =
        site.skiff(User::Admin, &["logs", "staging", "-l", "app=db", "--previous", "--no-prefix"]).await?;
    assert_eq!(previous, "db-0/db wrote this before it was restarted\n");
    let (all, _) =
        site.skiff(User::Admin, &["logs", "staging", "--name", "batch", "--all-containers"]).await?;
    assert!(all.contains("/prepare]") && all.contains("/work]"), "{all}");
    let (none, code) = site.skiff(User::Admin, &["logs", "staging", "--container", "nothing"]).await?;
    assert!(code == 1 && none.contains("`skiff tree staging`"), "{none}");
    Ok(())
}

/// Returns the pods that wrote these lines.
fn writers(lines: &[String]) -> BTreeSet<String> {
    lines.iter().filter_map(|line| Some(line.split_once('/')?.0.to_owned())).collect()
}
