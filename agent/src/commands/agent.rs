//! `skiff agent`: the daemon in the pod.

use std::process::ExitCode;

use super::{USAGE, ui};
use crate::args::AgentArgs;
use crate::cluster::connection::KubeconfigChoice;
use crate::config::{self, Config};
use crate::daemon::{self, InCluster, Options};

/// Checks the configuration, or runs the agent until it is told to end.
pub async fn run(arguments: AgentArgs) -> anyhow::Result<ExitCode> {
    let AgentArgs { config, check, kubeconfig, context } = arguments;
    if check {
        return Ok(match Config::load(&config, config::process_variables()) {
            Ok(good) => {
                ui::line(&format!("{} is good", config.display()));
                let namespace = good.agent.namespace.as_str();
                for name in good.secrets() {
                    ui::line(&format!("not looked at, as no cluster is asked: Secret {namespace}/{name}"));
                }
                ExitCode::SUCCESS
            }
            Err(errors) => {
                for problem in errors.problems {
                    ui::error(&problem.to_string());
                }
                ExitCode::from(USAGE)
            }
        });
    }
    let in_cluster = if kubeconfig.is_some() { InCluster::No } else { InCluster::Yes };
    let kubeconfig = KubeconfigChoice { path: kubeconfig, context, ..KubeconfigChoice::default() };
    daemon::run(Options { config, kubeconfig, in_cluster }).await?;
    Ok(ExitCode::SUCCESS)
}
