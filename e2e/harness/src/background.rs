//! The runtime of one server of the lab. Each server brings its own, so that a test may be synchronous, may run on a
//! single-threaded runtime, or may block its own: none of it can starve the server that it talks to.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, EnterGuard, Runtime};

/// How often, and how far apart, a server that ends looks whether its addresses are free.
const LOOKS: u32 = 1_000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Runs a server's tasks until it is dropped; what hangs then is abandoned, never awaited.
pub(crate) struct Background {
    runtime: Option<Runtime>,
    /// Where its listeners are.
    bound: Mutex<Vec<SocketAddr>>,
}

impl Background {
    /// Starts the threads of a server that is called `name` in thread listings.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(name)
            .enable_all()
            .build()
            .with_context(|| format!("failed to start the runtime of {name}"))?;
        Ok(Self { runtime: Some(runtime), bound: Mutex::default() })
    }

    /// Binds a listener that belongs to this runtime; port 0 takes a free one.
    pub(crate) fn listen(&self, address: SocketAddr) -> Result<(tokio::net::TcpListener, SocketAddr)> {
        let listener =
            TcpListener::bind(address).with_context(|| format!("failed to listen on {address}"))?;
        listener.set_nonblocking(true).context("failed to make the listener non-blocking")?;
        let bound = listener.local_addr().context("failed to read the listener's address")?;
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).push(bound);
        let _entered = self.enter();
        let listener = tokio::net::TcpListener::from_std(listener)
            .context("failed to hand the listener to its runtime")?;
        Ok((listener, bound))
    }

    /// Runs `task` until it ends or the server is dropped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime().spawn(task);
    }

    fn enter(&self) -> EnterGuard<'_> {
        self.runtime().enter()
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("the runtime is taken only when the server is dropped")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // An ordinary drop waits for tasks and panics inside an async test.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // Its tasks are dropped on its own threads: whoever connects from now on must find nobody, and not a listener in
        // its last moment.
        for address in self.bound.get_mut().unwrap_or_else(PoisonError::into_inner) {
            let is_free = || TcpListener::bind(*address).is_ok();
            for _ in 0..LOOKS {
                if is_free() {
                    break;
                }
                std::thread::sleep(BETWEEN_LOOKS);
            }
        }
    }
}
