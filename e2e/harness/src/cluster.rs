//! One real control plane on an address of its own: etcd, apiserver, controller-manager and scheduler as processes of
//! this machine.
//!
//! A cluster is for one test (or the demo, or the benchmark): it starts in a few seconds, ends with its value, and
//! leaves neither a process nor a file. It knows nothing of the agent; nodes and pods come from [`crate::kubelet`].

mod access;
mod component;
mod slot;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};
use tokio::time::Instant;

pub use access::User;
pub(crate) use access::{Access, client};
pub use component::Component;

use crate::audit::Audit;
use crate::process::Process;
use crate::toolchain::{self, Lab};
use component::Plan;
use slot::Slot;

/// How long a cluster may take to become ready, with room for a machine that builds meanwhile.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What a test wants otherwise than usual.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// More flags of the apiserver; a flag that is given again wins over the lab's.
    pub apiserver_flags: Vec<String>,
    /// Serves the API level of an older Kubernetes, such as `1.35`.
    pub emulated_version: Option<String>,
    /// Lets etcd write through to the disk, which a test that kills etcd needs.
    pub fsync: bool,
    /// Starts no scheduler: the fake kubelet binds the pods.
    pub without_scheduler: bool,
    /// Starts no controller-manager: nothing makes pods, default service accounts or endpoints.
    pub without_controller_manager: bool,
}

/// A running control plane. Dropping it kills every process and removes every file.
pub struct Cluster {
    // Fields drop in this order: processes first, then the folder that they write to.
    processes: Mutex<Vec<(Component, Process)>>,
    lab: Lab,
    options: Options,
    authority_pem: String,
    slot: Slot,
}

impl Cluster {
    /// Builds the lab's programs if need be, starts a control plane and waits until pods can be made in it.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let lab =
            tokio::task::spawn_blocking(toolchain::ensure).await.context("the build was cancelled")??;
        let slot = Slot::take()?;
        let plan =
            Plan { directory: slot.directory(), address: slot.address(), lab: &lab, options: &options };
        let authority_pem = access::write_credentials(slot.directory(), slot.number())?;
        plan.write_policy()?;
        let stores = [Component::Etcd, Component::Apiserver].map(|component| plan.start(component));
        let processes = stores.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let cluster = Self { processes: Mutex::new(processes), authority_pem, slot, lab, options };
        cluster.until_served().await?;
        access::admit_people(cluster.client(User::Admin)?).await?;
        cluster.start_controllers()?;
        cluster.until_pods_can_be_made().await?;
        Ok(cluster)
    }

    /// Returns the number N by which this cluster's addresses (`127.77.N.1` and the like) differ from the others'.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.slot.number()
    }

    /// Returns the apiserver's address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.slot.address()
    }

    /// Returns the apiserver's URL.
    #[must_use]
    pub fn url(&self) -> String {
        access::url(self.address())
    }

    /// Returns the folder that goes away with the cluster; a test may keep its own files there.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.slot.directory()
    }

    /// Returns the certificate by which clients know the apiserver.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// Returns the lab's programs.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Returns the kubeconfig file of a user.
    #[must_use]
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        access::kubeconfig(self.directory(), user)
    }

    /// Returns a new client, with connections of its own, that acts as `user`.
    pub fn client(&self, user: User) -> anyhow::Result<Client> {
        access::client(&self.kubeconfig(user))
    }

    /// Returns a kubectl that acts as `user`, without arguments yet.
    #[must_use]
    pub fn kubectl(&self, user: User) -> Command {
        let mut command = Command::new(&self.lab.kubectl);
        command.env("KUBECONFIG", self.kubeconfig(user)).env("HOME", self.directory());
        command
    }

    /// Returns the log of all requests that people and agents made.
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit::new(component::audit_log(self.directory()))
    }

    /// Returns the process id of a component, or nothing if it was never started.
    #[must_use]
    pub fn process_id(&self, component: Component) -> Option<u32> {
        self.processes().iter().find(|(started, _)| *started == component).map(|(_, process)| process.id())
    }

    /// Kills a component (SIGKILL).
    pub fn kill(&self, component: Component) -> anyhow::Result<()> {
        self.with(component, |process| {
            process.kill();
            Ok(())
        })
    }

    /// Starts a component again on its old data and waits until the API is served.
    pub async fn restart(&self, component: Component) -> anyhow::Result<()> {
        self.with(component, Process::restart)?;
        self.until_served().await
    }

    /// Stops a component in its tracks (SIGSTOP): its connections stay open and nothing answers.
    pub fn freeze(&self, component: Component) -> anyhow::Result<()> {
        self.with(component, |process| process.freeze())
    }

    /// Lets a frozen component go on.
    pub fn thaw(&self, component: Component) -> anyhow::Result<()> {
        self.with(component, |process| process.thaw())
    }

    pub(crate) fn has_scheduler(&self) -> bool {
        !self.options.without_scheduler
    }

    fn processes(&self) -> MutexGuard<'_, Vec<(Component, Process)>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(
        &self,
        component: Component,
        act: impl FnOnce(&mut Process) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut processes = self.processes();
        let found = processes.iter_mut().find(|(started, _)| *started == component);
        let (_, process) = found.with_context(|| format!("this cluster was started without {component}"))?;
        act(process)
    }

    /// Starts what watches the API; started before RBAC has been bootstrapped, a controller-manager ends for good.
    fn start_controllers(&self) -> anyhow::Result<()> {
        let directory = self.slot.directory();
        let plan = Plan { directory, address: self.address(), lab: &self.lab, options: &self.options };
        if !self.options.without_controller_manager {
            self.processes().push(plan.start(Component::ControllerManager)?);
        }
        if !self.options.without_scheduler {
            self.processes().push(plan.start(Component::Scheduler)?);
        }
        Ok(())
    }

    /// Waits until `/readyz` answers 200: an answer that is not ready contains the word "ok" as well.
    async fn until_served(&self) -> anyhow::Result<()> {
        let client = self.client(User::Admin)?;
        self.until("the apiserver is ready", || async {
            let request = http::Request::get("/readyz").body(Vec::new()).expect("the request is well-formed");
            client.request_text(request).await.map(drop)
        })
        .await
    }

    async fn until_pods_can_be_made(&self) -> anyhow::Result<()> {
        if self.options.without_controller_manager {
            return Ok(());
        }
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(User::Admin)?, "default");
        self.until("the default service account exists", || async { accounts.get("default").await.map(drop) })
            .await
    }

    /// Repeats `probe` until it succeeds; a component that ends meanwhile, or the deadline, is an error with its log.
    async fn until<F>(&self, what: &str, probe: impl Fn() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = kube::Result<()>>,
    {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let Ok(outcome) = tokio::time::timeout(Duration::from_secs(5), probe()).await else {
                self.check(what, deadline, "no answer")?;
                continue;
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) => self.check(what, deadline, &error.to_string())?,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn check(&self, what: &str, deadline: Instant, last: &str) -> anyhow::Result<()> {
        for (component, process) in self.processes().iter() {
            if !process.is_running() {
                bail!(
                    "{component} ended while waiting until {what}; its last words:\n{}",
                    process.log_tail(20)
                );
            }
        }
        if Instant::now() >= deadline {
            bail!("gave up waiting until {what} after {} s: {last}", READY_WITHIN.as_secs());
        }
        Ok(())
    }
}
