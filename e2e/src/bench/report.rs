//! What the benchmark prints: a table for each size, and the budgets beside what was measured.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the one place where the benchmark speaks to a person"
)]

use std::collections::BTreeMap;

use super::results::{Cost, LargeRepository, Results, Samples, Size, Skiff, Timed};

pub(super) fn progress(words: &str) {
    eprintln!("bench: {words}");
}

pub(super) fn failure(error: &anyhow::Error) {
    eprintln!("\nbench: {error:#}");
}

/// Prints everything of one size.
pub(super) fn size(size: &Size) {
    let Size { objects, mix, floor, kubectl, skiff } = size;
    let mix: Vec<String> = mix.iter().map(|(kind, count)| format!("{count} {kind}s")).collect();
    println!("\n{objects} objects ({})\n", mix.join(", "));
    println!(
        "  {:<14} {:<8} {:>9} {:>7} {:>9} {:>9} {:>10}",
        "", "", "wall", "× floor", "requests", "CPU tool", "CPU server"
    );
    let base = floor.first_sync.wall_seconds;
    row("first sync", "floor", &floor.first_sync, Some(base));
    row("", "kubectl", &kubectl.first_sync, Some(base));
    row("", "skiff", &skiff.first_sync, Some(base));
    row("no change", "kubectl", &kubectl.no_change, None);
    row("", "skiff", &skiff.no_change, None);
    let one = floor.one_changed.p50 / 1_000.0;
    row("one changed", "kubectl", &kubectl.one_changed, Some(one));
    row("", "skiff", &skiff.one_changed, Some(one));
    row("restart", "skiff", &skiff.restart, None);
    println!();
    requests("first sync, skiff", &skiff.first_sync.requests);
    requests("no change, skiff", &skiff.no_change.requests);
    requests("one changed, skiff", &skiff.one_changed.requests);
    requests("drift, skiff", &skiff.drift_cost.requests);
    requests("restart, skiff", &skiff.restart.requests);
    requests("idle, skiff", &skiff.idle_requests);
    requests("first sync, floor", &floor.first_sync.requests);
    requests("first sync, kubectl", &kubectl.first_sync.requests);
    requests("no change, kubectl", &kubectl.no_change.requests);
    requests("one changed, kubectl", &kubectl.one_changed.requests);
    details(skiff, &floor.one_changed);
}

fn row(what: &str, tool: &str, cost: &Cost, base: Option<f64>) {
    let ratio = base.map_or_else(String::new, |base| format!("{:.2}", cost.wall_seconds / base));
    let Cost { wall_seconds, tool_cpu_seconds, apiserver_cpu_seconds, requests: _ } = cost;
    println!(
        "  {what:<14} {tool:<8} {wall_seconds:>7.2} s {ratio:>7} {:>9} {tool_cpu_seconds:>7.2} s {apiserver_cpu_seconds:>8.2} s",
        cost.total(),
    );
}

fn details(skiff: &Skiff, floor: &Samples) {
    let stages = &skiff.first_sync_stages;
    println!();
    println!(
        "  first sync     dry runs {:.2}–{:.2} s, applies {:.2}–{:.2} s, healthy {:.2} s after the poll",
        stages.first_dry_run, stages.last_dry_run, stages.first_apply, stages.last_apply, stages.healthy
    );
    samples("floor: dry run and apply of one object", floor);
    samples("commit: poll to first dry run", &skiff.commits.to_first_dry_run);
    samples("commit: poll to first apply", &skiff.commits.to_first_patch);
    samples("commit: poll to healthy", &skiff.commits.to_healthy);
    samples("drift: event to healed", &skiff.drift);
    let memory = &skiff.memory;
    println!(
        "  resident       without apps {}, first sync peak {}, after {}, work peak {}, restart peak {}, after {}",
        mib(skiff.idle_without_apps.resident_kib),
        mib(memory.first_sync_peak),
        mib(memory.after_first_sync),
        mib(memory.work_peak),
        mib(memory.restart_peak),
        mib(skiff.idle.resident_kib),
    );
    println!(
        "  own pages      without apps {}, idle {}; {} threads",
        mib(skiff.idle_without_apps.anonymous_kib),
        mib(skiff.idle.anonymous_kib),
        skiff.idle.threads
    );
    println!("  idle CPU       {:.1} millicores", skiff.idle.millicores);
}

fn requests(what: &str, requests: &BTreeMap<String, usize>) {
    let list: Vec<String> = requests.iter().map(|(verb, count)| format!("{count} {verb}")).collect();
    let list = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    println!("  {:<23} {list}", format!("· {what}"));
}

fn samples(what: &str, samples: &Samples) {
    let Samples { count, p50, p99, max } = samples;
    println!("  {what:<62} p50 {p50:>7.1} ms  p99 {p99:>7.1} ms  max {max:>7.1} ms  ({count})");
}

/// Prints what things took that are measured many times.
pub(super) fn timed(title: &str, timed: &[Timed]) {
    println!("\n{title}\n");
    for Timed { what, times } in timed {
        samples(what, times);
    }
}

/// Prints what a large repository costs.
pub(super) fn large_repository(measured: &LargeRepository) {
    let LargeRepository { history_mib, tip_mib, limit_kib, first_sync_seconds, .. } = measured;
    println!("\nA repository of {history_mib} MiB, {tip_mib} MiB of them in its newest commit, at depth 1\n");
    println!("  agent's start to synced {first_sync_seconds:.1} s");
    let group = |kib: Option<u64>| kib.map_or_else(|| "not measured: no control group".to_owned(), mib);
    println!(
        "  control group     limit {}, peak {}, its own pages {} after the first fetch, {} in all",
        group(*limit_kib),
        group(measured.group_peak_kib),
        group(measured.own_peak_first_fetch_kib),
        group(measured.own_peak_kib),
    );
    println!(
        "  agent's process   resident at the most {}, at rest {}, own pages {}",
        mib(measured.resident_peak_kib),
        mib(measured.at_rest_kib),
        mib(measured.at_rest_own_kib),
    );
}

/// Prints the budgets beside what was measured at the largest sizes.
pub(super) fn budgets(results: &Results) {
    let Some(largest) = results.sizes.iter().max_by_key(|size| size.objects) else { return };
    let objects = largest.objects;
    let skiff = &largest.skiff;
    println!("\nBudgets\n");
    let idle = skiff.idle_without_apps.resident_kib;
    budget("resident memory, idle", "24 MiB", &mib(idle), idle <= 24 << 10);
    let settled = skiff.idle.resident_kib;
    budget(&format!("resident memory, {objects} objects"), "64 MiB", &mib(settled), settled <= 64 << 10);
    let peak = skiff.memory.first_sync_peak.max(skiff.memory.work_peak).max(skiff.memory.restart_peak);
    budget(&format!("its peak, {objects} objects"), "64 MiB", &mib(peak), peak <= 64 << 10);
    let idle = skiff.idle.millicores;
    budget("idle CPU", "5 millicores", &format!("{idle:.1} millicores"), idle < 5.0);
    let touching = objects_touched(&skiff.no_change);
    budget("requests for objects, no change", "0", &touching.to_string(), touching == 0);
    let touching = objects_touched(&skiff.one_changed);
    budget("requests for objects, 1 changed", "2", &touching.to_string(), touching == 2);
    for size in &results.sizes {
        let ratio = size.skiff.first_sync.wall_seconds / size.floor.first_sync.wall_seconds;
        let what = format!("first sync, {} objects", size.objects);
        budget(&what, "1.3 × floor", &format!("{ratio:.2} × floor"), ratio <= 1.3);
    }
    for size in &results.sizes {
        let p99 = size.skiff.drift.p99;
        budget(
            &format!("drift healed, {} objects, p99", size.objects),
            "250 ms",
            &format!("{p99:.0} ms"),
            p99 < 250.0,
        );
    }
    for size in &results.sizes {
        let p99 = size.skiff.commits.to_first_dry_run.p99;
        let what = format!("poll to first PATCH, {} objects, p99", size.objects);
        budget(&what, "250 ms", &format!("{p99:.0} ms"), p99 < 250.0);
    }
    let bytes = results.machine.agent_bytes;
    budget("binary", "30 MiB", &mib(bytes >> 10), bytes <= 30 << 20);
}

/// Returns how many requests were about the benchmark's own objects: their words name no resource.
fn objects_touched(cost: &Cost) -> usize {
    let is_object = |words: &str| !words.replace(" (dry run)", "").contains(' ');
    cost.requests.iter().filter(|(words, _)| is_object(words)).map(|(_, count)| count).sum()
}

fn budget(what: &str, wanted: &str, measured: &str, is_met: bool) {
    let verdict = if is_met { "met" } else { "missed" };
    println!("  {what:<42} {wanted:>13} {measured:>18}  {verdict}");
}

fn mib(kib: u64) -> String {
    // A number of KiB that has lost a digit is still the same number of MiB.
    format!("{:.1} MiB", f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0)
}
