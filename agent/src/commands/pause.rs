//! `skiff pause` and `skiff resume`: no write for an app, healing included, until a person says so; resuming also takes
//! a rollback and a deletion back.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::ask::Asked;
use super::ui;
use crate::args::{PauseArgs, ResumeArgs};

/// Stops every write of the app.
pub async fn pause(arguments: PauseArgs) -> anyhow::Result<ExitCode> {
    let PauseArgs { app, reason } = arguments;
    let asked = Asked::find(app).await?;
    asked.ask(json!({ "pause": { "reason": reason } })).await?;
    ui::line(&format!("paused {}: nothing of it is written until `skiff resume {}`", asked.name, asked.name));
    Ok(ExitCode::SUCCESS)
}

/// Takes back what stops the app.
pub async fn resume(arguments: ResumeArgs) -> anyhow::Result<ExitCode> {
    let ResumeArgs { app } = arguments;
    let asked = Asked::find(app).await?;
    let spec = &asked.app.spec;
    if spec.pause.is_none() && spec.pin.is_none() && spec.delete.is_none() {
        ui::line(&format!("{} is neither paused nor pinned nor deleted", asked.name));
        return Ok(ExitCode::SUCCESS);
    }
    asked.ask(json!({ "pause": Value::Null, "pin": Value::Null, "delete": Value::Null })).await?;
    ui::line(&format!("{} goes on", asked.name));
    Ok(ExitCode::SUCCESS)
}
