//! Approval and the other words of people, by the program and past it: what the API server itself refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};
use skiff_shared::api::v1alpha1::App;
use skiff_shared::object::Digest;

/// Lets the people of the lab do to `App` objects what `verbs` say, and nothing else.
async fn leave_only(site: &Site, verbs: &[&str]) -> anyhow::Result<()> {
    let role = json!({
        "metadata": {"name": "apps"},
        "rules": [{"apiGroups": ["skiff.dev"], "resources": ["apps"], "verbs": verbs}],
    });
    let binding = json!({
        "metadata": {"name": "apps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "apps"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "lab:people"}],
    });
    let force = PatchParams::apply("lab").force();
    let roles: Api<ClusterRole> = Api::all(site.admin()?);
    roles.patch("apps", &force, &applied("ClusterRole", role)).await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(site.admin()?);
    bindings.patch("apps", &force, &applied("ClusterRoleBinding", binding)).await?;
    if bindings.get_opt("lab:people").await?.is_some() {
        bindings.delete("lab:people", &DeleteParams::default()).await?;
    }
    Ok(())
}

fn applied(kind: &str, mut object: Value) -> Patch<Value> {
    object["apiVersion"] = json!("rbac.authorization.k8s.io/v1");
    object["kind"] = json!(kind);
    Patch::Apply(object)
}

/// Waits until a plan waits for approval and returns its digest.
async fn waiting(site: &Site, name: &str) -> anyhow::Result<String> {
    let waits = |app: &App| {
        says(app, "Ready", "WaitingForApproval", "waiting for approval of plan")
            && app.status.as_ref().is_some_and(|status| status.plan.is_some())
    };
    let app = site.app(name, "the plan waits for approval", waits).await?;
    Ok(app.status.and_then(|status| status.plan).unwrap_or_default().digest)
}

async fn price(site: &Site) -> anyhow::Result<Option<String>> {
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    Ok(maps.get_opt("price").await?.and_then(|map| map.data?.remove("value")))
}

#[tokio::test(flavor = "multi_thread")]
async fn people_approve_pause_resume_and_ask_by_the_program() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let write = |value: &str| in_namespace("default", &config_map("price", value));
    let first = shop.write("apps/price.yaml", write("one")).commit("the first price")?;
    site.start_agent(json!([Site::environment("production", shop.url(), "apps")]))?;
    let digest = waiting(&site, "production").await?;

    let (plan, code) = site.skiff(User::Dev, &["plan", "production"]).await?;
    assert!(
        code == 3 && plan.contains(&digest) && plan.contains("created     ConfigMap/default/price"),
        "{plan}"
    );
    let (said, code) = site.skiff(User::Ops, &["approve", "production"]).await?;
    assert!(code == 2 && said.contains("there is no terminal to ask on"), "{said}");
    let (said, code) = site.skiff(User::Ops, &["approve", "prodcution", "--yes"]).await?;
    assert!(code == 1 && said.contains("did you mean \"production\"?"), "{said}");
    let other = Digest::of(b"another plan").to_string();
    let (said, code) = site.skiff(User::Ops, &["approve", "production", "--yes", "--digest", &other]).await?;
    assert!(code == 1 && said.contains("has changed") && said.contains(&digest), "{said}");
    assert_eq!(price(&site).await?, None);
    let (said, code) =
        site.skiff(User::Ops, &["approve", "production", "--yes", "--digest", &digest]).await?;
    assert!(code == 0 && said.contains("as ops"), "{said}");
    let app = site.synced("production", &first).await?;
    assert_eq!(app.status.unwrap_or_default().history[0].approved_by.as_deref(), Some("ops"));
    let (said, code) = site.skiff(User::Ops, &["approve", "production", "--yes"]).await?;
    assert!(code == 1 && said.contains("has no plan to approve"), "{said}");

    let (said, code) = site.skiff(User::Dev, &["pause", "production", "--reason", "incident 7"]).await?;
    assert_eq!(code, 0, "{said}");
    site.app("production", "the pause is shown", |app| says(app, "Ready", "Paused", "incident 7")).await?;
    let second = shop.write("apps/price.yaml", write("two")).commit("a better price")?;
    site.app("production", "the plan of the second commit is there", |app| {
        let status = app.status.as_ref();
        status.and_then(|status| status.plan.as_ref()).is_some_and(|plan| plan.digest != digest)
    })
    .await?;
    let (said, code) = site.skiff(User::Ops, &["approve", "production", "--yes"]).await?;
    assert_eq!(code, 0, "a paused plan can be approved, and waits: {said}");
    site.polls(2).await?;
    assert_eq!(price(&site).await?.as_deref(), Some("one"));
    let (said, code) = site.skiff(User::Dev, &["resume", "production"]).await?;
    assert_eq!(code, 0, "{said}");
    let wait = ["wait", "production", "--revision", &second[..10], "--timeout", "90s"];
    let (said, code) = site.skiff(User::Dev, &wait).await?;
    assert!(code == 0 && said.contains("production is Synced, Healthy"), "{said}");
    assert_eq!(price(&site).await?.as_deref(), Some("two"));

    let (said, code) = site.skiff(User::Dev, &["sync", "production", "--wait", "--timeout", "90s"]).await?;
    assert_eq!(code, 0, "{said}");
    let never = ["wait", "production", "--revision", "0000000000", "--timeout", "500ms"];
    let (said, code) = site.skiff(User::Dev, &never).await?;
    assert!(code == 4 && said.contains("production is Synced, Healthy"), "{said}");

    leave_only(&site, &["get", "list", "watch"]).await?;
    let (said, code) = site.skiff(User::Dev, &["pause", "production"]).await?;
    assert!(code == 1 && said.contains("verbs [get, list, watch, patch]"), "{said}");
    Ok(())
}

/// An App of nobody's, whose plan the test publishes itself.
async fn lonely(site: &Site, digest: &str) -> anyhow::Result<Api<App>> {
    let apps = site.apps()?;
    apps.create(&PostParams::default(), &App::new("lonely", Default::default())).await?;
    publish(&apps, digest).await?;
    Ok(apps)
}

async fn publish(apps: &Api<App>, digest: &str) -> anyhow::Result<()> {
    let status = json!({"status": {
        "sync": "OutOfSync", "health": "Healthy", "phase": "Waiting", "conditions": [], "counts": {},
        "plan": {"digest": digest},
    }});
    apps.patch_status("lonely", &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

fn approval(digest: &str, by: &str) -> Patch<Value> {
    Patch::Merge(json!({"spec": {"approval": {"digest": digest, "by": by}}}))
}

/// Asks as a person; returns what the API server says against it.
async fn refusal(site: &Site, user: User, patch: &Patch<Value>) -> anyhow::Result<String> {
    let apps: Api<App> = Api::namespaced(site.cluster.client(user)?, NAMESPACE);
    match apps.patch("lonely", &PatchParams::default(), patch).await {
        Ok(_) => Ok("accepted".to_owned()),
        Err(kube::Error::Api(status)) => Ok(format!("{}: {}", status.code, status.message)),
        Err(error) => Err(error.into()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_what_is_no_approval() -> anyhow::Result<()> {
    let site = Site::start(Options::default()).await?;
    let (first, second) = (Digest::of(b"first").to_string(), Digest::of(b"second").to_string());
    let apps = lonely(&site, &first).await?;
    // A policy is in force some time after it was installed.
    site.until("a forged name is refused", async || {
        Ok(refusal(&site, User::Dev, &approval(&first, "ops"))
            .await?
            .contains("spec.approval.by must be dev"))
    })
    .await?;

    leave_only(&site, &["get", "list", "watch"]).await?;
    let said = refusal(&site, User::Dev, &approval(&first, "dev")).await?;
    assert!(said.starts_with("403") && said.contains("cannot patch resource \"apps\""), "{said}");
    leave_only(&site, &["get", "list", "watch", "create", "patch", "update"]).await?;
    site.until("the right is in force", async || {
        Ok(!refusal(&site, User::Dev, &approval(&second, "dev")).await?.contains("cannot patch"))
    })
    .await?;
    let said = refusal(&site, User::Dev, &approval(&second, "dev")).await?;
    assert!(
        said.starts_with("422") && said.contains(&format!("is not the digest of the plan: {first}")),
        "{said}"
    );
    let theirs: Api<App> = Api::namespaced(site.cluster.client(User::Dev)?, NAMESPACE);
    let mut born: App = App::new("born-approved", Default::default());
    born.spec.approval = serde_json::from_value(json!({"digest": first, "by": "dev"}))?;
    let refused = theirs.create(&PostParams::default(), &born).await.unwrap_err().to_string();
    assert!(refused.contains("(no plan)"), "{refused}");
    let status = Patch::Merge(json!({"status": {"plan": {"digest": second}}}));
    let refused =
        theirs.patch_status("lonely", &PatchParams::default(), &status).await.unwrap_err().to_string();
    assert!(refused.contains("cannot patch resource \"apps/status\""), "{refused}");
    assert_eq!(refusal(&site, User::Dev, &approval(&first, "dev")).await?, "accepted");

    // With another plan, what else is asked is still free, and so is taking the word back.
    publish(&apps, &second).await?;
    let pause = Patch::Merge(json!({"spec": {"pause": {"reason": "lunch"}}}));
    assert_eq!(refusal(&site, User::Dev, &pause).await?, "accepted");
    let back = Patch::Merge(json!({"spec": {"approval": null}}));
    assert_eq!(refusal(&site, User::Dev, &back).await?, "accepted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_approval_slips_in_beside_a_changing_plan() -> anyhow::Result<()> {
    let site = Site::start(Options::default()).await?;
    let digest = |number: u32| Digest::of(&number.to_be_bytes()).to_string();
    let apps = lonely(&site, &digest(0)).await?;
    site.until("the policy is in force", async || {
        Ok(refusal(&site, User::Dev, &approval(&digest(0), "ops")).await?.contains("must be dev"))
    })
    .await?;
    let (stop, published) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let changing = tokio::spawn({
        let (stop, published, apps) = (stop.clone(), published.clone(), apps.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                let next = published.load(Ordering::Relaxed) + 1;
                publish(&apps, &digest(next)).await?;
                published.store(next, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }
    });
    let theirs: Api<App> = Api::namespaced(site.cluster.client(User::Dev)?, NAMESPACE);
    let (mut accepted, mut refused) = (0, 0);
    site.until("some words came in time and some too late", async || {
        let seen = digest(published.load(Ordering::Relaxed));
        match theirs.patch("lonely", &PatchParams::default(), &approval(&seen, "dev")).await {
            Ok(app) => {
                accepted += 1;
                let shown = app.status.and_then(|status| status.plan).unwrap_or_default().digest;
                assert_eq!(shown, seen, "an approval was accepted beside another plan");
            }
            Err(kube::Error::Api(status)) if status.code == 422 => refused += 1,
            Err(error) => anyhow::bail!("neither accepted nor too late: {error}"),
        }
        Ok(accepted >= 20 && refused >= 5)
    })
    .await?;
    stop.store(true, Ordering::Relaxed);
    changing.await?
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_policy_the_agent_still_compares() -> anyhow::Result<()> {
    let mut site =
        Site::start_with(Options::default(), json!({"approvalPolicy": {"install": false}})).await?;
    let mut shop = site.repository("shop")?;
    let write = |value: &str| in_namespace("default", &config_map("price", value));
    shop.write("apps/price.yaml", write("one")).commit("the first price")?;
    site.start_agent(json!([Site::environment("production", shop.url(), "apps")]))?;
    let digest = waiting(&site, "production").await?;
    let apps: Api<App> = Api::namespaced(site.cluster.client(User::Dev)?, NAMESPACE);
    let outdated = Digest::of(b"an older plan").to_string();
    apps.patch("production", &PatchParams::default(), &approval(&outdated, "dev")).await?;
    let said = format!("waiting for approval of plan {digest}: the approval in force is for {outdated}");
    site.app("production", "the outdated word is told", |app| {
        says(app, "Ready", "WaitingForApproval", &said)
    })
    .await?;
    assert_eq!(price(&site).await?, None);
    Ok(())
}
