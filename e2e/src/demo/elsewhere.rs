//! The same telemetry in backends of others: where a person finds it.

use std::time::Instant;

use serde_json::Value;

use super::ui::Terminal;
use crate::backends::Backends;
use crate::site::Site;

/// Starts the backends; what is missing is built first.
pub(super) async fn start(site: &mut Site, terminal: &Terminal) -> anyhow::Result<Backends> {
    terminal.prose("Jaeger and VictoriaMetrics are built first if they are missing (about 4 minutes once).");
    let began = Instant::now();
    let backends = Backends::start(&site.cluster, &site.otlp).await?;
    site.set_variable("OTEL_METRIC_EXPORT_INTERVAL", "1000");
    terminal.done("Jaeger and VictoriaMetrics", "they get what the receiver gets", began.elapsed());
    Ok(backends)
}

/// Prints where the newest release's trace and the metrics are.
pub(super) fn print_links(site: &Site, backends: &Backends, terminal: &Terminal) {
    let is_release = |cause: &Value| cause == "release";
    let spans = site.otlp.spans();
    let release =
        spans.iter().rev().find(|span| span.attributes.get("skiff.sync.cause").is_some_and(is_release));
    terminal.gap();
    terminal.prose("The same in backends of others, as long as this runs:");
    terminal.gap();
    if let Some(release) = release {
        terminal.fact("trace", &backends.trace_link(&release.trace_id));
    }
    terminal.fact("metrics", &backends.metrics_link());
    terminal.fact("for example", r#"max by (k8s_cluster_name, cicd_pipeline_name) (skiff_app_revision)"#);
    terminal.gap();
}
