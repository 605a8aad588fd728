//! `skiff render`: the objects that a folder renders to, as the agent would send them.

use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context as _;
use skiff_shared::object::{ApiSet, Interner};

use super::described::Described;
use super::local::{KUBE_VERSION, Local, NotHere, Served, problems, unknown_kinds};
use super::{connect, refused, ui};
use crate::args::{Output, RenderArgs};
use crate::cluster::discovery::discover;

/// What the objects are rendered against.
struct Ground {
    apis: ApiSet,
    kube_version: String,
    kinds: Kinds,
}

/// Where the kinds are known from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kinds {
    Asked,
    Assumed,
}

/// Renders and prints.
pub async fn run(arguments: RenderArgs) -> anyhow::Result<ExitCode> {
    let RenderArgs { path, app, environment, offline, facts, tools, output, cluster } = arguments;
    let described = match Described::read_any(facts.as_deref(), &environment) {
        Ok(described) => described,
        Err(problems) => return Ok(refused(&problems)),
    };
    let kube_version = described.kube_version.clone().unwrap_or_else(|| KUBE_VERSION.to_owned());
    let local = Local::new(&path, &environment, &tools, described)?;
    let ground = if offline || facts.is_some() {
        Ground { apis: ApiSet::default(), kube_version, kinds: Kinds::Assumed }
    } else {
        let connection = connect(cluster)
            .await
            .context("no cluster to ask for its kinds: --offline assumes the built-in ones")?;
        let found = discover(&connection)
            .await
            .context("the cluster's kinds cannot be read: --offline assumes the built-in ones")?;
        Ground { apis: found.apis, kube_version: found.kube_version, kinds: Kinds::Asked }
    };
    print(&local, app.as_deref(), &ground, output).await
}

async fn print(
    local: &Local,
    app: Option<&str>,
    ground: &Ground,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let interner = Mutex::new(Interner::default());
    let list = local.environment().map_err(|unlisted| problems(&unlisted.problems))?;
    list.warnings.iter().for_each(|warning| ui::warning(&warning.to_string()));
    let is_wanted = |name: &str| app.is_none_or(|app| name == app);
    if let Some(app) = app
        && !list.apps.iter().any(|spec| spec.name.as_str() == app)
    {
        let names: Vec<&str> = list.apps.iter().map(|spec| spec.name.as_str()).collect();
        anyhow::bail!("there is no app {app:?} for this cluster; there are: {}", names.join(", "));
    }
    let served = Served { apis: &ground.apis, kube_version: &ground.kube_version };
    let mut ended = ExitCode::SUCCESS;
    for spec in list.apps.iter().filter(|spec| is_wanted(spec.name.as_str())) {
        let place = match local.place(spec).await {
            Ok(place) => place,
            Err(why @ NotHere::LeftOut(_)) => {
                ui::warning(&format!("app {}: {why}", spec.name));
                continue;
            }
            Err(why @ NotHere::Failed(_)) => {
                ui::error(&format!("app {}: {why}", spec.name));
                ended = ExitCode::FAILURE;
                continue;
            }
        };
        match local.render(&place, &served, "local", &interner).await {
            Ok(rendered) => {
                rendered.warnings.iter().for_each(|warning| ui::warning(warning));
                if ground.kinds == Kinds::Assumed {
                    let provided = rendered.rows.iter().filter_map(|row| row.provides.clone()).collect();
                    unknown_kinds(&rendered.rows, &provided).iter().for_each(|note| ui::warning(note));
                }
                show(local, &rendered.rows, output)?;
            }
            Err(error) => {
                let problems = error.problems.iter();
                problems.for_each(|problem| ui::error(&format!("app {}: {problem}", spec.name)));
                ended = ExitCode::FAILURE;
            }
        }
    }
    Ok(ended)
}

fn show(local: &Local, rows: &[skiff_shared::desired::DesiredRow], output: Output) -> anyhow::Result<()> {
    for row in rows {
        if output == Output::Name {
            ui::line(&row.id.to_string());
            continue;
        }
        let body = local.store.get(row.body)?.context("a rendered body is on disk")?;
        let object: serde_json::Value = serde_json::from_slice(&body)?;
        if output == Output::Yaml {
            ui::line("---");
        }
        ui::value(&object, output)?;
    }
    Ok(())
}
