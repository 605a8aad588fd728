//! What plans wait for besides people: apps that come first, and windows.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, deployment, in_namespace};
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::audit::AuditEntry;
use skiff_harness::cluster::{Options, User};

/// `front` needs `api`, which needs `db`.
const LIST: &str = "apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
  - {name: front, path: front, dependsOn: [api]}
  - {name: api, path: api, dependsOn: [db]}
  - {name: db, path: db}
";

fn write_of<'a>(writes: &'a [AuditEntry], name: &str) -> Option<&'a AuditEntry> {
    writes.iter().find(|entry| entry.resource == "deployments" && entry.name == name && !entry.dry_run)
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_follow_those_that_they_depend_on() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let web = |name: &str, image: &str| in_namespace("default", &deployment(name, 1, image));
    shop.write("apps/skiff.yaml", LIST)
        .write("apps/db/db.yaml", web("db", "registry.example/db:1"))
        .write("apps/api/api.yaml", web("api", "registry.example/api:1"))
        .write("apps/front/front.yaml", web("front", "registry.example/front:1"));
    let first = shop.commit("three apps in a row")?;
    let mark = site.mark()?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("front", &first).await?;
    let writes = site.writes(mark)?;
    let order: Vec<Timestamp> =
        ["db", "api", "front"].iter().filter_map(|name| Some(write_of(&writes, name)?.began)).collect();
    assert!(order.len() == 3 && order.is_sorted(), "{order:?}");

    // A commit that changes the first and the last: the last waits for the first to be well again.
    let ill = "    metadata:\n      annotations: {lab.skiff.dev/behaviour: never-ready}\n";
    let broken = web("db", "registry.example/db:2").replace("    metadata:\n", ill);
    assert!(broken.contains(ill), "the manifest has another shape: {broken}");
    let mark = site.mark()?;
    shop.write("apps/db/db.yaml", broken)
        .write("apps/front/front.yaml", web("front", "registry.example/front:2"));
    let second = shop.commit("a database that does not come up")?;
    site.app("front", "it waits for what it depends on", |app| {
        says(app, "Ready", "WaitingForDependencies", "waiting for app \"api\" to be synced and healthy")
    })
    .await?;
    site.polls(2).await?;
    assert!(write_of(&site.writes(mark)?, "front").is_none(), "front was written before its turn");

    shop.write("apps/db/db.yaml", web("db", "registry.example/db:3"));
    let third = shop.commit("a database that does")?;
    assert_ne!(second, third);
    for app in ["db", "api", "front"] {
        site.synced(app, &third).await?;
    }
    let writes = site.writes(mark)?;
    assert!(write_of(&writes, "front").is_some() && write_of(&writes, "api").is_none());
    Ok(())
}

/// An environment whose plans go only in a window that is closed now, or open now.
fn windowed(url: &str, window: Value) -> Value {
    let mut environment = Site::environment("development", url, "apps");
    environment["sync"]["windows"] = json!([window]);
    environment
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_waits_for_its_window_and_a_person_may_pass_it() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let write = |value: &str| in_namespace("default", &config_map("price", value));
    let first = shop.write("apps/price.yaml", write("one")).commit("the first price")?;
    let later = (Timestamp::now() + SignedDuration::from_hours(12)).to_zoned(jiff::tz::TimeZone::UTC);
    let schedule = later.strftime("%M %H * * *").to_string();
    let window = json!({"kind": "allow", "schedule": schedule, "duration": "1h", "manualSync": true});
    site.start_agent(json!([windowed(shop.url(), window)]))?;
    let app = site
        .app("development", "the plan waits for its window", |app| {
            says(app, "Ready", "WindowClosed", "the next one opens at")
        })
        .await?;
    assert!(!app.status.and_then(|status| status.window).unwrap_or_default().open);
    let (said, _) = site.skiff(User::Dev, &["get", "development"]).await?;
    assert!(said.contains("window     closed, opens 20"), "{said}");
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    assert!(maps.get_opt("price").await?.is_none());
    let (said, code) = site.skiff(User::Dev, &["sync", "development", "--wait", "--timeout", "90s"]).await?;
    assert_eq!(code, 0, "{said}");
    site.synced("development", &first).await?;

    // The rules are changed while the agent runs: what waited goes.
    let second = shop.write("apps/price.yaml", write("two")).commit("a better price")?;
    site.app("development", "the next plan waits again", |app| says(app, "Ready", "WindowClosed", ""))
        .await?;
    let always = json!({"kind": "allow", "schedule": "@hourly", "duration": "1h"});
    site.configure(json!([windowed(shop.url(), always)]))?;
    site.synced("development", &second).await?;
    Ok(())
}
