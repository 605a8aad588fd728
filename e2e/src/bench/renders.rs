//! What renders take, as the agent's own metrics tell: from the moment that an app's turn has come to its rows.
//!
//! The environment waits for approvals, so nothing is applied meanwhile. One app changes at a time; the others then
//! find out that nothing of theirs has changed, which is the figure for what is cached.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use skiff_harness::cluster::Options;
use skiff_harness::git_server::Repository;

use super::floor::make_namespace;
use super::objects::{Objects, object};
use super::results::{Samples, Timed};
use crate::build::Built;
use crate::inputs;
use crate::site::Site;
use crate::words::says;

const ENVIRONMENT: &str = "production";

const APPS: &str = "\
apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- {name: plain, path: plain, namespace: bench}
- {name: chart, path: chart, namespace: bench}
- {name: kustomization, path: kustomization, namespace: bench}
";

/// Plain objects, a hundred in a file.
const PLAIN: usize = 1_000;

/// Objects of the chart, a third of each of its three templates.
const CHART: usize = 60;

/// Objects of the kustomization: as many as kube-prometheus has, which is taken where it is there.
const KUSTOMIZATION: usize = 131;

/// What one commit does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    AllFiles,
    OneFile,
    Chart,
    Kustomization,
}

impl Change {
    const ALL: [Self; 4] = [Self::AllFiles, Self::OneFile, Self::Chart, Self::Kustomization];

    fn app(self) -> &'static str {
        match self {
            Self::AllFiles | Self::OneFile => "plain",
            Self::Chart => "chart",
            Self::Kustomization => "kustomization",
        }
    }
}

pub(super) async fn measure(built: &Built, commits: usize) -> anyhow::Result<Vec<Timed>> {
    let mut bench = Bench::start(built).await?;
    let mut renders = Vec::new();
    let mut cached: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for change in Change::ALL {
        let mut times = Vec::new();
        for number in 0..commits {
            let took = bench.commit(change, number + 1).await?;
            for (app, took) in took {
                if app == change.app() {
                    times.push(took);
                } else {
                    cached.entry(app).or_default().push(took);
                }
            }
        }
        renders.push(Timed { what: bench.described(change), times: Samples::of(times) });
    }
    for (app, times) in cached {
        renders.push(Timed { what: format!("{app}, nothing of it changed"), times: Samples::of(times) });
    }
    Ok(renders)
}

struct Bench {
    site: Site,
    repository: Repository,
    /// The kustomization's own file.
    kustomization: String,
    is_generated: bool,
}

impl Bench {
    async fn start(built: &Built) -> anyhow::Result<Self> {
        let mut site = Site::start(Options::default()).await?;
        site.use_program(built.program.clone());
        make_namespace(&site.cluster).await?;
        let mut repository = site.repository("renders")?;
        repository.write("skiff.yaml", APPS);
        for (name, text) in Objects::new(PLAIN).files()? {
            repository.write(&format!("plain/{name}"), text);
        }
        write_chart(&mut repository);
        let real = inputs::folder("kube-prometheus");
        let kustomization = match &real {
            Some(folder) => {
                inputs::write_folder(&mut repository, &folder.join("manifests"), "kustomization/manifests")?;
                fs::read_to_string(folder.join("kustomization.yaml"))?
            }
            None => write_kustomization(&mut repository)?,
        };
        repository.write("kustomization/kustomization.yaml", &kustomization);
        let commit = repository.commit("Everything")?;
        let environment = Site::environment(ENVIRONMENT, repository.url(), "");
        site.start_agent(json!([environment]))?;
        let bench = Self { site, repository, kustomization, is_generated: real.is_none() };
        for app in ["plain", "chart", "kustomization"] {
            bench.planned(app, &commit).await?;
        }
        Ok(bench)
    }

    fn described(&self, change: Change) -> String {
        match change {
            Change::AllFiles => format!("{PLAIN} plain objects in 10 files, all of them changed"),
            Change::OneFile => format!("{PLAIN} plain objects in 10 files, one of them changed"),
            Change::Chart => format!("chart of {CHART} objects, by helm, twice"),
            Change::Kustomization => {
                let name = if self.is_generated { "generated" } else { "kube-prometheus" };
                format!("kustomization of {KUSTOMIZATION} objects ({name}), by kustomize")
            }
        }
    }

    /// Makes a commit and returns how long each app took for it.
    async fn commit(
        &mut self,
        change: Change,
        edition: usize,
    ) -> anyhow::Result<Vec<(&'static str, Duration)>> {
        let before = self.totals().await?;
        self.write(change, edition)?;
        let commit = self.repository.commit("Another edition")?;
        self.planned(change.app(), &commit).await?;
        let apps = ["plain", "chart", "kustomization"];
        self.site
            .until("every app has looked at the commit", async || {
                let now = self.totals().await?;
                Ok(apps.iter().all(|app| {
                    now.get(*app).map(|total| total.count) > before.get(*app).map(|total| total.count)
                }))
            })
            .await?;
        let now = self.totals().await?;
        apps.into_iter()
            .map(|app| {
                let (before, now) = (before.get(app).context("it was rendered once")?, &now[app]);
                if now.failed > before.failed || now.count != before.count + 1 {
                    bail!("{app} was not rendered once: {before:?} became {now:?}");
                }
                Ok((app, Duration::from_secs_f64((now.seconds - before.seconds).max(0.0))))
            })
            .collect()
    }

    fn write(&mut self, change: Change, edition: usize) -> anyhow::Result<()> {
        let objects = Objects::new(PLAIN);
        match change {
            Change::AllFiles => {
                for (name, text) in objects.files()? {
                    self.repository.write(&format!("plain/{name}"), format!("{text}# {edition}\n"));
                }
            }
            Change::OneFile => {
                let (name, text) = objects.changed_file(PLAIN / 2, edition)?;
                self.repository.write(&format!("plain/{name}"), text);
            }
            Change::Chart => {
                self.repository.write("chart/values.yaml", format!("edition: {edition:?}\n"));
            }
            Change::Kustomization => {
                let text = format!("{}\ncommonAnnotations: {{edition: \"{edition}\"}}\n", self.kustomization);
                self.repository.write("kustomization/kustomization.yaml", text);
            }
        }
        Ok(())
    }

    /// Waits until an app's plan of a commit waits for its approval: then nothing is under way any more.
    async fn planned(&self, app: &str, commit: &str) -> anyhow::Result<()> {
        let what = format!("{app} is planned at {commit}");
        let is_planned = |found: &skiff_shared::api::v1alpha1::App| {
            let revision = found.status.as_ref().and_then(|status| status.revision.as_ref());
            revision.is_some_and(|revision| revision.commit.ends_with(commit))
                && says(found, "Ready", "WaitingForApproval", "")
        };
        self.site.app(app, &what, is_planned).await.map(drop)
    }

    /// Returns what the agent counts of each app's renders.
    async fn totals(&self) -> anyhow::Result<BTreeMap<String, Total>> {
        let (_, metrics) = self.site.ask("/metrics").await?;
        let mut totals: BTreeMap<String, Total> = BTreeMap::new();
        for line in metrics.lines() {
            let Some(line) = line.strip_prefix("skiff_render_duration_seconds_") else { continue };
            let (Some((series, value)), Some(app)) =
                (line.rsplit_once(' '), label(line, "cicd_pipeline_name"))
            else {
                continue;
            };
            let total = totals.entry(app.to_owned()).or_default();
            if series.starts_with("sum{") {
                total.seconds += value.parse::<f64>()?;
            } else if series.starts_with("count{") {
                let count: u64 = value.parse()?;
                total.count += count;
                total.failed += if series.contains("\"failed\"") { count } else { 0 };
            }
        }
        Ok(totals)
    }
}

/// What the agent has counted of an app's renders since it started.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    seconds: f64,
    count: u64,
    failed: u64,
}

fn label<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_once(&format!("{name}=\""))?.1.split('"').next()
}

fn write_chart(repository: &mut Repository) {
    let each = CHART / 3;
    let all = |kind: &str, rest: &str| {
        format!(
            "{{{{- range $index := until {each} }}}}\n---\n{kind}\nmetadata:\n  name: {{{{ $.Release.Name }}}}-{{{{ $index }}}}\n  \
             labels: {{{{- include \"labels\" $ | nindent 4 }}}}\n{rest}{{{{- end }}}}\n"
        )
    };
    let labels = "{{- define \"labels\" }}\napp.kubernetes.io/name: {{ .Chart.Name }}\nedition: {{ .Values.edition | quote }}\n{{- end }}\n";
    let pods = "spec:\n  replicas: 0\n  selector: {matchLabels: {app: \"{{ $index }}\"}}\n  template:\n    metadata: {labels: {app: \"{{ $index }}\"}}\n    \
                spec:\n      containers:\n      - {name: main, image: \"registry.example/main:1\"}\n";
    let ports = "spec:\n  selector: {app: \"{{ $index }}\"}\n  ports:\n  - {name: http, port: 80}\n";
    repository
        .write("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n")
        .write("chart/values.yaml", "edition: \"0\"\n")
        .write("chart/templates/_labels.tpl", labels)
        .write("chart/templates/pods.yaml", all("apiVersion: apps/v1\nkind: Deployment", pods))
        .write("chart/templates/ports.yaml", all("apiVersion: v1\nkind: Service", ports))
        .write("chart/templates/maps.yaml", all("apiVersion: v1\nkind: ConfigMap", "data: {key: value}\n"));
}

/// Writes the objects of a generated kustomization, a file each, and returns its own file.
fn write_kustomization(repository: &mut Repository) -> anyhow::Result<String> {
    let mut text = String::from(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamePrefix: built-\nresources:\n",
    );
    for index in 0..KUSTOMIZATION {
        let yaml = serde_saphyr::to_string(&object(index, 0)).context("a JSON value is YAML")?;
        repository.write(&format!("kustomization/{index}.yaml"), yaml);
        writeln!(text, "- {index}.yaml")?;
    }
    Ok(text)
}
