//! The one test binary of this crate: the pure core under random lives, scenarios and recorded facts, and what is
//! written about it. No cluster, no process, no clock.

use std::path::{Path, PathBuf};

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

// The attribute tells clippy that helpers in it are tests as well.
#[cfg(test)]
mod pure {
    mod approval;
    mod co_managers;
    mod confirm;
    mod dependencies;
    mod documents;
    mod drift;
    mod faults;
    mod gates;
    mod hooks;
    mod lives;
    mod loss;
    mod machine;
    mod options;
    mod pins;
    mod properties;
    mod recreation;
    mod removal;
    mod retries;
    mod rights;
    mod scenarios;
    mod twins;
    mod unserved;
    mod waiting;
    mod yielding;
}
