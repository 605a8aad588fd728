//! The lab itself: what the other cluster tests, the benchmark and the demo take for granted.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use skiff_harness::audit::Counts;
use skiff_harness::cluster::{Cluster, Component, Options, User};

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { "key": "value" } }))
        .expect("a ConfigMap is made of these")
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
    ops.list(&kube::api::ListParams::default()).await.unwrap();

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
