//! Puts children under their owners: pure, by the uids that the API server gave.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;
use skiff_shared::health::{Assessment, Health};
use skiff_shared::object::ObjectId;

use crate::cluster::look::Looked;

/// What stands where nothing is known, or nothing has to be said.
pub const NOTHING: &str = "-";

/// An object of an app, or one that such an object owns.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: ObjectId,
    /// `None` where it is not there, or may not be read.
    pub object: Option<Looked>,
    /// `Synced` or `OutOfSync`; [`NOTHING`] for what Git says nothing of.
    pub sync: String,
    pub health: String,
    pub message: String,
    pub children: Vec<Node>,
}

impl Node {
    /// Returns an object that another one owns.
    fn child(id: ObjectId, object: Looked) -> Self {
        let Assessment { health, message } = object.assess(id.kind());
        Self {
            id,
            object: Some(object),
            sync: NOTHING.to_owned(),
            health: health.word().to_owned(),
            message: message.unwrap_or_default(),
            children: Vec::new(),
        }
    }

    pub fn uid(&self) -> Option<&str> {
        self.object.as_ref()?.metadata.uid.as_deref()
    }

    /// Calls `visit` for this node and all below it, each with its owners, the nearest last.
    pub fn walk<'a>(&'a self, owners: &mut Vec<&'a Node>, visit: &mut impl FnMut(&'a Node, &[&'a Node])) {
        visit(self, owners);
        owners.push(self);
        self.children.iter().for_each(|child| child.walk(owners, visit));
        owners.pop();
    }
}

/// Puts what was found under the objects that own it. What none of them owns is left out.
pub fn grow(roots: &mut [Node], found: Vec<(ObjectId, Looked)>) {
    let at_home: BTreeSet<String> = roots.iter().filter_map(|root| root.uid().map(str::to_owned)).collect();
    let claims = claims(roots, &found);
    let mut owned: HashMap<String, Vec<Node>> = HashMap::new();
    for (id, object) in found {
        let is_root = object.metadata.uid.as_ref().is_some_and(|uid| at_home.contains(uid));
        let owner =
            owner(&object).or_else(|| claims.iter().find(|claim| claim.takes(&id)).map(|it| it.uid.clone()));
        if let Some(owner) = owner.filter(|_| !is_root) {
            owned.entry(owner).or_default().push(Node::child(id, object));
        }
    }
    roots.iter_mut().for_each(|root| attach(root, &mut owned));
}

fn attach(node: &mut Node, owned: &mut HashMap<String, Vec<Node>>) {
    let Some(mut children) = node.uid().and_then(|uid| owned.remove(uid)) else { return };
    children.sort_by(|a, b| a.id.cmp(&b.id));
    children.iter_mut().for_each(|child| attach(child, owned));
    node.children.extend(children);
}

/// Returns the uid of the controller, else of the first owner.
fn owner(object: &Looked) -> Option<String> {
    let owners = object.metadata.owner_references.as_deref().unwrap_or_default();
    let controller = owners.iter().find(|owner| owner.controller == Some(true));
    controller.or(owners.first()).map(|owner| owner.uid.clone())
}

/// The claims that a StatefulSet makes for its pods: `TEMPLATE-SET-NUMBER`, without an owner.
struct Claims {
    namespace: Option<String>,
    /// `TEMPLATE-SET-`.
    prefix: String,
    uid: String,
}

impl Claims {
    fn takes(&self, id: &ObjectId) -> bool {
        let number = id.name().strip_prefix(&self.prefix);
        id.is("", "PersistentVolumeClaim")
            && id.namespace() == self.namespace.as_deref()
            && number
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

fn claims(roots: &[Node], found: &[(ObjectId, Looked)]) -> Vec<Claims> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        volume_claim_templates: Vec<Template>,
    }
    #[derive(Deserialize)]
    struct Template {
        metadata: Name,
    }
    #[derive(Deserialize)]
    struct Name {
        name: String,
    }
    let all = roots.iter().filter_map(|root| Some((&root.id, root.object.as_ref()?)));
    let all = all.chain(found.iter().map(|(id, object)| (id, object)));
    let mut claims = Vec::new();
    for (id, object) in all.filter(|(id, _)| id.is("apps", "StatefulSet")) {
        let spec: Spec = read(object);
        let Some(uid) = object.metadata.uid.clone() else { continue };
        claims.extend(spec.volume_claim_templates.into_iter().map(|template| Claims {
            namespace: id.namespace().map(str::to_owned),
            prefix: format!("{}-{}-", template.metadata.name, id.name()),
            uid: uid.clone(),
        }));
    }
    claims
}

/// Reads the spec; its default where it has another shape than its kind promises.
fn read<T: for<'de> Deserialize<'de> + Default>(object: &Looked) -> T {
    object.spec.as_ref().and_then(|spec| serde_json::from_str(spec.get()).ok()).unwrap_or_default()
}

/// Leaves out what is only kept for going back: revisions of controllers, and ReplicaSets that want no pods and have none.
pub fn without_history(nodes: Vec<Node>) -> Vec<Node> {
    #[derive(Deserialize, Default)]
    struct Spec {
        replicas: Option<i64>,
    }
    let is_history = |node: &Node| {
        let wants_none = || node.object.as_ref().is_some_and(|it| read::<Spec>(it).replicas == Some(0));
        node.id.is("apps", "ControllerRevision")
            || node.id.is("apps", "ReplicaSet") && node.children.is_empty() && wants_none()
    };
    let kept = nodes.into_iter().map(|mut node| {
        node.children.retain(|child| !is_history(child));
        node.children = without_history(std::mem::take(&mut node.children));
        node
    });
    kept.collect()
}

/// Returns the word for an object that may not be read.
pub fn unread() -> String {
    Health::Unknown.word().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use skiff_shared::object::Interner;

    use super::*;

    fn id(kind: &str, name: &str) -> ObjectId {
        let group = match kind {
            "Deployment" | "ReplicaSet" | "StatefulSet" | "ControllerRevision" => "apps",
            _ => "",
        };
        Interner::default().object(group, kind, Some("shop"), name)
    }

    /// An object whose uid is its name.
    fn object(name: &str, owners: &[&str], spec: Value) -> Looked {
        let owners: Vec<Value> = owners
            .iter()
            .map(|uid| json!({"apiVersion": "v1", "kind": "X", "name": uid, "uid": uid, "controller": !uid.starts_with("other")}))
            .collect();
        let object =
            json!({"metadata": {"name": name, "uid": name, "ownerReferences": owners}, "spec": spec});
        serde_json::from_value(object).expect("an object")
    }

    fn root(kind: &str, name: &str, spec: Value) -> Node {
        Node { sync: "Synced".to_owned(), ..Node::child(id(kind, name), object(name, &[], spec)) }
    }

    fn drawn(nodes: &[Node]) -> String {
        let mut lines = Vec::new();
        for node in nodes {
            node.walk(&mut Vec::new(), &mut |node, owners| {
                lines.push(format!("{}{}", "  ".repeat(owners.len()), node.id));
            });
        }
        lines.join("\n")
    }

    #[test]
    fn children_stand_under_their_controller_and_strangers_nowhere() {
        let mut roots = [root("Deployment", "web", json!({})), root("ConfigMap", "settings", json!(null))];
        let found = vec![
            (id("Pod", "web-1-b"), object("web-1-b", &["web-1"], json!({}))),
            (id("Pod", "web-1-a"), object("web-1-a", &["other", "web-1"], json!({}))),
            (id("Pod", "alone"), object("alone", &[], json!({}))),
            (id("Pod", "cron-1"), object("cron-1", &["cron"], json!({}))),
            (id("ReplicaSet", "web-1"), object("web-1", &["web"], json!({"replicas": 2}))),
            (id("ReplicaSet", "web-0"), object("web-0", &["web"], json!({"replicas": 0}))),
            (id("Deployment", "web"), object("web", &[], json!({}))),
        ];
        grow(&mut roots, found);
        insta::assert_snapshot!(drawn(&roots), @r"
        Deployment/shop/web
          ReplicaSet/shop/web-0
          ReplicaSet/shop/web-1
            Pod/shop/web-1-a
            Pod/shop/web-1-b
        ConfigMap/shop/settings
        ");
        insta::assert_snapshot!(drawn(&without_history(roots.to_vec())), @r"
        Deployment/shop/web
          ReplicaSet/shop/web-1
            Pod/shop/web-1-a
            Pod/shop/web-1-b
        ConfigMap/shop/settings
        ");
    }

    #[test]
    fn claims_of_a_stateful_set_are_known_by_their_names() {
        let templates = json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}}]});
        let mut roots = [root("StatefulSet", "db", templates)];
        let claim = |name: &str| (id("PersistentVolumeClaim", name), object(name, &[], json!({})));
        grow(&mut roots, vec![claim("data-db-0"), claim("data-db-x"), claim("data-db-"), claim("logs-db-0")]);
        insta::assert_snapshot!(drawn(&roots), @r"
        StatefulSet/shop/db
          PersistentVolumeClaim/shop/data-db-0
        ");
    }

    #[test]
    fn objects_that_own_each_other_do_not_hang_the_tree() {
        let mut roots = [root("ConfigMap", "a", json!(null))];
        let found = vec![
            (id("ConfigMap", "b"), object("b", &["a"], json!(null))),
            (id("ConfigMap", "c"), object("c", &["c"], json!(null))),
        ];
        grow(&mut roots, found);
        insta::assert_snapshot!(drawn(&roots), @r"
        ConfigMap/shop/a
          ConfigMap/shop/b
        ");
    }
}
