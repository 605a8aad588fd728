//! `skiff plan`: object by object what a sync would do, and what would be left alone and why; or the plan that the
//! agent has published and waits with.

use std::process::ExitCode;

use serde_json::json;
use skiff_shared::api::v1alpha1::{App, AppStatus};
use skiff_shared::plan::Action;

use super::outlook::{self, Change};
use super::{DIFFERENT, approve, connect, get, ui};
use crate::args::{Output, PlanArgs};

/// Prints the plan; ends with 3 where it would do something.
pub async fn run(arguments: PlanArgs) -> anyhow::Result<ExitCode> {
    let output = arguments.output;
    if arguments.path.is_none()
        && let Some(app) = waiting(&arguments).await?
    {
        return published(&app, output);
    }
    let outlook = outlook::compute(arguments).await?;
    let changes = outlook.changes().await?;
    outlook.warnings.iter().for_each(|warning| ui::warning(warning));
    let plan = &outlook.plan;
    match output {
        Output::Json | Output::Yaml => {
            let writes: Vec<_> = changes
                .iter()
                .map(|change| json!({"object": change.id.to_string(), "action": change.action.word(), "refused": change.refused}))
                .collect();
            let held: Vec<_> = plan
                .held
                .iter()
                .map(|held| json!({"object": held.id.to_string(), "reason": held.reason.word(), "message": held.reason.to_string()}))
                .collect();
            ui::value(
                &json!({"digest": plan.digest().to_string(), "changes": writes, "held": held}),
                output,
            )?;
        }
        Output::Name => changes.iter().for_each(|change| ui::line(&change.id.to_string())),
        Output::Table | Output::Wide => {
            changes.iter().for_each(|change| ui::line(&words(change)));
            for held in &plan.held {
                ui::line(&format!("{:<11} {}: {}", Action::Held, held.id, held.reason));
            }
            ui::line(&format!(
                "{} to change, {} held, {} unchanged",
                changes.len(),
                plan.held.len(),
                plan.unchanged
            ));
        }
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

/// Returns the app if the agent waits with a plan of it.
async fn waiting(arguments: &PlanArgs) -> anyhow::Result<Option<App>> {
    let connection = connect(arguments.cluster.clone()).await?;
    let app = get::find(&connection, arguments.namespace.as_deref(), &arguments.app).await?;
    let waits = |status: &AppStatus| status.plan.is_some() && status.phase == "Waiting";
    Ok(Some(app).filter(|app| app.status.as_ref().is_some_and(waits)))
}

/// Prints the plan that the agent waits with.
fn published(app: &App, output: Output) -> anyhow::Result<ExitCode> {
    let status = app.status.clone().unwrap_or_default();
    let plan = status.plan.clone().unwrap_or_default();
    match output {
        Output::Json | Output::Yaml => {
            ui::value(&json!({"digest": plan.digest, "changes": plan.changes, "held": plan.held}), output)?;
        }
        Output::Name => plan.changes.iter().for_each(|change| ui::line(&change.object)),
        Output::Table | Output::Wide => approve::show(&status, &plan),
    }
    Ok(ExitCode::from(DIFFERENT))
}

fn words(change: &Change) -> String {
    let refused = match (&change.refused, change.action) {
        (Some(why), Action::Recreated) => {
            format!(": DELETED and created anew, as it cannot be changed: {why}")
        }
        (Some(why), _) => format!(": refused: {why}"),
        (None, _) => String::new(),
    };
    format!("{:<11} {}{refused}", change.action, change.id)
}
