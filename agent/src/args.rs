//! The command line: which verb, with what.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod bootstrap;
mod diff;
mod look;
mod screen;

pub use bootstrap::{BootstrapArgs, PlaceArgs};
pub use diff::DiffArgs;
pub use look::{DeepArgs, EventsArgs, LogsArgs, PodChoice, Stretch, TreeArgs};
pub use screen::{Color, ScreenArgs};

/// What follows the program's own help.
const EXIT_CODES: &str = "Exit codes:
  0  it is as it should be
  1  it failed, or what was looked at is wrong
  2  the words or the configuration are wrong
  3  there is a difference
  4  what was waited for did not come in time";

/// Keeps a cluster equal to a path in Git, without a hub.
#[derive(Debug, Parser)]
#[command(name = "skiff", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub screen: ScreenArgs,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the agent
    Agent(AgentArgs),
    /// Install the agent in a cluster, with a key of its own for the repository
    Bootstrap(Box<BootstrapArgs>),
    /// Show apps, or one app with its objects
    Get(GetArgs),
    /// Show an app's objects with what they own
    Tree(TreeArgs),
    /// Show the events of an app's objects and of what they own
    Events(EventsArgs),
    /// Show what an app's pods write
    Logs(LogsArgs),
    /// Show what a sync would do
    Plan(PlanArgs),
    /// Show, field by field, what a sync would change, or what differs between two commits
    Diff(DiffArgs),
    /// Approve the plan that an app waits with
    Approve(ApproveArgs),
    /// Ask for a sync now, also of what was given up on and what drifted
    Sync(SyncArgs),
    /// Wait until an app is as it should be
    Wait(WaitArgs),
    /// Show the syncs of an app, and which of them it can go back to
    History(HistoryArgs),
    /// Go back to a release of the history and stay there until `resume`
    Rollback(RollbackArgs),
    /// Delete the objects of an app, and the app itself when Git has it no more
    Delete(DeleteArgs),
    /// Stop every write of an app, healing included
    Pause(PauseArgs),
    /// Go on with an app that was paused, pinned to a release or deleted while Git has it
    Resume(ResumeArgs),
    /// Print everything that an agent remembers of its cluster, as one file
    Export(ExportArgs),
    /// Bring back what `export` has printed, while no agent is at work
    Import(ImportArgs),
    /// Print the objects that a folder renders to
    Render(RenderArgs),
    /// Check a folder for every cluster that reads it, without asking one
    Validate(ValidateArgs),
    /// Print the JSON schema of a file that people write, for editors
    Schema(SchemaArgs),
    /// Look whether the agent finds what it needs: cluster, rights, Git, helm, kustomize, clock, collector
    Doctor(DoctorArgs),
    /// Print the program's version
    Version,
}

/// How a verb prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// A table with more columns
    Wide,
    Json,
    Yaml,
    /// Names alone
    Name,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// One app with its objects, or some apps; without it all apps are listed
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// Go on with a row for each change
    #[arg(short, long)]
    pub watch: bool,
    /// The agent's namespace; default: all namespaces, or the context's where only that may be read
    #[arg(short, long)]
    pub namespace: Option<String>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The app, as the agent has it
    pub app: String,
    /// Plan what this folder renders to, instead of what the agent last applied
    #[arg(long, value_name = "FOLDER")]
    pub path: Option<PathBuf>,
    /// The cluster's facts, for selectors and ${…}: a description or the agent's file; needs --path
    #[arg(long = "cluster", value_name = "FILE", requires = "path")]
    pub facts: Option<PathBuf>,
    #[command(flatten)]
    pub tools: ToolArgs,
    /// The agent's namespace; default: where the App object is
    #[arg(short, long)]
    pub namespace: Option<String>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// One app, as the person who asks names it.
#[derive(Clone, Debug, Args)]
pub struct AppArgs {
    /// The app, as the agent has it
    pub app: String,
    /// The agent's namespace; default: where the App object is
    #[arg(short, long)]
    pub namespace: Option<String>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub struct ApproveArgs {
    #[command(flatten)]
    pub app: AppArgs,
    /// The plan that was reviewed: another one is not approved
    #[arg(long)]
    pub digest: Option<String>,
    /// Approve without asking on the terminal
    #[arg(short, long)]
    pub yes: bool,
    /// Instead of a plan: let an object go that left Git and is held, as `skiff get` names it; may be given often
    #[arg(long, value_name = "OBJECT", conflicts_with = "digest")]
    pub prune: Vec<String>,
}

#[derive(Debug, Args)]
pub struct SyncArgs {
    #[command(flatten)]
    pub app: AppArgs,
    /// Wait until the sync is done and the app is synced and healthy
    #[arg(short, long)]
    pub wait: bool,
    #[command(flatten)]
    pub patience: PatienceArgs,
}

#[derive(Debug, Args)]
pub struct WaitArgs {
    #[command(flatten)]
    pub app: AppArgs,
    /// Wait until the cluster is as Git says; without --sync and --health: for both
    #[arg(long)]
    pub sync: bool,
    /// Wait until the objects are healthy or suspended
    #[arg(long)]
    pub health: bool,
    /// Wait until this commit is applied: its id, or the beginning of it
    #[arg(long, value_name = "COMMIT")]
    pub revision: Option<String>,
    #[command(flatten)]
    pub patience: PatienceArgs,
}

/// How long a verb waits.
#[derive(Clone, Copy, Debug, Args)]
pub struct PatienceArgs {
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = crate::config::parse_duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The agent's namespace
    #[arg(short, long, default_value = "skiff")]
    pub namespace: String,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What `skiff export` has printed
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The agent's namespace; it has to be there
    #[arg(short, long, default_value = "skiff")]
    pub namespace: String,
    /// Remove the inventory that is there: what it alone knows is forgotten
    #[arg(long)]
    pub replace: bool,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    pub app: AppArgs,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    pub app: AppArgs,
    /// The number that `skiff history` shows; without it the release before the present one
    #[arg(value_name = "ID")]
    pub release: Option<u64>,
    /// Why; shown wherever the app is
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Wait until the release is applied and healthy
    #[arg(short, long)]
    pub wait: bool,
    #[command(flatten)]
    pub patience: PatienceArgs,
}

/// What becomes of what the objects of a deleted app own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Cascade {
    /// It goes after its owner
    #[default]
    Background,
    /// It goes before its owner
    Foreground,
    /// Nothing is deleted: the app's objects are only forgotten
    Orphan,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    pub app: AppArgs,
    /// What becomes of what the app's objects own
    #[arg(long, value_enum, default_value_t)]
    pub cascade: Cascade,
    /// Also where the app list still has the app: its objects stay away until `skiff resume`
    #[arg(long)]
    pub until_resumed: bool,
    /// Also Namespaces, CustomResourceDefinitions, StatefulSets, PersistentVolumes and their claims, and what asks for
    /// confirmation
    #[arg(long)]
    pub sensitive_kinds: bool,
    /// Delete without asking on the terminal
    #[arg(short, long)]
    pub yes: bool,
    /// Wait until everything is gone
    #[arg(short, long)]
    pub wait: bool,
    #[command(flatten)]
    pub patience: PatienceArgs,
}

#[derive(Debug, Args)]
pub struct PauseArgs {
    #[command(flatten)]
    pub app: AppArgs,
    /// Why; shown wherever the app is
    #[arg(long, default_value = "")]
    pub reason: String,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    pub app: AppArgs,
}

#[derive(Debug, Args)]
pub struct RenderArgs {
    /// A folder with skiff.yaml, a chart, a kustomization or plain manifests
    pub path: PathBuf,
    /// The app; without it all apps of the folder
    #[arg(long)]
    pub app: Option<String>,
    /// The environment's name: the app's name where the folder has no skiff.yaml
    #[arg(long, default_value = "local")]
    pub environment: String,
    /// Ask no cluster: the built-in kinds of Kubernetes are assumed
    #[arg(long)]
    pub offline: bool,
    /// Render for the cluster that this file describes, without asking it: a description or the agent's file
    #[arg(long = "cluster", value_name = "FILE")]
    pub facts: Option<PathBuf>,
    #[command(flatten)]
    pub tools: ToolArgs,
    /// Yaml or json
    #[arg(short, long, value_enum, default_value = "yaml")]
    pub output: Output,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// A folder with skiff.yaml, a chart, a kustomization or plain manifests
    pub path: PathBuf,
    /// The environment's name: the app's name where the folder has no skiff.yaml, and whose rules of an agent's file hold
    #[arg(long, default_value = "local")]
    pub environment: String,
    /// A cluster to check for, once for each: a description or the agent's file
    #[arg(long = "cluster", value_name = "FILE")]
    pub clusters: Vec<PathBuf>,
    #[command(flatten)]
    pub tools: ToolArgs,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Which file
    #[arg(value_enum)]
    pub of: SchemaOf,
}

/// A file that people write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum SchemaOf {
    /// skiff.yaml
    Environment,
    /// The agent's file
    Config,
    /// A cluster's description, for `validate` and `render`
    Cluster,
}

/// What rendering on this machine may use.
#[derive(Clone, Debug, Args)]
pub struct ToolArgs {
    /// Fetch apps that come from other repositories too, with the credentials in the files that the agent's file names,
    /// or those of your own Git
    #[arg(long)]
    pub fetch: bool,
    /// The program helm
    #[arg(long, value_name = "FILE", env = "SKIFF_HELM", default_value = "helm")]
    pub helm: PathBuf,
    /// The program kustomize
    #[arg(long, value_name = "FILE", env = "SKIFF_KUSTOMIZE", default_value = "kustomize")]
    pub kustomize: PathBuf,
}

/// Which cluster, as kubectl takes it.
#[derive(Clone, Debug, Default, Args)]
pub struct ClusterArgs {
    /// Kubeconfig file; default: $KUBECONFIG, then ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The agent's configuration file
    #[arg(long, value_name = "FILE", env = "SKIFF_CONFIG", default_value = "/etc/skiff/config.yaml")]
    pub config: PathBuf,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Configuration file; the folder it is in is watched for changes
    #[arg(long, value_name = "FILE", env = "SKIFF_CONFIG", default_value = "/etc/skiff/config.yaml")]
    pub config: PathBuf,
    /// Check the configuration and end: 0 if it is good, 2 if it is not
    #[arg(long)]
    pub check: bool,
    /// Run outside of a cluster, with the identity of this kubeconfig
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    pub context: Option<String>,
}
