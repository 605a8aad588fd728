//! The lab itself: what the other cluster tests, the benchmark and the demo take for granted.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skiff_harness::audit::Counts;
use skiff_harness::chart::Release;
use skiff_harness::cluster::{Cluster, Component, Options, User};
use skiff_harness::identity::Identity;
use skiff_harness::kubelet::{BEHAVIOUR, FakeKubelet};
use skiff_harness::wait;

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("the test spells the object rightly")
}

fn config_map(name: &str) -> ConfigMap {
    object(json!({ "metadata": { "name": name }, "data": { "key": "value" } }))
}

/// Returns a pod template whose pods fare as told.
fn template(behaviour: &str, restart_policy: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" }, "annotations": { BEHAVIOUR: behaviour } },
        "spec": {
            "restartPolicy": restart_policy,
            "initContainers": [{ "name": "first", "image": "lab/first" }],
            "containers": [{ "name": "main", "image": "lab/main" }],
        },
    })
}

fn deployment(name: &str, replicas: i32, behaviour: &str) -> Deployment {
    object(json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "template": template(behaviour, "Always"),
        },
    }))
}

fn ready_replicas(deployment: &Deployment) -> i32 {
    deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default()
}

/// Tells how a pod fares in one line: phase, readiness, and the state of its container.
fn fares(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let container = status.container_statuses.iter().flatten().next();
    let state = container.and_then(|container| container.state.clone()).unwrap_or_default();
    let state = match (state.waiting, state.terminated) {
        (Some(waiting), _) => waiting.reason.unwrap_or_default(),
        (_, Some(terminated)) => format!("exit {}", terminated.exit_code),
        _ => "running".to_owned(),
    };
    let ready = ready.map_or("", |condition| &condition.status);
    let why = status.message.unwrap_or_default();
    format!("{} ready={ready} {state} {why}", status.phase.unwrap_or_default())
}

#[tokio::test]
async fn cluster_starts_and_leaves_nothing_behind() {
    let cluster = Cluster::start(Options::default()).await.unwrap();
    let components =
        [Component::Etcd, Component::Apiserver, Component::ControllerManager, Component::Scheduler];
    let ids = components.map(|component| cluster.process_id(component).unwrap());
    let directory = cluster.directory().to_owned();
    let version = cluster.client(User::Dev).unwrap().apiserver_version().await.unwrap();

    drop(cluster);

    assert_eq!(version.git_version, "v1.37.2");
    assert!(!directory.exists(), "{} is still there", directory.display());
    for id in ids {
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "process {id} is still there");
    }
}

#[tokio::test]
async fn audit_log_has_every_request_of_a_user_as_soon_as_it_is_answered() {
    let cluster = Cluster::start(Options::default()).await.unwrap();
    let dev: Api<ConfigMap> = Api::namespaced(cluster.client(User::Dev).unwrap(), "default");
    let ops: Api<ConfigMap> = Api::namespaced(cluster.client(User::Ops).unwrap(), "default");
    dev.create(&PostParams::default(), &config_map("before")).await.unwrap();
    let audit = cluster.audit();
    let mark = audit.mark().unwrap();

    for number in 0..100 {
        dev.create(&PostParams::default(), &config_map(&format!("map-{number}"))).await.unwrap();
    }
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    dev.create(&dry_run, &config_map("only-tried")).await.unwrap();
    dev.get("missing").await.unwrap_err();
    ops.list(&ListParams::default()).await.unwrap();

    let entries = audit.since(mark, User::Dev.name()).unwrap();
    insta::assert_snapshot!(Counts::of(&entries), @"
    100  201  configmaps  create
      1  201  configmaps  create (dry run)
      1  404  configmaps  get
    102  in all
    ");
    assert_eq!(audit.since(mark, User::Ops.name()).unwrap().len(), 1);
}

#[tokio::test]
async fn killed_and_frozen_apiserver_comes_back_with_its_data() {
    let cluster = Cluster::start(Options::default()).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(User::Dev).unwrap(), "default");
    let created = maps.create(&PostParams::default(), &config_map("kept")).await.unwrap();

    cluster.kill(Component::Apiserver).unwrap();
    maps.get("kept").await.unwrap_err();
    cluster.restart(Component::Apiserver).await.unwrap();
    cluster.freeze(Component::Apiserver).unwrap();
    tokio::time::timeout(Duration::from_millis(300), maps.get("kept")).await.unwrap_err();
    cluster.thaw(Component::Apiserver).unwrap();

    assert_eq!(maps.get("kept").await.unwrap().metadata.uid, created.metadata.uid);
}

#[tokio::test]
async fn flag_that_the_apiserver_refuses_is_told_with_its_last_words() {
    let apiserver_flags = vec!["--no-such-flag".to_owned()];

    let error = Cluster::start(Options { apiserver_flags, ..Options::default() }).await.err().unwrap();

    let error = error.to_string();
    assert!(error.starts_with("kube-apiserver ended while waiting until the apiserver is ready"), "{error}");
    assert!(error.contains("unknown flag: --no-such-flag"), "{error}");
}

#[tokio::test]
async fn older_kubernetes_is_emulated() {
    let emulated_version = Some("1.35".to_owned());

    let cluster = Cluster::start(Options { emulated_version, ..Options::default() }).await.unwrap();

    let version = cluster.client(User::Admin).unwrap().apiserver_version().await.unwrap();
    assert_eq!(version.git_version, "v1.37.2");
    assert_eq!(version.emulation_minor.as_deref(), Some("35"));
}

#[tokio::test]
async fn deployment_becomes_ready_and_its_pods_go_with_it() {
    let cluster = Cluster::start(Options::default()).await.unwrap();
    let _kubelet = FakeKubelet::start(&cluster, 2).await.unwrap();
    let client = cluster.client(User::Dev).unwrap();
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    let pods = Api::<Pod>::default_namespaced(client);

    deployments.create(&PostParams::default(), &deployment("web", 5, "delay=0.2")).await.unwrap();
    wait::until(&deployments, "web", "five are ready", |web| ready_replicas(web) == 5).await.unwrap();
    let running = pods.list(&ListParams::default()).await.unwrap();
    deployments.delete("web", &DeleteParams::background()).await.unwrap();

    assert_eq!(running.items.len(), 5);
    for pod in &running {
        assert_eq!(fares(pod).trim(), "Running ready=True running");
        wait::until_gone(&pods, &pod.name_any()).await.unwrap();
    }
}

#[tokio::test]
async fn pods_fare_as_their_annotation_says() {
    let cluster = Cluster::start(Options::default()).await.unwrap();
    let _kubelet = FakeKubelet::start(&cluster, 1).await.unwrap();
    let pods = Api::<Pod>::default_namespaced(cluster.client(User::Dev).unwrap());
    let cases = [
        ("never-ready", "Always", "Running ready=False running"),
        ("crash-loop", "Always", "Running ready=False CrashLoopBackOff"),
        ("image-pull-backoff", "Always", "Pending ready=False ImagePullBackOff"),
        ("exit=2", "Always", "Running ready=False CrashLoopBackOff"),
        ("exit=2", "OnFailure", "Running ready=False CrashLoopBackOff"),
        ("exit=2", "Never", "Failed ready=False exit 2"),
        ("exit=0", "OnFailure", "Succeeded ready=False exit 0"),
        ("", "Never", "Succeeded ready=False exit 0"),
        ("sleepy", "Always", "annotation lab.skiff.dev/behaviour: \"sleepy\" means nothing to the lab"),
    ];
    for (number, (behaviour, restart_policy, wanted)) in cases.into_iter().enumerate() {
        let mut pod: Pod = object(template(behaviour, restart_policy));
        pod.metadata.name = Some(format!("pod-{number}"));
        pods.create(&PostParams::default(), &pod).await.unwrap();

        let what = format!("{behaviour:?} with {restart_policy} means {wanted:?}");
        wait::until(&pods, &pod.name_any(), &what, |pod| fares(pod).contains(wanted)).await.unwrap();
    }
    let recover = Patch::Merge(json!({ "metadata": { "annotations": { BEHAVIOUR: "" } } }));
    pods.patch("pod-1", &PatchParams::default(), &recover).await.unwrap();

    let well = "Running ready=True running";
    wait::until(&pods, "pod-1", "it has recovered", |pod| fares(pod).trim() == well).await.unwrap();
}

#[tokio::test]
async fn jobs_and_daemon_sets_run_their_course_without_a_scheduler() {
    let options = Options { without_scheduler: true, ..Options::default() };
    let cluster = Cluster::start(options).await.unwrap();
    let _kubelet = FakeKubelet::start(&cluster, 2).await.unwrap();
    let client = cluster.client(User::Dev).unwrap();
    let jobs = Api::<Job>::default_namespaced(client.clone());
    let sets = Api::<DaemonSet>::default_namespaced(client);
    let job = |name: &str, behaviour: &str| -> Job {
        let spec = json!({ "backoffLimit": 0, "template": template(behaviour, "Never") });
        object(json!({ "metadata": { "name": name }, "spec": spec }))
    };
    let set = json!({
        "metadata": { "name": "web" },
        "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": template("", "Always") },
    });

    jobs.create(&PostParams::default(), &job("good", "")).await.unwrap();
    jobs.create(&PostParams::default(), &job("bad", "exit=7")).await.unwrap();
    sets.create(&PostParams::default(), &object(set)).await.unwrap();

    let has = |job: &Job, wanted: &str| {
        let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|condition| condition.type_ == wanted)
    };
    wait::until(&jobs, "good", "it is complete", |job| has(job, "Complete")).await.unwrap();
    wait::until(&jobs, "bad", "it has failed", |job| has(job, "Failed")).await.unwrap();
    let both = |set: &DaemonSet| set.status.as_ref().is_some_and(|status| status.number_ready == 2);
    wait::until(&sets, "web", "both nodes have it", both).await.unwrap();
}

/// Writes a chart with a CRD, an object of it, and a service account that may read ConfigMaps.
fn write_chart(directory: &Path) {
    let files = [
        ("Chart.yaml", "apiVersion: v2\nname: tiny\nversion: 1.0.0\nkubeVersion: '>=1.37.0'\n"),
        ("values.yaml", "reader: true\nmode: 0644\n"),
        (
            "crds/boat.yaml",
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: boats.lab.skiff.dev}\n\
             spec:\n  group: lab.skiff.dev\n  scope: Namespaced\n  names: {kind: Boat, plural: boats}\n  versions:\n  \
             - name: v1\n    served: true\n    storage: true\n    schema: {openAPIV3Schema: {type: object}}\n",
        ),
        (
            "templates/all.yaml",
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: '{{ .Release.Name }}'}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {name: seen}\n\
             data: {in: '{{ .Release.Namespace }}', greeting: {{ .Values.greeting | quote }}}\n\
             {{- if .Values.reader }}\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: reader}\n\
             rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: reader}\n\
             roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}\n\
             subjects: [{kind: ServiceAccount, name: '{{ .Release.Name }}', namespace: '{{ .Release.Namespace }}'}]\n\
             {{- end }}\n",
        ),
    ];
    for (name, content) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().expect("every file lies in the chart"))
            .expect("the folder can be made");
        std::fs::write(path, content).expect("the file can be written");
    }
}

#[tokio::test]
async fn identity_may_do_what_the_installed_chart_allows_and_nothing_else() {
    let cluster = Cluster::start(Options::default()).await.unwrap();
    let chart = cluster.directory().join("tiny");
    write_chart(&chart);
    let values = json!({ "greeting": "ahoy" });
    let release = Release { chart, name: "tiny".to_owned(), namespace: "boats".to_owned(), values };

    let names = release.install(&cluster).await.unwrap();

    insta::assert_snapshot!(names.join("\n"), @"
    customresourcedefinition.apiextensions.k8s.io/boats.lab.skiff.dev
    serviceaccount/tiny
    configmap/seen
    clusterrole.rbac.authorization.k8s.io/reader
    clusterrolebinding.rbac.authorization.k8s.io/reader
    ");
    let boat = kube::core::GroupVersionKind::gvk("lab.skiff.dev", "v1", "Boat");
    let boat = kube::core::ApiResource::from_gvk(&boat);
    let boats = Api::<DynamicObject>::namespaced_with(cluster.client(User::Dev).unwrap(), "boats", &boat);
    assert_eq!(boats.list(&ListParams::default()).await.unwrap().items.len(), 0);

    let identity = Identity::of(&cluster, "boats", "tiny", Duration::from_secs(3600)).await.unwrap();
    let maps = Api::<ConfigMap>::namespaced(identity.client().unwrap(), "boats");
    let mark = cluster.audit().mark().unwrap();
    let seen = maps.get("seen").await.unwrap();
    let refused = maps.delete("seen", &DeleteParams::default()).await.unwrap_err();

    assert_eq!(json!(seen.data), json!({ "in": "boats", "greeting": "ahoy" }));
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    let entries = cluster.audit().since(mark, "system:serviceaccount:boats:tiny").unwrap();
    insta::assert_snapshot!(Counts::of(&entries), @"
    1  403  configmaps  delete
    1  200  configmaps  get
    2  in all
    ");
}

#[tokio::test]
async fn chart_that_does_not_render_is_told_with_the_words_of_helm() {
    let options = Options { without_controller_manager: true, without_scheduler: true, ..Options::default() };
    let cluster = Cluster::start(options).await.unwrap();
    let chart = cluster.directory().join("missing");
    let release =
        Release { chart, name: "tiny".to_owned(), namespace: "boats".to_owned(), values: json!({}) };

    let error = release.install(&cluster).await.unwrap_err();

    let error = format!("{error:#}");
    assert!(error.starts_with("failed to render the chart"), "{error}");
    assert!(error.contains("missing\" not found"), "{error}");
}
