//! Who speaks: the resource of all telemetry.

use std::collections::BTreeMap;

/// Who speaks.
#[derive(Clone, Debug)]
pub struct Identity {
    pub cluster: String,
    pub instance: String,
    pub version: &'static str,
    place: String,
}

impl Identity {
    pub fn new(cluster: &str, instance: &str) -> Self {
        let place = if cluster == instance { cluster.to_owned() } else { format!("{cluster}/{instance}") };
        let version = env!("CARGO_PKG_VERSION");
        Self { cluster: cluster.to_owned(), instance: instance.to_owned(), version, place }
    }

    /// Returns what tells this agent's spans from those of every other agent of the fleet.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn attributes(&self) -> BTreeMap<String, String> {
        let known = [
            ("service.name", "skiff"),
            ("service.version", self.version),
            ("service.instance.id", self.place()),
            ("k8s.cluster.name", &self.cluster),
        ];
        known.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}
