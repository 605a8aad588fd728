//! What reaches the telemetry backend, and what happens when none can be reached.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::{PATIENCE, Site};
use skiff_harness::cluster::Options;
use skiff_harness::otlp::{Fault, Span};
use skiff_shared::desired::Revision;
use skiff_shared::trace::Release;

#[tokio::test(flavor = "multi_thread")]
async fn release_is_one_trace_and_a_silent_collector_delays_nothing() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let write = |value: &str| in_namespace("default", &config_map("price", value));
    shop.write("apps/gone.yaml", in_namespace("default", &config_map("gone", "soon")));
    let first = shop.write("apps/price.yaml", write("one")).commit("the first price")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &first).await?;
    let root = site.span(|span| is_root_of(span, &first)).await?;
    let app = site.synced("development", &first).await?;
    let revision = app.status.and_then(|status| status.revision).unwrap_or_default();
    let release = Release::of(&Revision {
        url: revision.url,
        reference: revision.reference,
        commit: revision.commit,
        ..Revision::default()
    });
    assert_eq!(root.trace_id, release.trace.to_string(), "the trace is derived from repository and commit");
    assert_eq!(root.parent_id, None);
    assert_eq!(root.resource["k8s.cluster.name"], "lab");
    let children = children(&site, &root);
    let wanted: BTreeSet<String> = ["fetch", "render", "plan", "apply", "health"].map(str::to_owned).into();
    assert!(children.is_superset(&wanted), "{children:?}");
    for span in site.otlp.spans().iter().filter(|span| span.trace_id == root.trace_id) {
        assert!(root.start <= span.start && span.end <= root.end, "{} is not within the sync", span.name);
    }

    let second = shop.remove("apps/gone.yaml").commit("one object goes")?;
    site.synced("development", &second).await?;
    let root = site.span(|span| is_root_of(span, &second)).await?;
    assert!(self::children(&site, &root).contains("prune"));
    assert_ne!(root.trace_id, release.trace.to_string());

    site.otlp.behave(Fault::Hang);
    let third = shop.write("apps/price.yaml", write("two")).commit("nobody listens")?;
    site.synced("development", &third).await?;
    site.end_agent().await?;

    // Nobody is there at all: the same is true from the start.
    site.otlp.behave(Fault::Status { code: 503, retry_after: None });
    site.restart_agent()?;
    let fourth = shop.write("apps/price.yaml", write("three")).commit("nobody is there")?;
    site.synced("development", &fourth).await?;
    site.otlp.behave(Fault::None);
    site.otlp
        .wait_for_points(|points| points.iter().any(|point| point.metric.starts_with("skiff.")), PATIENCE)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_one_trace_over_three_clusters_its_heal_another_and_a_ci_run_takes_them_in()
-> anyhow::Result<()> {
    let start = || Site::start(Options::default());
    let (first, second, third) = tokio::try_join!(start(), start(), start())?;
    let mut shop = first.repository("shop")?;
    let collector = first.otlp.endpoint();
    let write = |value: &str| in_namespace("default", &config_map("price", value));
    let commit = shop.write("apps/price.yaml", write("one")).commit("the first price")?;
    let mut sites = [("eu-1", first), ("eu-2", second), ("us-1", third)];
    for (name, site) in &mut sites {
        site.rename(name);
        site.set_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector);
        site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    }
    let release = roots_of_all(&sites[0].1, &commit).await?;
    let traces: BTreeSet<&str> = release.iter().map(|span| span.trace_id.as_str()).collect();
    let spans: BTreeSet<&str> = release.iter().map(|span| span.span_id.as_str()).collect();
    assert_eq!((traces.len(), spans.len()), (1, 3));
    assert!(release.iter().all(|span| span.parent_id.is_none() && span.kind == "server"));

    let (_, healed) = &sites[1];
    healed.synced("development", &commit).await?;
    let maps: Api<ConfigMap> = Api::namespaced(healed.admin()?, "default");
    maps.delete("price", &DeleteParams::default()).await?;
    let heal = sites[0].1.span(|span| span.name == "HEAL development").await?;
    let root = release.iter().find(|span| span.resource["k8s.cluster.name"] == "eu-2");
    let root = root.map(|root| (root.trace_id.as_str(), root.span_id.as_str()));
    assert!(!traces.contains(heal.trace_id.as_str()));
    assert_eq!(heal.resource["k8s.cluster.name"], "eu-2");
    assert_eq!(heal.links.first().map(|link| (link.trace_id.as_str(), link.span_id.as_str())), root);

    let (run, job) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let message = format!("the next price\n\nTraceparent: 00-{run}-{job}-01");
    let commit = shop.write("apps/price.yaml", write("two")).commit(&message)?;
    for root in roots_of_all(&sites[0].1, &commit).await? {
        assert_eq!((root.trace_id.as_str(), root.parent_id.as_deref()), (run, Some(job)));
    }
    Ok(())
}

/// Waits for the first sync of each of the three clusters to a commit, and returns their root spans.
async fn roots_of_all(collector: &Site, commit: &str) -> anyhow::Result<Vec<Span>> {
    let root = |span: &&Span| {
        is_root_of(span, commit)
            && span.attributes.get("skiff.sync.cause").is_some_and(|cause| cause == "release")
    };
    let spans = collector.otlp.wait_for(|spans| spans.iter().filter(root).count() >= 3, PATIENCE).await?;
    let roots: Vec<Span> = spans.iter().filter(root).cloned().collect();
    let clusters: BTreeSet<&str> =
        roots.iter().filter_map(|span| span.resource["k8s.cluster.name"].as_str()).collect();
    assert_eq!(clusters, BTreeSet::from(["eu-1", "eu-2", "us-1"]));
    assert_eq!(roots.len(), 3);
    Ok(roots)
}

#[tokio::test(flavor = "multi_thread")]
async fn syncs_end_while_the_queue_is_full_and_not_one_export_has_ended() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    site.otlp.behave(Fault::Hang);
    site.set_variable("OTEL_BSP_MAX_QUEUE_SIZE", "8");
    site.set_variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4");
    // Nothing is given up before the test is over: whoever waited for room would wait for ever.
    site.set_variable("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000");
    let mut price = 0;
    let mut sell = async |site: &mut Site| -> anyhow::Result<()> {
        price += 1;
        let map = in_namespace("default", &config_map("price", &price.to_string()));
        let commit = shop.write("apps/price.yaml", map).commit("another price")?;
        if price == 1 {
            site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
        }
        site.synced("development", &commit).await.map(drop)
    };
    for _ in 0..4 {
        sell(&mut site).await?;
    }
    site.until("spans find no room", async || Ok(dropped_spans(&site).await? > 0.0)).await?;
    let before = dropped_spans(&site).await?;
    sell(&mut site).await?;
    site.until("those of the last sync neither", async || Ok(dropped_spans(&site).await? > before)).await?;
    assert_eq!(site.otlp.spans().len(), 0, "not one export has ended");
    Ok(())
}

/// Returns how many spans found the queue full, as the agent's own endpoint tells.
async fn dropped_spans(site: &Site) -> anyhow::Result<f64> {
    let (_, metrics) = site.ask("/metrics").await?;
    let parts = ["skiff_telemetry_lost_total{", "\"queue_full\"", "\"traces\""];
    let line = metrics.lines().find(|line| parts.iter().all(|part| line.contains(part)));
    Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default())
}

fn is_root_of(span: &Span, commit: &str) -> bool {
    span.name == "SYNC development"
        && span.attributes.get("vcs.ref.head.revision").is_some_and(|found| found == commit)
}

fn children(site: &Site, root: &Span) -> BTreeSet<String> {
    let spans = site.otlp.spans();
    let own = spans.into_iter().filter(|span| span.parent_id.as_deref() == Some(&root.span_id));
    own.map(|span| span.name).collect()
}
