//! Records what `kubectl` reads into `shared/src/yaml/tests/corpus`.
//!
//! Run it after a step to another version of Kubernetes' libraries or with new texts, and read the difference before
//! committing it.

use skiff_e2e::vectors;

fn main() -> anyhow::Result<()> {
    vectors::record(&vectors::files(&vectors::corpus())?)
}
