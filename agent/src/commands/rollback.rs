//! `skiff rollback`: pins an app to a release of its history.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;
use skiff_shared::api::v1alpha1::{AppStatus, HistoryEntry};

use super::ask::Asked;
use super::{ui, wait};
use crate::args::RollbackArgs;

/// Writes the pin, and waits until the app is there where that is asked for.
pub async fn run(arguments: RollbackArgs) -> anyhow::Result<ExitCode> {
    let RollbackArgs { app, release, reason, wait: waits, patience } = arguments;
    let asked = Asked::find(app).await?;
    let status = asked.app.status.clone().unwrap_or_default();
    let target = target(&asked.name, &status, release)?;
    let render = target.render.clone();
    asked.ask(json!({ "pin": { "release": render, "reason": reason } })).await?;
    ui::line(&format!(
        "pinned {} to {} ({}): newer commits wait until `skiff resume {}`",
        asked.name, target.revision.name, target.revision.subject, asked.name
    ));
    ui::line("where the mode is manual its plan waits for `skiff approve`, as any other does");
    if !waits {
        return Ok(ExitCode::SUCCESS);
    }
    let commit = target.revision.commit.clone();
    let done = move |status: &AppStatus| {
        let is_there = status.applied.as_ref().is_some_and(|applied| applied.commit == commit);
        let is_pinned = status.pinned.as_ref().is_some_and(|pinned| pinned.release == render);
        is_there && is_pinned && status.plan.is_none() && wait::is_healthy(status)
    };
    wait::until(&asked, patience.timeout, done).await
}

/// Returns the release that is meant: the one with the number, or the one before what the app has now. What is not
/// stored any more is rendered again from Git.
fn target<'a>(name: &str, status: &'a AppStatus, number: Option<u64>) -> anyhow::Result<&'a HistoryEntry> {
    let mut good = status.history.iter().filter(|entry| entry.outcome == "success");
    let Some(number) = number else {
        // What is being applied, or was given up on, is not in force: the last good release is.
        let unfinished = status.plan.is_some();
        let current = good.clone().next().map(|entry| entry.render.as_str()).filter(|_| !unfinished);
        return match good.find(|entry| Some(entry.render.as_str()) != current) {
            Some(entry) => Ok(entry),
            None => bail!(
                "app {name:?} has no earlier release: revert the commit in Git; `skiff history {name}` shows what there is"
            ),
        };
    };
    match status.history.iter().find(|entry| entry.number == number) {
        Some(entry) if entry.outcome == "success" => Ok(entry),
        Some(entry) => {
            bail!(
                "sync {number} of app {name:?} was no success ({}): it is nothing to go back to",
                entry.outcome
            )
        }
        None => bail!("app {name:?} has no sync {number}: `skiff history {name}` lists them"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use skiff_shared::api::v1alpha1::{Assignment, PlanSummary, Revision};

    use super::*;

    fn entry(number: u64, render: &str, outcome: &str, stored: &[&str]) -> HistoryEntry {
        HistoryEntry {
            number,
            revision: Revision { name: format!("main@sha1:{render}"), ..Revision::default() },
            assignment: Assignment::default(),
            render: render.to_owned(),
            seen_at: Timestamp::UNIX_EPOCH,
            applied_at: None,
            healthy_at: None,
            approved_by: None,
            outcome: outcome.to_owned(),
            counts: Default::default(),
            pinned: false,
            stored: stored.iter().map(|name| (*name).to_owned()).collect(),
            without: Vec::new(),
        }
    }

    fn history() -> AppStatus {
        let history = vec![
            entry(6, "d", "failure", &[]),
            entry(5, "c", "success", &["c"]),
            entry(4, "b", "success", &["b"]),
            entry(3, "a", "success", &[]),
        ];
        AppStatus { history, ..AppStatus::default() }
    }

    fn chosen(status: &AppStatus, number: Option<u64>) -> String {
        target("shop", status, number).map_or_else(|error| error.to_string(), |entry| entry.render.clone())
    }

    #[test]
    fn without_a_number_it_is_the_release_before_what_is_there() {
        assert_eq!(chosen(&history(), None), "b");
        let half_way = AppStatus { plan: Some(PlanSummary::default()), ..history() };
        assert_eq!(chosen(&half_way, None), "c");
        insta::assert_snapshot!(chosen(&AppStatus::default(), None), @r#"app "shop" has no earlier release: revert the commit in Git; `skiff history shop` shows what there is"#);
    }

    #[test]
    fn a_number_that_cannot_be_gone_back_to_says_why() {
        assert_eq!(chosen(&history(), Some(4)), "b");
        assert_eq!(chosen(&history(), Some(3)), "a", "it is rendered again from Git");
        insta::assert_snapshot!(chosen(&history(), Some(6)), @r#"sync 6 of app "shop" was no success (failure): it is nothing to go back to"#);
        insta::assert_snapshot!(chosen(&history(), Some(9)), @r#"app "shop" has no sync 9: `skiff history shop` lists them"#);
    }
}
