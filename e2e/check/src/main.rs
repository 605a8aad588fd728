//! The test command, `cargo check-all`: everything that must hold before a change lands, in the order
//! of what fails fastest, with the time of each step.
//!
//! It installs what it needs through the package clients of Rust, Python and Debian and builds the lab
//! from source; see CONTRIBUTING.md. No dependencies, so that it starts at once on a fresh machine.
#![expect(clippy::print_stdout, reason = "a command line program that reports its steps")]

mod image;
mod steps;
mod tools;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use steps::{STEPS, Step};

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.iter().any(|word| word == "--help" || word == "-h") {
        help();
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = wanted.iter().find(|word| !STEPS.iter().any(|step| step.name == **word)) {
        println!("there is no step {unknown:?}; the steps are: {}", names());
        return ExitCode::from(2);
    }
    let chosen = STEPS.iter().filter(|step| wanted.is_empty() || wanted.iter().any(|word| word == step.name));
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for step in chosen {
        println!("\n=== {}: {}", step.name, step.purpose);
        let began = Instant::now();
        let outcome = (step.run)();
        times.push((step.name, began.elapsed()));
        if let Err(problem) = outcome {
            println!("\n=== {} failed after {}: {problem}", step.name, words(began.elapsed()));
            println!("    again, this step alone: cargo check-all {}", step.name);
            return ExitCode::FAILURE;
        }
    }
    summary(times);
    ExitCode::SUCCESS
}

fn help() {
    println!("cargo check-all [STEP…]\n\nRuns all steps, or those named:");
    for Step { name, purpose, .. } in STEPS {
        println!("  {name:<10} {purpose}");
    }
}

fn names() -> String {
    STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ")
}

/// Prints the steps, the slowest first.
fn summary(mut times: Vec<(&str, Duration)>) {
    let total: Duration = times.iter().map(|(_, time)| *time).sum();
    times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    println!("\n=== all steps passed in {}; the slowest:", words(total));
    for (name, time) in times.iter().take(5) {
        println!("    {name:<10} {}", words(*time));
    }
}

fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min {:02} s", seconds / 60, seconds % 60) }
}
