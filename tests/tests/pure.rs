//! Tests over the pure core that need recorded facts or more than one module, and over what is written about it. No
//! cluster, no process, no clock.

use std::path::{Path, PathBuf};

// The attribute tells clippy that helpers in it are tests as well.
#[cfg(test)]
#[path = "pure/dependencies.rs"]
mod dependencies;
#[cfg(test)]
#[path = "pure/documents.rs"]
mod documents;
#[path = "pure/drift.rs"]
mod drift;

/// Returns the content of a file of the repository.
#[cfg(test)]
fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Returns the repository's folder.
#[cfg(test)]
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
