//! `skiff diff`: field by field what a sync would change, of the plan that waits if one does.

use std::process::ExitCode;

use serde_json::{Value, json};
use similar::TextDiff;

use super::compare::{self, Range};
use super::outlook::{self, Change, Findings, Unchecked};
use super::{DIFFERENT, USAGE, ui};
use crate::args::{DiffArgs, Output};

/// What the two sides of a difference are called.
pub struct Sides<'a> {
    pub before: &'a str,
    pub after: &'a str,
}

const LIVE_AND_GIT: Sides<'static> = Sides { before: "live", after: "git" };

/// Prints the differences; ends with 3 where there are any.
pub async fn run(arguments: DiffArgs) -> anyhow::Result<ExitCode> {
    if let Some(range) = Range::parse(&arguments.of) {
        return compare::run(range, &arguments).await;
    }
    let misplaced = if arguments.markdown {
        Some("--markdown compares two commits: OLD..NEW")
    } else {
        (arguments.facts.is_some() && arguments.path.is_none()).then_some("--cluster needs --path")
    };
    if let Some(misplaced) = misplaced {
        ui::error(misplaced);
        return Ok(ExitCode::from(USAGE));
    }
    let output = arguments.output;
    let outlook = outlook::compute(arguments.of_app()).await?;
    let Findings { changes, plan } = outlook.look().await?;
    outlook.warnings.iter().chain(&outlook.doubt(&plan)).for_each(|warning| ui::warning(warning));
    match output {
        Output::Json | Output::Yaml => {
            let all: Vec<Value> = changes
                .iter()
                .map(|change| {
                    let Change { id, action, before, after, adopts, refused, unchecked } = change;
                    json!({
                        "object": id.to_string(), "action": action.word(), "before": before, "after": after,
                        "adopts": adopts, "refused": refused, "unchecked": unchecked.map(Unchecked::word),
                    })
                })
                .collect();
            ui::value(&all, output)?;
        }
        Output::Name => changes.iter().for_each(|change| ui::line(&change.id.to_string())),
        Output::Table | Output::Wide => {
            ui::page();
            changes.iter().try_for_each(|change| show(change, &LIVE_AND_GIT))?;
        }
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

/// Prints the difference of one object.
pub fn show(change: &Change, sides: &Sides<'_>) -> anyhow::Result<()> {
    unified(change, sides)?.lines().for_each(|line| ui::line(&ui::diff_line(line)));
    Ok(())
}

/// Returns the difference of one object as a unified diff of its YAML.
fn unified(change: &Change, sides: &Sides<'_>) -> anyhow::Result<String> {
    let note = change.note().map(|note| format!("{note}\n")).unwrap_or_default();
    let (Sides { before, after }, id) = (sides, &change.id);
    Ok(format!("{note}--- {before} {id}\n+++ {after} {id}\n{}", hunks(change)?))
}

/// Returns what differs, without saying between what.
pub fn hunks(change: &Change) -> anyhow::Result<String> {
    let yaml = |value: &Option<Value>| match value {
        Some(value) => serde_saphyr::to_string(value),
        None => Ok(String::new()),
    };
    let (before, after) = (yaml(&change.before)?, yaml(&change.after)?);
    Ok(TextDiff::from_lines(&before, &after).unified_diff().context_radius(3).to_string())
}

#[cfg(test)]
mod tests {
    use skiff_shared::object::Interner;
    use skiff_shared::plan::Action;

    use super::*;

    #[test]
    fn what_is_refused_says_so_before_its_difference() {
        let change = Change {
            id: Interner::default().object("", "ConfigMap", Some("shop"), "settings"),
            action: Action::Recreated,
            before: Some(json!({"data": {"a": "1", "b": "old"}, "immutable": true})),
            after: Some(json!({"data": {"a": "1", "b": "new"}, "immutable": true})),
            adopts: false,
            refused: Some("field is immutable".to_owned()),
            unchecked: None,
        };
        insta::assert_snapshot!(unified(&change, &LIVE_AND_GIT).expect("YAML"), @r#"
        DELETED and created anew, as it cannot be changed: field is immutable
        --- live ConfigMap/shop/settings
        +++ git ConfigMap/shop/settings
        @@ -1,4 +1,4 @@
         data:
           a: "1"
        -  b: old
        +  b: new
         immutable: true
        "#);
    }
}
