//! Services, volumes and namespaces.
//!
//! Where we differ from Argo CD: PersistentVolumes and Namespaces have a rule here, because their phase can say that
//! something is wrong.

use std::borrow::Cow;

use serde::Deserialize;

use super::networking::LoadBalancer;
use super::{Assessment, Health, Observed, Unreadable, read};

/// Set while a provisioner makes the volume of a claim.
pub(super) const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// The same under its newer name.
pub(super) const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";

#[derive(Deserialize, Default)]
#[serde(default)]
struct Phase<'a> {
    #[serde(borrow)]
    phase: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServiceSpec<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

pub(super) fn service(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let spec: ServiceSpec<'_> = read(object.spec, "spec")?;
    if spec.kind != "LoadBalancer" {
        return Ok(Assessment::HEALTHY);
    }
    let status: LoadBalancer = read(object.status, "status")?;
    Ok(status.assess())
}

pub(super) fn claim(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let status: Phase<'_> = read(object.status, "status")?;
    let has = |name: &str| object.annotations.contains_key(name);
    Ok(match &*status.phase {
        "Bound" => Assessment::HEALTHY,
        "Lost" => Assessment::degraded("its volume is lost"),
        "" => Assessment::progressing("not looked at yet"),
        "Pending" if has(PROVISIONER) || has(PROVISIONER_BETA) => {
            Assessment::progressing("its volume is being made")
        }
        // Nothing happens before a pod uses it, so a later wave must not wait for it.
        "Pending" => Assessment::healthy("waits for its first consumer"),
        phase => Assessment::new(Health::Unknown, format!("unknown phase {phase:?}")),
    })
}

pub(super) fn volume(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let status: Phase<'_> = read(object.status, "status")?;
    Ok(match &*status.phase {
        "Available" | "Bound" => Assessment::HEALTHY,
        "Released" => Assessment::healthy("released: its claim is gone, its content is still there"),
        "Failed" => Assessment::degraded(status.message),
        "Pending" | "" => Assessment::progressing("not looked at yet"),
        phase => Assessment::new(Health::Unknown, format!("unknown phase {phase:?}")),
    })
}

pub(super) fn namespace(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let status: Phase<'_> = read(object.status, "status")?;
    Ok(match &*status.phase {
        "Terminating" => Assessment::progressing("being deleted"),
        _ => Assessment::HEALTHY,
    })
}
