//! The figures: what the benchmark prints and writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::build::Built;
use crate::usage::Memory;

/// Everything of one run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Results {
    pub(super) machine: Machine,
    pub(super) sizes: Vec<Size>,
    /// From the moment that an app's turn has come to its rows.
    pub(super) renders: Vec<Timed>,
    /// From the poll that saw a commit to the last app's being healthy.
    pub(super) waits: Vec<Timed>,
    pub(super) large_repository: Option<LargeRepository>,
}

/// What one thing took, again and again.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Timed {
    pub(super) what: String,
    pub(super) times: Samples,
}

/// Memory of the agent with a large repository at depth 1.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LargeRepository {
    pub(super) history_mib: usize,
    pub(super) tip_mib: usize,
    /// The limit of the control group; `None` where none could be made.
    pub(super) limit_kib: Option<u64>,
    /// From the agent's start to all objects synced.
    pub(super) first_sync_seconds: f64,
    /// The most that the kernel charged to the group, the page cache included.
    pub(super) group_peak_kib: Option<u64>,
    /// The most of stacks and heaps in the group.
    pub(super) own_peak_first_fetch_kib: Option<u64>,
    pub(super) own_peak_kib: Option<u64>,
    /// Of the agent's process alone; pages of mapped packs count as resident.
    pub(super) resident_peak_kib: u64,
    pub(super) at_rest_kib: u64,
    pub(super) at_rest_own_kib: u64,
}

/// Where it was measured, and what.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) at: String,
    pub(super) processors: usize,
    pub(super) processor: String,
    pub(super) kernel: String,
    /// What else the machine does: 0 is nothing.
    pub(super) load_before: String,
    pub(super) agent: &'static str,
    pub(super) agent_bytes: u64,
}

/// All tools at one number of objects.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Size {
    pub(super) objects: usize,
    pub(super) mix: BTreeMap<&'static str, usize>,
    pub(super) floor: Floor,
    pub(super) kubectl: Kubectl,
    pub(super) skiff: Skiff,
}

/// What a stretch of work took.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Cost {
    pub(super) wall_seconds: f64,
    /// By verb; watches and the Lease apart.
    pub(super) requests: BTreeMap<String, usize>,
    pub(super) tool_cpu_seconds: f64,
    pub(super) apiserver_cpu_seconds: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Floor {
    pub(super) first_sync: Cost,
    pub(super) dry_run_seconds: f64,
    pub(super) one_changed: Samples,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Kubectl {
    pub(super) first_sync: Cost,
    pub(super) no_change: Cost,
    pub(super) one_changed: Cost,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Skiff {
    /// With an environment that lists no app.
    pub(super) idle_without_apps: Footprint,
    /// From the poll that saw the commit to the last answer of an apply.
    pub(super) first_sync: Cost,
    pub(super) first_sync_stages: FirstSync,
    pub(super) no_change: Cost,
    pub(super) one_changed: Cost,
    pub(super) commits: Commits,
    /// From the event of the change to the event of the healed object, by an independent watch.
    pub(super) drift: Samples,
    pub(super) drift_cost: Cost,
    pub(super) restart: Cost,
    pub(super) memory: Memories,
    /// After the restart, with the default interval of a minute.
    pub(super) idle: Footprint,
    pub(super) idle_requests: BTreeMap<String, usize>,
}

/// When the parts of the first sync ended, in seconds after the poll that saw the commit.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct FirstSync {
    pub(super) first_dry_run: f64,
    pub(super) last_dry_run: f64,
    pub(super) first_apply: f64,
    pub(super) last_apply: f64,
    pub(super) healthy: f64,
}

/// Commits of one changed object each, from the poll that saw it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Commits {
    pub(super) to_first_dry_run: Samples,
    pub(super) to_first_patch: Samples,
    pub(super) to_healthy: Samples,
}

/// Resident memory, in KiB.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Memories {
    pub(super) first_sync_peak: u64,
    pub(super) after_first_sync: u64,
    pub(super) work_peak: u64,
    pub(super) restart_peak: u64,
    pub(super) after_restart: u64,
    pub(super) after_restart_anonymous: u64,
}

/// What the agent holds and burns while nothing happens.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Footprint {
    pub(super) resident_kib: u64,
    pub(super) anonymous_kib: u64,
    pub(super) threads: u64,
    pub(super) millicores: f64,
}

/// Times of the same thing, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Samples {
    pub(super) count: usize,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Samples {
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |share: usize| {
            let rank = (times.len() * share).div_ceil(100).saturating_sub(1);
            times.get(rank).map_or(0.0, milliseconds)
        };
        Self { count: times.len(), p50: at(50), p99: at(99), max: times.last().map_or(0.0, milliseconds) }
    }
}

fn milliseconds(time: &Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

impl Cost {
    pub(super) fn total(&self) -> usize {
        self.requests.values().sum()
    }
}

impl Footprint {
    pub(super) fn new(memory: Memory, millicores: f64) -> Self {
        let Memory { resident, anonymous, threads, peak: _ } = memory;
        Self { resident_kib: resident, anonymous_kib: anonymous, threads, millicores }
    }
}

impl Machine {
    pub(super) fn observe(built: &Built) -> anyhow::Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let processor = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let agent = std::fs::metadata(&built.program)
            .with_context(|| format!("failed to read {}", built.program.display()))?;
        Ok(Self {
            at: jiff::Timestamp::now().to_string(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            processor: processor.map_or_else(String::new, |(_, name)| name.to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            agent: built.description,
            agent_bytes: agent.len(),
        })
    }
}

impl Results {
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n").with_context(|| format!("failed to write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_that_were_taken() {
        let samples = Samples::of((1..=60).map(Duration::from_millis).collect());

        assert_eq!((samples.p50, samples.p99, samples.max), (30.0, 60.0, 60.0));
    }
}
