//! Records what the API server makes of changes by others into `tests/fixtures/drift`.
//!
//! Run it after a step to another Kubernetes version or with new cases, and read the difference before committing it.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use skiff_e2e::drift;
use skiff_harness::cluster::{Cluster, Options};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options { without_controller_manager: true, without_scheduler: true, ..Options::default() };
    let cluster = Cluster::start(options).await?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/drift");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    for recording in drift::record_all(&cluster).await? {
        let path = folder.join(format!("{}.json", recording.case));
        fs::write(&path, recording.to_json()?)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}
