//! Random lives. `SKIFF_SIM_SEED=…` replays one and tells it, `SKIFF_SIM_RUNS=…` lives more of them.

use skiff_tests::story::live;

/// Lives that every test run lives.
const RUNS: u64 = 150;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_life_keeps_the_rules_and_ends_well() {
    if let Some(seed) = number("SKIFF_SIM_SEED") {
        live(seed, true).unwrap_or_else(|story| panic!("{story}"));
        return;
    }
    for seed in 0..number("SKIFF_SIM_RUNS").unwrap_or(RUNS) {
        live(seed, false).unwrap_or_else(|story| panic!("{story}"));
    }
}
