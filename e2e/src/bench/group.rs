//! A control group for the agent and everything that it starts: what the kernel charges to a pod.
//!
//! The page cache of files that the group reads and writes is part of it. The kernel takes that back when memory is
//! short, so the peak is to be read together with the part that cannot be taken back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

/// Where the kernel shows groups: with a hierarchy for memory alone, or one for everything.
const HIERARCHIES: [Hierarchy; 2] = [
    Hierarchy {
        root: "/sys/fs/cgroup/memory",
        limit: "memory.limit_in_bytes",
        peak: "memory.max_usage_in_bytes",
        own: "total_rss",
    },
    Hierarchy { root: "/sys/fs/cgroup", limit: "memory.max", peak: "memory.peak", own: "anon" },
];

/// How often the part that cannot be taken back is looked at.
const SAMPLING: Duration = Duration::from_millis(20);

#[derive(Clone, Copy)]
struct Hierarchy {
    root: &'static str,
    limit: &'static str,
    peak: &'static str,
    /// The line of `memory.stat` with stacks and heaps.
    own: &'static str,
}

/// A group with a limit; it goes when it is dropped, once nothing runs in it.
pub(super) struct Group {
    folder: PathBuf,
    hierarchy: Hierarchy,
    sampler: Option<Sampler>,
}

/// What a group was charged with, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Charged {
    /// The most, the page cache included.
    pub(super) peak: u64,
    /// The most of stacks and heaps, among the samples.
    pub(super) own_peak: u64,
}

struct Sampler {
    highest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Group {
    /// Makes a group; `None` where this process may not.
    pub(super) fn make(limit: u64) -> Option<Self> {
        HIERARCHIES.into_iter().find_map(|hierarchy| {
            let folder = Path::new(hierarchy.root).join(format!("skiff-bench-{}", std::process::id()));
            fs::create_dir(&folder).ok()?;
            let mut group = Self { folder, hierarchy, sampler: None };
            fs::write(group.folder.join(hierarchy.limit), limit.to_string()).ok()?;
            group.read(hierarchy.peak)?;
            group.sampler = Some(Sampler::start(group.folder.join("memory.stat"), hierarchy.own));
            Some(group)
        })
    }

    /// Writes a script that runs a program in the group, and returns its path.
    pub(super) fn wrap(&self, program: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
        let script = folder.join("in-group");
        let members = self.folder.join("cgroup.procs");
        let text =
            format!("#!/bin/sh\necho $$ > '{}'\nexec '{}' \"$@\"\n", members.display(), program.display());
        fs::write(&script, text).context("failed to write the script that enters the group")?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(script)
    }

    /// Returns the peaks since the group was made.
    pub(super) fn charged(&self) -> Charged {
        let peak = self.read(self.hierarchy.peak).unwrap_or_default();
        let own_peak = self.sampler.as_ref().map_or(0, |sampler| sampler.highest.load(Ordering::Relaxed));
        Charged { peak: peak >> 10, own_peak: own_peak >> 10 }
    }

    fn read(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(Sampler { stop, thread, .. }) = self.sampler.take() {
            stop.store(true, Ordering::Relaxed);
            // A thread that has panicked has told so itself.
            let _ = thread.join();
        }
        // Processes that were killed a moment ago may still be counted.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Sampler {
    fn start(file: PathBuf, line: &'static str) -> Self {
        let (highest, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (shared, ended) = (highest.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&file).unwrap_or_default();
                let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
                shared.fetch_max(found.unwrap_or_default(), Ordering::Relaxed);
                std::thread::sleep(SAMPLING);
            }
        });
        Self { highest, stop, thread }
    }
}
