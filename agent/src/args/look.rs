//! What the verbs take that look into an app: its objects and what these own.

use std::time::Duration;

use clap::Args;

use super::{AppArgs, Output};

#[derive(Debug, Args)]
pub struct TreeArgs {
    #[command(flatten)]
    pub app: AppArgs,
    /// Also what is kept for going back: ControllerRevisions, and ReplicaSets that have no pods
    #[arg(short, long)]
    pub all: bool,
    #[command(flatten)]
    pub deep: DeepArgs,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Where children are looked for.
#[derive(Clone, Copy, Debug, Args)]
pub struct DeepArgs {
    /// Look for children among every kind that the cluster serves, not only where such objects usually have some
    #[arg(long)]
    pub deep: bool,
}

#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(flatten)]
    pub app: AppArgs,
    /// Go on with events as they happen
    #[arg(short, long)]
    pub watch: bool,
    /// Warnings alone
    #[arg(long)]
    pub warnings: bool,
    #[command(flatten)]
    pub deep: DeepArgs,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    pub app: AppArgs,
    #[command(flatten)]
    pub choice: PodChoice,
    #[command(flatten)]
    pub stretch: Stretch,
    /// Print lines as the containers wrote them, without the names of pod and container
    #[arg(long)]
    pub no_prefix: bool,
    #[command(flatten)]
    pub deep: DeepArgs,
}

/// Which containers of an app are meant.
#[derive(Clone, Debug, Default, Args)]
pub struct PodChoice {
    /// Only this container
    #[arg(short, long, value_name = "NAME", conflicts_with = "all_containers")]
    pub container: Option<String>,
    /// Also the containers that prepare a pod; without it those that it is there for
    #[arg(long)]
    pub all_containers: bool,
    /// Only pods with these labels, such as app=web,tier!=cache
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// Only pods of objects of this kind, such as Deployment
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Only pods of the object with this name, or the pod with this name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// Which part of a log is meant.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Stretch {
    /// Go on with lines as they are written, also of pods that come later
    #[arg(short, long)]
    pub follow: bool,
    /// What the container before a restart has written
    #[arg(short, long, conflicts_with = "follow")]
    pub previous: bool,
    /// Lines that are not older than this
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration)]
    pub since: Option<Duration>,
    /// The last lines of each container
    #[arg(long, value_name = "LINES")]
    pub tail: Option<u32>,
    /// The time before each line
    #[arg(long)]
    pub timestamps: bool,
}
