//! `skiff doctor`: whether an agent with this configuration finds what it needs, from where this is run.
//!
//! It looks and changes nothing. Each thing that is missing is told with the way out.

mod cluster;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{USAGE, ui};
use crate::args::DoctorArgs;
use crate::cluster::secrets::Secrets;
use crate::config::{self, Config};
use crate::daemon::source_of;
use crate::git::{Cache, NamedSecret, NamedSecretError, NamedSecrets};
use crate::render::{Bounds, Found, Tools, programs};
use crate::sandbox::{self, Demand, Level};
use crate::telemetry::{Identity, TelemetryConfig, chain, probe};

/// One thing that was looked at.
struct Finding {
    /// One or two words.
    what: String,
    verdict: Verdict,
    words: String,
}

/// How a thing stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// The agent works, but perhaps not as meant.
    Doubtful,
    /// Something does not work.
    Bad,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Doubtful => "warning",
            Self::Bad => "failed",
        }
    }
}

impl Finding {
    fn new(what: impl Into<String>, verdict: Verdict, words: impl Into<String>) -> Self {
        Self { what: what.into(), verdict, words: words.into() }
    }
}

/// Looks at everything and prints a line for each.
pub async fn run(arguments: DoctorArgs) -> anyhow::Result<ExitCode> {
    let DoctorArgs { config: path, cluster } = arguments;
    let config = match Config::load(&path, config::process_variables()) {
        Ok(config) => config,
        Err(errors) => {
            errors.problems.iter().for_each(|problem| ui::error(&problem.to_string()));
            return Ok(ExitCode::from(USAGE));
        }
    };
    let scratch = tempfile::tempdir().context("failed to make a folder")?;
    let mut findings = vec![Finding::new("configuration", Verdict::Good, path.display().to_string())];
    let secrets: Arc<dyn NamedSecrets> = match cluster::connect(cluster).await {
        Ok(connection) => {
            findings.extend(cluster::look(&connection, &config).await);
            Arc::new(Secrets::new(connection, config.agent.namespace.as_str()))
        }
        Err(finding) => {
            findings.push(finding);
            Arc::new(OutOfReach)
        }
    };
    findings.extend(sources(&config, &scratch, secrets).await?);
    findings.extend(renderers(&config, &scratch).await?);
    findings.extend(collectors(&config).await?);
    for Finding { what, verdict, words } in &findings {
        ui::line(&format!("{:<8} {what}: {words}", verdict.word()));
    }
    let is_bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The Secrets of a cluster that cannot be asked for them.
struct OutOfReach;

impl NamedSecrets for OutOfReach {
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<NamedSecret, NamedSecretError>> {
        let (name, problem) = (name.to_owned(), "the cluster cannot be reached".to_owned());
        async { Err(NamedSecretError::Unanswered { name, problem }) }.boxed()
    }
}

/// Asks every repository where its reference stands; nothing is fetched.
async fn sources(
    config: &Config,
    scratch: &tempfile::TempDir,
    secrets: Arc<dyn NamedSecrets>,
) -> anyhow::Result<Vec<Finding>> {
    let folder = scratch.path().join("git");
    let cache = Arc::new(Cache::open(&folder, Handle::current(), CancellationToken::new(), secrets)?);
    let mut findings = Vec::new();
    for environment in &config.environments {
        let (cache, source) = (cache.clone(), source_of(environment));
        let url = source.url.to_string();
        let asked = tokio::task::spawn_blocking(move || cache.poll(&source)).await?;
        let (verdict, words) = match asked {
            Ok(commit) => (Verdict::Good, format!("{url} stands at {commit}")),
            Err(error) => (Verdict::Bad, format!("{}: {}", error.reason(), chain(&error))),
        };
        findings.push(Finding::new(format!("source of {}", environment.name), verdict, words));
    }
    Ok(findings)
}

/// Looks at helm and kustomize, and at what the kernel keeps them from.
async fn renderers(config: &Config, scratch: &tempfile::TempDir) -> anyhow::Result<Vec<Finding>> {
    let config::Render { helm, kustomize, timeout, fetch_dependencies: _, sandbox: demand, limits: _ } =
        config.render.clone();
    let folder = scratch.path().join("render");
    std::fs::create_dir(&folder).context("failed to make a folder")?;
    let tools = Tools {
        helm,
        kustomize,
        sandbox: Some(std::env::current_exe().context("failed to find the program's own file")?),
        scratch: folder,
        timeout,
        limits: sandbox::Limits::default(),
        demand,
        bounds: Bounds::default(),
    };
    let mut findings: Vec<Finding> = programs(&tools)
        .await
        .iter()
        .map(|program| {
            let verdict = match program.found() {
                Found::AsTested => Verdict::Good,
                Found::Other(_) => Verdict::Doubtful,
                Found::Broken(_) => Verdict::Bad,
            };
            Finding::new(program.name(), verdict, program.to_string())
        })
        .collect();
    let level = Level::of_this_kernel();
    let (verdict, words) = match demand {
        _ if level.is_full() => (Verdict::Good, level.to_string()),
        Demand::BestEffort => (
            Verdict::Doubtful,
            format!(
                "this kernel restricts renderers in part only ({level}); set render.sandbox to required to have none run on such nodes"
            ),
        ),
        Demand::Required => (
            Verdict::Bad,
            format!(
                "render.sandbox is required, and this kernel restricts renderers in part only ({level}): no chart and no kustomization is rendered; upgrade the node, or set it to bestEffort"
            ),
        ),
    };
    findings.push(Finding::new("sandbox", verdict, words));
    Ok(findings)
}

/// Sends empty messages to where telemetry goes.
async fn collectors(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let identity = Identity::new(&config.cluster.name, &config.agent.instance);
    let telemetry = TelemetryConfig::of(identity, &config.telemetry);
    let probed = tokio::task::spawn_blocking(move || probe(&telemetry)).await?;
    if probed.is_empty() {
        let words = "nothing is sent: name a collector as telemetry.otlp.endpoint, or scrape /metrics";
        return Ok(vec![Finding::new("telemetry", Verdict::Doubtful, words)]);
    }
    let finding = |probed: crate::telemetry::Probed| match probed.problem {
        None => Finding::new(probed.signal, Verdict::Good, format!("{} takes them", probed.endpoint)),
        Some(problem) => {
            let words = format!("{} does not take them: {problem}; a sync does not need it", probed.endpoint);
            Finding::new(probed.signal, Verdict::Bad, words)
        }
    };
    Ok(probed.into_iter().map(finding).collect())
}
