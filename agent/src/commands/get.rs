//! `skiff get`: the apps of a cluster, or one app with what is wrong with it.

use std::process::ExitCode;

use anyhow::Context as _;
use kube::Api;
use kube::api::ListParams;
use skiff_shared::api::v1alpha1::{App, AppStatus};
use skiff_shared::yaml::closest;

use super::approve::in_numbers;
use super::{connect, ui};
use crate::args::{GetArgs, Output};
use crate::cluster::Connection;

/// Lists the apps, or shows one.
pub async fn run(arguments: GetArgs) -> anyhow::Result<ExitCode> {
    let GetArgs { app, namespace, output, cluster } = arguments;
    let connection = connect(cluster).await?;
    let apps = list(&connection, namespace.as_deref()).await?;
    if let Some(name) = &app {
        let found = pick(apps, name)?;
        match output {
            Output::Table | Output::Wide => show(&found),
            Output::Name => ui::line(&format!("app.skiff.dev/{name}")),
            Output::Json | Output::Yaml => ui::value(&found, output)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    match output {
        Output::Json | Output::Yaml => ui::value(&apps, output)?,
        Output::Name => apps.iter().for_each(|app| ui::line(&format!("app.skiff.dev/{}", name_of(app)))),
        Output::Table | Output::Wide => tabulate(&apps, output),
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the apps of all namespaces, or of the only one that may be read.
pub async fn list(connection: &Connection, namespace: Option<&str>) -> anyhow::Result<Vec<App>> {
    let client = connection.client().clone();
    let params = ListParams::default();
    let failed = || "failed to list the App objects: is Skiff installed in this cluster?".to_owned();
    if let Some(namespace) = namespace {
        return Ok(Api::<App>::namespaced(client, namespace).list(&params).await.with_context(failed)?.items);
    }
    match Api::<App>::all(client.clone()).list(&params).await {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let apps: Api<App> = Api::namespaced(client, connection.namespace());
            Ok(apps.list(&params).await.with_context(failed)?.items)
        }
        listed => Ok(listed.with_context(failed)?.items),
    }
}

/// Finds one app by its name.
pub async fn find(connection: &Connection, namespace: Option<&str>, name: &str) -> anyhow::Result<App> {
    pick(list(connection, namespace).await?, name)
}

/// Picks the app of this name. Agents in two namespaces may have one each: then a person has to say which is meant.
fn pick(apps: Vec<App>, name: &str) -> anyhow::Result<App> {
    let names: Vec<String> = apps.iter().map(name_of).collect();
    let mut found: Vec<App> =
        apps.into_iter().filter(|app| app.metadata.name.as_deref() == Some(name)).collect();
    match (found.pop(), found.first()) {
        (Some(app), None) => Ok(app),
        (Some(app), Some(other)) => {
            let namespace = |app: &App| app.metadata.namespace.clone().unwrap_or_default();
            anyhow::bail!(
                "there is an app {name:?} in the namespaces {} and {}: say which with --namespace",
                namespace(other),
                namespace(&app)
            )
        }
        (None, _) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let nearest = closest(name, &names).map(|near| format!(", did you mean {near:?}?"));
            anyhow::bail!(
                "there is no app {name:?}{}: `skiff get` lists the apps",
                nearest.unwrap_or_default()
            )
        }
    }
}

fn name_of(app: &App) -> String {
    app.metadata.name.clone().unwrap_or_default()
}

fn tabulate(apps: &[App], output: Output) {
    if apps.is_empty() {
        return ui::line("no apps: the agent makes one for each app that its environments list");
    }
    let empty = AppStatus::default();
    let wide = output == Output::Wide;
    let rows: Vec<Vec<String>> = apps
        .iter()
        .map(|app| {
            let status = app.status.as_ref().unwrap_or(&empty);
            let revision = status.revision.as_ref().map(|revision| revision.name.clone());
            let mut row = vec![
                app.metadata.namespace.clone().unwrap_or_default(),
                name_of(app),
                status.sync.clone(),
                status.health.clone(),
                revision.unwrap_or_default(),
            ];
            if wide {
                row.push(status.phase.clone());
                row.push(status.counts.total.to_string());
                row.push(status.revision.as_ref().map(|revision| revision.url.clone()).unwrap_or_default());
            }
            row.push(status.message.clone());
            row
        })
        .collect();
    let header: &[&str] = if wide {
        &["NAMESPACE", "NAME", "SYNC", "HEALTH", "REVISION", "PHASE", "OBJECTS", "REPOSITORY", "MESSAGE"]
    } else {
        &["NAMESPACE", "NAME", "SYNC", "HEALTH", "REVISION", "MESSAGE"]
    };
    ui::table(header, &rows);
}

fn show(app: &App) {
    let empty = AppStatus::default();
    let status = app.status.as_ref().unwrap_or(&empty);
    let revision = |revision: &Option<skiff_shared::api::v1alpha1::Revision>| {
        revision.as_ref().map_or_else(
            || "-".to_owned(),
            |revision| format!("{} ({}, {})", revision.name, revision.author, revision.subject),
        )
    };
    ui::line(&format!("app        {}/{}", app.metadata.namespace.clone().unwrap_or_default(), name_of(app)));
    ui::line(&format!("sync       {}", status.sync));
    ui::line(&format!("health     {}", status.health));
    ui::line(&format!("phase      {}", status.phase));
    ui::line(&format!("revision   {}", revision(&status.revision)));
    ui::line(&format!("applied    {}", revision(&status.applied)));
    let counts = &status.counts;
    ui::line(&format!(
        "objects    {} in all, {} healthy, {} out of sync, {} drifted, {} held, {} failed",
        counts.total, counts.healthy, counts.out_of_sync, counts.drifted, counts.held, counts.failed
    ));
    if let Some(plan) = &status.plan {
        let approved = plan.approved_by.as_ref().map(|by| format!(", approved by {by}"));
        let approved = approved.unwrap_or_default();
        ui::line(&format!("plan       {}: {}{approved}", plan.digest, in_numbers(plan)));
    }
    if let Some(window) = &status.window {
        let (state, change) = if window.open { ("open", "closes") } else { ("closed", "opens") };
        let at =
            window.until.map_or_else(|| "never, as far as can be foreseen".to_owned(), |at| at.to_string());
        ui::line(&format!("window     {state}, {change} {at}"));
    }
    if let Some(pinned) = &status.pinned {
        let revision = if pinned.revision.is_empty() { &pinned.release } else { &pinned.revision };
        let reason = if pinned.reason.is_empty() { String::new() } else { format!(" ({})", pinned.reason) };
        ui::line(&format!("pinned     {revision}{reason}, until `skiff resume`"));
    }
    for wait in &status.waiting_for {
        ui::line(&format!("waits for  {wait}"));
    }
    for condition in status.conditions.iter().filter(|condition| !condition.message.is_empty()) {
        ui::line(&format!("{:<10} {}: {}", condition.kind, condition.reason, condition.message));
    }
    if !status.objects.is_empty() {
        ui::line("");
        let rows: Vec<Vec<String>> = status
            .objects
            .iter()
            .map(|row| {
                let namespace = row.namespace.clone().map(|name| format!("{name}/")).unwrap_or_default();
                vec![
                    format!("{}/{namespace}{}", row.kind, row.name),
                    row.sync.clone(),
                    row.health.clone(),
                    row.message.clone(),
                ]
            })
            .collect();
        ui::table(&["OBJECT", "SYNC", "HEALTH", "MESSAGE"], &rows);
    }
}
