//! Other people and programs in the cluster: whoever is not the agent.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use skiff_harness::cluster::User;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::agent;
use crate::site::{PATIENCE, Site};

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

    /// Starts a verb that goes on until it is interrupted, as a person.
    pub fn skiff_follows(&self, user: User, arguments: &[&str]) -> anyhow::Result<Following> {
        let mut command = Command::new(agent::program()?);
        command.args(arguments).arg("--kubeconfig").arg(self.cluster.kubeconfig(user));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        let mut child = command.kill_on_drop(true).spawn().context("skiff cannot be started")?;
        let output = child.stdout.take().context("the output was asked for")?;
        Ok(Following { _child: child, rest: BufReader::new(output).lines(), lines: Vec::new() })
    }

    /// Applies a text as `kubectl apply` does: on the client's side.
    pub async fn kubectl_apply(&self, user: User, text: &str) -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new_in(self.cluster.directory())?;
        std::fs::write(file.path(), text)?;
        let path = file.path().display().to_string();
        self.kubectl(user, &["apply", "--filename", &path]).await.map(drop)
    }
}

/// A verb that goes on; it is killed when it is dropped.
pub struct Following {
    _child: Child,
    rest: Lines<BufReader<ChildStdout>>,
    lines: Vec<String>,
}

impl Following {
    /// What it has printed, as far as it was waited for.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Waits until it has printed these words.
    pub async fn says(&mut self, words: &str) -> anyhow::Result<()> {
        self.holds(|lines| lines.iter().any(|line| line.contains(words)))
            .await
            .with_context(|| format!("{words:?} was not said"))
    }

    /// Waits until something is true of what it has printed.
    pub async fn holds(&mut self, is_true: impl Fn(&[String]) -> bool) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !is_true(&self.lines) {
            let Ok(line) = tokio::time::timeout_at(deadline, self.rest.next_line()).await else {
                bail!("gave up after\n{}", self.lines.join("\n"))
            };
            self.lines.push(line?.with_context(|| format!("it ended after\n{}", self.lines.join("\n")))?);
        }
        Ok(())
    }
}

async fn run(command: Command) -> anyhow::Result<String> {
    let output = tokio::process::Command::from(command).kill_on_drop(true).output().await?;
    if !output.status.success() {
        bail!("it ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
