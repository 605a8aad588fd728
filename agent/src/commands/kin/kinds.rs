//! Which kinds an object's children are of: a table for the kinds of Kubernetes, a guess for others.

use std::collections::BTreeSet;

use skiff_shared::object::{ApiSet, GroupKind};

/// Group and kind.
type Named = (&'static str, &'static str);

/// What the controllers of Kubernetes make for an object of a kind: the owner's kind, then those of its children.
/// PersistentVolumeClaims of a StatefulSet have no owner unless it asks for one, and are known by their names.
const CHILDREN: [(Named, &[Named]); 8] = [
    (("apps", "Deployment"), &[("apps", "ReplicaSet")]),
    (("apps", "ReplicaSet"), &[("", "Pod")]),
    (("apps", "StatefulSet"), &[("", "Pod"), ("apps", "ControllerRevision"), ("", "PersistentVolumeClaim")]),
    (("apps", "DaemonSet"), &[("", "Pod"), ("apps", "ControllerRevision")]),
    (("", "ReplicationController"), &[("", "Pod")]),
    (("batch", "CronJob"), &[("batch", "Job")]),
    (("batch", "Job"), &[("", "Pod")]),
    (("", "Service"), &[("discovery.k8s.io", "EndpointSlice")]),
];

/// What operators make for the objects that they serve, beside kinds of their own.
const MADE_BY_OPERATORS: [Named; 12] = [
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("apps", "ReplicaSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
    ("", "Pod"),
    ("", "Service"),
    ("", "ConfigMap"),
    ("", "Secret"),
    ("", "PersistentVolumeClaim"),
    ("policy", "PodDisruptionBudget"),
];

/// Returns the kinds that may have children of such objects, and children of these, as far as the cluster serves them.
pub fn below<'a>(owners: impl IntoIterator<Item = &'a GroupKind>, apis: &ApiSet) -> BTreeSet<GroupKind> {
    let mut found = BTreeSet::new();
    let mut open: Vec<GroupKind> = owners.into_iter().cloned().collect();
    while let Some(owner) = open.pop() {
        for child in children(&owner, apis) {
            if apis.kinds.contains_key(&child) && found.insert(child.clone()) {
                open.push(child);
            }
        }
    }
    found
}

fn children(owner: &GroupKind, apis: &ApiSet) -> Vec<GroupKind> {
    let known = CHILDREN.iter().find(|((group, kind), _)| **group == *owner.group && **kind == *owner.kind);
    if let Some((_, children)) = known {
        return children.iter().map(|(group, kind)| GroupKind::new(group, kind)).collect();
    }
    if is_built_in(&owner.group) {
        return Vec::new();
    }
    let family = family(&owner.group);
    let relatives =
        apis.kinds.keys().filter(|kind| !is_built_in(&kind.group) && self::family(&kind.group) == family);
    let made = MADE_BY_OPERATORS.iter().map(|(group, kind)| GroupKind::new(group, kind));
    relatives.cloned().chain(made).collect()
}

/// Whether the group is one of Kubernetes: those of others have a domain of their own.
fn is_built_in(group: &str) -> bool {
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// Returns what the groups of one project have in common: `cert-manager.io` of `acme.cert-manager.io`.
fn family(group: &str) -> &str {
    let dots: Vec<usize> = group.rmatch_indices('.').map(|(at, _)| at).collect();
    dots.get(1).map_or(group, |at| &group[at + 1..])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use skiff_shared::object::ServedKind;

    use super::*;

    fn served(kinds: &[(&str, &str)]) -> ApiSet {
        let served = || ServedKind { plural: "x".into(), namespaced: true, versions: vec!["v1".into()] };
        let kinds = kinds.iter().map(|(group, kind)| (GroupKind::new(group, kind), served()));
        ApiSet { kinds: kinds.collect::<BTreeMap<_, _>>(), incomplete: Vec::new() }
    }

    fn names(owners: &[(&str, &str)], apis: &ApiSet) -> String {
        let owners: Vec<GroupKind> = owners.iter().map(|(group, kind)| GroupKind::new(group, kind)).collect();
        below(&owners, apis).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn children_of_children_are_looked_for_too() {
        let apis = served(&[("apps", "Deployment"), ("apps", "ReplicaSet"), ("", "Pod"), ("", "Secret")]);
        assert_eq!(names(&[("apps", "Deployment")], &apis), "Pod ReplicaSet.apps");
        assert_eq!(names(&[("", "ConfigMap"), ("networking.k8s.io", "Ingress")], &apis), "");
        assert_eq!(names(&[("batch", "CronJob")], &apis), "", "the cluster serves no Jobs");
    }

    #[test]
    fn an_operators_objects_have_kinds_of_its_own_and_usual_ones() {
        let apis = served(&[
            ("cert-manager.io", "Certificate"),
            ("cert-manager.io", "CertificateRequest"),
            ("acme.cert-manager.io", "Order"),
            ("example.io", "Widget"),
            ("", "Secret"),
            ("", "Node"),
        ]);
        let found = names(&[("cert-manager.io", "Certificate")], &apis);
        assert_eq!(
            found,
            "Secret Order.acme.cert-manager.io Certificate.cert-manager.io CertificateRequest.cert-manager.io"
        );
    }
}
