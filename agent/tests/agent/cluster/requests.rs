//! Apply, dry run, get, delete and adopt, and what the server's refusals mean.

use serde_json::{Value, json};
use skiff::cluster::requests::DryRunPlace;
use skiff_harness::cluster::User;
use skiff_shared::desired::Propagation;
use skiff_shared::health::Health;
use skiff_shared::inventory::Uid;
use skiff_shared::managed_fields::ForeignOwner;
use skiff_shared::object::Target;
use skiff_shared::sync::event::{Answer, Failure, Observation, Refusal, Seen};

use super::{INSTANCE, World, sending, target, until};

async fn dry_run(world: &World, object: &Value) -> Result<bool, Failure> {
    match world.requests.dry_run(&sending(object), DryRunPlace::Own).await? {
        Answer::DryRun { exists, .. } => Ok(exists),
        other => panic!("not the answer to a dry run: {other:?}"),
    }
}

async fn get(world: &World, target: &Target) -> Option<Seen> {
    match world.requests.get(target).await.expect("the GET is answered") {
        Answer::Got(Observation::Present(seen)) => Some(*seen),
        Answer::Got(Observation::Absent(_)) => None,
        other => panic!("not the answer to a GET: {other:?}"),
    }
}

fn deployment(world: &World, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": world.namespace,
            "labels": { "skiff.dev/instance": INSTANCE },
        },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "web", "image": "web:1" }] },
            },
        },
    })
}

/// Returns the refusal of a failure that is final for the object.
fn rejection(result: Result<Answer, Failure>) -> Refusal {
    match result {
        Err(Failure::Rejected(cause)) => cause.reason,
        other => panic!("not rejected: {other:?}"),
    }
}

#[tokio::test]
async fn a_dry_run_tells_whether_the_object_exists_and_stores_nothing() {
    let world = World::new("dry-run").await;
    let object = world.config_map("web", &json!({ "a": "1" }));
    assert_eq!(dry_run(&world, &object).await, Ok(false));
    assert_eq!(get(&world, &target(&object)).await, None);
    world.apply(object.clone()).await;
    assert_eq!(dry_run(&world, &object).await, Ok(true));
    let changed = world.config_map("web", &json!({ "a": "2" }));
    assert_eq!(dry_run(&world, &changed).await, Ok(true));
    let workload = deployment(&world, "web");
    assert_eq!(dry_run(&world, &workload).await, Ok(false));
    world.apply(workload.clone()).await;
    assert_eq!(dry_run(&world, &workload).await, Ok(true));
}

#[tokio::test]
async fn an_applied_object_comes_back_as_baseline_and_observation() {
    let world = World::new("apply").await;
    let object = world.config_map("web", &json!({ "a": "1" }));
    let first = world.apply(object.clone()).await;
    assert_eq!(first.applied.fields, first.seen.fields);
    assert_eq!((first.applied.rv, first.applied.generation), (first.seen.at.rv, 0));
    assert!(first.applied.fields.ours.is_some() && first.seen.is_ours && !first.seen.deleting);
    assert_eq!(first.seen.health.health, Health::Healthy);
    let owned = first.owned.clone().expect("the field set was asked for");
    assert_eq!(Some(owned.digest()), first.applied.fields.ours.map(|ours| ours.digest));
    assert_eq!(owned.len(), 3);

    let again = world.apply(object.clone()).await;
    assert_eq!(again.applied, first.applied);

    let seen = get(&world, &target(&object)).await.expect("it is there");
    assert_eq!(seen, first.seen);
}

#[tokio::test]
async fn fields_that_others_take_leave_our_entry() {
    let world = World::new("taken").await;
    let object = deployment(&world, "web");
    let first = world.apply(object.clone()).await;
    world.kubectl(User::Dev, &["scale", "deployment", "web", "--replicas=5"]);
    let seen = get(&world, &target(&object)).await.expect("it is there");
    assert_ne!(seen.fields.ours, first.applied.fields.ours);
    let entries = seen.entries.expect("a GET brings the entries");
    assert!(entries.iter().any(|entry| entry.manager == "kubectl" && entry.subresource == "scale"));

    let healed = world.apply(object).await;
    assert_eq!(healed.owned, first.owned);
}

#[tokio::test]
async fn a_substitute_namespace_checks_the_schema_only() {
    let world = World::new("substitute").await;
    let mut object = deployment(&world, "web");
    object["metadata"]["namespace"] = "not-there".into();
    let own = world.requests.dry_run(&sending(&object), DryRunPlace::Own).await;
    assert!(matches!(own, Err(Failure::NotFound(cause)) if cause.reason == Refusal::NamespaceMissing));
    let place = DryRunPlace::Substitute("default");
    let passed = world.requests.dry_run(&sending(&object), place).await;
    assert!(matches!(passed, Ok(Answer::DryRun { exists: false, .. })));
    object["spec"]["replicas"] = "three".into();
    let refused = world.requests.dry_run(&sending(&object), place).await;
    assert_eq!(rejection(refused), Refusal::SchemaInvalid);
}

#[tokio::test]
async fn a_delete_names_the_object_by_its_uid() {
    let world = World::new("delete").await;
    let object = world.config_map("web", &json!({}));
    let uid = world.apply(object.clone()).await.applied.uid;
    let target = target(&object);
    let other = Uid("3b241101-e2bb-4255-8caf-4136c566a962".into());
    assert!(matches!(
        world.requests.delete(&target, &other, Propagation::Background).await,
        Err(Failure::Replaced(_))
    ));
    assert!(get(&world, &target).await.is_some());
    assert_eq!(
        world.requests.delete(&target, &uid, Propagation::Background).await,
        Ok(Answer::Deleted { gone: true })
    );
    assert_eq!(
        world.requests.delete(&target, &uid, Propagation::Background).await,
        Ok(Answer::Deleted { gone: true })
    );
    assert_eq!(get(&world, &target).await, None);
}

#[tokio::test]
async fn a_delete_that_a_finalizer_holds_is_not_over() {
    let world = World::new("finalizer").await;
    let mut object = world.config_map("web", &json!({}));
    object["metadata"]["finalizers"] = json!(["skiff.example/hold"]);
    let uid = world.apply(object.clone()).await.applied.uid;
    let target = target(&object);
    assert_eq!(
        world.requests.delete(&target, &uid, Propagation::Background).await,
        Ok(Answer::Deleted { gone: false })
    );
    assert!(get(&world, &target).await.expect("it is still there").deleting);
    let open = r#"{"metadata":{"finalizers":null}}"#;
    world.kubectl(User::Dev, &["patch", "configmap", "web", "--type=merge", "--patch", open]);
    assert_eq!(get(&world, &target).await, None);
}

#[tokio::test]
async fn a_field_of_an_adopted_object_goes_when_it_leaves_git() {
    let world = World::new("adopt").await;
    let manifest = |data: &Value| {
        let mut object = world.config_map("web", data);
        object["metadata"]["labels"] = json!({});
        object
    };
    let file = world.cluster.directory().join("adopt.yaml");
    std::fs::write(&file, manifest(&json!({ "keep": "1", "drop": "1" })).to_string()).unwrap();
    let file = file.to_str().expect("a plain path");
    world.kubectl(User::Dev, &["apply", "--filename", file]);

    let object = world.config_map("web", &json!({ "keep": "1" }));
    let target = target(&object);
    assert!(!get(&world, &target).await.expect("it is there").is_ours);
    assert_eq!(world.requests.adopt(&target).await, Ok(Answer::Adopted));
    world.apply(object).await;
    let data = world.kubectl(User::Dev, &["get", "configmap", "web", "--output=jsonpath={.data}"]);
    assert_eq!(data, r#"{"keep":"1"}"#);
    let marks =
        world.kubectl(User::Dev, &["get", "configmap", "web", "--output=jsonpath={.metadata.annotations}"]);
    assert_eq!(marks, "");

    let mark = world.cluster.audit().mark().unwrap();
    assert_eq!(world.requests.adopt(&target).await, Ok(Answer::Adopted));
    let sent = world.cluster.audit().since(mark, super::AGENT.name()).unwrap();
    let verbs: Vec<_> =
        sent.iter().filter(|entry| entry.namespace == "adopt").map(|entry| &*entry.verb).collect();
    assert_eq!(verbs, ["get"], "what is ours already is not written again");
}

#[tokio::test]
async fn adopting_what_is_not_there_is_nothing_to_do() {
    let world = World::new("adopt-absent").await;
    let target = target(&world.config_map("web", &json!({})));
    assert_eq!(world.requests.adopt(&target).await, Ok(Answer::Adopted));
}

#[tokio::test]
async fn marks_of_another_tool_are_seen() {
    let world = World::new("marks").await;
    let mut object = world.config_map("web", &json!({}));
    object["metadata"]["labels"] = json!({ "skiff.dev/instance": "elsewhere" });
    object["metadata"]["annotations"] = json!({ "unrelated": "x".repeat(100_000) });
    world.apply(object.clone()).await;
    let seen = get(&world, &target(&object)).await.expect("it is there");
    assert_eq!(seen.foreign, Some(ForeignOwner::Skiff { instance: "elsewhere".into() }));
    assert!(!seen.is_ours);
}

#[tokio::test]
async fn the_server_refuses_as_recorded() {
    let world = World::new("refusals").await;
    let mut unknown = deployment(&world, "web");
    unknown["spec"]["bogus"] = 1.into();
    assert_eq!(rejection(world.try_apply(unknown).await), Refusal::SchemaInvalid);

    world.apply(deployment(&world, "web")).await;
    let mut immutable = deployment(&world, "web");
    immutable["spec"]["selector"]["matchLabels"]["app"] = "other".into();
    immutable["spec"]["template"]["metadata"]["labels"]["app"] = "other".into();
    assert_eq!(rejection(world.try_apply(immutable).await), Refusal::Invalid);

    let mut replaced = deployment(&world, "web");
    replaced["metadata"]["uid"] = "3b241101-e2bb-4255-8caf-4136c566a962".into();
    assert!(matches!(world.try_apply(replaced).await, Err(Failure::Replaced(_))));

    let huge = world.config_map("huge", &json!({ "a": "x".repeat(3_500_000) }));
    assert_eq!(rejection(world.try_apply(huge).await), Refusal::TooLarge);

    let mut vanished = world.config_map("web", &json!({}));
    vanished["metadata"]["uid"] = "3b241101-e2bb-4255-8caf-4136c566a962".into();
    assert!(matches!(world.try_apply(vanished).await, Err(Failure::Unavailable(_))));
}

#[tokio::test]
async fn quota_policy_and_webhook_refuse_each_in_their_way() {
    let world = World::new("admission").await;
    let namespace = &world.namespace;
    world
        .apply(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": namespace, "labels": { "test": "admission" } },
        }))
        .await;
    world
        .apply(json!({
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": { "name": "none", "namespace": namespace },
            "spec": { "hard": { "secrets": "0" } },
        }))
        .await;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "key", "namespace": namespace },
    });
    until("the quota counts", async || {
        let answer = world.requests.dry_run(&sending(&secret), DryRunPlace::Own).await;
        matches!(answer, Err(Failure::Rejected(cause)) if cause.reason == Refusal::QuotaExceeded)
            .then_some(())
    })
    .await;

    let group = "admissionregistration.k8s.io";
    let rules = json!([{
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"],
    }]);
    let selector = json!({ "matchLabels": { "test": "admission" } });
    world
        .apply(json!({
            "apiVersion": format!("{group}/v1"),
            "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": "no-web" },
            "spec": {
                "matchConstraints": { "resourceRules": rules },
                "matchConditions": [{ "name": "web", "expression": "object.metadata.name == 'web'" }],
                "validations": [{ "expression": "false", "message": "no web here" }],
            },
        }))
        .await;
    world
        .apply(json!({
            "apiVersion": format!("{group}/v1"),
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": "no-web" },
            "spec": {
                "policyName": "no-web",
                "validationActions": ["Deny"],
                "matchResources": { "namespaceSelector": selector },
            },
        }))
        .await;
    let web = world.config_map("web", &json!({}));
    until("the policy is in force", async || {
        let answer = world.requests.dry_run(&sending(&web), DryRunPlace::Own).await;
        matches!(answer, Err(Failure::Rejected(cause)) if cause.reason == Refusal::AdmissionDenied)
            .then_some(())
    })
    .await;

    world
        .apply(json!({
            "apiVersion": format!("{group}/v1"),
            "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": "away" },
            "webhooks": [{
                "name": "away.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "timeoutSeconds": 2,
                "clientConfig": { "url": "https://127.0.0.1:1/" },
                "namespaceSelector": selector,
                "rules": rules,
            }],
        }))
        .await;
    let other = world.config_map("other", &json!({}));
    until("the webhook is asked", async || {
        let answer = world.requests.dry_run(&sending(&other), DryRunPlace::Own).await;
        matches!(answer, Err(Failure::Unavailable(cause)) if cause.reason == Refusal::WebhookUnavailable)
            .then_some(())
    })
    .await;
    for (kind, name) in [
        ("validatingwebhookconfiguration", "away"),
        ("validatingadmissionpolicybinding", "no-web"),
        ("validatingadmissionpolicy", "no-web"),
    ] {
        world.kubectl(User::Admin, &["delete", kind, name]);
    }
}

#[tokio::test]
async fn a_namespace_that_is_going_away_is_waited_for() {
    let world = World::new("going").await;
    let mut held = world.config_map("held", &json!({}));
    held["metadata"]["finalizers"] = json!(["skiff.example/hold"]);
    world.apply(held).await;
    world.kubectl(User::Dev, &["delete", "namespace", "going", "--wait=false"]);
    let answer = world.try_apply(world.config_map("late", &json!({}))).await;
    let Err(Failure::Unavailable(cause)) = answer else { panic!("not unavailable: {answer:?}") };
    assert_eq!(cause.reason, Refusal::NamespaceTerminating);
    let open = r#"{"metadata":{"finalizers":null}}"#;
    world.kubectl(User::Dev, &["patch", "configmap", "held", "--type=merge", "--patch", open]);
}

#[tokio::test]
async fn a_kind_that_is_gone_and_one_that_was_never_served_are_missing() {
    let world = World::new("kinds").await;
    let widget = json!({
        "apiVersion": "kinds.example/v1",
        "kind": "Widget",
        "metadata": { "name": "web", "namespace": world.namespace },
    });
    let missing = |result: Result<Answer, Failure>| match result {
        Err(Failure::NotFound(cause)) => assert_eq!(cause.reason, Refusal::KindMissing),
        other => panic!("not missing: {other:?}"),
    };
    missing(world.try_apply(widget.clone()).await);
    world
        .apply(json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": "widgets.kinds.example" },
            "spec": {
                "group": "kinds.example",
                "scope": "Namespaced",
                "names": { "plural": "widgets", "kind": "Widget" },
                "versions": [{
                    "name": "v1",
                    "served": true,
                    "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object" } },
                }],
            },
        }))
        .await;
    until("the kind is served", async || {
        world.rediscover().await;
        world.try_apply(widget.clone()).await.ok()
    })
    .await;
    world.kubectl(User::Admin, &["delete", "crd", "widgets.kinds.example"]);
    until("the kind is gone", async || {
        matches!(world.requests.get(&target(&widget)).await, Err(Failure::NotFound(_))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_rights_the_refusal_says_so() {
    let world = World::new("rights").await;
    let connection = super::connect(&world.cluster, User::Scheduler).await;
    let requests = skiff::cluster::requests::Requests::new(
        connection,
        world.apis.subscribe(),
        world.generations.clone(),
        INSTANCE.into(),
    );
    let answer = requests.apply(&sending(&world.config_map("web", &json!({})))).await;
    assert_eq!(rejection(answer), Refusal::Forbidden);
}
