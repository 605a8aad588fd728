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
