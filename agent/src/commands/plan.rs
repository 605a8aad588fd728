//! `skiff plan`: object by object what a sync would do, and what would be left alone and why; or the plan that the
//! agent has published and waits with.

use std::process::ExitCode;

use serde_json::{Value, json};
use skiff_shared::api::v1alpha1::{App, AppStatus};
use skiff_shared::plan::Action;
use skiff_shared::policy::{Mode, OnInvalid, Policy};

use super::outlook::{self, Change, Findings, Unchecked};
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
    let Findings { plan, changes } = outlook.look().await?;
    outlook.warnings.iter().for_each(|warning| ui::warning(warning));
    match output {
        Output::Json | Output::Yaml => {
            let writes: Vec<_> = changes
                .iter()
                .map(|change| {
                    let Change { id, action, before: _, after: _, adopts, refused, unchecked } = change;
                    json!({
                        "object": id.to_string(), "action": action.word(), "adopts": adopts,
                        "refused": refused, "unchecked": unchecked.map(Unchecked::word),
                    })
                })
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
            consequences(&outlook.policy, &changes).iter().for_each(|line| ui::line(line));
        }
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

/// Returns the app if the agent waits with a plan of it.
async fn waiting(arguments: &PlanArgs) -> anyhow::Result<Option<App>> {
    let connection = connect(arguments.cluster.clone()).await?;
    let app = get::find(&connection, arguments.namespace.as_deref(), &arguments.app).await?;
    Ok(Some(app).filter(|app| outlook::waiting_plan(app).is_some()))
}

/// Prints the plan that the agent waits with.
fn published(app: &App, output: Output) -> anyhow::Result<ExitCode> {
    let status = app.status.clone().unwrap_or_default();
    let plan = status.plan.clone().unwrap_or_default();
    match output {
        Output::Json | Output::Yaml => {
            let held = left_alone(&status);
            ui::value(&json!({"digest": plan.digest, "changes": plan.changes, "held": held}), output)?;
        }
        Output::Name => plan.changes.iter().for_each(|change| ui::line(&change.object)),
        Output::Table | Output::Wide => approve::show(app, &status, &plan),
    }
    Ok(ExitCode::from(DIFFERENT))
}

/// Returns the objects that the published plan leaves alone, as those of a computed one are printed.
fn left_alone(status: &AppStatus) -> Vec<Value> {
    let held = status.objects.iter().filter(|row| row.held.is_some());
    held.map(|row| json!({"object": approve::object(row), "reason": row.held, "message": row.message}))
        .collect()
}

fn words(change: &Change) -> String {
    let note = change.note().map(|note| format!(": {note}")).unwrap_or_default();
    format!("{:<11} {}{note}", change.action, change.id)
}

/// Says what the agent's policy makes of the plan.
fn consequences(policy: &Policy, changes: &[Change]) -> Vec<String> {
    let refused = changes.iter().filter(|change| change.is_refused()).count();
    let of_refused = match policy.on_invalid {
        _ if refused == 0 => None,
        OnInvalid::Block => {
            Some(format!("{refused} refused: nothing would be written (sync.onInvalid: block)"))
        }
        OnInvalid::Skip => {
            Some(format!("{refused} refused: the rest would be written (sync.onInvalid: skip)"))
        }
    };
    let waits = policy.mode == Mode::Manual && !changes.is_empty();
    let of_mode = waits.then(|| "nothing would be written before an approval (sync.mode: manual)".to_owned());
    of_refused.into_iter().chain(of_mode).collect()
}

#[cfg(test)]
mod tests {
    use skiff_shared::api::v1alpha1::ObjectRow;
    use skiff_shared::object::Interner;
    use skiff_shared::plan::Action;

    use super::*;

    fn change(action: Action, refused: Option<&str>) -> Change {
        Change {
            id: Interner::default().object("", "ConfigMap", Some("shop"), "settings"),
            action,
            before: Some(json!({})),
            after: Some(json!({})),
            adopts: false,
            refused: refused.map(str::to_owned),
            unchecked: None,
        }
    }

    #[test]
    fn what_the_policy_makes_of_a_plan_is_said() {
        let good = change(Action::Configured, None);
        let bad = change(Action::Configured, Some("too long"));
        let recreated = change(Action::Recreated, Some("immutable"));
        let production = Policy { mode: Mode::Manual, ..Policy::default() };
        let skipping = Policy { on_invalid: OnInvalid::Skip, ..Policy::default() };
        let none: [String; 0] = [];
        assert_eq!(consequences(&Policy::default(), &[good.clone(), recreated]), none);
        assert_eq!(consequences(&production, &[]), none);
        insta::assert_snapshot!(consequences(&production, &[good, bad.clone()]).join("\n"), @r"
        1 refused: nothing would be written (sync.onInvalid: block)
        nothing would be written before an approval (sync.mode: manual)
        ");
        insta::assert_snapshot!(consequences(&skipping, &[bad]).join("\n"), @"1 refused: the rest would be written (sync.onInvalid: skip)");
    }

    #[test]
    fn what_a_published_plan_leaves_alone_is_told_to_programs_with_its_reason() {
        let row = |name: &str, held: Option<&str>| ObjectRow {
            kind: "ConfigMap".to_owned(),
            namespace: Some("shop".to_owned()),
            name: name.to_owned(),
            held: held.map(str::to_owned),
            message: "words".to_owned(),
            ..ObjectRow::default()
        };
        let objects = vec![row("drifted", None), row("theirs", Some("Conflict"))];
        let status = AppStatus { objects, ..AppStatus::default() };
        let theirs = json!({"object": "ConfigMap/shop/theirs", "reason": "Conflict", "message": "words"});
        assert_eq!(left_alone(&status), [theirs]);
    }

    #[test]
    fn a_line_tells_what_is_special_about_a_change() {
        let new = change(Action::Created, None);
        let taken = Change { adopts: true, ..change(Action::Configured, None) };
        let later = Change { unchecked: Some(Unchecked::Kind), ..new.clone() };
        let homeless = Change { unchecked: Some(Unchecked::Namespace), ..new.clone() };
        let refused = Change { refused: Some("field not declared".to_owned()), ..homeless.clone() };
        let recreated = change(Action::Recreated, Some("field is immutable"));
        let all = [new, taken, later, homeless, refused, recreated];
        insta::assert_snapshot!(all.iter().map(words).collect::<Vec<_>>().join("\n"), @r"
        created     ConfigMap/shop/settings
        configured  ConfigMap/shop/settings: it exists, and is taken over
        created     ConfigMap/shop/settings: not checked: its kind is defined by this plan, and it is written after its definition
        created     ConfigMap/shop/settings: checked against its schema only: its Namespace is created by this plan
        created     ConfigMap/shop/settings: refused: field not declared
        recreated   ConfigMap/shop/settings: DELETED and created anew, as it cannot be changed: field is immutable
        ");
    }
}
