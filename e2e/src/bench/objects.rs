//! The generated objects: of ten, six ConfigMaps, two Deployments without replicas, two Services.
//!
//! Small and ordinary. The Deployments make the controllers write (a ReplicaSet and a status each), the Services
//! likewise (Endpoints and an EndpointSlice each): the API server is as busy as it would be.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Value, json};

/// The namespace of all objects; it exists before anything is measured.
pub(super) const NAMESPACE: &str = "bench";

/// Objects that one file of the repository holds.
const IN_A_FILE: usize = 100;

/// What a witness looks at to see whether an object is as it was generated.
pub(super) const EDITION: &str = "bench.skiff.dev/edition";

/// All objects of one size.
pub(super) struct Objects {
    count: usize,
}

/// The kinds, in their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ConfigMap,
    Deployment,
    Service,
}

impl Objects {
    pub(super) fn new(count: usize) -> Self {
        Self { count }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Returns how many there are of each kind.
    pub(super) fn mix(&self) -> BTreeMap<&'static str, usize> {
        let mut mix = BTreeMap::new();
        for index in 0..self.count {
            *mix.entry(kind(index).word()).or_default() += 1;
        }
        mix
    }

    /// Returns where an object is in the API.
    pub(super) fn path(index: usize) -> String {
        let (group, plural) = match kind(index) {
            Kind::ConfigMap => ("api/v1", "configmaps"),
            Kind::Deployment => ("apis/apps/v1", "deployments"),
            Kind::Service => ("api/v1", "services"),
        };
        format!("/{group}/namespaces/{NAMESPACE}/{plural}/{}", name(index))
    }

    /// Returns the files of the repository, with their names.
    pub(super) fn files(&self) -> anyhow::Result<Vec<(String, String)>> {
        (0..self.count.div_ceil(IN_A_FILE)).map(|number| self.file(number, |_| 0)).collect()
    }

    /// Returns the file that holds an object, with that object in another edition.
    pub(super) fn changed_file(&self, index: usize, edition: usize) -> anyhow::Result<(String, String)> {
        self.file(index / IN_A_FILE, |other| if other == index { edition } else { 0 })
    }

    fn file(&self, number: usize, edition: impl Fn(usize) -> usize) -> anyhow::Result<(String, String)> {
        let mut text = String::new();
        for index in number * IN_A_FILE..((number + 1) * IN_A_FILE).min(self.count) {
            let object = object(index, edition(index));
            let yaml = serde_saphyr::to_string(&object).context("a JSON value is YAML")?;
            text.push_str("---\n");
            text.push_str(&yaml);
        }
        Ok((format!("objects-{number:04}.yaml"), text))
    }
}

pub(super) fn kind(index: usize) -> Kind {
    match index % 10 {
        0..6 => Kind::ConfigMap,
        6..8 => Kind::Deployment,
        _ => Kind::Service,
    }
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Deployment => "Deployment",
            Self::Service => "Service",
        }
    }
}

pub(super) fn name(index: usize) -> String {
    format!("object-{index:05}")
}

/// Returns an object; two editions differ in one annotation.
pub(super) fn object(index: usize, edition: usize) -> Value {
    let name = name(index);
    let metadata = json!({
        "name": name,
        "namespace": NAMESPACE,
        "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "bench"},
        "annotations": {EDITION: edition.to_string()},
    });
    match kind(index) {
        Kind::ConfigMap => json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {
                "settings.properties": format!("index={index}\nmode=plain\nlevel=info\ntimeout=30s\n"),
                "owner": "bench",
                "url": format!("https://{name}.bench.example/api/v1"),
            },
        }),
        Kind::Deployment => json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
                "template": {
                    "metadata": {"labels": {"app.kubernetes.io/name": name}},
                    "spec": {"containers": [{
                        "name": "main",
                        "image": format!("registry.example/{name}:1"),
                        "env": [{"name": "MODE", "value": "plain"}, {"name": "LEVEL", "value": "info"}],
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                    }]},
                },
            },
        }),
        Kind::Service => json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "selector": {"app.kubernetes.io/name": name},
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_in_one_file() {
        let files = Objects::new(250).files().unwrap();
        let documents: usize = files.iter().map(|(_, text)| text.matches("---\n").count()).sum();

        assert_eq!((files.len(), documents), (3, 250));
    }

    #[test]
    fn changed_file_differs_in_one_line() {
        let objects = Objects::new(150);
        let (name, changed) = objects.changed_file(120, 7).unwrap();
        let (same, before) = objects.files().unwrap().swap_remove(1);
        let different = before.lines().zip(changed.lines()).filter(|(one, other)| one != other).count();

        assert_eq!((name, different), (same, 1));
    }
}
