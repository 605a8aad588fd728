//! A large repository: what the agent's pod holds in memory while it fetches at depth 1.

use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use skiff_harness::cluster::Options;
use skiff_harness::git_server::Repository;

use super::group::Group;
use super::report::progress;
use super::results::LargeRepository;
use crate::build::Built;
use crate::manifests::{config_maps, in_namespace};
use crate::site::Site;
use crate::usage;

/// Commits, each of which replaces every large file: together they are the repository's history.
const COMMITS: usize = 5;

/// Large files of one commit; random, so that neither Git nor a disk makes them smaller.
const FILES: usize = 20;
const FILE_BYTES: usize = 10 << 20;

/// What the chart allows the pod.
const LIMIT: u64 = 1 << 30;

/// How long the agent gets to come to rest before its memory is read.
const REST: Duration = Duration::from_secs(10);

pub(super) async fn measure(built: &Built) -> anyhow::Result<LargeRepository> {
    // The group goes when nothing runs in it any more: after the site, which has the agent.
    let group = Group::make(LIMIT);
    let folder = tempfile::tempdir().context("failed to make a folder")?;
    let mut site = Site::start(Options::default()).await?;
    let program = match &group {
        Some(group) => group.wrap(&built.program, folder.path())?,
        None => built.program.clone(),
    };
    site.use_program(program);
    let mut repository = site.repository("large")?;
    progress(&format!("  making a repository of {} MiB", (COMMITS * FILES * FILE_BYTES) >> 20));
    repository.write("apps/maps.yaml", in_namespace("default", &config_maps("map", 10, "one")));
    let mut tip = String::new();
    for number in 0..COMMITS {
        tip = replace_files(&mut repository).with_context(|| format!("commit {number}"))?;
    }
    progress("  first fetch");
    let began = Instant::now();
    site.start_agent(json!([Site::environment("development", repository.url(), "apps")]))?;
    site.synced("development", &tip).await?;
    let first_fetch = began.elapsed();
    let id = site.agent().id();
    let first = Peaks::read(id, group.as_ref())?;
    progress("  a small commit, then one that replaces everything");
    let second = repository
        .write("apps/maps.yaml", in_namespace("default", &config_maps("map", 10, "two")))
        .commit("One manifest")?;
    site.synced("development", &second).await?;
    tip = replace_files(&mut repository)?;
    site.synced("development", &tip).await?;
    let last = Peaks::read(id, group.as_ref())?;
    tokio::time::sleep(REST).await;
    let at_rest = usage::memory(id)?;
    Ok(LargeRepository {
        history_mib: (COMMITS * FILES * FILE_BYTES) >> 20,
        tip_mib: (FILES * FILE_BYTES) >> 20,
        limit_kib: group.is_some().then_some(LIMIT >> 10),
        first_sync_seconds: first_fetch.as_secs_f64(),
        group_peak_kib: last.group,
        own_peak_first_fetch_kib: first.own,
        own_peak_kib: last.own,
        resident_peak_kib: last.resident,
        at_rest_kib: at_rest.resident,
        at_rest_own_kib: at_rest.anonymous,
    })
}

/// The highest so far, in KiB.
struct Peaks {
    /// Of the control group, where there is one.
    group: Option<u64>,
    /// Of the group's stacks and heaps.
    own: Option<u64>,
    /// Of the agent's process, as resident.
    resident: u64,
}

impl Peaks {
    fn read(id: u32, group: Option<&Group>) -> anyhow::Result<Self> {
        let charged = group.map(Group::charged);
        Ok(Self {
            group: charged.map(|charged| charged.peak),
            own: charged.map(|charged| charged.own_peak),
            resident: usage::memory(id)?.peak,
        })
    }
}

/// Replaces every large file by another one, in a commit.
fn replace_files(repository: &mut Repository) -> anyhow::Result<String> {
    let mut random = File::open("/dev/urandom").context("failed to open /dev/urandom")?;
    let mut content = vec![0; FILE_BYTES];
    for number in 0..FILES {
        random.read_exact(&mut content).context("failed to read /dev/urandom")?;
        repository.write(&format!("data/{number}.bin"), &content);
    }
    repository.commit("Other data")
}
