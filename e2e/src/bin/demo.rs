//! `cargo demo`: the main job on one real cluster, told as a story with measured times.

use std::process::ExitCode;

use clap::Parser as _;
use skiff_e2e::demo::{self, Arguments};

fn main() -> ExitCode {
    demo::run(&Arguments::parse())
}
