//! The end of an app: everything that is stored of it, and last of all its `App`, in which the word stands that ends it.

use std::sync::{MutexGuard, PoisonError};

use kube::api::{DeleteParams, ListParams};
use skiff_shared::sync::event::Failure;

use super::failure::within;
use super::{LABEL_AGENT, LABEL_APP, State};

impl State {
    fn ended(&self) -> MutexGuard<'_, std::collections::HashSet<String>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an app is about to be no more.
    pub fn end(&self, app: &str) {
        self.ended().insert(app.to_owned());
    }

    /// Notes that an app has something to say again.
    pub fn revive(&self, app: &str) {
        self.ended().remove(app);
    }

    pub(super) fn has_ended(&self, app: &str) -> bool {
        self.ended().contains(app)
    }

    /// Removes an app's inventory, its stored renders and its `App`, in this order. What is gone already is no failure, so
    /// that it can be repeated after a crash.
    pub async fn dissolve(&self, app: &str) -> Result<(), Failure> {
        let of_app =
            ListParams::default().labels(&format!("{LABEL_AGENT}={},{LABEL_APP}={app}", self.instance));
        for shard in within(self.shards.list_metadata(&of_app)).await?.items {
            let name = shard.metadata.name.unwrap_or_default();
            is_gone(within(self.shards.delete(&name, &DeleteParams::default())).await)?;
        }
        self.versions().retain(|(of, _), _| of != app);
        for render in within(self.renders.list_metadata(&of_app)).await?.items {
            let name = render.metadata.name.unwrap_or_default();
            is_gone(within(self.renders.delete(&name, &DeleteParams::default())).await)?;
            self.kept().remove(&name);
        }
        is_gone(within(self.apps.delete(app, &DeleteParams::default())).await)?;
        self.statuses().remove(app);
        Ok(())
    }
}

fn is_gone<T>(deleted: Result<T, Failure>) -> Result<(), Failure> {
    match deleted {
        Ok(_) | Err(Failure::NotFound(_)) => Ok(()),
        Err(failure) => Err(failure),
    }
}
