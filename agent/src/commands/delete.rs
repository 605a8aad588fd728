//! `skiff delete`: a person's word that an app goes.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;
use skiff_shared::api::v1alpha1::{AppSpec, AppStatus};
use skiff_shared::desired::Propagation;

use super::ask::Asked;
use super::{USAGE, ui, wait};
use crate::args::{Cascade, DeleteArgs};

/// Shows what goes, asks, writes the word, and waits until everything is gone where that is asked for.
pub async fn run(arguments: DeleteArgs) -> anyhow::Result<ExitCode> {
    let DeleteArgs { app, cascade, until_resumed, sensitive_kinds, yes, wait: waits, patience } = arguments;
    let asked = Asked::find(app).await?;
    let status = asked.app.status.clone().unwrap_or_default();
    check(&asked.name, &asked.app.spec, &status, cascade, until_resumed)?;
    show(&status, cascade);
    if !yes && !ui::is_terminal() {
        ui::error("there is no terminal to ask on: look at what goes, then give --yes");
        return Ok(ExitCode::from(USAGE));
    }
    if !yes && !ui::confirm(&format!("delete {}?", asked.name))? {
        bail!("nothing was deleted");
    }
    let word = json!({ "cascade": propagation(cascade), "sensitiveKinds": sensitive_kinds });
    asked.ask(json!({ "delete": word })).await?;
    ui::line(&format!("asked to delete {}; `skiff resume {}` takes it back", asked.name, asked.name));
    ui::line("where the mode is manual its plan waits for `skiff approve`, as any other does");
    if !waits {
        return Ok(ExitCode::SUCCESS);
    }
    wait::until_deleted(&asked, patience.timeout).await
}

/// Refuses what would not do what is meant.
fn check(
    name: &str,
    spec: &AppSpec,
    status: &AppStatus,
    cascade: Cascade,
    until_resumed: bool,
) -> anyhow::Result<()> {
    if let Some(pause) = &spec.pause {
        let reason = if pause.reason.is_empty() { String::new() } else { format!(" ({})", pause.reason) };
        bail!(
            "app {name:?} is paused{reason}: nothing of it is written, deletions included; `skiff resume {name}` first"
        );
    }
    if status.unlisted {
        return Ok(());
    }
    let revision = status.revision.as_ref().map_or("Git", |revision| &revision.name);
    if cascade == Cascade::Orphan {
        bail!(
            "app {name:?} is still in the app list of {revision}: its objects would be taken over again at once; take it out of the list first, or `skiff pause {name}`"
        );
    }
    if !until_resumed {
        bail!(
            "app {name:?} is still in the app list of {revision}, so it would come back: take it out of the list first, or give --until-resumed to keep its objects away until `skiff resume {name}`"
        );
    }
    Ok(())
}

fn propagation(cascade: Cascade) -> Propagation {
    match cascade {
        Cascade::Background => Propagation::Background,
        Cascade::Foreground => Propagation::Foreground,
        Cascade::Orphan => Propagation::Orphan,
    }
}

/// Prints what goes, or is forgotten.
fn show(status: &AppStatus, cascade: Cascade) {
    let action = if cascade == Cascade::Orphan { "forgotten" } else { "DELETED" };
    for row in &status.objects {
        let place = row.namespace.as_deref().map_or_else(String::new, |namespace| format!("{namespace}/"));
        ui::line(&format!("  {action:<11} {}/{place}{}", row.kind, row.name));
    }
    let shown = u32::try_from(status.objects.len()).unwrap_or(u32::MAX);
    if let Some(more) = status.counts.total.checked_sub(shown).filter(|more| *more > 0) {
        ui::line(&format!("  and {more} more"));
    }
}

#[cfg(test)]
mod tests {
    use skiff_shared::api::v1alpha1::{Pause, Revision};

    use super::*;

    fn refused(spec: &AppSpec, unlisted: bool, cascade: Cascade, until_resumed: bool) -> String {
        let revision = Some(Revision { name: "main@sha1:4f2c9a".to_owned(), ..Revision::default() });
        let status = AppStatus { unlisted, revision, ..AppStatus::default() };
        check("shop", spec, &status, cascade, until_resumed)
            .err()
            .map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn an_app_that_would_come_back_is_deleted_only_until_it_is_resumed() {
        let spec = AppSpec::default();
        assert_eq!(refused(&spec, true, Cascade::Orphan, false), "");
        assert_eq!(refused(&spec, false, Cascade::Background, true), "");
        insta::assert_snapshot!(refused(&spec, false, Cascade::Background, false), @r#"app "shop" is still in the app list of main@sha1:4f2c9a, so it would come back: take it out of the list first, or give --until-resumed to keep its objects away until `skiff resume shop`"#);
        insta::assert_snapshot!(refused(&spec, false, Cascade::Orphan, true), @r#"app "shop" is still in the app list of main@sha1:4f2c9a: its objects would be taken over again at once; take it out of the list first, or `skiff pause shop`"#);
    }

    #[test]
    fn a_paused_app_is_not_deleted() {
        let spec = AppSpec { pause: Some(Pause { reason: "incident 7".to_owned() }), ..AppSpec::default() };
        insta::assert_snapshot!(refused(&spec, true, Cascade::Background, false), @r#"app "shop" is paused (incident 7): nothing of it is written, deletions included; `skiff resume shop` first"#);
    }
}
