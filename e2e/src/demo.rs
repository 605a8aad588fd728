//! The demo: builds what is missing, starts one real cluster with everything around it, tells the story of the main
//! job with measured times, and stays up for the person to try it.
//!
//! However it ends, by itself or by a signal, it leaves neither a process nor a file behind.

mod elsewhere;
mod shop;
mod story;
mod trace;
mod ui;
mod visit;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use skiff_harness::cluster::Options;
use skiff_harness::toolchain;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::build::{self, Build, Built};
use crate::site::Site;
use story::Story;
use ui::Terminal;

/// How long the agent gets to end in good order before the cluster goes away under it.
const FAREWELL: Duration = Duration::from_secs(5);

/// Watches Skiff keep a real cluster equal to Git.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo demo", about, long_about = None)]
pub struct Arguments {
    /// End after the story, with a summary: exit code 0 if everything happened, 1 if not
    #[arg(long)]
    pub once: bool,
    /// Run the debug build of the agent, as the tests do: built sooner, slower
    #[arg(long)]
    pub quick: bool,
    /// Show traces and metrics in backends of others too: Jaeger and VictoriaMetrics, built first if they are missing
    #[arg(long)]
    pub telemetry: bool,
}

/// Tells the story, and stays until a signal unless it shall run once.
pub fn run(arguments: &Arguments) -> ExitCode {
    let terminal = Terminal::of_process();
    let told = tokio::runtime::Runtime::new()
        .context("failed to start the runtime")
        .and_then(|runtime| runtime.block_on(until_signal(arguments, &terminal)));
    match told {
        Ok(code) => code,
        Err(error) => {
            terminal.failure(&error);
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo; a signal drops it where it stands, and with it every process and file.
async fn until_signal(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // The builds block and cannot be dropped, but a signal ends this process, and they end with it.
    let built = tokio::select! {
        built = prepare(arguments, terminal) => built?,
        code = signalled(&mut interrupt, &mut terminate) => std::process::exit(code),
    };
    let mut site = None;
    let ended = tokio::select! {
        told = tell(&mut site, arguments, terminal, built) => told,
        _ = signalled(&mut interrupt, &mut terminate) => {
            terminal.line("");
            Ok(ExitCode::SUCCESS)
        }
    };
    take_down(site, terminal).await;
    ended
}

/// Waits for a signal and returns the exit code that tells of it.
async fn signalled(interrupt: &mut Signal, terminate: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    }
}

/// Builds what is missing: the lab's programs, then the agent.
async fn prepare(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Built> {
    terminal.title("Skiff: one agent keeps a real cluster equal to a path in Git");
    terminal.prose(
        "Everything is real but the containers in the pods, and everything is on loopback. What is missing is built \
         first: the control plane by Go (about 9 minutes once), the agent by Rust (about 5 minutes once).",
    );
    terminal.gap();
    let began = Instant::now();
    tokio::task::spawn_blocking(toolchain::ensure).await.context("the build was cancelled")??;
    terminal.done("control plane, kubectl, helm, kustomize", "", began.elapsed());
    let build = if arguments.quick { Build::Debug } else { Build::Release };
    let outlook = build::outlook(build);
    if !outlook.program.exists() {
        terminal.prose(&format!("building the agent ({}); cargo says how far it is:", outlook.description));
    }
    let began = Instant::now();
    let built = tokio::task::spawn_blocking(move || build::agent(build))
        .await
        .context("the build was cancelled")??;
    let size = std::fs::metadata(&built.program).map_or(0, |file| file.len()) >> 20;
    terminal.done("the agent", &format!("{}, {size} MiB", built.description), began.elapsed());
    Ok(built)
}

async fn tell(
    place: &mut Option<Site>,
    arguments: &Arguments,
    terminal: &Terminal,
    built: Built,
) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut site = Site::start(Options::default()).await?;
    let version = site.admin()?.apiserver_version().await?.git_version;
    terminal.done(
        "one control plane, the chart installed",
        &format!("Kubernetes {version}"),
        began.elapsed(),
    );
    site.use_program(built.program.clone());
    // The story ends with a trace: it should not wait for the next batch.
    site.set_variable("OTEL_BSP_SCHEDULE_DELAY", "200");
    let site = place.insert(site);
    let backends = if arguments.telemetry { Some(elsewhere::start(site, terminal).await?) } else { None };
    let mut story = Story::begin(site, terminal)?;
    let told = story.tell().await;
    story.summary();
    told?;
    let shop = story.into_repository();
    if let Some(backends) = &backends {
        elsewhere::print_links(site, backends, terminal);
    }
    if !arguments.once {
        visit::stay(site, &shop, &built.program, terminal).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends the agent as a kubelet would, then everything else.
async fn take_down(site: Option<Site>, terminal: &Terminal) {
    let Some(mut site) = site else { return };
    terminal.prose("taking everything down …");
    // Whoever does not end in time is killed with the rest.
    let _ended = tokio::time::timeout(FAREWELL, site.end_agent()).await;
    drop(site);
}
