//! What people ask of an app; the agent never writes it.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AppStatus;
use crate::desired::Propagation;
use crate::inventory::Uid;
use crate::sync::event::{Approval, Ask, Deletion, Pin};

/// What people ask of an app.
#[derive(CustomResource, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "skiff.dev",
    version = "v1alpha1",
    kind = "App",
    namespaced,
    doc = "One app that Skiff keeps equal to Git: people write the spec, the agent writes the status.",
    status = "AppStatus",
    derive = "PartialEq",
    category = "gitops",
    annotation("helm.sh/resource-policy", "keep"),
    crates(kube_core = "kube_core"),
    printcolumn = r#"{"name":"Sync","type":"string","jsonPath":".status.sync"}"#,
    printcolumn = r#"{"name":"Health","type":"string","jsonPath":".status.health"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.revision.name"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase","priority":1}"#,
    printcolumn = r#"{"name":"Objects","type":"integer","jsonPath":".status.counts.total","priority":1}"#,
    printcolumn = r#"{"name":"Applied","type":"string","jsonPath":".status.applied.name","priority":1}"#,
    printcolumn = r#"{"name":"Repository","type":"string","jsonPath":".status.revision.url","priority":1}"#,
    printcolumn = r#"{"name":"Plan","type":"string","jsonPath":".status.plan.digest","priority":1}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AppSpec {
    /// The plan that may be applied, and who said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRequest>,
    /// Set while nothing may be written for this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Changed, to anything else, to ask for a sync now; usually a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub sync: Option<String>,
    /// The release that the app goes back to and stays at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<PinRequest>,
    /// Set to delete the app's objects. An app that the app list still has stays away until this is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<DeleteRequest>,
    /// Objects that left Git and may be deleted although something guards them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub prune: Vec<PruneRequest>,
}

/// A person's word that one object may be deleted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PruneRequest {
    /// `Kind/namespace/name`, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub object: String,
    /// The uid of the object, as `status.objects[].prunable` shows it: another one of its name is not meant.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// A person's word that an app is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteRequest {
    /// What becomes of what the app's objects own; `orphan` lets the objects themselves stay, and only forgets them.
    #[serde(default)]
    pub cascade: Propagation,
    /// Also Namespaces, CustomResourceDefinitions, StatefulSets, PersistentVolumes and their claims, and what asks
    /// for confirmation.
    #[serde(default)]
    pub sensitive_kinds: bool,
}

/// A person's word that an app goes back to a release of its history and stays there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PinRequest {
    /// The release's render as `status.history[].render` shows it.
    #[schemars(regex(pattern = r"^[0-9a-f]{32}$"))]
    pub release: String,
    /// For people; shown wherever the app is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub reason: String,
}

/// A person's word on one plan.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequest {
    /// The plan's digest as `status.plan.digest` shows it: nothing else is applied.
    #[schemars(regex(pattern = r"^[0-9a-f]{32}$"))]
    pub digest: String,
    /// The person, as the API server knows them.
    #[schemars(length(min = 1, max = 256))]
    pub by: String,
}

/// Why an app is paused.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// For people; shown wherever the app is.
    #[schemars(length(max = 1024))]
    pub reason: String,
}

impl AppSpec {
    /// Returns what the machine understands of it. An approval or a pin whose digest cannot be one is none.
    pub fn ask(&self) -> Ask {
        let approval = self.approval.as_ref().and_then(|request| {
            let digest = request.digest.parse().ok()?;
            Some(Approval { digest, by: request.by.clone() })
        });
        Ask {
            approval,
            paused: self.pause.as_ref().map(|pause| pause.reason.clone()),
            sync: self.sync.clone(),
            pin: self.pin.as_ref().and_then(|request| {
                let release = request.release.parse().ok()?;
                Some(Pin { release, reason: request.reason.clone() })
            }),
            delete: self
                .delete
                .map(|DeleteRequest { cascade, sensitive_kinds }| Deletion { cascade, sensitive_kinds }),
            prune: self.prune.iter().map(|request| Uid(request.uid.as_str().into())).collect(),
        }
    }
}
