//! The words of `skiff bootstrap`.

use std::path::PathBuf;

use clap::Args;

use super::{ClusterArgs, PatienceArgs};

#[derive(Debug, Args)]
pub struct BootstrapArgs {
    #[command(flatten)]
    pub place: PlaceArgs,
    /// The chart's values, instead of --cluster-name, --environment, --url, --path and --branch
    #[arg(long, value_name = "FILE")]
    pub values: Option<PathBuf>,
    /// The agent's image, with its tag; goes before what the values say
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Name of the Helm release
    #[arg(long, default_value = "skiff", value_name = "NAME")]
    pub release: String,
    /// The agent's namespace; made if it is not there
    #[arg(short, long, default_value = "skiff")]
    pub namespace: String,
    /// An SSH server's key that is trusted, as `ssh-keygen -l` writes it: SHA256:…
    #[arg(long = "host-key", value_name = "FINGERPRINT")]
    pub host_keys: Vec<String>,
    /// Answer every question with yes; SSH servers need --host-key then
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub patience: PatienceArgs,
    /// The program helm
    #[arg(long, value_name = "FILE", env = "SKIFF_HELM", default_value = "helm")]
    pub helm: PathBuf,
    /// The program kustomize
    #[arg(long, value_name = "FILE", env = "SKIFF_KUSTOMIZE", default_value = "kustomize")]
    pub kustomize: PathBuf,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// What the cluster is called, and what it is kept equal to.
#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// What this cluster is called
    #[arg(long, value_name = "NAME", required_unless_present = "values", conflicts_with = "values")]
    pub cluster_name: Option<String>,
    /// Name of the environment; production and unknown names wait for approvals
    #[arg(long, value_name = "NAME", required_unless_present = "values", conflicts_with = "values")]
    pub environment: Option<String>,
    /// The repository, by https or ssh
    #[arg(long, required_unless_present = "values", conflicts_with = "values")]
    pub url: Option<String>,
    /// The folder in the repository; without it the whole
    #[arg(long, value_name = "FOLDER", conflicts_with = "values")]
    pub path: Option<String>,
    /// The branch that is followed; without it main
    #[arg(long, conflicts_with = "values")]
    pub branch: Option<String>,
}
