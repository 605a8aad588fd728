//! A stretch of time on one cluster: what was asked of the API server in it, and what that cost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use skiff_harness::audit::{AuditEntry, Mark};
use skiff_harness::cluster::{Cluster, Component};

use super::results::Cost;
use crate::usage;

/// How long nobody may ask anything for a stretch to have ended.
const QUIET: Duration = Duration::from_millis(2_500);

/// A stretch that has begun.
pub(super) struct Window<'a> {
    cluster: &'a Cluster,
    user: String,
    /// The tool's process, where it has one of its own.
    tool: Option<u32>,
    mark: Mark,
    began: Instant,
    tool_before: Duration,
    apiserver_before: Duration,
}

/// A stretch that has ended.
pub(super) struct Closed {
    pub(super) cost: Cost,
    pub(super) entries: Vec<AuditEntry>,
}

impl<'a> Window<'a> {
    pub(super) fn open(cluster: &'a Cluster, user: &str, tool: Option<u32>) -> anyhow::Result<Self> {
        Ok(Self {
            cluster,
            user: user.to_owned(),
            tool,
            mark: cluster.audit().mark()?,
            began: Instant::now(),
            tool_before: time_of(tool)?,
            apiserver_before: apiserver(cluster)?,
        })
    }

    /// Waits until the tool has asked nothing for a while.
    pub(super) async fn settle(&self, within: Duration) -> anyhow::Result<()> {
        let audit = self.cluster.audit();
        let deadline = Instant::now() + within;
        loop {
            let mark = audit.mark()?;
            tokio::time::sleep(QUIET).await;
            if audit.since(mark, &self.user)?.iter().all(is_background) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("requests kept coming for {} s", within.as_secs());
            }
        }
    }

    /// Ends the stretch; the wall time is that of the window unless whoever asked knows better.
    pub(super) fn close(self) -> anyhow::Result<Closed> {
        let wall = self.began.elapsed();
        let tool = time_of(self.tool)?.saturating_sub(self.tool_before);
        let apiserver = apiserver(self.cluster)?.saturating_sub(self.apiserver_before);
        let entries = self.cluster.audit().since(self.mark, &self.user)?;
        let mut requests = BTreeMap::new();
        for entry in entries.iter().filter(|entry| !is_background(entry)) {
            *requests.entry(verb(entry)).or_default() += 1;
        }
        let cost = Cost {
            wall_seconds: wall.as_secs_f64(),
            requests,
            tool_cpu_seconds: tool.as_secs_f64(),
            apiserver_cpu_seconds: apiserver.as_secs_f64(),
        };
        Ok(Closed { cost, entries })
    }
}

/// Returns the verb, and beside it what is not an object of the benchmark.
fn verb(entry: &AuditEntry) -> String {
    let dry_run = if entry.dry_run { " (dry run)" } else { "" };
    let place = match (entry.namespace.as_str(), entry.resource.as_str(), entry.subresource.as_str()) {
        (super::objects::NAMESPACE, ..) => String::new(),
        (_, resource, "") => format!(" {resource}"),
        (_, resource, subresource) => format!(" {resource}/{subresource}"),
    };
    let refused = if entry.code >= 400 { format!(" {}", entry.code) } else { String::new() };
    format!("{}{dry_run}{place}{refused}", entry.verb)
}

/// Whether a request is made whatever happens: watches, which end when they end, and the Lease.
pub(super) fn is_background(entry: &AuditEntry) -> bool {
    entry.verb == "watch" || entry.resource == "leases"
}

fn time_of(tool: Option<u32>) -> anyhow::Result<Duration> {
    tool.map_or(Ok(Duration::ZERO), usage::processor_time)
}

fn apiserver(cluster: &Cluster) -> anyhow::Result<Duration> {
    let id = cluster.process_id(Component::Apiserver).context("the cluster has an apiserver")?;
    usage::processor_time(id)
}
