//! The steps of the test command.

use std::path::Path;
use std::process::Command;

use crate::{image, tools};

/// One thing that must hold.
pub struct Step {
    pub name: &'static str,
    pub purpose: &'static str,
    pub run: fn() -> Result<(), String>,
}

/// In the order they run.
pub const STEPS: &[Step] = &[
    Step { name: "fmt", purpose: "the code is formatted", run: fmt },
    Step {
        name: "wall",
        purpose: "the pure core has no runtime, client or network crate in its tree",
        run: wall,
    },
    Step { name: "deny", purpose: "licences, bans and sources of all dependencies", run: deny },
    Step { name: "lab", purpose: "control plane, helm and kustomize are built from source", run: lab },
    Step { name: "clippy", purpose: "no lint speaks up", run: clippy },
    Step { name: "test", purpose: "unit, scenario, simulator, adapter and cluster tests", run: test },
    Step { name: "doc", purpose: "examples in the documentation run", run: doc },
    Step {
        name: "static",
        purpose: "the musl target builds a static skiff under 30 MiB",
        run: static_binary,
    },
    Step { name: "image", purpose: "the image holds what it should, and runs", run: image::image },
];

/// Crates that may not be in the tree of `skiff-shared`.
const BEHIND_THE_WALL: [&str; 22] = [
    "async-io",
    "async-std",
    "axum",
    "futures-executor",
    "gix",
    "h2",
    "hyper",
    "kube",
    "kube-client",
    "kube-runtime",
    "mio",
    "notify",
    "polling",
    "reqwest",
    "russh",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tonic",
    "tower",
    "ureq",
];

/// The largest static binary, in bytes.
const LARGEST: u64 = 30 << 20;

fn fmt() -> Result<(), String> {
    run(cargo().args(["fmt", "--all", "--check"]))
}

fn wall() -> Result<(), String> {
    let mut tree = cargo();
    tree.args([
        "tree",
        "--package",
        "skiff-shared",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    let output = tree.output().map_err(|error| format!("cargo tree cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let tree = String::from_utf8_lossy(&output.stdout);
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let mut through: Vec<&str> = names.filter(|name| BEHIND_THE_WALL.contains(name)).collect();
    through.dedup();
    if !through.is_empty() {
        return Err(format!("skiff-shared depends on {}: the pure core may not", through.join(", ")));
    }
    run(cargo().args(["clippy", "--quiet", "--package", "skiff-shared", "--", "-D", "warnings"]))
}

fn deny() -> Result<(), String> {
    let program = tools::cargo_deny()?;
    run(Command::new(program).args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
}

/// Builds control plane, helm and kustomize, if they are missing or out of date.
pub fn lab() -> Result<(), String> {
    run(cargo().args(["run", "--quiet", "--package", "skiff-harness", "--bin", "lab"]))
}

fn clippy() -> Result<(), String> {
    run(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn test() -> Result<(), String> {
    // The program itself first: the cluster tests run it.
    run(cargo().args(["build", "--quiet", "--package", "skiff", "--bin", "skiff"]))?;
    run(cargo().args(["test", "--workspace", "--all-targets", "--exclude", "skiff-e2e", "--no-fail-fast"]))?;
    let small = ["test", "--package", "skiff-e2e", "--lib", "--test", "vectors", "--test", "observability"];
    run(cargo().args(small))?;
    // They wait more than they work: four control planes at a time keep two cores busy.
    run(cargo().args(["test", "--package", "skiff-e2e", "--test", "cluster", "--", "--test-threads", "4"]))
}

fn doc() -> Result<(), String> {
    run(cargo().args(["test", "--quiet", "--workspace", "--doc"]))
}

fn static_binary() -> Result<(), String> {
    let binary = tools::static_skiff()?;
    let size = std::fs::metadata(&binary).map_err(|error| format!("{}: {error}", binary.display()))?.len();
    if size > LARGEST {
        return Err(format!("{} has {size} bytes, the budget is {LARGEST}", binary.display()));
    }
    is_static(&binary)?;
    run(Command::new(&binary).arg("version"))
}

/// Checks that a program needs no library of the system.
pub fn is_static(program: &Path) -> Result<(), String> {
    let output = Command::new("ldd").arg(program).output();
    let printed = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let printed = String::from_utf8_lossy(&printed);
    if printed.contains("statically linked") || printed.contains("not a dynamic executable") {
        return Ok(());
    }
    Err(format!("{} is not static: {printed}", program.display()))
}

/// Returns the cargo that runs this.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command with its output shown.
pub fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?} cannot be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}

/// Runs a command and returns what it printed; what it complained about is in the error.
pub fn printed(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?} cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {}", output.status, complaint.trim()))
}
