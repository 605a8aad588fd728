//! The benchmark: Skiff on generated objects, beside the floor (the same requests by a bare loop) and beside
//! `kubectl apply --server-side`, each on a fresh control plane, all in one run.
//!
//! Nothing is asserted: times are of this machine at this moment. It fails only where something did not happen.

mod floor;
mod group;
mod kubectl;
mod objects;
mod renders;
mod report;
mod repository;
mod results;
mod skiff;
mod waits;
mod window;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use skiff_harness::cluster::{Cluster, Options};
use skiff_harness::toolchain;
use tokio::signal::unix::{SignalKind, signal};

use crate::build::{self, Build, Built};
use objects::Objects;
use results::{Machine, Results, Size};

/// Measures Skiff beside the floor and kubectl.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo bench-lab", about, long_about = None)]
pub struct Arguments {
    /// What to measure
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "sizes,renders,waits,repository",
        value_name = "PART,…"
    )]
    pub parts: Vec<Part>,
    /// Numbers of objects, one row of measurements for each
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000", value_name = "N,…")]
    pub objects: Vec<usize>,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Changes by somebody else that are healed
    #[arg(long, default_value_t = 60)]
    pub drifts: usize,
    /// Commits of one changed object
    #[arg(long, default_value_t = 20)]
    pub commits: usize,
    /// Seconds of doing nothing, for the idle figures
    #[arg(long, default_value_t = 30)]
    pub idle: u64,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Syncs at each number of objects, beside the floor and kubectl
    Sizes,
    /// Renders of plain manifests, a chart and a kustomization
    Renders,
    /// Readiness, waves and apps that depend on each other
    Waits,
    /// Memory with a repository of 1 GB; takes 4 GB of disk
    Repository,
}

/// Measures and prints; a signal drops everything.
pub fn run(arguments: &Arguments) -> ExitCode {
    let ended = tokio::runtime::Runtime::new()
        .context("failed to start the runtime")
        .and_then(|runtime| runtime.block_on(until_signal(arguments)));
    match ended {
        Ok(code) => code,
        Err(error) => {
            report::failure(&error);
            ExitCode::FAILURE
        }
    }
}

async fn until_signal(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        measured = measure(arguments) => measured.map(|()| ExitCode::SUCCESS),
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let built = prepare().await?;
    let machine = Machine::observe(&built)?;
    let mut results = Results {
        machine,
        sizes: Vec::new(),
        renders: Vec::new(),
        waits: Vec::new(),
        large_repository: None,
    };
    // What is measured is kept, whatever comes next.
    let keep = |results: &Results| arguments.json.as_ref().map_or(Ok(()), |path| results.write(path));
    let wants = |part| arguments.parts.contains(&part);
    if wants(Part::Renders) {
        report::progress("renders");
        results.renders = renders::measure(&built, arguments.commits).await.context("the renders")?;
        report::timed("Renders", &results.renders);
        keep(&results)?;
    }
    if wants(Part::Waits) {
        report::progress("waits");
        results.waits = waits::measure(&built, arguments.commits).await.context("the waits")?;
        report::timed("From the poll to healthy, where a sync waits", &results.waits);
        keep(&results)?;
    }
    if wants(Part::Repository) {
        report::progress("a large repository");
        let measured = repository::measure(&built).await.context("the large repository")?;
        report::large_repository(&measured);
        results.large_repository = Some(measured);
        keep(&results)?;
    }
    if wants(Part::Sizes) {
        for count in &arguments.objects {
            let size = size(*count, arguments, &built).await;
            results.sizes.push(size.with_context(|| format!("with {count} objects"))?);
            report::size(results.sizes.last().expect("one has just been pushed"));
            keep(&results)?;
        }
    }
    report::budgets(&results);
    Ok(())
}

async fn prepare() -> anyhow::Result<Built> {
    report::progress("building what is missing: the lab by Go, a release build of the agent by Rust");
    let building = || {
        toolchain::ensure()?;
        build::agent(Build::Release)
    };
    tokio::task::spawn_blocking(building).await.context("the build was cancelled")?
}

/// Measures everything at one size, each tool on a cluster of its own.
async fn size(count: usize, arguments: &Arguments, built: &Built) -> anyhow::Result<Size> {
    let objects = Objects::new(count);
    report::progress(&format!("{count} objects: the floor"));
    let cluster = Cluster::start(Options::default()).await?;
    let floor = floor::measure(&cluster, &objects).await.context("the floor")?;
    drop(cluster);
    report::progress(&format!("{count} objects: kubectl apply --server-side"));
    let cluster = Cluster::start(Options::default()).await?;
    let kubectl = kubectl::measure(&cluster, &objects).await.context("kubectl")?;
    drop(cluster);
    report::progress(&format!("{count} objects: Skiff"));
    let skiff = skiff::measure(&objects, arguments, built).await.context("Skiff")?;
    Ok(Size { objects: count, mix: objects.mix(), floor, kubectl, skiff })
}
