//! Everything that sends, as it is started: what cannot be is left out with a warning.

use std::collections::HashSet;
use std::sync::Arc;

use opentelemetry::metrics::Meter;
use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Stream};
use opentelemetry_semantic_conventions::attribute as name;
use prometheus::Registry;

use super::backlog::Backlog;
use super::otlp::{self, Clients, OtlpError, Spans};
use super::settings::{Settings, Signal};
use super::{TelemetryConfig, chain};

/// Series that one instrument may have; above it they are summed up in one.
const MAX_SERIES: usize = 20_000;

/// Everything that sends, while it is being started.
pub(super) struct Exporters {
    clients: Clients,
    backlogs: Vec<Arc<Backlog>>,
    pub(super) spans: Option<Arc<Spans>>,
    pub(super) logger: Option<SdkLoggerProvider>,
}

impl Exporters {
    pub(super) fn start(
        settings: &Settings,
        config: &TelemetryConfig,
        resource: &Resource,
        warnings: &mut Vec<String>,
    ) -> Self {
        let clients = Clients::new(config.headers_file.clone());
        let mut this = Self { clients, backlogs: Vec::new(), spans: None, logger: None };
        if let Some(export) = &settings.traces {
            let backlog = this.backlog(Signal::Traces, settings.span_queue.limit);
            let spans = Spans::start(export, settings.span_queue, &mut this.clients, backlog);
            this.spans = usable(spans, Signal::Traces, warnings).map(|mut spans| {
                spans.set_resource(resource);
                Arc::new(spans)
            });
        }
        if let Some(export) = &settings.logs {
            let backlog = this.backlog(Signal::Logs, settings.log_queue.limit);
            let processor = otlp::logs(export, settings.log_queue, &mut this.clients, backlog);
            this.logger = usable(processor, Signal::Logs, warnings).map(|processor| {
                SdkLoggerProvider::builder()
                    .with_resource(resource.clone())
                    .with_log_processor(processor)
                    .build()
            });
        }
        this
    }

    fn backlog(&mut self, signal: Signal, limit: usize) -> Arc<Backlog> {
        let backlog = Arc::new(Backlog::new(signal, limit));
        self.backlogs.push(backlog.clone());
        backlog
    }

    pub(super) fn meters(
        &mut self,
        settings: &Settings,
        registry: &Registry,
        resource: Resource,
        warnings: &mut Vec<String>,
    ) -> SdkMeterProvider {
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            // Who scrapes knows the pod; who asks across clusters wants the cluster, without a join.
            .with_resource_selector(HashSet::from([Key::from_static_str(name::K8S_CLUSTER_NAME)]))
            .scope_info_enabled(false)
            .build()
            .expect("a new registry has room for the one collector");
        let mut meters = SdkMeterProvider::builder()
            .with_resource(resource)
            .with_reader(prometheus)
            .with_view(|_| Stream::builder().with_cardinality_limit(MAX_SERIES).build().ok());
        if let Some(export) = &settings.metrics {
            let backlog = self.backlog(Signal::Metrics, 1);
            let exporter = otlp::metrics(export, &mut self.clients, backlog);
            if let Some(exporter) = usable(exporter, Signal::Metrics, warnings) {
                let reader =
                    PeriodicReader::builder(exporter).with_interval(settings.metric_interval).build();
                meters = meters.with_reader(reader);
            }
        }
        meters.build()
    }

    /// Makes visible what was dropped or refused.
    pub(super) fn register_losses(&self, meter: &Meter) {
        let backlogs = self.backlogs.clone();
        meter
            .u64_observable_counter("skiff.telemetry.lost")
            .with_unit("{record}")
            .with_description("Records that found the queue full or that the collector refused")
            .with_callback(move |lost| {
                for backlog in &backlogs {
                    let signal = KeyValue::new("skiff.telemetry.signal", backlog.signal.word());
                    let reason = |word| KeyValue::new("skiff.telemetry.reason", word);
                    lost.observe(backlog.dropped(), &[signal.clone(), reason("queue_full")]);
                    lost.observe(backlog.refused(), &[signal, reason("refused")]);
                }
            })
            .build();
    }
}

fn usable<T>(exporter: Result<T, OtlpError>, signal: Signal, warnings: &mut Vec<String>) -> Option<T> {
    exporter
        .inspect_err(|error| warnings.push(format!("{} are not sent: {}", signal.word(), chain(error))))
        .ok()
}
