//! Backends that are not ours take what the agent tells, and answer a person's questions with it.
//!
//! Not part of the test command, as Jaeger and VictoriaMetrics take minutes to build:
//! `cargo build -p skiff && cargo test -p skiff-e2e --test backends`.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skiff_e2e::backends::Backends;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::Site;
use skiff_harness::cluster::Options;

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_one_trace_in_jaeger_and_its_revision_a_number_in_victoria_metrics() -> anyhow::Result<()>
{
    let mut site = Site::start(Options::default()).await?;
    let backends = Backends::start(&site.cluster, &site.otlp).await?;
    site.set_variable("OTEL_METRIC_EXPORT_INTERVAL", "500");
    let mut shop = site.repository("shop")?;
    shop.write("apps/price.yaml", in_namespace("default", &config_map("price", "one")));
    let commit = shop.commit("the first price")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &commit).await?;

    let root = site.span(|span| span.name == "SYNC development").await?;
    let wanted = BTreeSet::from(["SYNC development", "fetch", "render", "plan", "apply", "health"]);
    let mut trace = Value::Null;
    site.until("Jaeger has the whole trace", async || {
        trace = backends.trace(&root.trace_id).await?.unwrap_or_default();
        let names = spans(&trace).iter().filter_map(|span| span["operationName"].as_str());
        Ok(names.collect::<BTreeSet<_>>().is_superset(&wanted))
    })
    .await?;
    let spans = spans(&trace);
    assert!(spans.iter().all(|span| span["traceID"] == root.trace_id));
    let above = |span: &Value| span["references"][0]["spanID"].as_str().map(str::to_owned);
    let below = spans.iter().filter(|span| above(span).as_deref() == Some(root.span_id.as_str())).count();
    assert_eq!(below + 1, spans.len(), "every stage is below the sync");
    assert_eq!(trace["processes"]["p1"]["serviceName"], "skiff");

    let number = u64::from_str_radix(&commit[..12], 16)?;
    let query = r#"max by (k8s_cluster_name) (skiff_app_revision{cicd_pipeline_name="development"})"#;
    let mut answer = Vec::new();
    site.until("VictoriaMetrics knows the revision", async || {
        answer = backends.query(query).await?;
        Ok(!answer.is_empty())
    })
    .await?;
    assert_eq!(answer[0]["metric"], json!({"k8s_cluster_name": "lab"}));
    assert_eq!(answer[0]["value"][1], number.to_string());
    let synced = backends.query(r#"skiff_app_info{skiff_sync_status="Synced"}"#).await?;
    assert_eq!(synced.len(), 1, "{synced:?}");
    let waited = backends.query("skiff_commit_to_healthy_duration_seconds_count").await?;
    assert_eq!(waited.first().map(|count| count["value"][1].clone()), Some(json!("1")));
    Ok(())
}

fn spans(trace: &Value) -> &[Value] {
    trace["spans"].as_array().map_or(&[], Vec::as_slice)
}
