//! `skiff validate`: what is wrong with an environment's folder, for every cluster that reads it. Asks no cluster.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use skiff_shared::desired::{DesiredRow, Problem, Unrendered};
use skiff_shared::environment::AppSpec;
use skiff_shared::object::{ApiSet, GroupKind, Interner};

use super::described::Described;
use super::local::{KUBE_VERSION, Local, LocalApp, NotHere, Served, origin, unknown_kinds};
use super::{USAGE, ui};
use crate::args::{Output, ValidateArgs};
use crate::render::RenderError;

/// What one cluster would get.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    /// Empty where no cluster is described.
    cluster: String,
    apps: Vec<AppVerdict>,
    /// Apps that are listed for other clusters only.
    elsewhere: Vec<String>,
    /// The word for the first problem of the list.
    reason: Option<&'static str>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AppVerdict {
    name: String,
    path: String,
    namespace: Option<String>,
    place: String,
    depends_on: Vec<String>,
    /// `None` where it cannot be rendered.
    objects: Option<usize>,
    /// The word for the first problem.
    reason: Option<&'static str>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

/// Renders every app for every cluster and tells what is wrong; ends with 1 if anything is.
pub async fn run(arguments: ValidateArgs) -> anyhow::Result<ExitCode> {
    let ValidateArgs { path, environment, clusters, tools, output } = arguments;
    let described: Result<Vec<Described>, Vec<Problem>> = match clusters.as_slice() {
        [] => Ok(vec![Described::default()]),
        files => files.iter().map(|file| Described::read(file, &environment)).collect(),
    };
    let described = match described {
        Ok(described) => described,
        Err(problems) => return Ok(super::refused(&problems)),
    };
    let mut verdicts = Vec::new();
    for described in described {
        let local = match Local::new(&path, &environment, &tools, described) {
            Ok(local) => local,
            Err(error) => {
                ui::error(&crate::telemetry::chain(error.as_ref()));
                return Ok(ExitCode::from(USAGE));
            }
        };
        verdicts.push(verdict(&local).await?);
    }
    print(&verdicts, output)?;
    Ok(if verdicts.iter().all(Verdict::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn verdict(local: &Local) -> anyhow::Result<Verdict> {
    let cluster = local.described.facts.cluster.clone();
    let list = match local.environment() {
        Ok(list) => list,
        Err(Unrendered { reason, problems }) => {
            let (apps, elsewhere, warnings) = (Vec::new(), Vec::new(), Vec::new());
            return Ok(Verdict { cluster, apps, elsewhere, reason: Some(reason), problems, warnings });
        }
    };
    let interner = Mutex::new(Interner::default());
    let apis = ApiSet::default();
    let kube_version = local.described.kube_version.as_deref().unwrap_or(KUBE_VERSION);
    let served = Served { apis: &apis, kube_version };
    let mut rendered = Vec::new();
    for spec in list.apps {
        let ended = match local.place(&spec).await {
            Err(why) => Ended::NotHere(why),
            Ok(place) => local.render(&place, &served, "local", &interner).await.into(),
        };
        rendered.push((spec, ended));
    }
    let rows = rendered.iter().flat_map(|(_, ended)| ended.rows());
    let provided: BTreeSet<Arc<GroupKind>> = rows.filter_map(|row| row.provides.clone()).collect();
    Ok(Verdict {
        cluster,
        apps: rendered.into_iter().map(|(spec, ended)| app_verdict(&spec, ended, &provided)).collect(),
        elsewhere: list.elsewhere.iter().map(ToString::to_string).collect(),
        reason: None,
        problems: Vec::new(),
        warnings: list.warnings.iter().map(ToString::to_string).collect(),
    })
}

/// What came of looking at an app.
enum Ended {
    Rendered(LocalApp),
    Failed(RenderError),
    /// It comes from another repository, which was not fetched.
    NotHere(NotHere),
}

impl From<Result<LocalApp, RenderError>> for Ended {
    fn from(ended: Result<LocalApp, RenderError>) -> Self {
        ended.map_or_else(Self::Failed, Self::Rendered)
    }
}

impl Ended {
    fn rows(&self) -> &[DesiredRow] {
        match self {
            Self::Rendered(app) => &app.rows,
            Self::Failed(_) | Self::NotHere(_) => &[],
        }
    }
}

fn app_verdict(spec: &AppSpec, ended: Ended, provided: &BTreeSet<Arc<GroupKind>>) -> AppVerdict {
    let mut verdict = AppVerdict {
        name: spec.name.to_string(),
        path: origin(spec).unwrap_or_else(|| spec.path.to_string()),
        namespace: spec.namespace.as_ref().map(ToString::to_string),
        place: spec.place.clone(),
        depends_on: spec.depends_on.iter().map(ToString::to_string).collect(),
        objects: None,
        reason: None,
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    match ended {
        Ended::Rendered(LocalApp { rows, warnings }) => {
            verdict.objects = Some(rows.len());
            verdict.warnings = warnings;
            verdict.warnings.extend(unknown_kinds(&rows, provided));
        }
        Ended::Failed(error) => {
            verdict.reason = Some(error.reason().word());
            verdict.problems = error.problems;
        }
        Ended::NotHere(NotHere::LeftOut(why)) => verdict.warnings.push(why),
        Ended::NotHere(NotHere::Failed(Unrendered { reason, problems })) => {
            verdict.reason = Some(reason);
            verdict.problems = problems;
        }
    }
    verdict
}

impl Verdict {
    fn is_good(&self) -> bool {
        self.problems.is_empty() && self.apps.iter().all(|app| app.problems.is_empty())
    }

    /// Returns how messages begin where several clusters are looked at.
    fn place(&self, app: Option<&AppVerdict>) -> String {
        let cluster =
            if self.cluster.is_empty() { String::new() } else { format!("cluster {}: ", self.cluster) };
        let app = app.map(|app| format!("app {}: ", app.name)).unwrap_or_default();
        cluster + &app
    }
}

fn print(verdicts: &[Verdict], output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json | Output::Yaml => ui::value(&verdicts, output)?,
        Output::Name => {
            let apps = verdicts.iter().flat_map(|verdict| &verdict.apps);
            let names: BTreeSet<&str> = apps.map(|app| app.name.as_str()).collect();
            names.into_iter().for_each(ui::line);
        }
        Output::Table | Output::Wide => tabulate(verdicts),
    }
    for verdict in verdicts {
        let place = verdict.place(None);
        verdict.problems.iter().for_each(|problem| ui::error(&format!("{place}{problem}")));
        verdict.warnings.iter().for_each(|warning| ui::warning(&format!("{place}{warning}")));
        for app in &verdict.apps {
            let place = verdict.place(Some(app));
            app.problems.iter().for_each(|problem| ui::error(&format!("{place}{problem}")));
            app.warnings.iter().for_each(|warning| ui::warning(&format!("{place}{warning}")));
        }
    }
    Ok(())
}

fn tabulate(verdicts: &[Verdict]) {
    let mut rows = Vec::new();
    for verdict in verdicts {
        let cluster = if verdict.cluster.is_empty() { "-" } else { &verdict.cluster };
        for app in &verdict.apps {
            let objects =
                app.objects.map_or_else(|| app.reason.unwrap_or("-").to_owned(), |it| it.to_string());
            let namespace = app.namespace.clone().unwrap_or_else(|| "-".to_owned());
            rows.push(vec![cluster.to_owned(), app.name.clone(), namespace, objects, app.path.clone()]);
        }
        for name in &verdict.elsewhere {
            let nothing = || "-".to_owned();
            rows.push(vec![cluster.to_owned(), name.clone(), nothing(), "elsewhere".to_owned(), nothing()]);
        }
    }
    if rows.is_empty() {
        return;
    }
    ui::table(&["CLUSTER", "APP", "NAMESPACE", "OBJECTS", "PATH"], &rows);
}
