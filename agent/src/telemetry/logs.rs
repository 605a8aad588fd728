//! Logs: text or JSON on stderr, and the same records over OTLP.

use std::io::IsTerminal as _;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing::{Dispatch, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use super::LogFormat;

/// What is logged where nobody says otherwise: our own words, and warnings of libraries.
const DEFAULT_FILTER: &str = "warn,skiff=info";

/// Libraries that the exporter itself works with: to export their records would make new ones without end.
const NOT_EXPORTED: [&str; 6] = ["opentelemetry", "reqwest", "hyper", "h2", "rustls", "tokio"];

/// Returns the subscriber for all records of this process, and what was wrong with the filter.
pub(super) fn subscriber(
    format: LogFormat,
    filter: &str,
    provider: Option<&SdkLoggerProvider>,
) -> (Dispatch, Option<String>) {
    let (filter, warning) = env_filter(filter);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let stderr = match format {
        LogFormat::Text => stderr.with_target(false).boxed(),
        LogFormat::Json => stderr.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let bridge = provider
        .map(|provider| OpenTelemetryTracingBridge::new(provider).with_filter(FilterFn::new(is_exported)));
    let subscriber = Registry::default().with(filter).with(stderr).with(bridge);
    (Dispatch::new(subscriber), warning)
}

fn is_exported(metadata: &Metadata<'_>) -> bool {
    !NOT_EXPORTED.iter().any(|target| metadata.target().starts_with(target))
}

/// Reads the filter. The SDK's own complaints about a collector are off unless somebody asks for them: they would come
/// with every batch, and [`super::backlog`] says it once.
fn env_filter(directives: &str) -> (EnvFilter, Option<String>) {
    let wanted = if directives.is_empty() { DEFAULT_FILTER } else { directives };
    let quiet = if wanted.contains("opentelemetry") { "" } else { ",opentelemetry=off" };
    match EnvFilter::builder().parse(format!("{wanted}{quiet}")) {
        Ok(filter) => (filter, None),
        Err(error) => {
            let filter = EnvFilter::new(format!("{DEFAULT_FILTER},opentelemetry=off"));
            (filter, Some(format!("the log filter {directives:?} is ignored: {error}")))
        }
    }
}
