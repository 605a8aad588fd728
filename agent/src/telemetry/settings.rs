//! What is sent where, from the configuration file and the `OTEL_…` variables.
//!
//! Pure. A variable wins over the file, the variable of one signal over that of all. A value that cannot
//! be understood is told as a warning and ignored: telemetry never keeps the agent from starting.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::Sampler;

use super::{Identity, TelemetryConfig};

mod pairs;

/// What telemetry takes from the process's environment: `OTEL_…` and `RUST_LOG`.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Reads the variables of this process.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("OTEL_") || name == "RUST_LOG")
            .collect()
    }

    /// Returns a variable; an empty one counts as unset, as the OpenTelemetry specification says.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// The three things that OTLP carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// Everything that is known before anything is started.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) traces: Option<Export>,
    pub(super) metrics: Option<Export>,
    pub(super) logs: Option<Export>,
    pub(super) span_queue: Queue,
    pub(super) log_queue: Queue,
    pub(super) metric_interval: Duration,
    pub(super) sampler: Sampler,
    pub(super) resource: Vec<KeyValue>,
    /// Directives of `tracing-subscriber`'s `EnvFilter`.
    pub(super) log_filter: String,
    pub(super) warnings: Vec<String>,
}

/// How one signal is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Export {
    /// The whole address, `/v1/traces` included.
    pub(super) endpoint: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) gzip: bool,
    pub(super) transport: Transport,
}

/// What tells two HTTP clients apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Transport {
    pub(super) timeout: Duration,
    pub(super) is_tls: bool,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) certificate_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
}

/// What waits for a collector at most, and how it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Queue {
    pub(super) limit: usize,
    pub(super) batch: usize,
    pub(super) delay: Duration,
}

pub(super) fn resolve(config: &TelemetryConfig) -> Settings {
    let mut reader = Reader { variables: &config.variables, warnings: Vec::new() };
    let is_off = reader.is_true("OTEL_SDK_DISABLED");
    let mut export = |signal| if is_off { None } else { reader.export(signal, config.endpoint.as_deref()) };
    let (traces, metrics, logs) = (export(Signal::Traces), export(Signal::Metrics), export(Signal::Logs));
    Settings {
        traces,
        metrics,
        logs,
        span_queue: reader.queue("OTEL_BSP", Duration::from_secs(5)),
        log_queue: reader.queue("OTEL_BLRP", Duration::from_secs(1)),
        metric_interval: reader
            .milliseconds("OTEL_METRIC_EXPORT_INTERVAL")
            .unwrap_or(Duration::from_secs(60)),
        sampler: reader.sampler(),
        resource: reader.resource(&config.identity),
        log_filter: reader.text("RUST_LOG").or_else(|| config.log_filter.clone()).unwrap_or_default(),
        warnings: reader.warnings,
    }
}

struct Reader<'a> {
    variables: &'a Variables,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(str::to_owned)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(name).map(PathBuf::from)
    }

    fn is_true(&self, name: &str) -> bool {
        self.variables.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn ignored(&mut self, name: &str, value: &str, expected: &str) {
        self.warnings.push(format!("{name}={value} is ignored: expected {expected}"));
    }

    fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let text = self.text(name)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.ignored(name, &text, expected);
        }
        value
    }

    fn milliseconds(&mut self, name: &str) -> Option<Duration> {
        let value: Option<u64> = self.parsed(name, "a number of milliseconds");
        value.filter(|value| *value > 0).map(Duration::from_millis)
    }

    /// Returns the name of the variable in force: the signal's own, else the one for all signals.
    fn in_force(&self, signal: Signal, key: &str) -> String {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{key}", signal.word().to_uppercase());
        let all = format!("OTEL_EXPORTER_OTLP_{key}");
        if self.variables.get(&own).is_some() { own } else { all }
    }

    fn export(&mut self, signal: Signal, configured: Option<&str>) -> Option<Export> {
        if !self.is_wanted(signal) {
            return None;
        }
        let endpoint = self.endpoint(signal, configured)?;
        let timeout = self.in_force(signal, "TIMEOUT");
        let transport = Transport {
            timeout: self.milliseconds(&timeout).unwrap_or(Duration::from_secs(10)),
            is_tls: endpoint.starts_with("https://"),
            ca_file: self.path(&self.in_force(signal, "CERTIFICATE")),
            certificate_file: self.path(&self.in_force(signal, "CLIENT_CERTIFICATE")),
            key_file: self.path(&self.in_force(signal, "CLIENT_KEY")),
        };
        self.check_protocol(signal);
        let headers = self.headers(signal);
        Some(Export { endpoint, headers, gzip: self.is_gzip(signal), transport })
    }

    fn is_wanted(&mut self, signal: Signal) -> bool {
        let name = format!("OTEL_{}_EXPORTER", signal.word().to_uppercase());
        let Some(value) = self.text(&name) else { return true };
        let mut exporters = value.split(',').map(str::trim);
        // /metrics is served whatever the variable says, so `prometheus` alone means no OTLP.
        if value.split(',').any(|word| !["otlp", "none", "prometheus"].contains(&word.trim())) {
            self.ignored(&name, &value, "otlp or none");
            return true;
        }
        exporters.any(|word| word == "otlp")
    }

    /// Returns where the signal goes. The address for all signals gets the signal's path, the signal's own is complete.
    fn endpoint(&mut self, signal: Signal, configured: Option<&str>) -> Option<String> {
        let name = self.in_force(signal, "ENDPOINT");
        let is_own = name.contains(&signal.word().to_uppercase());
        let from_variable = self.text(&name);
        let base = from_variable.as_deref().or(configured)?;
        if !is_http(base) {
            let source = if from_variable.is_some() { &name } else { "telemetry.otlp.endpoint" };
            // The address may carry a password: it stays out of the log.
            self.warnings
                .push(format!("{source} is ignored: expected an http or https address without credentials"));
            return None;
        }
        if is_own && from_variable.is_some() {
            return Some(base.to_owned());
        }
        Some(format!("{}/v1/{}", base.trim_end_matches('/'), signal.word()))
    }

    fn check_protocol(&mut self, signal: Signal) {
        let name = self.in_force(signal, "PROTOCOL");
        if let Some(value) = self.text(&name).filter(|value| value != "http/protobuf") {
            self.ignored(&name, &value, "http/protobuf, which is used");
        }
    }

    fn headers(&mut self, signal: Signal) -> BTreeMap<String, String> {
        let name = self.in_force(signal, "HEADERS");
        let (headers, refused) = pairs::read(self.variables.get(&name).unwrap_or_default());
        if refused > 0 {
            // Headers carry tokens: the value stays out of the log.
            self.warnings
                .push(format!("{name}: {refused} of its entries are ignored: expected name=value,…"));
        }
        headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
    }

    fn is_gzip(&mut self, signal: Signal) -> bool {
        let name = self.in_force(signal, "COMPRESSION");
        match self.text(&name).as_deref() {
            Some("gzip") => true,
            Some("none") | None => false,
            Some(other) => {
                self.ignored(&name, other, "gzip or none");
                false
            }
        }
    }

    fn queue(&mut self, prefix: &str, delay: Duration) -> Queue {
        let size = "a number above zero";
        let limit: Option<usize> = self.parsed(&format!("{prefix}_MAX_QUEUE_SIZE"), size);
        let batch: Option<usize> = self.parsed(&format!("{prefix}_MAX_EXPORT_BATCH_SIZE"), size);
        let limit = limit.filter(|limit| *limit > 0).unwrap_or(2048);
        let batch = batch.filter(|batch| *batch > 0).unwrap_or(512).min(limit);
        let delay = self.milliseconds(&format!("{prefix}_SCHEDULE_DELAY")).unwrap_or(delay);
        Queue { limit, batch, delay }
    }

    fn sampler(&mut self) -> Sampler {
        let name = "OTEL_TRACES_SAMPLER";
        let ratio = |reader: &mut Self| {
            let ratio: Option<f64> = reader.parsed("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1");
            Sampler::TraceIdRatioBased(ratio.filter(|ratio| (0.0..=1.0).contains(ratio)).unwrap_or(1.0))
        };
        let parent_based = |root| Sampler::ParentBased(Box::new(root));
        match self.text(name).as_deref() {
            None | Some("parentbased_always_on") => parent_based(Sampler::AlwaysOn),
            Some("always_on") => Sampler::AlwaysOn,
            Some("always_off") => Sampler::AlwaysOff,
            Some("traceidratio") => ratio(self),
            Some("parentbased_always_off") => parent_based(Sampler::AlwaysOff),
            Some("parentbased_traceidratio") => parent_based(ratio(self)),
            Some(other) => {
                self.ignored(
                    name,
                    other,
                    "always_on, always_off, traceidratio or parentbased_ and one of these",
                );
                parent_based(Sampler::AlwaysOn)
            }
        }
    }

    /// Returns who speaks. What the operator says in the variables wins over what the agent knows.
    fn resource(&mut self, identity: &Identity) -> Vec<KeyValue> {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let (given, refused) = pairs::read(self.variables.get(name).unwrap_or_default());
        if refused > 0 {
            self.warnings
                .push(format!("{name}: {refused} of its entries are ignored: expected name=value,…"));
        }
        let mut attributes = identity.attributes();
        attributes.extend(given);
        if let Some(service) = self.text("OTEL_SERVICE_NAME") {
            attributes.insert("service.name".to_owned(), service);
        }
        attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect()
    }
}

/// Whether this is an address that OTLP can be posted to. Credentials belong into headers, which are not printed.
fn is_http(address: &str) -> bool {
    let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://"));
    let is_plain = |rest: &str| !rest.is_empty() && !rest.split('/').next().unwrap_or_default().contains('@');
    rest.is_some_and(is_plain) && address.parse::<http::Uri>().is_ok()
}

#[cfg(test)]
mod tests;
