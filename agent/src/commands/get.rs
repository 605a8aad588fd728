//! `skiff get`: the apps of a cluster, or one app with what is wrong with it.

use std::process::ExitCode;

use anyhow::Context as _;
use kube::Api;
use kube::api::ListParams;
use skiff_shared::api::v1alpha1::{App, AppStatus};
use skiff_shared::yaml::closest;

mod watch;

use super::approve::in_numbers;
use super::{connect, ui};
use crate::args::{GetArgs, Output};
use crate::cluster::Connection;

/// Lists the apps, or shows one.
pub async fn run(arguments: GetArgs) -> anyhow::Result<ExitCode> {
    let GetArgs { apps: names, watch: watches, namespace, output, cluster } = arguments;
    let connection = connect(cluster).await?;
    let (api, all) = reach(&connection, namespace.as_deref()).await?;
    if let ([name], false) = (names.as_slice(), watches) {
        let found = pick(all, name)?;
        match output {
            Output::Table | Output::Wide => show(&found),
            Output::Name => ui::line(&format!("app.skiff.dev/{name}")),
            Output::Json | Output::Yaml => ui::value(&found, output)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    for name in &names {
        known(&all, name)?;
    }
    let is_wanted = move |app: &App| names.is_empty() || names.contains(&name_of(app));
    let apps: Vec<App> = all.into_iter().filter(|app| is_wanted(app)).collect();
    if watches {
        return watch::run(api, apps, is_wanted, output).await;
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
    Ok(reach(connection, namespace).await?.1)
}

/// The same, with where they were read.
async fn reach(connection: &Connection, namespace: Option<&str>) -> anyhow::Result<(Api<App>, Vec<App>)> {
    let client = connection.client().clone();
    let params = ListParams::default();
    let failed = || "failed to list the App objects: is Skiff installed in this cluster?".to_owned();
    let api: Api<App> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    match api.list(&params).await {
        Err(kube::Error::Api(status)) if status.code == 403 && namespace.is_none() => {
            let api: Api<App> = Api::namespaced(client, connection.namespace());
            let listed = api.list(&params).await.with_context(failed)?.items;
            Ok((api, listed))
        }
        listed => Ok((api, listed.with_context(failed)?.items)),
    }
}

/// Finds one app by its name.
pub async fn find(connection: &Connection, namespace: Option<&str>, name: &str) -> anyhow::Result<App> {
    pick(list(connection, namespace).await?, name)
}

/// Picks the app of this name. Agents in two namespaces may have one each: then a person has to say which is meant.
fn pick(apps: Vec<App>, name: &str) -> anyhow::Result<App> {
    known(&apps, name)?;
    let mut found: Vec<App> =
        apps.into_iter().filter(|app| app.metadata.name.as_deref() == Some(name)).collect();
    let app = found.pop().context("there is an app of this name")?;
    match found.first() {
        None => Ok(app),
        Some(other) => {
            let namespace = |app: &App| app.metadata.namespace.clone().unwrap_or_default();
            anyhow::bail!(
                "there is an app {name:?} in the namespaces {} and {}: say which with --namespace",
                namespace(other),
                namespace(&app)
            )
        }
    }
}

/// Refuses a name that no app has.
fn known(apps: &[App], name: &str) -> anyhow::Result<()> {
    let names: Vec<&str> = apps.iter().filter_map(|app| app.metadata.name.as_deref()).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let nearest = closest(name, &names).map(|near| format!(", did you mean {near:?}?"));
    anyhow::bail!("there is no app {name:?}{}: `skiff get` lists the apps", nearest.unwrap_or_default())
}

fn name_of(app: &App) -> String {
    app.metadata.name.clone().unwrap_or_default()
}

fn tabulate(apps: &[App], output: Output) {
    if apps.is_empty() {
        return ui::line("no apps: the agent makes one for each app that its environments list");
    }
    let rows: Vec<Vec<String>> = apps.iter().map(|app| row(app, output)).collect();
    if output == Output::Wide { ui::wide(header(output), &rows) } else { ui::table(header(output), &rows) }
}

fn header(output: Output) -> &'static [&'static str] {
    if output == Output::Wide {
        &["NAMESPACE", "NAME", "SYNC", "HEALTH", "REVISION", "PHASE", "OBJECTS", "REPOSITORY", "MESSAGE"]
    } else {
        &["NAMESPACE", "NAME", "SYNC", "HEALTH", "REVISION", "MESSAGE"]
    }
}

fn row(app: &App, output: Output) -> Vec<String> {
    let empty = AppStatus::default();
    let status = app.status.as_ref().unwrap_or(&empty);
    let revision = status.revision.as_ref();
    let mut row = vec![
        app.metadata.namespace.clone().unwrap_or_default(),
        name_of(app),
        status.sync.clone(),
        status.health.clone(),
        revision.map(|revision| revision.name.clone()).unwrap_or_default(),
    ];
    if output == Output::Wide {
        row.push(status.phase.clone());
        row.push(status.counts.total.to_string());
        row.push(revision.map(|revision| revision.url.clone()).unwrap_or_default());
    }
    row.push(status.message.clone());
    row
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
