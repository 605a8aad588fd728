//! A manager that keeps changing a field back: named, fought with patience, and no harm to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace, namespace};
use skiff_e2e::site::Site;
use skiff_e2e::words::condition;
use skiff_harness::audit::AuditEntry;
use skiff_harness::cluster::{Options, User};

/// Changes the value back whenever it is another, until it is told to stop.
struct Fighter {
    blows: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Fighter {
    fn start(maps: Api<ConfigMap>) -> Self {
        let (blows, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (blows.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let patch = Patch::Merge(json!({"data": {"value": "theirs"}}));
            let params = PatchParams { field_manager: Some("fighter".to_owned()), ..PatchParams::default() };
            while !stopped.load(Ordering::Relaxed) {
                let value = maps.get("fought").await?.data.unwrap_or_default().remove("value");
                if value.as_deref() != Some("theirs") {
                    maps.patch("fought", &params, &patch).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                tokio::task::yield_now().await;
            }
            Ok(())
        });
        Self { blows, stop, task }
    }

    fn blows(&self) -> usize {
        self.blows.load(Ordering::Relaxed)
    }

    async fn stop(self) -> anyhow::Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await??;
        Ok(self.blows.load(Ordering::Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contested_object_is_fought_over_ever_more_rarely() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/namespace.yaml", namespace("development"))
        .write("apps/fought.yaml", in_namespace("development", &config_map("fought", "ours")))
        .write("apps/other.yaml", in_namespace("development", &config_map("other", "ours")));
    let commit = shop.commit("two objects")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &commit).await?;

    let mark = site.mark()?;
    let bookmark = site.bookmark();
    let fighter = Fighter::start(Api::namespaced(site.cluster.client(User::Ops)?, "development"));
    let app = site
        .app("development", "the fight is told", |app| {
            condition(app, "Contested").is_some_and(|found| {
                found.status == "True"
                    && found.message.contains(
                        r#"ConfigMap/development/fought contested by "fighter", left alone until 20"#,
                    )
            })
        })
        .await?;
    assert_eq!(app.status.unwrap_or_default().sync, "OutOfSync");
    site.logged(bookmark, &["ConfigMap/development/fought is contested by \"fighter\""]).await?;
    let patch = r#"--patch={"data":{"value":"theirs"}}"#;
    let change = ["patch", "configmap/other", "--type=merge", "--namespace=development", patch];
    site.kubectl(User::Dev, &change).await?;
    site.logged(bookmark, &["healed ConfigMap/development/other"]).await?;

    site.until("some more blows have fallen", async || Ok(fighter.blows() >= 6)).await?;
    let blows = fighter.stop().await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "development");
    site.until("the object is healed once nobody fights", async || {
        Ok(maps.get("fought").await?.data.unwrap_or_default()["value"] == "ours")
    })
    .await?;
    let writes = site.writes(mark)?;
    let heals: Vec<&AuditEntry> = writes.iter().filter(|entry| entry.name == "fought").collect();
    assert!(heals.len() <= blows + 1, "{} writes against {blows} blows", heals.len());
    let pauses: Vec<Duration> = heals
        .windows(2)
        .filter_map(|pair| pair[1].began.duration_since(pair[0].ended).try_into().ok())
        .collect();
    // A pause can be longer than it was meant to be, never shorter.
    let patient = pauses.iter().filter(|pause| **pause >= Duration::from_secs(1)).count();
    assert!(pauses.len() - patient <= 3, "the agent was impatient: {pauses:?}");

    site.app("development", "nothing is contested any more", |app| {
        condition(app, "Contested").is_none_or(|found| found.status == "False")
            && app.status.as_ref().is_some_and(|status| status.sync == "Synced")
    })
    .await?;
    Ok(())
}
