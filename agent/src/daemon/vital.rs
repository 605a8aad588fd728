//! Tasks that the agent cannot do without: one that panics ends the process, in good order.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts tasks and notices when one of them panics.
#[derive(Clone)]
pub struct Vital {
    stop: CancellationToken,
    broken: Arc<Mutex<Option<String>>>,
}

impl Vital {
    /// `stop` is cancelled when a task panics.
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, broken: Arc::default() }
    }

    /// Starts a task; `name` is what the process says of it if it panics.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.watch(name.into(), task));
    }

    /// Starts a task that is awaited when the process ends.
    pub fn spawn_on(
        &self,
        tracker: &TaskTracker,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        tracker.spawn(self.watch(name.into(), task));
    }

    fn watch(
        &self,
        name: String,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let vital = self.clone();
        async move {
            if tokio::spawn(task).await.is_err_and(|error| error.is_panic()) {
                vital.breaks(name);
            }
        }
    }

    /// Ends the process because of `name`.
    pub fn breaks(&self, name: String) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(name);
        self.stop.cancel();
    }

    /// Names what ended the process, if something did.
    pub fn broken(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_task_ends_the_process_by_name() {
        let stop = CancellationToken::new();
        let vital = Vital::new(stop.clone());
        vital.spawn("a task that ends", async {});
        vital.spawn("a task that panics", async { panic!("as it must not") });
        stop.cancelled().await;
        assert_eq!(vital.broken().as_deref(), Some("a task that panics"));
    }
}
