//! Asks the collectors whether they take what the agent would send them.

use super::otlp::{Clients, try_out};
use super::{TelemetryConfig, settings};

/// What became of an empty message of one signal.
#[derive(Clone, Debug)]
pub struct Probed {
    /// `traces`, `metrics` or `logs`.
    pub signal: &'static str,
    pub endpoint: String,
    /// Why it was not taken.
    pub problem: Option<String>,
}

/// Sends an empty message of each signal that is sent anywhere, as it would be sent. Blocks; must not be called from
/// asynchronous code.
pub fn probe(config: &TelemetryConfig) -> Vec<Probed> {
    let settings = settings::resolve(config);
    let mut clients = Clients::new(config.headers_file.clone());
    let signals = [("traces", settings.traces), ("metrics", settings.metrics), ("logs", settings.logs)];
    let sent = signals.into_iter().filter_map(|(signal, export)| Some((signal, export?)));
    sent.map(|(signal, export)| {
        let problem = try_out(&export, &mut clients).err();
        Probed { signal, endpoint: export.endpoint, problem }
    })
    .collect()
}
