//! Where in the API an object is: pure string building from what discovery found.

use std::fmt::Write as _;
use std::sync::Arc;

use skiff_shared::object::{ApiSet, GroupKind, ServedKind, Target};
use skiff_shared::sync::event::{Cause, Failure, Refusal};

/// Returns the path of an object, or why there cannot be one.
pub(super) fn of_object(apis: &ApiSet, target: &Target) -> Result<String, Failure> {
    let kind = target.id.kind();
    let served = apis.kinds.get(kind).filter(|_| apis.served(kind, &target.version));
    let Some(served) = served else { return Err(missing_kind(kind, &target.version)) };
    let namespace = target.id.namespace().filter(|_| served.namespaced);
    if served.namespaced && namespace.is_none() {
        return Err(refused(
            Refusal::SchemaInvalid,
            format!("{kind} is namespaced: {} needs one", target.id),
        ));
    }
    in_collection(kind, &target.version, served, namespace, target.id.name())
}

/// A collection of objects of one kind: all of them, or those of one namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub namespace: Option<Arc<str>>,
    pub path: String,
}

/// Returns the collections of a kind in the server's preferred version: one for each of `namespaces`, and one for
/// everything where none is named or the kind has no namespaces.
pub(super) fn of_kind(apis: &ApiSet, kind: &GroupKind, namespaces: &[Arc<str>]) -> Option<Vec<Part>> {
    let served = apis.kinds.get(kind)?;
    let root = root(&kind.group, served.versions.first()?);
    let plural = segment(&served.plural);
    if namespaces.is_empty() || !served.namespaced {
        return Some(vec![Part { namespace: None, path: format!("{root}/{plural}") }]);
    }
    let within = |namespace: &Arc<str>| Part {
        namespace: Some(namespace.clone()),
        path: format!("{root}/namespaces/{}/{plural}", segment(namespace)),
    };
    Some(namespaces.iter().map(within).collect())
}

fn in_collection(
    kind: &GroupKind,
    version: &str,
    served: &ServedKind,
    namespace: Option<&str>,
    name: &str,
) -> Result<String, Failure> {
    // A dot segment would be taken out of the path on its way and name another object.
    if [".", "..", ""].contains(&name) || namespace.is_some_and(|name| [".", "..", ""].contains(&name)) {
        return Err(refused(Refusal::SchemaInvalid, format!("{name:?} is not a name")));
    }
    let mut path = root(&kind.group, version);
    if let Some(namespace) = namespace {
        path = format!("{path}/namespaces/{}", segment(namespace));
    }
    Ok(format!("{path}/{}/{}", segment(&served.plural), segment(name)))
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{}", segment(version))
    } else {
        format!("/apis/{}/{}", segment(group), segment(version))
    }
}

/// Escapes what is not plain in a path segment or a query value: names come from people's files.
pub(super) fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("writing to a string succeeds");
        }
    }
    escaped
}

fn missing_kind(kind: &GroupKind, version: &str) -> Failure {
    let message = format!("the cluster does not serve {kind} in version {version}");
    Failure::NotFound(Cause { reason: Refusal::KindMissing, code: 0, message })
}

fn refused(reason: Refusal, message: String) -> Failure {
    Failure::Rejected(Cause { reason, code: 0, message })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use skiff_shared::object::Interner;

    use super::*;

    fn apis() -> ApiSet {
        let served = |plural: &str, namespaced, version: &str| ServedKind {
            plural: plural.into(),
            namespaced,
            versions: vec![version.into()],
        };
        let kinds = BTreeMap::from([
            (GroupKind::new("", "ConfigMap"), served("configmaps", true, "v1")),
            (GroupKind::new("rbac.authorization.k8s.io", "ClusterRole"), served("clusterroles", false, "v1")),
        ]);
        ApiSet { kinds, incomplete: Vec::new() }
    }

    fn path(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> Result<String, Failure> {
        let mut interner = Interner::default();
        let id = interner.object(group, kind, namespace, name);
        of_object(&apis(), &Target { id, version: "v1".into() })
    }

    #[test]
    fn objects_are_found_by_group_version_namespace_and_plural() {
        assert_eq!(
            path("", "ConfigMap", Some("shop"), "web"),
            Ok("/api/v1/namespaces/shop/configmaps/web".into())
        );
        assert_eq!(
            path("rbac.authorization.k8s.io", "ClusterRole", None, "system:node"),
            Ok("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node".into())
        );
    }

    #[test]
    fn a_kind_is_one_collection_or_one_for_each_namespace() {
        let paths = |group: &str, kind: &str, namespaces: &[Arc<str>]| -> Option<Vec<String>> {
            let parts = of_kind(&apis(), &GroupKind::new(group, kind), namespaces)?;
            Some(parts.into_iter().map(|part| part.path).collect())
        };
        let two: [Arc<str>; 2] = ["shop".into(), "pay".into()];
        assert_eq!(paths("", "ConfigMap", &[]), Some(vec!["/api/v1/configmaps".to_owned()]));
        assert_eq!(
            paths("", "ConfigMap", &two),
            Some(vec![
                "/api/v1/namespaces/shop/configmaps".to_owned(),
                "/api/v1/namespaces/pay/configmaps".to_owned()
            ])
        );
        assert_eq!(
            paths("rbac.authorization.k8s.io", "ClusterRole", &two),
            Some(vec!["/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned()])
        );
        assert_eq!(paths("", "Widget", &two), None);
    }

    #[test]
    fn a_name_cannot_lead_to_another_object() {
        assert_eq!(
            path("", "ConfigMap", Some("shop"), "../secrets/key?x"),
            Ok("/api/v1/namespaces/shop/configmaps/..%2Fsecrets%2Fkey%3Fx".into())
        );
        assert!(matches!(path("", "ConfigMap", Some(".."), "web"), Err(Failure::Rejected(_))));
        assert!(matches!(path("", "ConfigMap", Some("shop"), ".."), Err(Failure::Rejected(_))));
    }

    #[test]
    fn what_the_cluster_does_not_serve_is_missing() {
        assert!(matches!(path("", "Widget", Some("shop"), "web"), Err(Failure::NotFound(_))));
        assert!(matches!(path("", "ConfigMap", None, "web"), Err(Failure::Rejected(_))));
    }
}
