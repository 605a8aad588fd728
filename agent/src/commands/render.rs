//! `skiff render`: the objects that a folder renders to, as the agent would send them.

use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context as _;
use skiff_shared::object::{ApiSet, Interner};

use super::local::{Local, Served};
use super::{connect, ui};
use crate::args::{Output, RenderArgs};
use crate::cluster::discovery::discover;

/// The version that charts are told where no cluster is asked.
const KUBE_VERSION: &str = "v1.37.0";

/// Renders and prints.
pub async fn run(arguments: RenderArgs) -> anyhow::Result<ExitCode> {
    let RenderArgs { path, app, environment, offline, tools, output, cluster } = arguments;
    let local = Local::new(&path, &environment, &tools)?;
    let (apis, kube_version) = if offline {
        (ApiSet::default(), KUBE_VERSION.to_owned())
    } else {
        let connection = connect(cluster)
            .await
            .context("no cluster to ask for its kinds: --offline assumes the built-in ones")?;
        let found = discover(&connection)
            .await
            .context("the cluster's kinds cannot be read: --offline assumes the built-in ones")?;
        (found.apis, found.kube_version)
    };
    print(&local, app.as_deref(), &apis, &kube_version, output).await
}

async fn print(
    local: &Local,
    app: Option<&str>,
    apis: &ApiSet,
    kube_version: &str,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let interner = Mutex::new(Interner::default());
    let specs = local.apps()?;
    let wanted: Vec<_> =
        specs.iter().filter(|spec| app.is_none_or(|app| spec.name.as_str() == app)).collect();
    if let (Some(app), true) = (app, wanted.is_empty()) {
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        anyhow::bail!("there is no app {app:?}; there are: {}", names.join(", "));
    }
    let mut ended = ExitCode::SUCCESS;
    for spec in wanted {
        let served = Served { apis, kube_version };
        match local.render(spec, &served, "local", &interner).await {
            Ok(rendered) => {
                rendered.warnings.iter().for_each(|warning| ui::warning(warning));
                for row in &rendered.rows {
                    let body = local.store.get(row.body)?.context("a rendered body is on disk")?;
                    let object: serde_json::Value = serde_json::from_slice(&body)?;
                    if output == Output::Yaml {
                        ui::line("---");
                    }
                    ui::value(&object, output)?;
                }
            }
            Err(error) => {
                ui::error(&format!("app {}: {error}", spec.name));
                ended = ExitCode::FAILURE;
            }
        }
    }
    Ok(ended)
}
