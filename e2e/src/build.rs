//! Builds the agent for the demo and the benchmark: by cargo, in the sight of the person who waits.
//!
//! Cargo knows what is missing, so it is always asked; with nothing to do it answers in a second.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use skiff_harness::process::run_visibly;

const MUSL: &str = "x86_64-unknown-linux-musl";

/// How an agent is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// Optimised; static where the musl target is installed. What the image holds.
    Release,
    /// As the tests use it.
    Debug,
}

/// A built agent.
#[derive(Clone, Debug)]
pub struct Built {
    pub program: PathBuf,
    /// What it is, for people: `release, static`.
    pub description: &'static str,
}

/// Tells how the agent will be built, and whether that has been done before.
#[must_use]
pub fn outlook(build: Build) -> Built {
    if let Some(program) = given() {
        return program;
    }
    let target = target();
    match build {
        Build::Debug => Built { program: target.join("debug/skiff"), description: "debug build" },
        Build::Release if can_link_static() => {
            Built { program: target.join(MUSL).join("release/skiff"), description: "release build, static" }
        }
        Build::Release => Built { program: target.join("release/skiff"), description: "release build" },
    }
}

/// Builds the agent. Blocks; cargo's own progress goes to the terminal.
pub fn agent(build: Build) -> anyhow::Result<Built> {
    if let Some(program) = given() {
        return Ok(program);
    }
    let built = outlook(build);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--package", "skiff", "--bin", "skiff"]).current_dir(root());
    if build == Build::Release {
        cargo.arg("--release");
        if can_link_static() {
            cargo.args(["--target", MUSL]);
        }
    }
    let status = run_visibly(cargo).context("failed to run cargo, which builds the agent")?;
    if !status.success() {
        bail!("failed to build the agent: cargo ended with {status}; its own words are above");
    }
    Ok(built)
}

/// Returns the program that the environment names, so that another build can be compared.
fn given() -> Option<Built> {
    let program = std::env::var_os("SKIFF_BIN")?;
    Some(Built { program: program.into(), description: "named by SKIFF_BIN" })
}

/// Whether Rust's musl target and the C compiler for it are installed.
fn can_link_static() -> bool {
    let listed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    let has_target = listed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(MUSL));
    has_target && Command::new("musl-gcc").arg("--version").output().is_ok()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in the workspace's folder")
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
