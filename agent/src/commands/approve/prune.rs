//! `skiff approve --prune`: lets single objects go that left Git and are held.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;
use skiff_shared::api::v1alpha1::{AppStatus, ObjectRow, PruneRequest};

use crate::commands::ask::Asked;
use crate::commands::{USAGE, ui};

/// Asks, and writes the word on each object beside those that are there.
pub async fn run(asked: &Asked, objects: &[String], yes: bool) -> anyhow::Result<ExitCode> {
    let status = asked.app.status.clone().unwrap_or_default();
    let named = find(&asked.name, &status, objects)?;
    named.iter().for_each(|request| ui::line(&format!("DELETE      {}", request.object)));
    if !yes && !ui::is_terminal() {
        ui::error("there is no terminal to ask on: give --yes");
        return Ok(ExitCode::from(USAGE));
    }
    if !yes && !ui::confirm(&format!("let these objects of {} be deleted?", asked.name))? {
        bail!("nothing was approved");
    }
    let mut all = asked.app.spec.prune.clone();
    all.extend(named.into_iter().filter(|new| !asked.app.spec.prune.contains(new)));
    asked.ask(json!({ "prune": all })).await?;
    ui::line(&format!("objects that may go: skiff get {} shows what becomes of them", asked.name));
    Ok(ExitCode::SUCCESS)
}

/// Returns the held objects of these names, or says which there are.
fn find(app: &str, status: &AppStatus, objects: &[String]) -> anyhow::Result<Vec<PruneRequest>> {
    let held: Vec<PruneRequest> = status.objects.iter().filter_map(request).collect();
    let mut found = Vec::new();
    for object in objects {
        let Some(request) = held.iter().find(|held| held.object == *object) else {
            let names: Vec<&str> = held.iter().map(|held| held.object.as_str()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            bail!("{object:?} is no object of app {app:?} that waits for this word; those that do: {names}");
        };
        found.push(request.clone());
    }
    Ok(found)
}

fn request(row: &ObjectRow) -> Option<PruneRequest> {
    let uid = row.prunable.clone()?;
    Some(PruneRequest { object: super::object(row), uid })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, prunable: Option<&str>) -> ObjectRow {
        ObjectRow {
            kind: "Deployment".to_owned(),
            namespace: Some("shop".to_owned()),
            name: name.to_owned(),
            prunable: prunable.map(str::to_owned),
            ..ObjectRow::default()
        }
    }

    #[test]
    fn only_what_waits_for_the_word_is_named() {
        let objects = vec![row("web", None), row("old", Some("uid-1"))];
        let status = AppStatus { objects, ..AppStatus::default() };
        let found = find("shop", &status, &["Deployment/shop/old".to_owned()]).expect("it waits");
        assert_eq!(
            found,
            [PruneRequest { object: "Deployment/shop/old".to_owned(), uid: "uid-1".to_owned() }]
        );
        let refused = find("shop", &status, &["Deployment/shop/web".to_owned()]).unwrap_err().to_string();
        insta::assert_snapshot!(refused, @r#""Deployment/shop/web" is no object of app "shop" that waits for this word; those that do: Deployment/shop/old"#);
    }
}
