//! What one operation may take: its deadline, its bytes, its end by the agent's shutdown. Whatever reads or waits does
//! so through it, over HTTP as over SSH, so that no server can hold an operation longer than allowed.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::StatusCode;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::credentials::Secrets;
use super::source::Limits;
use super::ssh::SshFailure;
use crate::config::Secret;

/// What is left of it, and what has ended the operation.
pub(super) struct Budget {
    runtime: Handle,
    cancel: CancellationToken,
    deadline: Instant,
    limits: Limits,
    secrets: Mutex<Secrets>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    received: u64,
    failure: Option<Failure>,
}

/// Why an operation ended. gix passes errors through as text, so the first one is kept here.
#[derive(Debug)]
pub(super) enum Failure {
    Unreachable(reqwest::Error),
    Interrupted(reqwest::Error),
    Status { status: StatusCode, retry_after: Option<Duration> },
    Redirect { to: String, problem: &'static str },
    Ssh(SshFailure),
    Deadline,
    TooLarge,
    Cancelled,
}

impl Budget {
    /// Begins now; `secrets` are what must not be printed of what comes back.
    pub(super) fn begin(
        runtime: Handle,
        cancel: CancellationToken,
        limits: Limits,
        secrets: Secrets,
    ) -> Arc<Self> {
        let deadline = Instant::now() + limits.deadline;
        let (secrets, progress) = (Mutex::new(secrets), Mutex::default());
        Arc::new(Self { runtime, cancel, deadline, limits, secrets, progress })
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Adds to what must not be printed.
    pub(super) fn hide(&self, secret: Secret) {
        self.secrets().hide(secret);
    }

    /// Returns a text that came from elsewhere without what must not be printed.
    pub(super) fn redact(&self, text: &str) -> String {
        self.secrets().redact(text)
    }

    fn secrets(&self) -> MutexGuard<'_, Secrets> {
        self.secrets.lock().expect("no code panics while it holds the secrets")
    }

    pub(super) fn received(&self) -> u64 {
        self.progress().received
    }

    /// Notes that so many more bytes have come.
    pub(super) fn receive(&self, bytes: usize) -> Result<(), Failure> {
        let mut progress = self.progress();
        progress.received += bytes as u64;
        if progress.received > self.limits.transfer { Err(Failure::TooLarge) } else { Ok(()) }
    }

    /// Returns, once, what ended the operation, if it was not Git itself.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.progress().failure.take()
    }

    /// Calls `interrupt` when the operation has to end, for work that does not read; until the guard is dropped.
    pub(super) fn watch(&self, interrupt: impl FnOnce() + Send + 'static) -> Watch {
        let (cancel, deadline) = (self.cancel.clone(), self.deadline);
        Watch(self.runtime.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
            interrupt();
        }))
    }

    /// Says whether time or shutdown have ended the operation; records it if so.
    pub(super) fn expired(&self) -> bool {
        let failure = match () {
            () if self.cancel.is_cancelled() => Failure::Cancelled,
            () if Instant::now() >= self.deadline => Failure::Deadline,
            () => return false,
        };
        let _recorded = self.fail(failure);
        true
    }

    /// Waits for `work` as long as the operation may last.
    pub(super) fn wait<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> io::Result<T> {
        let done = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => Err(Failure::Cancelled),
                done = tokio::time::timeout_at(self.deadline, work) => done.unwrap_or(Err(Failure::Deadline)),
            }
        });
        done.map_err(|failure| self.fail(failure))
    }

    /// Starts work that nobody waits for.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// Records the failure unless there is an earlier one.
    fn fail(&self, failure: Failure) -> io::Error {
        self.progress().failure.get_or_insert(failure);
        io::Error::other("the conversation has failed")
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("no code panics while it holds the progress")
    }
}

/// Keeps a watch over an operation until it is dropped.
pub(super) struct Watch(tokio::task::JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
