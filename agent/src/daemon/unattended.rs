//! Tells on the apps of environments that are not configured any more that nobody looks after them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use skiff_shared::sync::event::{Failure, LeaseTerm};

use super::launch::Launcher;

const RETRY: Duration = Duration::from_secs(30);

/// Tells it once, as soon as this agent is the one at work.
pub async fn tell(launcher: Arc<Launcher>, configured: BTreeSet<String>) {
    let mut lease = launcher.lease.clone();
    while lease.wait_for(|term| matches!(term, LeaseTerm::Held { .. })).await.is_ok() {
        match tell_all(&launcher, &configured).await {
            Ok(()) => return,
            Err(failure) => tracing::warn!(?failure, "apps that nobody looks after still look as they did"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn tell_all(launcher: &Launcher, configured: &BTreeSet<String>) -> Result<(), Failure> {
    let state = &launcher.cluster.state;
    for unattended in state.unattended(configured, Timestamp::now()).await? {
        // What its last driver has to say comes before.
        launcher.ended(&unattended.app).await;
        if !launcher.registry.knows(&unattended.app) {
            state.tell_unattended(&unattended).await?;
        }
    }
    Ok(())
}
