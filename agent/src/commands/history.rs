//! `skiff history`: the syncs that an app remembers, and which of them it can go back to.

use std::process::ExitCode;

use jiff::Timestamp;
use skiff_shared::api::v1alpha1::{AppStatus, HistoryEntry};

use super::{connect, get, ui};
use crate::args::{HistoryArgs, Output};

/// Prints the syncs, the newest first.
pub async fn run(arguments: HistoryArgs) -> anyhow::Result<ExitCode> {
    let HistoryArgs { app, output } = arguments;
    let connection = connect(app.cluster).await?;
    let found = get::find(&connection, app.namespace.as_deref(), &app.app).await?;
    let status = found.status.unwrap_or_default();
    match output {
        Output::Json | Output::Yaml => ui::value(&status.history, output)?,
        Output::Name => status.history.iter().for_each(|entry| ui::line(&entry.number.to_string())),
        Output::Table | Output::Wide => tabulate(&status, output),
    }
    Ok(ExitCode::SUCCESS)
}

fn tabulate(status: &AppStatus, output: Output) {
    if status.history.is_empty() {
        return ui::line("no sync has ended yet");
    }
    if output == Output::Wide {
        let header = [
            "ID",
            "REVISION",
            "RESULT",
            "SEEN",
            "APPLIED",
            "HEALTHY",
            "APPROVED BY",
            "CHANGES",
            "KEPT",
            "AUTHOR",
            "SUBJECT",
        ];
        let rows: Vec<Vec<String>> = status.history.iter().map(wide).collect();
        return ui::table(&header, &rows);
    }
    let header = ["ID", "REVISION", "RESULT", "HEALTHY", "APPROVED BY", "KEPT", "SUBJECT"];
    let rows: Vec<Vec<String>> = status.history.iter().map(narrow).collect();
    ui::table(&header, &rows);
}

fn narrow(entry: &HistoryEntry) -> Vec<String> {
    vec![
        entry.number.to_string(),
        entry.revision.name.clone(),
        result(entry),
        time(entry.healthy_at),
        entry.approved_by.clone().unwrap_or_else(nothing),
        kept(entry),
        entry.revision.subject.clone(),
    ]
}

fn wide(entry: &HistoryEntry) -> Vec<String> {
    let counts = entry.counts.iter().filter(|(word, _)| *word != "unchanged");
    let counts: Vec<String> = counts.map(|(word, count)| format!("{count} {word}")).collect();
    vec![
        entry.number.to_string(),
        entry.revision.name.clone(),
        result(entry),
        time(Some(entry.seen_at)),
        time(entry.applied_at),
        time(entry.healthy_at),
        entry.approved_by.clone().unwrap_or_else(nothing),
        if counts.is_empty() { nothing() } else { counts.join(", ") },
        kept(entry),
        entry.revision.author.clone(),
        entry.revision.subject.clone(),
    ]
}

fn result(entry: &HistoryEntry) -> String {
    let pinned = if entry.pinned { " (pinned)" } else { "" };
    format!("{}{pinned}", entry.outcome)
}

/// Says whether `skiff rollback` can go back to it, and what it needs for that.
fn kept(entry: &HistoryEntry) -> String {
    match (entry.outcome.as_str(), entry.stored.is_empty()) {
        (_, false) => "yes".to_owned(),
        ("success", true) => "in Git".to_owned(),
        (_, true) => nothing(),
    }
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(nothing, |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

fn nothing() -> String {
    "-".to_owned()
}
