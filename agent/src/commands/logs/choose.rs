//! Which containers of an app are meant: pure.

use std::collections::HashSet;

use serde::Deserialize;
use skiff_shared::object::ObjectId;

use crate::args::PodChoice;
use crate::commands::kin::Node;

/// One container of one pod.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Source {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    /// The pod's.
    pub uid: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    restart_policy: Option<String>,
}

impl Container {
    /// Whether a container that prepares the pod goes on beside the others (a sidecar).
    fn stays(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

/// Returns the containers, sorted. `labelled` has the uids of the pods with the labels that were asked for.
pub fn chosen(roots: &[Node], choice: &PodChoice, labelled: Option<&HashSet<String>>) -> Vec<Source> {
    let mut found = Vec::new();
    for root in roots {
        root.walk(&mut Vec::new(), &mut |node, owners| {
            let Some(uid) = node.uid().filter(|_| node.id.is("", "Pod")) else { return };
            let is_labelled = labelled.is_none_or(|labelled| labelled.contains(uid));
            let named = owners.iter().map(|owner| &owner.id).chain([&node.id]);
            if is_labelled && named.into_iter().any(|id| is_meant(id, choice)) {
                found.extend(containers(node, choice).into_iter().map(|container| Source {
                    namespace: node.id.namespace().unwrap_or_default().to_owned(),
                    pod: node.id.name().to_owned(),
                    container,
                    uid: uid.to_owned(),
                }));
            }
        });
    }
    found.sort();
    found
}

/// Whether this is the object whose pods are asked for; every object is where none is named.
fn is_meant(id: &ObjectId, choice: &PodChoice) -> bool {
    let kind = choice.kind.as_ref().is_none_or(|kind| id.kind().kind.eq_ignore_ascii_case(kind));
    kind && choice.name.as_ref().is_none_or(|name| id.name() == name)
}

fn containers(pod: &Node, choice: &PodChoice) -> Vec<String> {
    let spec = pod.object.as_ref().and_then(|object| object.spec.as_ref());
    let spec: Spec = spec.and_then(|spec| serde_json::from_str(spec.get()).ok()).unwrap_or_default();
    let init = spec
        .init_containers
        .into_iter()
        .filter(|container| choice.all_containers || container.stays() || choice.container.is_some());
    let all = init.chain(spec.containers).map(|container| container.name);
    all.filter(|name| choice.container.as_ref().is_none_or(|wanted| wanted == name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skiff_shared::object::Interner;

    use super::*;
    use crate::commands::kin::NOTHING;

    fn node(kind: &str, name: &str, children: Vec<Node>) -> Node {
        let object = json!({
            "metadata": {"name": name, "uid": name},
            "spec": {
                "initContainers": [{"name": "prepare"}, {"name": "proxy", "restartPolicy": "Always"}],
                "containers": [{"name": "web"}],
            },
        });
        Node {
            id: Interner::default().object("", kind, Some("shop"), name),
            object: Some(serde_json::from_value(object).expect("an object")),
            sync: NOTHING.to_owned(),
            health: "Healthy".to_owned(),
            message: String::new(),
            children,
        }
    }

    fn names(choice: &PodChoice) -> String {
        let pods = vec![node("Pod", "web-1-a", Vec::new()), node("Pod", "web-1-b", Vec::new())];
        let web = node("Deployment", "web", vec![node("ReplicaSet", "web-1", pods)]);
        let roots = [web, node("Pod", "lonely", Vec::new()), node("ConfigMap", "settings", Vec::new())];
        let sources = chosen(&roots, choice, None);
        let names: Vec<String> =
            sources.into_iter().map(|source| format!("{}/{}", source.pod, source.container)).collect();
        names.join(" ")
    }

    #[test]
    fn containers_that_only_prepare_a_pod_are_asked_for() {
        let all = PodChoice::default();
        assert_eq!(
            names(&all),
            "lonely/proxy lonely/web web-1-a/proxy web-1-a/web web-1-b/proxy web-1-b/web"
        );
        let one = PodChoice { container: Some("prepare".to_owned()), ..PodChoice::default() };
        assert_eq!(names(&one), "lonely/prepare web-1-a/prepare web-1-b/prepare");
        let every =
            PodChoice { all_containers: true, name: Some("lonely".to_owned()), ..PodChoice::default() };
        assert_eq!(names(&every), "lonely/prepare lonely/proxy lonely/web");
    }

    #[test]
    fn pods_are_chosen_by_what_owns_them() {
        let of = |kind: Option<&str>, name: Option<&str>| {
            names(&PodChoice {
                container: Some("web".to_owned()),
                kind: kind.map(str::to_owned),
                name: name.map(str::to_owned),
                ..PodChoice::default()
            })
        };
        assert_eq!(of(Some("deployment"), None), "web-1-a/web web-1-b/web");
        assert_eq!(of(Some("Deployment"), Some("web")), "web-1-a/web web-1-b/web");
        assert_eq!(of(None, Some("web-1-b")), "web-1-b/web");
        assert_eq!(of(Some("Deployment"), Some("lonely")), "", "both have to be of one object");
    }
}
