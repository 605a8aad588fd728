//! What `kubectl` reads, recorded for the tests of the YAML loader.
//!
//! The recording is `shared/src/yaml/tests/corpus`; the program that reads as `kubectl` does is in `e2e/vectors`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use skiff_harness::toolchain;

/// Returns the folder of the recording.
pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/src/yaml/tests/corpus")
}

/// Returns the files of a recording.
pub fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = folder.read_dir().with_context(|| format!("failed to list {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("failed to list {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Writes the lines `kubectl` of these files anew.
pub fn record(files: &[PathBuf]) -> anyhow::Result<()> {
    let program = toolchain::vectors()?;
    let status = Command::new(&program)
        .args(files)
        .status()
        .with_context(|| format!("failed to start {}", program.display()))?;
    if !status.success() {
        bail!("failed to record what kubectl reads: {status}; its own words are above");
    }
    Ok(())
}
