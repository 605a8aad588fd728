//! `skiff sync`: asks for a sync now, and waits for it where that is asked for too.

use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::json;
use skiff_shared::api::v1alpha1::AppStatus;

use super::ask::Asked;
use super::{ui, wait};
use crate::args::SyncArgs;

/// Writes the word, and waits until it has been carried out.
pub async fn run(arguments: SyncArgs) -> anyhow::Result<ExitCode> {
    let SyncArgs { app, wait: waits, patience } = arguments;
    let asked = Asked::find(app).await?;
    let word = Timestamp::now().to_string();
    asked.ask(json!({ "sync": word })).await?;
    ui::line(&format!("asked {} to sync", asked.name));
    if !waits {
        return Ok(ExitCode::SUCCESS);
    }
    let done = move |status: &AppStatus| status.synced_for.as_ref() == Some(&word) && wait::is_well(status);
    wait::until(&asked, patience.timeout, done).await
}
