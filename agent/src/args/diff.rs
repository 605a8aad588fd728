//! What `skiff diff` takes.

use std::path::PathBuf;

use clap::Args;

use super::{ClusterArgs, Output, PlanArgs, ToolArgs};

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The app, as the agent has it; or two commits of the work tree at hand, which asks no cluster: `main..topic`, or
    /// `main...topic` from where they parted
    #[arg(value_name = "APP|OLD..NEW")]
    pub of: String,
    /// The folder: what it renders to is compared with the cluster, or in one commit with the other
    #[arg(long, value_name = "FOLDER")]
    pub path: Option<PathBuf>,
    /// The cluster's facts, for selectors and ${…}: a description or the agent's file; for an app it needs --path
    #[arg(long = "cluster", value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Of two commits: the environment's name, the app's name where the folder has no skiff.yaml
    #[arg(long, default_value = "local")]
    pub environment: String,
    /// Of two commits: print a comment for a pull request
    #[arg(long, conflicts_with = "output")]
    pub markdown: bool,
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

impl DiffArgs {
    /// Returns what they say of an app.
    pub fn of_app(self) -> PlanArgs {
        let Self { of, path, facts, environment: _, markdown: _, tools, namespace, output, cluster } = self;
        PlanArgs { app: of, path, facts, tools, namespace, output, cluster }
    }
}
