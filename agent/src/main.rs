//! The program `skiff`: which verb, and how it ends.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use skiff::args::Cli;
use skiff::{blocking, commands, sandbox};

/// The C library's allocator never gives pages back and, in the static build, locks globally.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|verb| verb == sandbox::VERB) {
        return sandboxed(arguments.split_off(2));
    }
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(blocking::THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return commands::failed(&anyhow::Error::new(error).context("failed to start the runtime"));
        }
    };
    let ended = runtime.block_on(commands::run(cli));
    // A thread that hangs in a transfer is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

/// Becomes the tool that is named, under limits. It returns only if that fails.
fn sandboxed(arguments: Vec<OsString>) -> ExitCode {
    commands::sandbox_failed(&sandbox::run(arguments))
}
