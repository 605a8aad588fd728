//! What the agent tells of itself: spans, metrics and logs.
//!
//! Last in the pipeline. Turns recorded facts into telemetry and decides nothing; nothing here may slow
//! or stop a sync, whatever the collector does: queues are bounded, what does not fit is dropped and
//! counted, and the end of the process waits for two seconds at most.

mod app;
mod backlog;
mod chain;
mod exporters;
mod identity;
mod logs;
mod metrics;
mod notice;
mod otlp;
mod probe;
mod requests;
mod settings;
mod spans;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::Sampler;
use prometheus::{Registry, TextEncoder};
use skiff_shared::desired::Interval;
use skiff_shared::sync::event::WITHHELD;
use tracing::Dispatch;

use crate::config;
use exporters::Exporters;
use metrics::Metrics;
use otlp::Spans;
use spans::SpanContextOf;

pub use app::{AppName, AppTelemetry};
pub use chain::chain;
pub use identity::Identity;
pub use probe::{Probed, probe};
pub use requests::CountRequests;
pub use settings::Variables;
pub use spans::SourceFailure;

/// How long the end of the process may wait for a collector.
pub const SHUTDOWN_CAP: Duration = Duration::from_secs(2);

/// What is told to whom.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    pub identity: Identity,
    /// Where OTLP goes, without the signals' paths. Without it, and without `OTEL_…` variables, nothing is sent.
    pub endpoint: Option<String>,
    /// Lines of `name: value`, added to every request and read anew for each.
    pub headers_file: Option<PathBuf>,
    pub detail: Detail,
    pub log_format: LogFormat,
    /// As `RUST_LOG`, which wins over it.
    pub log_filter: Option<String>,
    pub variables: Variables,
}

impl TelemetryConfig {
    /// Returns what the configuration file says, with the variables of this process and text logs.
    pub fn of(identity: Identity, file: &config::Telemetry) -> Self {
        let config::Telemetry { otlp: config::Otlp { endpoint, headers_file }, detail } = file.clone();
        let variables = Variables::of_process();
        let detail = match detail {
            config::Detail::Full => Detail::Stages,
            config::Detail::App => Detail::App,
        };
        let (log_format, log_filter) = (LogFormat::Text, None);
        Self { identity, endpoint, headers_file, detail, log_format, log_filter, variables }
    }
}

/// How many spans a sync has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Detail {
    /// One for the sync and one for each of its stages.
    #[default]
    Stages,
    /// One for the sync.
    App,
}

/// How log lines look on stderr.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// What came of rendering an app at a revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rendering {
    /// Everything that the app reads is as it was: nothing was rendered.
    Cached,
    /// So many manifest files were read, and so many were known from the render before. A tool's are not counted.
    Done {
        read: usize,
        reused: usize,
    },
    Failed,
}

impl Rendering {
    fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Done { .. } => "rendered",
            Self::Failed => "failed",
        }
    }
}

/// Whether everything was sent before the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flushed {
    All,
    /// Time was up, or the collector refused.
    Cut,
}

/// Telemetry under way. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    detail: Detail,
    sampler: Sampler,
    spans: Option<Arc<Spans>>,
    meters: SdkMeterProvider,
    logger: Option<SdkLoggerProvider>,
    metrics: Metrics,
    registry: Registry,
    dispatch: Dispatch,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("identity", &self.shared.identity).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Starts exporters and instruments. It cannot fail: what does not work is told as a warning and left out.
    pub fn start(config: TelemetryConfig) -> Self {
        let mut settings = settings::resolve(&config);
        let mut warnings = std::mem::take(&mut settings.warnings);
        let resource = Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_attributes(std::mem::take(&mut settings.resource))
            .build();
        let mut exporters = Exporters::start(&settings, &config, &resource, &mut warnings);
        let (dispatch, warning) =
            logs::subscriber(config.log_format, &settings.log_filter, exporters.logger.as_ref());
        warnings.extend(warning);
        let registry = Registry::new();
        let meters = exporters.meters(&settings, &registry, resource, &mut warnings);
        let meter = meters.meter_with_scope(spans::scope());
        exporters.register_losses(&meter);
        let metrics = Metrics::new(&meter);
        tracing::dispatcher::with_default(&dispatch, || {
            for warning in warnings {
                tracing::warn!("telemetry: {warning}");
            }
        });
        let Exporters { spans, logger, .. } = exporters;
        let shared = Shared {
            identity: config.identity,
            detail: config.detail,
            sampler: settings.sampler,
            spans,
            meters,
            logger,
            metrics,
            registry,
            dispatch,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Sends all log records of this process here. Does nothing if somebody else has done so before.
    pub fn install(&self) {
        // The first one stays; a second one in the same process is a test's.
        let _already_set = tracing::dispatcher::set_global_default(self.shared.dispatch.clone());
    }

    /// Returns the subscriber that [`Self::install`] installs.
    pub fn dispatch(&self) -> &Dispatch {
        &self.shared.dispatch
    }

    /// Returns the telemetry of one app.
    pub fn app(&self, app: AppName) -> AppTelemetry {
        AppTelemetry::new(self.shared.clone(), app)
    }

    /// Returns a layer that counts the requests of a client to the API server.
    pub fn count_requests(&self) -> CountRequests {
        CountRequests { shared: self.shared.clone() }
    }

    /// Counts and measures a render of an app.
    pub fn rendered(&self, app: &AppName, rendering: Rendering, took: Interval) {
        self.shared.metrics.rendered(app, rendering, took);
    }

    /// Notes that the source of an environment is to be read from now on.
    pub fn source_expected(&self, environment: &str) {
        self.shared.metrics.source_expected(environment, Timestamp::now());
    }

    /// Notes that the source of an environment was read, whether or not anything was new.
    pub fn source_read(&self, environment: &str) {
        self.shared.metrics.source_read(environment, Timestamp::now());
    }

    /// Tells of a source that cannot be read: its span. Told when the failure is another one than before.
    pub fn source_failed(&self, failure: &SourceFailure<'_>) {
        let name = failure.environment.to_owned();
        let app = AppName { environment: name.clone(), app: name, namespace: None };
        let Shared { identity, detail, sampler, spans, .. } = &*self.shared;
        let context = SpanContextOf { identity, app: &app, detail: *detail, sampler };
        if let Some(sender) = spans {
            context.source_failed(failure).into_iter().for_each(|span| sender.send(span));
        }
    }

    /// Notes that the environment is no longer in the configuration.
    pub fn source_gone(&self, environment: &str) {
        self.shared.metrics.source_gone(environment);
    }

    /// Shows these labels of the cluster from now on, those of the agent's file.
    pub fn cluster_labelled(&self, labels: &BTreeMap<String, String>) {
        self.shared.metrics.cluster_labelled(labels);
    }

    /// Returns all metrics in Prometheus' text format.
    pub fn prometheus(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.shared.registry.gather())
    }

    /// Sends what waits, within `cap`. It returns in time whatever the collector does; what is still under
    /// way then is given up, on threads that nobody waits for.
    pub async fn shutdown(&self, cap: Duration) -> Flushed {
        let shared = &self.shared;
        let (spans, logger, meters) = (shared.spans.clone(), shared.logger.clone(), shared.meters.clone());
        let ends: [End; 3] = [
            Box::new(move || spans.map_or(Ok(()), |spans| spans.shutdown(cap))),
            Box::new(move || logger.map_or(Ok(()), |logger| logger.shutdown_with_timeout(cap))),
            Box::new(move || meters.shutdown_with_timeout(cap)),
        ];
        let ended = futures::future::join_all(ends.map(on_a_thread));
        match tokio::time::timeout(cap, ended).await {
            Ok(results) if results.iter().all(|all| *all) => Flushed::All,
            _ => Flushed::Cut,
        }
    }
}

type End = Box<dyn FnOnce() -> OTelSdkResult + Send>;

/// Runs a blocking end on a thread of its own. Not one of the runtime's: the runtime would wait for it when it ends.
async fn on_a_thread(end: End) -> bool {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("telemetry-end".to_owned());
    let started = thread.spawn(move || {
        // Nobody listens any more when time was up.
        let _unheard = sender.send(end().is_ok());
    });
    started.is_ok() && receiver.await.unwrap_or(false)
}

/// Returns what may be repeated of a message about an object: nothing of one about a Secret, which it may quote.
fn redacted<'a>(object: &str, message: &'a str) -> &'a str {
    if object.starts_with("Secret/") { WITHHELD } else { message }
}

#[cfg(test)]
mod tests;
