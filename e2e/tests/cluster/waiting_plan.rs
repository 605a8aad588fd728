//! What a plan that waits for its approval would change, field by field, as a person sees it before they give their word.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};
use skiff_shared::api::v1alpha1::{App, StoredSet};

fn map(name: &str, value: &str) -> String {
    in_namespace("default", &config_map(name, value))
}

fn login(password: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: login\n  namespace: default\nstringData:\n  password: {password}\n"
    )
}

/// A map that cannot be changed, and asks to be created anew instead.
fn fixed(value: &str) -> String {
    let annotated = "  annotations:\n    skiff.dev/force: enabled\n";
    map("fixed", value).replace("metadata:\n", &format!("metadata:\n{annotated}")) + "immutable: true\n"
}

/// Waits until a plan with another digest waits and what it leads to is stored; returns both.
async fn waiting(site: &Site, before: &str) -> anyhow::Result<(String, StoredSet)> {
    let plan_of = |app: &App| {
        let plan = app.status.as_ref()?.plan.clone()?;
        Some((plan.digest, plan.set?)).filter(|(digest, _)| digest != before)
    };
    let waits = |app: &App| {
        says(app, "Ready", "WaitingForApproval", "waiting for approval") && plan_of(app).is_some()
    };
    let app = site.app("production", "the plan waits, and its set is stored", waits).await?;
    Ok(plan_of(&app).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_plan_is_shown_field_by_field() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/price.yaml", map("price", "one"))
        .write("apps/old.yaml", map("old", "goodbye"))
        .write("apps/fixed.yaml", fixed("stone"))
        .write("apps/login.yaml", login("hunter2"));
    let first = shop.commit("the first release")?;
    site.start_agent(json!([Site::environment("production", shop.url(), "apps")]))?;
    let (digest, _) = waiting(&site, "").await?;
    let (said, code) = site.skiff(User::Admin, &["diff", "production"]).await?;
    assert!(code == 3 && said.contains("+++ git ConfigMap/default/price"), "{said}");
    assert!(!said.contains("hunter2") && !said.contains("warning"), "{said}");
    let (said, code) =
        site.skiff(User::Ops, &["approve", "production", "--yes", "--digest", &digest]).await?;
    assert_eq!(code, 0, "{said}");
    site.synced("production", &first).await?;

    shop.write("apps/price.yaml", map("price", "two"))
        .remove("apps/old.yaml")
        .write("apps/new.yaml", map("new", "hello"))
        .write("apps/fixed.yaml", fixed("wood"))
        .write("apps/login.yaml", login("hunter3"));
    shop.commit("a release that changes everything")?;
    let (digest, passing) = waiting(&site, &digest).await?;
    let (said, code) = site.skiff(User::Admin, &["diff", "production"]).await?;
    assert_eq!(code, 3, "{said}");
    for words in [
        "--- live ConfigMap/default/price\n+++ git ConfigMap/default/price",
        "-  value: one\n+  value: two",
        "DELETED: it is not in Git any more\n--- live ConfigMap/default/old",
        "-  value: goodbye",
        "+  value: hello",
        "DELETED and created anew, as it cannot be changed",
        "-  value: stone\n+  value: wood",
        "+++ git Secret/default/login",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("hunter") && !said.contains("aHVudGVy") && !said.contains("warning"), "{said}");

    // Nobody looks at a plan that is gone, and nothing is left of it.
    let third = shop.write("apps/price.yaml", map("price", "three")).commit("another price")?;
    let (digest, set) = waiting(&site, &digest).await?;
    let (said, _) = site.skiff(User::Admin, &["diff", "production"]).await?;
    assert!(said.contains("-  value: one\n+  value: three") && !said.contains("warning"), "{said}");
    let renders: Api<Secret> = Api::namespaced(site.admin()?, NAMESPACE);
    let gone: Vec<&String> = passing.stored.iter().filter(|name| !set.stored.contains(name)).collect();
    assert!(!gone.is_empty());
    site.until("what the plan before led to is not stored any more", async || {
        let listed = renders.list(&ListParams::default().labels("skiff.dev/state=render")).await?;
        let named = |name: &String| listed.items.iter().any(|it| it.metadata.name.as_ref() == Some(name));
        Ok(!gone.iter().any(|name| named(name)))
    })
    .await?;

    // What happens in the cluster meanwhile is told beside it.
    let edit = ["-n", "default", "create", "configmap", "new", "--from-literal=value=mine"];
    site.kubectl(User::Dev, &edit).await?;
    let (said, _) = site.skiff(User::Admin, &["diff", "production"]).await?;
    assert!(said.contains(&format!("plan {digest} waits, and this is ")), "{said}");
    site.kubectl(User::Dev, &["-n", "default", "delete", "configmap", "new"]).await?;

    let (said, code) =
        site.skiff(User::Ops, &["approve", "production", "--yes", "--digest", &digest]).await?;
    assert_eq!(code, 0, "{said}");
    let app = site.synced("production", &third).await?;
    assert!(app.status.unwrap_or_default().plan.is_none());
    // What was applied is on record a moment later.
    site.until("nothing differs any more", async || {
        let (said, code) = site.skiff(User::Admin, &["diff", "production"]).await?;
        Ok(code == 0 && said.is_empty())
    })
    .await
}

const LIST: &str = "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n- {name: one, path: one}\n- {name: two, path: two}\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_another_app_has_is_seen_in_the_plan_beforehand() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/skiff.yaml", LIST)
        .write("apps/one/map.yaml", map("mine", "one"))
        .write("apps/two/map.yaml", map("yours", "one"));
    let first = shop.commit("two apps")?;
    let mut environment = Site::environment("production", shop.url(), "apps");
    environment["sync"]["mode"] = json!("auto");
    site.start_agent(json!([environment.clone()]))?;
    site.synced("one", &first).await?;
    site.synced("two", &first).await?;
    environment["sync"]["mode"] = json!("manual");
    site.configure(json!([environment]))?;

    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("two"))?;
    std::fs::write(folder.path().join("skiff.yaml"), LIST.replace("- {name: one, path: one}\n", ""))?;
    std::fs::write(folder.path().join("two/map.yaml"), map("yours", "two"))?;
    std::fs::write(folder.path().join("two/mine.yaml"), map("mine", "stolen"))?;
    let path = folder.path().to_string_lossy().into_owned();
    let (said, code) = site.skiff(User::Admin, &["plan", "two", "--path", &path]).await?;
    let held = "held        ConfigMap/default/mine: app \"one\" has this object already";
    assert!(code == 3 && said.contains(held) && said.contains("ConfigMap/default/yours"), "{said}");

    shop.write("apps/two/map.yaml", map("yours", "two"))
        .write("apps/two/mine.yaml", map("mine", "stolen"))
        .commit("an object of another app")?;
    let waits = |app: &App| {
        let plan = app.status.as_ref().and_then(|status| status.plan.as_ref());
        plan.is_some_and(|plan| plan.held == 1) && says(app, "Ready", "WaitingForApproval", "waiting")
    };
    site.app("two", "its plan waits without the other app's object", waits).await?;
    let (said, code) = site.skiff(User::Admin, &["plan", "two"]).await?;
    assert!(code == 3 && said.contains(held), "{said}");
    Ok(())
}
