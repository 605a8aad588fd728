//! The Lease: one active agent, told to everybody by a channel.
//!
//! It is renewed in a thread of its own with a runtime of its own, so that nothing that the agent does
//! can starve it. It knows nothing of what the right to write is used for.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use skiff_shared::sync::event::LeaseTerm;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Who wants which Lease, and for how long at a time.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    pub namespace: String,
    pub name: String,
    /// Unique to this process.
    pub identity: String,
    /// How long others wait for a holder that went silent. At least three times a request's deadline.
    pub duration: SignedDuration,
    /// How often it is renewed while it is held: at most a third of the duration.
    pub renew_interval: Duration,
}

/// A running holder; it gives the Lease back when it is stopped.
pub struct LeaseHolder {
    pub term: watch::Receiver<LeaseTerm>,
    stop: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

/// The Lease cannot be held at all.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("failed to start the lease's thread")]
    Thread { source: std::io::Error },
    #[error("failed to make a client for the lease")]
    Client { source: kube::Error },
}

impl LeaseHolder {
    /// Starts to try for the Lease with a client of its own made from `config`.
    pub fn start(config: kube::Config, options: LeaseOptions) -> Result<Self, LeaseError> {
        let (sender, term) = watch::channel(LeaseTerm::Lost);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| LeaseError::Thread { source })?;
        let client = {
            let _entered = runtime.enter();
            kube::Client::try_from(config).map_err(|source| LeaseError::Client { source })?
        };
        let thread = std::thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || {
                let leases = Api::namespaced(client, &options.namespace);
                let keeper = Keeper { leases, options, term: sender, held: None };
                runtime.block_on(keeper.run(stopped));
            })
            .map_err(|source| LeaseError::Thread { source })?;
        Ok(Self { term, stop, thread })
    }

    /// Gives the Lease back and ends the thread. Blocking: a few seconds at most.
    pub fn release(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            tracing::error!("the lease's thread ended with a panic");
        }
    }
}

/// The right to send a write now.
///
/// The machine asks before it decides, this is asked before the request leaves: it may have waited for its turn.
#[derive(Clone)]
pub struct Right {
    pub term: watch::Receiver<LeaseTerm>,
    /// A request may take this long.
    pub deadline: SignedDuration,
    /// Cancelled when the process ends: what has not been sent is not sent any more.
    pub draining: CancellationToken,
}

impl Right {
    /// Whether a request that starts `now` ends before the Lease may be another's.
    pub fn lasts(&self, now: Timestamp) -> bool {
        self.term.borrow().covers(self.deadline, now) && !self.draining.is_cancelled()
    }
}

struct Keeper {
    leases: Api<Lease>,
    options: LeaseOptions,
    term: watch::Sender<LeaseTerm>,
    /// The Lease as we last wrote it, while we hold it.
    held: Option<Lease>,
}

/// Somebody else's Lease: how it looked, and since when it has looked like that by our own clock. The
/// clocks of two nodes are never compared.
struct Rival {
    version: Option<String>,
    since: Timestamp,
}

impl Keeper {
    async fn run(mut self, stop: CancellationToken) {
        let mut rival = None;
        loop {
            let deadline = self.step_deadline();
            let outcome = tokio::select! {
                () = stop.cancelled() => break,
                outcome = tokio::time::timeout(deadline, self.try_once(&mut rival)) => outcome,
            };
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.failed(&error.to_string()),
                Err(_) => self.failed("no answer in time"),
            }
            let pause = self.pause();
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.give_back().await;
    }

    fn step_deadline(&self) -> Duration {
        self.share(4)
    }

    /// A rival's Lease is looked at more often than one has to be renewed.
    fn pause(&self) -> Duration {
        if self.held.is_some() { self.options.renew_interval } else { self.share(8) }
    }

    fn share(&self, parts: u32) -> Duration {
        Duration::try_from(self.options.duration).unwrap_or(Duration::from_secs(30)) / parts
    }

    /// A failed renewal changes nothing by itself: the term runs out where it ends.
    fn failed(&mut self, error: &str) {
        tracing::warn!(error, "failed to renew the lease");
        let ended = match *self.term.borrow() {
            LeaseTerm::Held { until } => until <= Timestamp::now(),
            LeaseTerm::Lost => false,
        };
        if ended {
            self.lost();
        }
    }

    fn lost(&mut self) {
        self.held = None;
        self.term.send_replace(LeaseTerm::Lost);
    }

    async fn try_once(&mut self, rival: &mut Option<Rival>) -> Result<(), kube::Error> {
        let began = Timestamp::now();
        if let Some(held) = self.held.clone() {
            return self.renew(held, began).await;
        }
        let Some(current) = self.leases.get_opt(&self.options.name).await? else {
            let fresh = Lease { metadata: self.metadata(), spec: Some(self.spec(began, began, 0)) };
            return match self.leases.create(&PostParams::default(), &fresh).await {
                Ok(created) => {
                    self.holds(created, began);
                    Ok(())
                }
                Err(error) if is_conflict(&error) => Ok(()),
                Err(error) => Err(error),
            };
        };
        if self.is_free(&current, rival, began) { self.take(current, began).await } else { Ok(()) }
    }

    /// Whether the Lease has no holder, is ours from before, or has not been renewed for its duration.
    fn is_free(&self, current: &Lease, rival: &mut Option<Rival>, now: Timestamp) -> bool {
        let spec = current.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or("");
        if holder.is_empty() || holder == self.options.identity {
            return true;
        }
        let version = current.metadata.resource_version.clone();
        let known = rival.as_ref().filter(|known| known.version == version);
        let Some(known) = known else {
            *rival = Some(Rival { version, since: now });
            return false;
        };
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
        now.duration_since(known.since) > SignedDuration::from_secs(i64::from(seconds))
    }

    async fn take(&mut self, mut current: Lease, began: Timestamp) -> Result<(), kube::Error> {
        let transitions = current.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
        current.spec = Some(self.spec(began, began, transitions + 1));
        self.replace(current, began).await
    }

    async fn renew(&mut self, mut held: Lease, began: Timestamp) -> Result<(), kube::Error> {
        if let Some(spec) = &mut held.spec {
            spec.renew_time = Some(MicroTime(began));
        }
        self.replace(held, began).await
    }

    async fn replace(&mut self, lease: Lease, began: Timestamp) -> Result<(), kube::Error> {
        match self.leases.replace(&self.options.name, &PostParams::default(), &lease).await {
            Ok(written) => self.holds(written, began),
            Err(error) if is_conflict(&error) || is_missing(&error) => self.lost(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The term is counted from before the request, so that it never outlasts what others see.
    fn holds(&mut self, lease: Lease, began: Timestamp) {
        self.held = Some(lease);
        self.term.send_replace(LeaseTerm::Held { until: began + self.options.duration });
    }

    async fn give_back(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        self.term.send_replace(LeaseTerm::Lost);
        if let Some(spec) = &mut held.spec {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
        }
        let params = PostParams::default();
        let released = self.leases.replace(&self.options.name, &params, &held);
        match tokio::time::timeout(Duration::from_secs(2), released).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "failed to give the lease back: it runs out by itself"),
            Err(_) => tracing::warn!("no answer to giving the lease back: it runs out by itself"),
        }
    }

    fn metadata(&self) -> ObjectMeta {
        ObjectMeta { name: Some(self.options.name.clone()), ..ObjectMeta::default() }
    }

    fn spec(&self, acquired: Timestamp, renewed: Timestamp, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            lease_duration_seconds: i32::try_from(self.options.duration.as_secs()).ok(),
            acquire_time: Some(MicroTime(acquired)),
            renew_time: Some(MicroTime(renewed)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_once_the_lease_may_be_anothers_or_the_process_ends() {
        let now = Timestamp::UNIX_EPOCH;
        let seconds = SignedDuration::from_secs;
        let (sender, term) = watch::channel(LeaseTerm::Held { until: now + seconds(30) });
        let right = Right { term, deadline: seconds(10), draining: CancellationToken::new() };
        assert!(right.lasts(now + seconds(19)));
        assert!(!right.lasts(now + seconds(20)), "it would be answered after the lease's end");
        sender.send_replace(LeaseTerm::Lost);
        assert!(!right.lasts(now));
        sender.send_replace(LeaseTerm::Held { until: now + seconds(30) });
        right.draining.cancel();
        assert!(!right.lasts(now));
    }
}
