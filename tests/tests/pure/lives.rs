//! Random lives. `SKIFF_SIM_SEED=…` replays one and tells it, `SKIFF_SIM_RUNS=…` lives more of them,
//! `SKIFF_SIM_FROM=…` begins with another seed than 0.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use skiff_tests::story::{Ended, live};

/// Lives that every test run lives.
const RUNS: u64 = 8_000;

/// Broken lives that a failure names.
const NAMED: usize = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Lives one life; also a machine that panics only ends its own.
fn outcome(seed: u64) -> Result<Ended, String> {
    catch_unwind(AssertUnwindSafe(|| live(seed, false)))
        .unwrap_or_else(|_| Err(format!("SKIFF_SIM_SEED={seed}: it panics")))
}

/// Lives the lives of `seeds` on all cores; what becomes of one depends on its seed alone.
fn live_all(seeds: std::ops::Range<u64>) -> BTreeMap<u64, Result<Ended, String>> {
    let next = AtomicU64::new(seeds.start);
    let outcomes = Mutex::new(BTreeMap::new());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let outcome = outcome(seed);
                    outcomes.lock().expect("no thread panics with it").insert(seed, outcome);
                }
            });
        }
    });
    outcomes.into_inner().expect("no thread panics with it")
}

#[test]
fn every_life_keeps_the_rules_and_ends_well() {
    if let Some(seed) = number("SKIFF_SIM_SEED") {
        live(seed, true).unwrap_or_else(|story| panic!("{story}"));
        return;
    }
    let from = number("SKIFF_SIM_FROM").unwrap_or_default();
    let outcomes = live_all(from..from + number("SKIFF_SIM_RUNS").unwrap_or(RUNS));
    let broken: Vec<&String> = outcomes.values().filter_map(|outcome| outcome.as_ref().err()).collect();
    let longest =
        outcomes.iter().filter_map(|(seed, outcome)| Some((outcome.as_ref().ok()?.steps, *seed))).max();
    println!("{} lives, {} broken; (steps, seed) of the longest: {longest:?}", outcomes.len(), broken.len());
    let heads = broken.iter().take(NAMED).filter_map(|story| story.lines().next());
    let heads: Vec<String> = heads.map(|head| head.chars().take(240).collect()).collect();
    assert!(broken.is_empty(), "{} lives are broken:\n{}\n\n{}", broken.len(), heads.join("\n"), broken[0]);
}
