//! Whether the objects of a kind live in a namespace.
//!
//! The cluster says it for the kinds it serves, a CustomResourceDefinition of the same render for those it will serve.
//! What Kubernetes itself brings is known besides, so that a render far from a cluster is right.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::object::{ApiSet, GroupKind};

/// Where the objects of a kind live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// The cluster-scoped kinds of Kubernetes 1.37, those of its groups that are not named here being namespaced.
const CLUSTER_KINDS: [(&str, &str); 33] = [
    ("", "ComponentStatus"),
    ("", "Namespace"),
    ("", "Node"),
    ("", "PersistentVolume"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("certificates.k8s.io", "ClusterTrustBundle"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
    ("networking.k8s.io", "IPAddress"),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "ServiceCIDR"),
    ("node.k8s.io", "RuntimeClass"),
    ("policy", "PodSecurityPolicy"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("resource.k8s.io", "DeviceClass"),
    ("resource.k8s.io", "DeviceTaintRule"),
    ("resource.k8s.io", "ResourceSlice"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
    ("storage.k8s.io", "VolumeAttributesClass"),
    ("storagemigration.k8s.io", "StorageVersionMigration"),
];

/// The namespaced kinds of Kubernetes' own groups that manifests declare, by group.
const NAMESPACED_GROUPS: [&str; 5] = ["", "apps", "autoscaling", "batch", "policy"];

/// The namespaced kinds of groups where CustomResourceDefinitions may add others.
const NAMESPACED_KINDS: [(&str, &str); 9] = [
    ("coordination.k8s.io", "Lease"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("events.k8s.io", "Event"),
    ("networking.k8s.io", "Ingress"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("resource.k8s.io", "ResourceClaim"),
    ("resource.k8s.io", "ResourceClaimTemplate"),
];

/// Returns the scope of a kind, or `None` where nobody knows it.
///
/// `provided` are the kinds that CustomResourceDefinitions of the same render bring.
pub fn scope_of(kind: &GroupKind, apis: &ApiSet, provided: &BTreeMap<GroupKind, Scope>) -> Option<Scope> {
    if let Some(served) = apis.kinds.get(kind) {
        return Some(if served.namespaced { Scope::Namespaced } else { Scope::Cluster });
    }
    provided.get(kind).copied().or_else(|| built_in(kind))
}

fn built_in(kind: &GroupKind) -> Option<Scope> {
    let named = (&*kind.group, &*kind.kind);
    if CLUSTER_KINDS.contains(&named) {
        Some(Scope::Cluster)
    } else if NAMESPACED_GROUPS.contains(&named.0) || NAMESPACED_KINDS.contains(&named) {
        Some(Scope::Namespaced)
    } else {
        None
    }
}

/// Returns the kind that a CustomResourceDefinition brings, with its scope; `None` where it does not say so.
pub fn provides(definition: &Map<String, Value>) -> Option<(GroupKind, Scope)> {
    let spec = definition.get("spec")?;
    let group = spec.get("group")?.as_str()?;
    let kind = spec.get("names")?.get("kind")?.as_str()?;
    let scope = match spec.get("scope")?.as_str()? {
        "Cluster" => Scope::Cluster,
        _ => Scope::Namespaced,
    };
    Some((GroupKind::new(group, kind), scope))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::ServedKind;

    fn scope(group: &str, kind: &str, apis: &ApiSet) -> Option<Scope> {
        scope_of(&GroupKind::new(group, kind), apis, &BTreeMap::new())
    }

    #[test]
    fn kinds_of_kubernetes_are_known_without_a_cluster() {
        let none = ApiSet::default();
        assert_eq!(scope("", "ConfigMap", &none), Some(Scope::Namespaced));
        assert_eq!(scope("apps", "Deployment", &none), Some(Scope::Namespaced));
        assert_eq!(scope("rbac.authorization.k8s.io", "ClusterRole", &none), Some(Scope::Cluster));
        assert_eq!(scope("rbac.authorization.k8s.io", "Role", &none), Some(Scope::Namespaced));
        assert_eq!(scope("gateway.networking.k8s.io", "Gateway", &none), None);
    }

    #[test]
    fn the_cluster_has_the_last_word() {
        let kinds = BTreeMap::from([(
            GroupKind::new("", "ConfigMap"),
            ServedKind { plural: "configmaps".into(), namespaced: false, versions: vec!["v1".into()] },
        )]);
        let apis = ApiSet { kinds, incomplete: Vec::new() };
        assert_eq!(scope("", "ConfigMap", &apis), Some(Scope::Cluster));
    }

    #[test]
    fn definition_of_the_same_render_says_its_scope() {
        let definition = json!({
            "spec": { "group": "example.com", "scope": "Cluster", "names": { "kind": "Zone" } }
        });
        let (kind, scope) = provides(definition.as_object().expect("a mapping")).expect("a definition");
        let provided = BTreeMap::from([(kind.clone(), scope)]);
        assert_eq!(scope_of(&kind, &ApiSet::default(), &provided), Some(Scope::Cluster));
    }
}
