//! The agent's process, started as in its pod: the program, a configuration file, a ServiceAccount.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use skiff_harness::process::Process;

/// Returns the program under test: `$SKIFF_BIN`, or the one beside this test's own build.
pub fn program() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("SKIFF_BIN") {
        return Ok(named.into());
    }
    let here = std::env::current_exe().context("failed to find the test's own program")?;
    let folders = here.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join("skiff")).find(|path| path.is_file());
    match found {
        Some(found) => Ok(found),
        None => bail!("there is no program skiff: build it with `cargo build --package skiff`"),
    }
}

/// Starts the agent; it is killed when the value is dropped.
pub fn start(
    config: &Path,
    kubeconfig: &Path,
    log: &Path,
    variables: &[(&str, String)],
) -> anyhow::Result<Process> {
    start_program(&program()?, config, kubeconfig, log, variables)
}

/// Starts a certain build of the agent.
pub fn start_program(
    program: &Path,
    config: &Path,
    kubeconfig: &Path,
    log: &Path,
    variables: &[(&str, String)],
) -> anyhow::Result<Process> {
    let mut command = Command::new(program);
    command
        .args(["agent", "--config"])
        .arg(config)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("RUST_LOG", std::env::var_os("RUST_LOG").unwrap_or_else(|| "info".into()));
    for (name, value) in variables {
        command.env(name, value);
    }
    Process::start("skiff", command, log)
}
