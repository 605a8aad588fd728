//! Threads for work that blocks: how many there are, and how many of them Git may hold.
//!
//! A heal reads its body on such a thread. A Git server that does not answer holds one until the transfer's deadline,
//! and a name server that does not answer holds another one: they must never hold all.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// The runtime's threads for blocking work; they come and go as they are needed.
pub const THREADS: usize = 32;

/// Transfers that run at once. Each may also wait for a name to be resolved, on a thread of its own.
const TRANSFERS: usize = 8;

/// The bound on transfers of Git, shared by all pollers.
#[derive(Clone)]
pub struct Transfers(Arc<Semaphore>);

impl Default for Transfers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TRANSFERS)))
    }
}

impl Transfers {
    /// Runs a transfer on a blocking thread, once there is room for it.
    pub async fn run<T: Send + 'static>(&self, transfer: impl FnOnce() -> T + Send + 'static) -> T {
        let turn = self.0.clone().acquire_owned().await.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            // The thread is taken until the transfer ends, also where nobody waits for it any more.
            let _turn = turn;
            transfer()
        });
        done.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn transfers_that_hang_leave_threads_to_heals() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(THREADS)
            .build()
            .expect("a runtime");
        let transfers = Transfers::default();
        let (hanging, released) = mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        let (started, hanging_now) = mpsc::channel();
        for _ in 0..2 * THREADS {
            let (transfers, released, started) = (transfers.clone(), released.clone(), started.clone());
            let hang = move || _ = released.lock().expect("nobody panics").recv();
            runtime.spawn(async move {
                // Its name is being resolved on another thread.
                let resolving = hang.clone();
                transfers
                    .run(move || {
                        _ = started.send(());
                        tokio::runtime::Handle::current().spawn_blocking(resolving);
                        hang();
                    })
                    .await;
            });
        }
        for _ in 0..TRANSFERS {
            hanging_now.recv().expect("transfers start");
        }
        let (sender, read) = mpsc::channel();
        runtime.spawn(async move {
            let body = tokio::task::spawn_blocking(|| "a body").await;
            _ = sender.send(body.expect("it ends"));
        });
        assert_eq!(read.recv_timeout(Duration::from_mins(1)), Ok("a body"), "no thread is left");
        drop(hanging);
    }
}
