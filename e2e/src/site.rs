//! One cluster with everything around it: control plane, kubelet, Git server, telemetry receiver, and
//! the agent installed as its chart says.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use skiff_harness::chart::Release;
use skiff_harness::cluster::{Cluster, Options, User};
use skiff_harness::git_server::{GitServer, Repository};
use skiff_harness::identity::Identity;
use skiff_harness::kubelet::FakeKubelet;
use skiff_harness::otlp::OtlpReceiver;
use skiff_harness::process::Process;
use skiff_shared::api::v1alpha1::App;

use crate::agent;

/// The namespace that the agent is installed in.
pub const NAMESPACE: &str = "skiff-system";

/// How long anything may take on a machine that is busy otherwise.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A cluster, its surroundings, and the agent.
pub struct Site {
    // Fields drop in this order: the agent first, the cluster last.
    agent: Option<Process>,
    pub kubelet: Option<FakeKubelet>,
    pub identity: Identity,
    pub otlp: OtlpReceiver,
    pub git: GitServer,
    pub cluster: Cluster,
    home: tempfile::TempDir,
    /// The cluster's name in the agent's file.
    name: String,
    environments: Value,
    /// Those that the agent works in; null for all.
    namespaces: Value,
    /// Who is told of news: `notifications` of the configuration.
    pub notifications: Value,
    /// Who may ask for a poll: `webhooks` of the configuration.
    pub webhooks: Value,
    /// Another program than the one beside the test, and its environment variables.
    program: Option<PathBuf>,
    variables: Vec<(&'static str, String)>,
}

impl Site {
    /// Starts everything but the agent, and installs what the chart renders.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        Self::start_with(options, json!({})).await
    }

    /// The same with more values for the chart.
    pub async fn start_with(options: Options, more: Value) -> anyhow::Result<Self> {
        let cluster = Cluster::start(options).await?;
        let mut values = json!({"cluster": {"name": "lab"}, "environments": [placeholder()]});
        for (key, value) in more.as_object().into_iter().flatten() {
            values[key] = value.clone();
        }
        let namespaces = values["agent"]["namespaces"].clone();
        for namespace in namespaces.as_array().into_iter().flatten().filter_map(Value::as_str) {
            make_namespace(&cluster, namespace).await?;
        }
        Release::skiff(NAMESPACE, values).install(&cluster).await?;
        let identity = Identity::of(&cluster, NAMESPACE, "skiff", Duration::from_secs(3_600 * 4)).await?;
        let kubelet = Some(FakeKubelet::start(&cluster, 1).await?);
        Ok(Self {
            agent: None,
            kubelet,
            identity,
            otlp: OtlpReceiver::start()?,
            git: GitServer::start()?,
            cluster,
            home: tempfile::tempdir().context("failed to make the agent's folder")?,
            name: "lab".to_owned(),
            environments: json!([]),
            namespaces,
            notifications: json!([]),
            webhooks: json!({}),
            program: None,
            variables: Vec::new(),
        })
    }

    /// Gives the cluster another name, before an agent is started.
    pub fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// Runs this program as the agent from now on.
    pub fn use_program(&mut self, program: PathBuf) {
        self.program = Some(program);
    }

    /// Gives every agent started from now on an environment variable.
    pub fn set_variable(&mut self, name: &'static str, value: &str) {
        self.variables.push((name, value.to_owned()));
    }

    /// Makes an empty repository on the site's Git server.
    pub fn repository(&self, name: &str) -> anyhow::Result<Repository> {
        Repository::create(&self.git, name)
    }

    /// Returns the configuration of an environment that follows the main branch of a repository.
    pub fn environment(name: &str, url: &str, path: &str) -> Value {
        json!({
            "name": name,
            "source": {"url": url, "ref": {"branch": "main"}, "path": path},
            "sync": {"interval": "500ms"},
        })
    }

    /// Writes the configuration; a running agent takes it up.
    pub fn configure(&mut self, environments: Value) -> anyhow::Result<PathBuf> {
        self.environments = environments;
        self.write_configuration("config", "state", 9090)
    }

    /// Writes a configuration for a second agent, as in another pod: own disk, own port, otherwise the same.
    pub fn second_configuration(&self) -> anyhow::Result<PathBuf> {
        self.write_configuration("second-config", "second-state", 9091)
    }

    fn write_configuration(&self, folder: &str, state: &str, port: u16) -> anyhow::Result<PathBuf> {
        let config = json!({
            "cluster": {"name": self.name, "labels": {"region": "lab"}},
            "agent": {"namespace": NAMESPACE, "namespaces": self.namespaces, "instance": "lab"},
            "environments": self.environments,
            "notifications": self.notifications,
            "webhooks": self.webhooks,
            "telemetry": {"otlp": {"endpoint": self.otlp.endpoint()}},
            "http": {"listen": format!("{}:{port}", self.http_address())},
            "render": {"helm": self.cluster.lab().helm, "kustomize": self.cluster.lab().kustomize},
            "state": {"directory": self.home.path().join(state)},
            // Long enough to write by, short enough to wait for a dead agent's.
            "lease": {"duration": "18s"},
        });
        let folder = self.home.path().join(folder);
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("config.yaml");
        let text = serde_json::to_string_pretty(&config)?;
        let fresh = folder.join(".new");
        std::fs::write(&fresh, text)?;
        std::fs::rename(&fresh, &path)?;
        Ok(path)
    }

    /// The address of the agent's own HTTP endpoint.
    pub fn http_address(&self) -> String {
        format!("127.80.{}.1", self.cluster.number())
    }

    /// Configures the environments and starts the agent.
    pub fn start_agent(&mut self, environments: Value) -> anyhow::Result<()> {
        let config = self.configure(environments)?;
        let kubeconfig = self.identity.kubeconfig().to_owned();
        self.run_agent(&config, &kubeconfig)
    }

    /// Starts the agent again with the configuration that it had.
    pub fn restart_agent(&mut self) -> anyhow::Result<()> {
        let config = self.home.path().join("config/config.yaml");
        let kubeconfig = self.identity.kubeconfig().to_owned();
        self.run_agent(&config, &kubeconfig)
    }

    /// Starts the agent with another kubeconfig, through a proxy for example.
    pub fn run_agent(&mut self, config: &Path, kubeconfig: &Path) -> anyhow::Result<()> {
        let log = self.home.path().join("agent.log");
        let program = self.program.clone().map_or_else(agent::program, Ok)?;
        self.agent = Some(agent::start_program(&program, config, kubeconfig, &log, &self.variables)?);
        Ok(())
    }

    pub fn agent(&mut self) -> &mut Process {
        self.agent.as_mut().expect("the agent has been started")
    }

    /// Kills the agent at once, as the kernel does when memory runs out.
    pub fn kill_agent(&mut self) {
        self.agent().kill();
    }

    /// Kills the agent and gives its Lease away, as if the time that a successor waits had passed.
    pub async fn kill_agent_and_forget(&mut self) -> anyhow::Result<()> {
        self.kill_agent();
        let leases: Api<Lease> = Api::namespaced(self.admin()?, NAMESPACE);
        leases.delete("skiff", &DeleteParams::default()).await.context("failed to delete the Lease")?;
        Ok(())
    }

    /// Ends the agent as the kubelet does, and waits until it has ended.
    pub async fn end_agent(&mut self) -> anyhow::Result<()> {
        self.agent().terminate()?;
        let ended = self.agent().ended(PATIENCE).await?;
        match ended {
            Some(status) if status.success() => Ok(()),
            other => bail!("the agent ended with {other:?}\n{}", self.agent().log_tail(30)),
        }
    }

    /// Where the agent keeps what may be lost.
    pub fn state_directory(&self) -> PathBuf {
        self.home.path().join("state")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The file that holds everything the agent has written.
    pub fn log_file(&self) -> PathBuf {
        self.home.path().join("agent.log")
    }

    pub fn admin(&self) -> anyhow::Result<Client> {
        self.cluster.client(User::Admin)
    }

    pub fn apps(&self) -> anyhow::Result<Api<App>> {
        Ok(Api::namespaced(self.admin()?, NAMESPACE))
    }

    /// Waits until an app's object is as wanted, and returns it.
    pub async fn app(&self, name: &str, what: &str, wanted: impl Fn(&App) -> bool) -> anyhow::Result<App> {
        let waited = skiff_harness::wait::until(&self.apps()?, name, what, wanted).await;
        waited.with_context(|| format!("the agent's log ends with\n{}", tail(&self.log(), 40)))
    }

    /// Waits until an app is synced and healthy at a commit.
    pub async fn synced(&self, name: &str, commit: &str) -> anyhow::Result<App> {
        let what = format!("{name} is synced and healthy at {commit}");
        self.app(name, &what, |app| {
            app.status.as_ref().is_some_and(|status| {
                let applied =
                    status.applied.as_ref().is_some_and(|revision| revision.commit.ends_with(commit));
                applied && status.sync == "Synced" && status.health == "Healthy"
            })
        })
        .await
    }

    /// Waits until a condition over the audit log, a file or the like holds.
    pub async fn until(
        &self,
        what: &str,
        mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        while !holds().await? {
            if began.elapsed() > PATIENCE {
                bail!("gave up waiting until {what}; the agent's log ends with\n{}", tail(&self.log(), 40));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Drop for Site {
    /// Shows what the agent said when a test fails: its folder goes away with it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let words = format!("the agent's log ends with\n{}\n", tail(&self.log(), 60));
            // Nobody is left to be told that it could not be shown.
            let _ = std::io::stderr().write_all(words.as_bytes());
        }
    }
}

async fn make_namespace(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    let namespaces: Api<Namespace> = Api::all(cluster.client(User::Admin)?);
    let made = namespaces.create(&PostParams::default(), &namespace).await;
    made.map(drop).with_context(|| format!("failed to make the namespace {name}"))
}

/// The chart asks for one environment at least; the agent under test reads its own file.
fn placeholder() -> Value {
    json!({"name": "development", "source": {"url": "http://127.79.0.1/none", "ref": {"branch": "main"}}})
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
