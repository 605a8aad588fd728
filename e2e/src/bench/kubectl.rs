//! `kubectl apply --server-side` on the same files, as a person or a pipeline would run it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use skiff_harness::cluster::{Cluster, User};

use super::floor::make_namespace;
use super::objects::Objects;
use super::results::{Cost, Kubectl};
use super::window::Window;
use crate::usage;

pub(super) async fn measure(cluster: &Cluster, objects: &Objects) -> anyhow::Result<Kubectl> {
    make_namespace(cluster).await?;
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    for (name, text) in objects.files()? {
        std::fs::write(folder.path().join(name), text)?;
    }
    let first_sync = apply(cluster, folder.path()).await?;
    let no_change = apply(cluster, folder.path()).await?;
    let (name, text) = objects.changed_file(objects.count() / 2, 1)?;
    std::fs::write(folder.path().join(name), text)?;
    let one_changed = apply(cluster, folder.path()).await?;
    Ok(Kubectl { first_sync, no_change, one_changed })
}

async fn apply(cluster: &Cluster, folder: &Path) -> anyhow::Result<Cost> {
    let mut kubectl: Command = cluster.kubectl(User::Ops);
    kubectl.args(["apply", "--server-side", "--force-conflicts", "--output=name", "--filename"]).arg(folder);
    let window = Window::open(cluster, User::Ops.name(), None)?;
    let before = usage::processor_time_of_children()?;
    let output = tokio::process::Command::from(kubectl).kill_on_drop(true).output().await?;
    let mut cost = window.close()?.cost;
    cost.tool_cpu_seconds = usage::processor_time_of_children()?.saturating_sub(before).as_secs_f64();
    if !output.status.success() {
        bail!("kubectl ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(cost)
}
