//! News: Kubernetes Events on `App` objects and notifications, what a person would want to read, and no more of them.

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace, namespace};
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_harness::cluster::{Options, User};
use skiff_harness::inbox::Inbox;

/// Returns the Events of an app in the order in which they happened: type, reason, note.
async fn events(site: &Site, app: &str) -> anyhow::Result<Vec<(String, String, String)>> {
    let events: Api<Event> = Api::namespaced(site.admin()?, NAMESPACE);
    let mut of_it = events.list(&ListParams::default()).await?.items;
    of_it.retain(|event| {
        let regarding = event.regarding.clone().unwrap_or_default();
        regarding.kind.as_deref() == Some("App") && regarding.name.as_deref() == Some(app)
    });
    of_it.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    let told = |event: Event| {
        let [kind, reason, note] = [event.type_, event.reason, event.note].map(Option::unwrap_or_default);
        (kind, reason, note)
    };
    Ok(of_it.into_iter().map(told).collect())
}

/// Returns the reasons that a webhook was told, sorted.
fn told(inbox: &Inbox) -> Vec<String> {
    let reasons =
        inbox.received().into_iter().map(|it| it.json()["reason"].as_str().unwrap_or("?").to_owned());
    let mut reasons: Vec<String> = reasons.collect();
    reasons.sort_unstable();
    reasons
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_tells_its_story_in_events_and_a_poll_adds_nothing() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/namespace.yaml", namespace("development"));
    shop.write("apps/a.yaml", in_namespace("development", &config_map("a", "one")));
    let first = shop.commit("the first release")?;
    let inbox = Inbox::start()?;
    // Nobody listens at port 1: whom nothing can be told keeps nobody else from anything.
    site.notifications = json!([
        {"name": "nobody", "webhook": {"url": "http://127.0.0.1:1"}},
        {"name": "hook", "webhook": {"url": inbox.url()}},
    ]);
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    let app = site.synced("development", &first).await?;

    shop.write("apps/a.yaml", "kind: ConfigMap\n").commit("a mistake")?;
    site.until("the mistake is told", async || Ok(events(&site, "development").await?.len() == 2)).await?;
    shop.write("apps/a.yaml", in_namespace("development", &config_map("a", "two")));
    let second = shop.commit("the second release")?;
    site.synced("development", &second).await?;

    let patch = r#"--patch={"data":{"value":"theirs"}}"#;
    let change = ["patch", "configmap/a", "--type=merge", "--namespace=development", patch];
    for _ in 0..3 {
        let bookmark = site.bookmark();
        site.kubectl(User::Dev, &change).await?;
        site.logged(bookmark, &["healed ConfigMap/development/a"]).await?;
    }
    site.until("the heals are told", async || Ok(events(&site, "development").await?.len() == 4)).await?;
    let told = events(&site, "development").await?;
    let heads: Vec<String> = told.iter().map(|(kind, reason, _)| format!("{kind} {reason}")).collect();
    assert_eq!(heads, ["Normal Synced", "Warning RenderFailed", "Normal Synced", "Normal Healed"]);
    assert!(told[0].2.contains("\"the first release\": 2 created"), "{told:?}");
    assert!(told[1].2.contains("a.yaml"), "{told:?}");
    assert!(told[2].2.contains(&second[..12]), "{told:?}");
    assert!(told[3].2.starts_with("drift was healed 3 times: ConfigMap/development/a: "), "{told:?}");

    let notified = [
        "Created",
        "Healed",
        "RenderFailed",
        "SyncApplied",
        "SyncApplied",
        "SyncStarted",
        "SyncStarted",
        "Synced",
        "Synced",
    ];
    site.until("the webhook is told", async || Ok(inbox.received().len() >= notified.len())).await?;
    assert_eq!(self::told(&inbox), notified);

    // The way that people read them: kubectl asks for the uid too.
    let described =
        site.kubectl(User::Ops, &["describe", "app/development", "--namespace", NAMESPACE]).await?;
    assert!(described.contains("RenderFailed"), "{}: {described}", app.metadata.uid.unwrap_or_default());

    // Neither polls nor a new start of the agent tell anything again.
    site.end_agent().await?;
    site.restart_agent()?;
    site.synced("development", &second).await?;
    site.polls(3).await?;
    assert_eq!(events(&site, "development").await?, told);
    assert_eq!(self::told(&inbox), notified);
    Ok(())
}
