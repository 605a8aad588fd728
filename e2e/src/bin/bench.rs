//! `cargo bench-lab`: what Skiff costs, beside the bare requests and beside kubectl.

use std::process::ExitCode;

use clap::Parser as _;
use skiff_e2e::bench::{self, Arguments};

fn main() -> ExitCode {
    bench::run(&Arguments::parse())
}
