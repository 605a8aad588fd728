//! `skiff get --watch`: a row for each change that a person would see, until it is interrupted.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::bail;
use futures::StreamExt as _;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use skiff_shared::api::v1alpha1::{App, AppStatus};

use super::super::ui;
use super::{header, name_of, row};
use crate::args::Output;

/// Prints the apps as they are and then each that has become different.
pub async fn run(
    api: Api<App>,
    apps: Vec<App>,
    is_wanted: impl Fn(&App) -> bool,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let mut shown = Shown::begin(&apps, output)?;
    let mut seen = watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(event) = seen.next().await {
        match event {
            Ok(watcher::Event::Apply(app) | watcher::Event::InitApply(app)) if is_wanted(&app) => {
                shown.show(&app)?
            }
            Ok(watcher::Event::Delete(mut app)) if is_wanted(&app) => {
                app.status = Some(AppStatus { message: "is no more".to_owned(), ..AppStatus::default() });
                shown.show(&app)?;
            }
            Ok(_) => {}
            // The watch begins anew by itself.
            Err(error) => ui::warning(&format!("the apps cannot be watched: {error}")),
        }
    }
    bail!("the watch of the apps has ended")
}

/// What is on the screen already.
struct Shown {
    table: ui::Table,
    output: Output,
    /// By namespace and name: the row, or the whole object where programs read it.
    told: HashMap<(String, String), String>,
}

impl Shown {
    fn begin(apps: &[App], output: Output) -> anyhow::Result<Self> {
        let rows: Vec<Vec<String>> = apps.iter().map(|app| row(app, output)).collect();
        let width = if output == Output::Wide { None } else { ui::columns() };
        let mut shown =
            Self { table: ui::Table::new(header(output), &rows, width), output, told: HashMap::new() };
        if matches!(output, Output::Table | Output::Wide) {
            shown.table.header(header(output));
        }
        apps.iter().try_for_each(|app| shown.show(app))?;
        Ok(shown)
    }

    fn show(&mut self, app: &App) -> anyhow::Result<()> {
        let telling = match self.output {
            Output::Json | Output::Yaml => serde_json::to_string(app)?,
            Output::Name => String::new(),
            Output::Table | Output::Wide => row(app, self.output).join("\t"),
        };
        let key = (app.metadata.namespace.clone().unwrap_or_default(), name_of(app));
        if self.told.get(&key) == Some(&telling) {
            return Ok(());
        }
        match self.output {
            Output::Json | Output::Yaml => ui::line(&telling),
            Output::Name => ui::line(&format!("app.skiff.dev/{}", name_of(app))),
            Output::Table | Output::Wide => self.table.row(&row(app, self.output)),
        }
        self.told.insert(key, telling);
        Ok(())
    }
}
