//! `skiff diff`: field by field what a sync would change, Secrets masked.

use std::process::ExitCode;

use serde_json::{Value, json};
use similar::TextDiff;
use skiff_shared::plan::Action;

use super::outlook::{self, Change};
use super::{DIFFERENT, ui};
use crate::args::{Output, PlanArgs};

/// Prints the differences; ends with 3 where there are any.
pub async fn run(arguments: PlanArgs) -> anyhow::Result<ExitCode> {
    let output = arguments.output;
    let outlook = outlook::compute(arguments).await?;
    let changes = outlook.changes().await?;
    outlook.warnings.iter().for_each(|warning| ui::warning(warning));
    match output {
        Output::Json | Output::Yaml => {
            let all: Vec<Value> = changes
                .iter()
                .map(|change| {
                    let (before, after) = masked(change);
                    json!({"object": change.id.to_string(), "action": change.action.word(), "before": before, "after": after})
                })
                .collect();
            ui::value(&all, output)?;
        }
        Output::Name => changes.iter().for_each(|change| ui::line(&change.id.to_string())),
        Output::Table | Output::Wide => {
            for change in &changes {
                ui::text(&unified(change)?);
            }
        }
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

/// Returns the difference of one object as a unified diff of its YAML.
fn unified(change: &Change) -> anyhow::Result<String> {
    let (before, after) = masked(change);
    let yaml = |value: &Option<Value>| match value {
        Some(value) => serde_saphyr::to_string(value),
        None => Ok(String::new()),
    };
    let (before, after) = (yaml(&before)?, yaml(&after)?);
    let word = match change.action {
        Action::Recreated => "DELETED and created anew, as it cannot be changed",
        _ => "refused",
    };
    let refused = change.refused.as_ref().map(|why| format!("{word}: {why}\n")).unwrap_or_default();
    let diff = TextDiff::from_lines(&before, &after);
    let id = &change.id;
    let text =
        diff.unified_diff().context_radius(3).header(&format!("live {id}"), &format!("git {id}")).to_string();
    Ok(format!("{refused}{text}"))
}

/// Returns both sides with the values of Secrets replaced: a difference shows, its content does not.
fn masked(change: &Change) -> (Option<Value>, Option<Value>) {
    let (mut before, mut after) = (change.before.clone(), change.after.clone());
    if change.id.is("", "Secret") {
        mask(&mut before, after.as_ref(), "before");
        mask(&mut after, change.before.as_ref(), "after");
    }
    (before, after)
}

fn mask(side: &mut Option<Value>, other: Option<&Value>, word: &str) {
    let Some(side) = side else { return };
    for field in ["data", "stringData"] {
        let Some(values) = side.get_mut(field).and_then(Value::as_object_mut) else { continue };
        for (key, value) in values {
            let same = other.and_then(|other| other.get(field)?.get(key)) == Some(value);
            *value = json!(if same { "(masked)".to_owned() } else { format!("(masked, {word})") });
        }
    }
}

#[cfg(test)]
mod tests {
    use skiff_shared::object::Interner;
    use skiff_shared::plan::Action;

    use super::*;

    #[test]
    fn secrets_show_which_keys_differ_and_no_value() {
        let change = Change {
            id: Interner::default().object("", "Secret", Some("shop"), "db"),
            action: Action::Configured,
            before: Some(json!({"data": {"user": "c2hvcA==", "password": "b2xk"}})),
            after: Some(json!({"data": {"user": "c2hvcA==", "password": "bmV3"}})),
            refused: None,
        };
        insta::assert_snapshot!(unified(&change).expect("YAML"), @r"
        --- live Secret/shop/db
        +++ git Secret/shop/db
        @@ -1,3 +1,3 @@
         data:
        -  password: (masked, before)
        +  password: (masked, after)
           user: (masked)
        ");
    }
}
