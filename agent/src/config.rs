//! The agent's configuration: one YAML file, and `SKIFF__…` variables over it.
//!
//! The first thing a verb reads. Everything is checked here, once, and every mistake is reported with its line or
//! variable; what is left is a value without options that somebody else would have to interpret. Holds no secret,
//! only the paths of files that do ([`Secret`]), and names of Secrets. The wiring takes [`Config`] apart by a pattern that names every
//! field, so that a key which nothing uses does not compile.
//!
//! # The file
//!
#![doc = concat!("```yaml\n", include_str!("config/example.yaml"), "```")]
//!
//! # Defaults by the environment's name
//!
//! | environment | `mode` | `prune` | `selfHeal` | `prune.sensitiveKinds` |
//! | --- | --- | --- | --- | --- |
//! | `development` | `auto` | `true` | `true` | `true` |
//! | `staging` | `auto` | `true` | `true` | `false` |
//! | `production` and any other name | `manual` | `true`, with the approved plan | `false` | `false` |
//!
//! An unknown name is treated as production: forgetting to choose must not delete anything.
//!
//! # Variables
//!
//! `SKIFF__AGENT__NAMESPACE` sets `agent.namespace`: two underscores part the keys, one parts the words of a key
//! (`SKIFF__ENVIRONMENTS__0__SYNC__SELF_HEAL` sets `environments[0].sync.selfHeal`). Values are read as in the file, empty ones are
//! ignored.
//! `cluster.labels` and `cluster.vars` have keys of any case and so are set in the file alone.

mod access;
mod check;
mod layers;
mod notification;
mod raw;
mod secret;
mod units;
mod watch;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skiff_shared::desired::Problem;
use skiff_shared::environment::{AppName, Fact, Facts, Namespace, RepoPath};
use skiff_shared::limits::Limits;
use skiff_shared::policy::Policy;

use crate::git::{self, Approvals, RepositoryUrl, Rewrites, SignaturePolicy};
use crate::sandbox::Demand;

pub use crate::git::Reference;
pub use access::{Access, AccessError};
pub use notification::{Destination, Receiver};
pub use secret::{Secret, SecretError};
pub use units::parse_duration;
pub use watch::{Changes, Watched, watch};
pub use webhooks::{GitlabHook, Webhooks};

/// The checked configuration of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub cluster: Cluster,
    pub agent: Agent,
    /// At least one. No name twice.
    pub environments: Vec<EnvironmentConfig>,
    /// Who is told of news. No name twice.
    pub notifications: Vec<Receiver>,
    /// Without one nobody listens.
    pub webhooks: Option<Webhooks>,
    pub telemetry: Telemetry,
    pub http: Http,
    pub render: Render,
    pub state: State,
    pub lease: Lease,
}

/// What the agent is told of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub vars: BTreeMap<String, Fact>,
}

/// Who the agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub namespace: Namespace,
    /// Where it works; everywhere where it is empty.
    pub namespaces: Vec<Namespace>,
    /// The value of the label `skiff.dev/instance`.
    pub instance: String,
}

/// One path in Git and how it is synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentConfig {
    pub name: AppName,
    pub source: Source,
    /// How repositories are reached that its apps come from.
    pub repositories: Vec<RepositoryAccess>,
    pub policy: Policy,
    /// Whose tags in its repository approve plans, if any do.
    pub approvals: Option<Approvals>,
    /// How often the repository is asked.
    pub interval: Duration,
    /// What one transfer from its repositories may take; the same in all environments.
    pub fetch: git::Limits,
    pub on_duplicate: OnDuplicate,
    /// What the environment may touch.
    pub limits: Limits,
}

/// Where an environment's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Of HTTP without user and password, or of SSH.
    pub url: RepositoryUrl,
    pub reference: Reference,
    pub path: RepoPath,
    pub credentials: Credentials,
    /// Without one the usual variables decide.
    pub proxy: Option<Proxy>,
    /// What has to be signed, and by whom. Without one nothing has.
    pub verify: Option<SignaturePolicy>,
    pub rewrites: Rewrites,
}

/// How repositories below a URL are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryAccess {
    /// A repository, or what the URLs of several begin with.
    pub url: String,
    pub credentials: Credentials,
    pub proxy: Option<Proxy>,
    /// What has to be signed there, and by whom.
    pub verify: Option<SignaturePolicy>,
    /// Of branches there.
    pub rewrites: Rewrites,
}

/// An HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proxy {
    pub url: String,
    /// Both or none; one alone beside a Secret that has the other.
    pub username_file: Option<PathBuf>,
    pub password_file: Option<PathBuf>,
    /// Name of a Secret in the agent's namespace; what a file holds goes before what it holds.
    pub secret_ref: Option<String>,
}

/// Where that is what a repository asks for. Read at each use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    pub username_file: Option<PathBuf>,
    pub password_file: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    /// The client's certificate and its key: both or none.
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// For SSH, both.
    pub ssh_key_file: Option<PathBuf>,
    pub known_hosts_file: Option<PathBuf>,
    pub ssh_passphrase_file: Option<PathBuf>,
    pub github_app: Option<GithubApp>,
    /// Name of a Secret in the agent's namespace; what a file holds goes before what it holds.
    pub secret_ref: Option<String>,
}

/// A GitHub App that gives out tokens for the repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GithubApp {
    pub app_id: u64,
    pub installation_id: u64,
    /// Without one the Secret holds it.
    pub private_key_file: Option<PathBuf>,
    pub api_url: String,
}

/// What happens if an app renders the same object twice, differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnDuplicate {
    /// The app is not synced.
    #[default]
    Refuse,
    /// The last one is taken, with a warning.
    LastWins,
}

/// What is told to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    pub otlp: Otlp,
    pub detail: Detail,
}

/// Where OTLP goes. What is `None` is taken from the `OTEL_…` variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Otlp {
    pub endpoint: Option<String>,
    pub headers_file: Option<PathBuf>,
}

/// How many spans a release has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Detail {
    /// A span for every stage.
    #[default]
    Full,
    /// One span per app.
    App,
}

/// The agent's own HTTP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    pub listen: SocketAddr,
}

/// The renderers and their bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Render {
    pub helm: PathBuf,
    pub kustomize: PathBuf,
    pub timeout: Duration,
    /// Whether charts in Git get the dependencies that they do not bring.
    pub fetch_dependencies: bool,
    /// Whether renderers run where the kernel cannot keep them to their files.
    pub sandbox: Demand,
    pub limits: RenderLimits,
}

/// What one renderer may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderLimits {
    /// Bytes of memory.
    pub memory: u64,
    pub cpu_time: Duration,
    /// Bytes of output.
    pub output: u64,
}

/// What the agent keeps on disk, and of releases of the past in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub directory: PathBuf,
    /// Bytes that the stored renders of all apps may take together, as far as healing does not need them.
    pub renders: u64,
}

/// The Lease that makes one agent the active one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    pub duration: Duration,
    pub renew_interval: Duration,
}

/// Returns the JSON schema of the file, as the types that read it have it.
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft07().with(|it| it.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<raw::RawConfig>().to_value()
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl Cluster {
    /// Returns what the apps of the cluster are chosen and completed by.
    pub fn facts(&self) -> Facts {
        let Self { name, labels, vars } = self.clone();
        Facts { cluster: name, labels, vars }
    }
}

impl ConfigErrors {
    fn one(place: String, message: String) -> Self {
        Self { problems: vec![Problem { place, message }] }
    }
}

impl Config {
    /// Reads and checks the configuration file with the variables over it. Variables that are not `SKIFF__…` are ignored.
    pub fn load(
        path: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
        Self::parse(&bytes, &path.display().to_string(), variables)
    }

    /// Checks the content of a configuration file, which messages call `file`, with the variables over it.
    pub fn parse(
        bytes: &[u8],
        file: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let layers = layers::merge(bytes, file, variables)?;
        check::check(&layers)
    }

    /// Returns the names of the Secrets that sources and repositories of apps name.
    pub fn secrets(&self) -> BTreeSet<&str> {
        let own = self.environments.iter().map(|it| &it.source);
        let own = own.map(|Source { credentials, proxy, verify, .. }| (credentials, proxy, verify));
        let others = self.environments.iter().flat_map(|it| &it.repositories);
        let others =
            others.map(|RepositoryAccess { credentials, proxy, verify, .. }| (credentials, proxy, verify));
        let named = own.chain(others).flat_map(|(credentials, proxy, verify)| {
            let proxy = proxy.as_ref().and_then(|proxy| proxy.secret_ref.as_deref());
            let signers = verify.as_ref().and_then(|verify| verify.secret.as_deref());
            [credentials.secret_ref.as_deref(), proxy, signers]
        });
        named.flatten().collect()
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConfigErrors {
    ConfigErrors::one(path.display().to_string(), format!("cannot be read: {error}"))
}

/// Returns the process's `SKIFF__…` variables. One that is not Unicode is kept as far as it can be read, so that
/// it is refused rather than overlooked.
pub fn process_variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(layers::PREFIX))
        .collect()
}

#[cfg(test)]
mod tests;
