//! Manifests that tests, benchmark and demo write into repositories.

use std::fmt::Write as _;

/// A ConfigMap with one key.
pub fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  value: {value:?}\n")
}

/// A namespace.
pub fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n")
}

/// A Deployment of one container.
pub fn deployment(name: &str, replicas: u32, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  replicas: {replicas}\n  \
         selector:\n    matchLabels:\n      app: {name}\n  template:\n    metadata:\n      labels:\n        \
         app: {name}\n    spec:\n      containers:\n      - name: {name}\n        image: {image}\n        \
         env:\n        - name: MODE\n          value: plain\n"
    )
}

/// Many ConfigMaps in one file, `prefix-0` and so on.
pub fn config_maps(prefix: &str, count: usize, value: &str) -> String {
    let mut text = String::new();
    for number in 0..count {
        let one = config_map(&format!("{prefix}-{number}"), value);
        write!(text, "---\n{one}").expect("a String takes everything");
    }
    text
}

/// Puts the objects of a text without namespaces into one.
pub fn in_namespace(namespace: &str, text: &str) -> String {
    let anchored = format!("\n{text}");
    anchored
        .replace("\nmetadata:\n", &format!("\nmetadata:\n  namespace: {namespace}\n"))
        .trim_start()
        .to_owned()
}

/// A definition of the namespaced kind `Widget` in `lab.skiff.dev/v1`; `spec.size` must not be negative.
pub fn widget_definition() -> &'static str {
    "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: widgets.lab.skiff.dev\n\
     spec:\n  group: lab.skiff.dev\n  scope: Namespaced\n  names: {kind: Widget, plural: widgets, singular: widget, \
     listKind: WidgetList}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    schema:\n      \
     openAPIV3Schema:\n        type: object\n        properties:\n          spec:\n            type: object\n            \
     properties:\n              size: {type: integer, minimum: 0}\n"
}

/// A `Widget` of some size.
pub fn widget(name: &str, size: i64) -> String {
    format!("apiVersion: lab.skiff.dev/v1\nkind: Widget\nmetadata:\n  name: {name}\nspec:\n  size: {size}\n")
}
