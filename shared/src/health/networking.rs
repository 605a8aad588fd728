//! What waits for an address from outside.
//!
//! As in Argo CD, an Ingress without an address is in progress. Some controllers never publish one: such objects
//! carry `ignore-healthcheck`.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Assessment, Observed, Unreadable, read};

/// The status of an Ingress or of a Service of type LoadBalancer.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LoadBalancer {
    load_balancer: Addresses,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Addresses {
    ingress: Vec<IgnoredAny>,
}

impl LoadBalancer {
    pub(super) fn assess(&self) -> Assessment {
        if self.load_balancer.ingress.is_empty() {
            Assessment::progressing("has no address yet")
        } else {
            Assessment::HEALTHY
        }
    }
}

pub(super) fn ingress(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let status: LoadBalancer = read(object.status, "status")?;
    Ok(status.assess())
}
