//! What a process has used, as the kernel counts it: processor time and memory.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Ticks of processor time in a second, the same on every Linux that Rust runs on.
const TICKS: u64 = 100;

/// Resident memory of a process, binary pages included, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub resident: u64,
    /// The most since the process started or [`reset_peak`].
    pub peak: u64,
    /// The part that is the process's own: stacks and heap, not pages of files.
    pub anonymous: u64,
    pub threads: u64,
}

/// Returns the processor time that a process has used in its own threads.
pub fn processor_time(id: u32) -> anyhow::Result<Duration> {
    Ok(ticks(&stat(id)?, 11))
}

/// Returns the processor time of all children that this process has waited for.
pub fn processor_time_of_children() -> anyhow::Result<Duration> {
    Ok(ticks(&stat(std::process::id())?, 13))
}

/// Returns what a process holds in memory.
pub fn memory(id: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let number = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    };
    Ok(Memory {
        resident: number("VmRSS"),
        peak: number("VmHWM"),
        anonymous: number("RssAnon"),
        threads: number("Threads"),
    })
}

/// Starts the measurement of the peak anew.
pub fn reset_peak(id: u32) -> anyhow::Result<()> {
    let path = format!("/proc/{id}/clear_refs");
    fs::write(&path, "5").with_context(|| format!("failed to write {path}"))
}

/// Returns the fields of `/proc/<id>/stat` behind the program's name, which may hold anything: the first is the state.
pub fn stat(id: u32) -> anyhow::Result<Vec<String>> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let (_, fields) = text.rsplit_once(") ").with_context(|| format!("{path} has another form"))?;
    Ok(fields.split(' ').map(str::to_owned).collect())
}

/// Returns the sum of the user and the system time that begin at a field.
fn ticks(fields: &[String], first: usize) -> Duration {
    let sum: u64 = fields.iter().skip(first).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(sum * (1_000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_has_a_thread() {
        let memory = memory(std::process::id()).unwrap();

        assert!(memory.resident > 0 && memory.peak >= memory.resident && memory.threads >= 1, "{memory:?}");
    }

    #[test]
    fn processor_time_never_goes_back() {
        let before = processor_time(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while processor_time(std::process::id()).unwrap() == before {
            sum = sum.wrapping_add(1);
        }

        assert!(processor_time(std::process::id()).unwrap() > before);
    }
}
