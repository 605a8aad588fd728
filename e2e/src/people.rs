//! Other people and programs in the cluster: whoever is not the agent.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use skiff_harness::cluster::User;

use crate::agent;
use crate::site::Site;

impl Site {
    /// Runs kubectl as a person and returns what it prints.
    pub async fn kubectl(&self, user: User, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.cluster.kubectl(user);
        command.args(arguments);
        run(command).await.with_context(|| format!("failed to run kubectl {}", arguments.join(" ")))
    }

    /// Runs a verb of the program as a person; returns what it printed and its exit code.
    pub async fn skiff(&self, user: User, arguments: &[&str]) -> anyhow::Result<(String, i32)> {
        let mut command = Command::new(agent::program()?);
        command.args(arguments).arg("--kubeconfig").arg(self.cluster.kubeconfig(user)).stdin(Stdio::null());
        let mut command = tokio::process::Command::from(command);
        let output = command.kill_on_drop(true).output().await.context("skiff cannot be started")?;
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Ok((text, output.status.code().context("skiff was killed")?))
    }

    /// Applies a text as `kubectl apply` does: on the client's side.
    pub async fn kubectl_apply(&self, user: User, text: &str) -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new_in(self.cluster.directory())?;
        std::fs::write(file.path(), text)?;
        let path = file.path().display().to_string();
        self.kubectl(user, &["apply", "--filename", &path]).await.map(drop)
    }
}

async fn run(command: Command) -> anyhow::Result<String> {
    let output = tokio::process::Command::from(command).kill_on_drop(true).output().await?;
    if !output.status.success() {
        bail!("it ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
