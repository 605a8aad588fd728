//! `skiff wait`: until an app is as it should be, driven by the watch of its object.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use skiff_shared::api::v1alpha1::AppStatus;

use super::ask::Asked;
use super::{TIMEOUT, ui};
use crate::args::WaitArgs;

/// Waits for what the words name.
pub async fn run(arguments: WaitArgs) -> anyhow::Result<ExitCode> {
    let WaitArgs { app, sync, health, revision, patience } = arguments;
    let asked = Asked::find(app).await?;
    let both = !sync && !health;
    let done = move |status: &AppStatus| {
        (!(sync || both) || status.sync == "Synced")
            && (!(health || both) || is_healthy(status))
            && revision.as_ref().is_none_or(|commit| is_applied(status, commit))
    };
    until(&asked, patience.timeout, done).await
}

/// Whether an app is as in Git and healthy.
pub fn is_well(status: &AppStatus) -> bool {
    status.sync == "Synced" && is_healthy(status)
}

/// Whether all objects of an app are healthy, or suspended on purpose.
pub fn is_healthy(status: &AppStatus) -> bool {
    matches!(status.health.as_str(), "Healthy" | "Suspended")
}

/// Whether the commit with this id, or this beginning of one, is what the cluster was last made equal to.
fn is_applied(status: &AppStatus, commit: &str) -> bool {
    let applied = status.applied.as_ref().map(|revision| revision.commit.as_str()).unwrap_or_default();
    let id = applied.split_once(':').map_or(applied, |(_, id)| id);
    !commit.is_empty() && id.starts_with(commit)
}

/// Waits until an app's status is as wanted and tells what it waits for meanwhile; ends with 4 when the time is over.
pub async fn until(
    asked: &Asked,
    within: Duration,
    done: impl Fn(&AppStatus) -> bool,
) -> anyhow::Result<ExitCode> {
    follow(asked, within, WhenGone::Fails, done).await
}

/// Waits until nothing of an app is left: it is no more, or it stays away until it is resumed.
pub async fn until_deleted(asked: &Asked, within: Duration) -> anyhow::Result<ExitCode> {
    let is_away = |status: &AppStatus| {
        status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.reason == "Deleted")
    };
    follow(asked, within, WhenGone::IsDone, is_away).await
}

/// What it means that the `App` is deleted while it is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenGone {
    Fails,
    IsDone,
}

async fn follow(
    asked: &Asked,
    within: Duration,
    when_gone: WhenGone,
    done: impl Fn(&AppStatus) -> bool,
) -> anyhow::Result<ExitCode> {
    let mut told = String::new();
    let waiting = async {
        let mut seen = Box::pin(watch_object(asked.api(), &asked.name).default_backoff());
        while let Some(event) = seen.next().await {
            let app = match event {
                Ok(None) if when_gone == WhenGone::IsDone => {
                    ui::line(&format!("{} is no more", asked.name));
                    return Ok(ExitCode::SUCCESS);
                }
                Ok(app) => app.with_context(|| format!("app {:?} was deleted", asked.name))?,
                // The watch begins anew by itself: whether it ever comes right the time limit decides.
                Err(error) => {
                    ui::warning(&format!("the app cannot be watched: {error}"));
                    continue;
                }
            };
            let status = app.status.unwrap_or_default();
            if done(&status) {
                ui::line(&summary(&asked.name, &status));
                return Ok(ExitCode::SUCCESS);
            }
            let now = summary(&asked.name, &status);
            if now != told {
                ui::progress(&now);
                told = now;
            }
        }
        bail!("the watch of app {:?} has ended", asked.name)
    };
    match tokio::time::timeout(within, waiting).await {
        Ok(ended) => ended,
        Err(_) => {
            ui::error(&format!("{} is not there after {} s; {told}", asked.name, within.as_secs()));
            Ok(ExitCode::from(TIMEOUT))
        }
    }
}

fn summary(name: &str, status: &AppStatus) -> String {
    let message = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
    format!("{name} is {}, {}{message}", status.sync, status.health)
}

#[cfg(test)]
mod tests {
    use skiff_shared::api::v1alpha1::Revision;

    use super::*;

    #[test]
    fn a_commit_is_known_by_the_beginning_of_its_id() {
        let applied = Revision { commit: "sha1:4f2c9a77".to_owned(), ..Revision::default() };
        let status = AppStatus { applied: Some(applied), ..AppStatus::default() };
        assert!(is_applied(&status, "4f2c") && is_applied(&status, "4f2c9a77"));
        assert!(!is_applied(&status, "2c9a") && !is_applied(&status, "") && !is_applied(&status, "sha1"));
        assert!(!is_applied(&AppStatus::default(), "4f2c"));
    }
}
