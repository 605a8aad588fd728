//! The cases: what is changed by whom, and what the rule of drift has to say.

use serde::Serialize;
use serde_json::{Value, json};

/// One change to an object of ours.
pub struct Case {
    /// Names the object and the fixture.
    pub name: &'static str,
    /// What is done, for people.
    pub change: &'static str,
    pub kind: Kind,
    pub when: When,
    /// Done before our apply.
    pub before: Vec<Change>,
    /// Done after our apply.
    pub changes: Vec<Change>,
    pub expected: Expected,
}

/// When the change comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At least a second after our apply.
    Later,
    /// Within the very second of our apply, together with what comes before it.
    SameSecond,
}

/// What the object is.
#[derive(Clone, Copy)]
pub enum Kind {
    Deployment,
    ConfigMap,
}

impl Kind {
    /// Returns apiVersion, kind and plural.
    pub(super) fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Deployment => ("apps/v1", "Deployment", "deployments"),
            Self::ConfigMap => ("v1", "ConfigMap", "configmaps"),
        }
    }

    /// Returns what we apply, without names.
    pub(super) fn manifest(self) -> Value {
        let labels = json!({"app": "web", "team": "shop", "skiff.dev/instance": "lab"});
        match self {
            Self::Deployment => json!({
                "metadata": {"labels": labels, "annotations": {"example.com/note": "one"}},
                "spec": {
                    "replicas": 2,
                    "selector": {"matchLabels": {"app": "web"}},
                    "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{
                        "name": "web",
                        "image": "example.com/web:1",
                        "args": ["--port=80"],
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        "resources": {"requests": {"cpu": "100m"}},
                    }]}},
                },
            }),
            Self::ConfigMap => json!({"metadata": {"labels": labels}, "data": {"a": "1", "b": "2"}}),
        }
    }
}

/// A write by somebody, named by the field manager that it is known by.
pub enum Change {
    Merge {
        by: &'static str,
        at: &'static str,
        body: Value,
    },
    Strategic {
        by: &'static str,
        body: Value,
    },
    JsonPatch {
        by: &'static str,
        body: Value,
    },
    Apply {
        by: &'static str,
        body: Value,
    },
    Put {
        by: &'static str,
        edit: fn(&mut Value),
    },
    /// Puts the managedFields back that our apply had left.
    Forge {
        by: &'static str,
    },
    /// kubectl's client-side apply of our manifest, edited.
    Kubectl {
        edit: fn(&mut Value),
    },
    Delete,
    /// Our manifest, applied under our name.
    ApplyOurs,
}

/// What the rule has to say of a case.
#[derive(Serialize, Clone)]
pub struct Expected {
    /// `Same`, `Changed`, `Replaced`, `Ambiguous` or `Gone`.
    pub verdict: &'static str,
    /// The paths that were ours before and are not now.
    pub lost: Vec<&'static str>,
    /// Manager and operation, with the subresource if there is one.
    pub actor: Option<&'static str>,
}

/// Returns all cases.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = deployments();
    cases.extend(appliers());
    cases.extend(metadata());
    cases.extend(clients());
    cases.extend(config_maps());
    cases.extend(within_a_second());
    cases
}

fn later(name: &'static str, change: &'static str, by: Change, expected: Expected) -> Case {
    Case {
        name,
        change,
        kind: Kind::Deployment,
        when: When::Later,
        before: Vec::new(),
        changes: vec![by],
        expected,
    }
}

fn verdict(verdict: &'static str) -> Expected {
    Expected { verdict, lost: Vec::new(), actor: None }
}

fn same() -> Expected {
    verdict("Same")
}

fn lost(paths: &[&'static str], actor: &'static str) -> Expected {
    Expected { verdict: "Changed", lost: paths.to_vec(), actor: Some(actor) }
}

fn merge(by: &'static str, body: Value) -> Change {
    Change::Merge { by, at: "", body }
}

/// A strategic merge patch of our one container.
fn container(by: &'static str, mut fields: Value) -> Change {
    fields["name"] = "web".into();
    Change::Strategic { by, body: json!({"spec": {"template": {"spec": {"containers": [fields]}}}}) }
}

const IMAGE: &str = r#".spec.template.spec.containers[name="web"].image"#;
const ARGS: &str = r#".spec.template.spec.containers[name="web"].args"#;
const ENV_B: [&str; 3] = [
    r#".spec.template.spec.containers[name="web"].env[name="B"]"#,
    r#".spec.template.spec.containers[name="web"].env[name="B"].name"#,
    r#".spec.template.spec.containers[name="web"].env[name="B"].value"#,
];

/// Everything that our apply of the Deployment owns.
const ALL_OURS: [&str; 18] = [
    ".metadata.annotations[example.com/note]",
    ".metadata.labels.app",
    ".metadata.labels[skiff.dev/instance]",
    ".metadata.labels.team",
    ".spec.replicas",
    ".spec.selector",
    ".spec.template.metadata.labels.app",
    r#".spec.template.spec.containers[name="web"]"#,
    ARGS,
    r#".spec.template.spec.containers[name="web"].env[name="A"]"#,
    r#".spec.template.spec.containers[name="web"].env[name="A"].name"#,
    r#".spec.template.spec.containers[name="web"].env[name="A"].value"#,
    ENV_B[0],
    ENV_B[1],
    ENV_B[2],
    IMAGE,
    r#".spec.template.spec.containers[name="web"].name"#,
    r#".spec.template.spec.containers[name="web"].resources.requests.cpu"#,
];

fn deployments() -> Vec<Case> {
    let scale = |replicas: u32| Change::Merge {
        by: "kubectl",
        at: "scale",
        body: json!({"spec": {"replicas": replicas}}),
    };
    let restart = json!({"spec": {"template": {"metadata": {"annotations":
        {"kubectl.kubernetes.io/restartedAt": "2026-11-23T08:00:00Z"}}}}});
    let replicas = |count: u32| merge("kubectl-patch", json!({"spec": {"replicas": count}}));
    let mut change_and_back = later(
        "change-and-back",
        "replicas 2 to 3 and back to 2",
        replicas(3),
        lost(&[".spec.replicas"], "kubectl-patch Update"),
    );
    change_and_back.changes.push(replicas(2));
    vec![
        later(
            "rollout-restart",
            "kubectl rollout restart",
            Change::Strategic { by: "kubectl-rollout", body: restart },
            same(),
        ),
        later("scale-up", "kubectl scale to 3", scale(3), lost(&[".spec.replicas"], "kubectl Update scale")),
        later("scale-to-the-same", "kubectl scale to the 2 that it has", scale(2), same()),
        later(
            "set-image",
            "kubectl set image",
            container("kubectl-set", json!({"image": "example.com/web:2"})),
            lost(&[IMAGE], "kubectl-set Update"),
        ),
        later(
            "env-removed",
            "an environment variable removed",
            container("kubectl-edit", json!({"env": [{"name": "B", "$patch": "delete"}]})),
            Expected { verdict: "Changed", lost: ENV_B.to_vec(), actor: None },
        ),
        later(
            "env-added",
            "an environment variable added",
            container("kubectl-edit", json!({"env": [{"name": "C", "value": "3"}]})),
            same(),
        ),
        later(
            "args-changed",
            "an atomic list changed",
            container("kubectl-edit", json!({"args": ["--port=80", "--debug"]})),
            lost(&[ARGS], "kubectl-edit Update"),
        ),
        later("same-value", "replicas set to the 2 that it has", replicas(2), same()),
        later(
            "same-quantity",
            "100m of CPU written as 0.1",
            container("kubectl-edit", json!({"resources": {"requests": {"cpu": "0.1"}}})),
            same(),
        ),
        change_and_back,
        later(
            "status-written",
            "a controller writes the status",
            Change::Merge {
                by: "kube-controller-manager",
                at: "status",
                body: json!({"status": {"replicas": 2, "observedGeneration": 1}}),
            },
            same(),
        ),
    ]
}

fn appliers() -> Vec<Case> {
    let apply = |by: &'static str, replicas: u32| {
        let mut body = Kind::Deployment.manifest();
        body["spec"]["replicas"] = replicas.into();
        Change::Apply { by, body }
    };
    let template = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}]}});
    let fewer = json!({"spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template}});
    vec![
        later("applied-by-another-same", "another manager applies the same", apply("ops-tool", 2), same()),
        later(
            "applied-by-another-fewer",
            "another manager applies fewer fields",
            Change::Apply { by: "ops-tool", body: fewer },
            same(),
        ),
        later(
            "applied-by-another-other",
            "another manager applies other values",
            apply("ops-tool", 3),
            lost(&[".spec.replicas"], "ops-tool Apply"),
        ),
        later(
            "applied-under-our-name",
            "somebody applies other values under our name",
            apply("skiff", 3),
            lost(&[], "skiff Apply"),
        ),
    ]
}

fn metadata() -> Vec<Case> {
    let label = |name: &str, value: Option<&str>| json!({"metadata": {"labels": {name: value}}});
    let note = |name: &str| json!({"metadata": {"annotations": {name: "x"}}});
    let mut foreign = later(
        "foreign-label-removed",
        "a label that another manager had set is removed",
        merge("kubectl-label", label("example.com/x", None)),
        same(),
    );
    // Applied with another value first, so that our apply is no no-op and its time the newest.
    let mut other = Kind::Deployment.manifest();
    other["spec"]["replicas"] = 1.into();
    foreign.before = vec![
        Change::Apply { by: "skiff", body: other },
        merge("kubectl-label", label("example.com/x", Some("1"))),
    ];
    vec![
        later("annotated", "kubectl annotate", merge("kubectl-annotate", note("example.com/other")), same()),
        later(
            "annotation-changed",
            "an annotation of ours changed",
            merge("kubectl-annotate", note("example.com/note")),
            lost(&[".metadata.annotations[example.com/note]"], "kubectl-annotate Update"),
        ),
        later(
            "our-label-removed",
            "the label that watches select by is removed",
            merge("kubectl-label", label("skiff.dev/instance", None)),
            Expected { verdict: "Changed", lost: vec![".metadata.labels[skiff.dev/instance]"], actor: None },
        ),
        later(
            "another-label-removed",
            "another label of ours is removed",
            merge("kubectl-label", label("team", None)),
            Expected { verdict: "Changed", lost: vec![".metadata.labels.team"], actor: None },
        ),
        foreign,
        later(
            "managed-fields-cleared",
            "managedFields cleared",
            merge("kubectl-patch", json!({"metadata": {"managedFields": [{}]}})),
            Expected { verdict: "Changed", lost: ALL_OURS.to_vec(), actor: None },
        ),
    ]
}

fn clients() -> Vec<Case> {
    let image = |object: &mut Value| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = "example.com/web:2".into();
    };
    let several = |object: &mut Value| {
        let container = &mut object["spec"]["template"]["spec"]["containers"][0];
        container["image"] = "example.com/web:2".into();
        container["env"] = json!([{"name": "A", "value": "1"}]);
        object["spec"]["replicas"] = 3.into();
        object["metadata"]["labels"]["example.com/x"] = "1".into();
    };
    let mut taken = vec![".spec.replicas"];
    taken.extend(ENV_B);
    taken.push(IMAGE);
    let mut forged = later(
        "managed-fields-forged",
        "a client changes the image and then puts managedFields back",
        Change::Put { by: "client", edit: image },
        verdict("Ambiguous"),
    );
    forged.changes.push(Change::Forge { by: "client" });
    vec![
        later(
            "put-by-client",
            "a client puts the object with another image",
            Change::Put { by: "client", edit: image },
            lost(&[IMAGE], "client Update"),
        ),
        later(
            "put-by-controller",
            "a controller reads, changes replicas, image, environment and a label of its own, and puts",
            Change::Put { by: "operator", edit: several },
            lost(&taken, "operator Update"),
        ),
        forged,
        later(
            "client-side-apply",
            "kubectl apply without server-side apply, with another image",
            Change::Kubectl { edit: image },
            lost(&[IMAGE], "kubectl-client-side-apply Update"),
        ),
        later("deleted", "kubectl delete", Change::Delete, verdict("Gone")),
    ]
}

fn config_maps() -> Vec<Case> {
    let data = |by: &'static str, key: &str| merge(by, json!({"data": {key: "x"}}));
    let remove = json!([{"op": "remove", "path": "/data"}]);
    let mut forged = later(
        "config-forged",
        "a client changes a key and then puts managedFields back; there is no generation",
        data("client", "a"),
        verdict("Ambiguous"),
    );
    forged.changes.push(Change::Forge { by: "client" });
    let mut cases = vec![
        later(
            "config-key-changed",
            "a key changed",
            data("kubectl-edit", "a"),
            lost(&[".data.a"], "kubectl-edit Update"),
        ),
        later("config-key-added", "a key added", data("kubectl-edit", "c"), same()),
        later(
            "config-data-removed",
            "all data removed",
            Change::JsonPatch { by: "kubectl-edit", body: remove },
            Expected { verdict: "Changed", lost: vec![".data.a", ".data.b"], actor: None },
        ),
        forged,
    ];
    cases.iter_mut().for_each(|case| case.kind = Kind::ConfigMap);
    cases
}

fn within_a_second() -> Vec<Case> {
    let mut other = Kind::Deployment.manifest();
    other["spec"]["replicas"] = 3.into();
    let status = |replicas: u32| Change::Merge {
        by: "kube-controller-manager",
        at: "status",
        body: json!({"status": {"replicas": replicas}}),
    };
    let mut recreated =
        later("recreated-at-once", "deleted and applied again", Change::Delete, verdict("Replaced"));
    recreated.changes.push(Change::ApplyOurs);
    let mut status_again = later(
        "status-written-again-at-once",
        "a controller writes the status a second time",
        status(2),
        verdict("Ambiguous"),
    );
    status_again.before = vec![Change::Apply { by: "skiff", body: other.clone() }, status(1)];
    let mut cases = vec![
        later(
            "applied-under-our-name-at-once",
            "somebody applies other values under our name",
            Change::Apply { by: "skiff", body: other },
            verdict("Ambiguous"),
        ),
        later("status-written-at-once", "a controller writes the status", status(1), same()),
        recreated,
        status_again,
    ];
    cases.iter_mut().for_each(|case| case.when = When::SameSecond);
    cases
}
