//! The agent's own HTTP endpoint.

use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::Site;
use skiff_harness::cluster::Options;

#[tokio::test(flavor = "multi_thread")]
async fn liveness_readiness_and_metrics_are_answered() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let first = shop.write("apps/a.yaml", in_namespace("default", &config_map("a", "one"))).commit("one")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.until("the agent lives", async || Ok(site.ask("/livez").await.is_ok_and(|(code, _)| code == 200)))
        .await?;
    site.synced("development", &first).await?;
    site.until("the agent is ready", async || {
        Ok(site.ask("/readyz").await.is_ok_and(|(code, _)| code == 200))
    })
    .await?;
    let (code, metrics) = site.ask("/metrics").await?;
    assert_eq!(code, 200);
    assert!(
        metrics.contains("skiff_") && metrics.contains(r#"cicd_pipeline_name="development""#),
        "{metrics}"
    );
    assert!(!metrics.contains(&first[..12]), "no revision is a label:\n{metrics}");
    Ok(())
}
