//! Skiff at one size: first sync, no change, one object changed, drift, restart, and doing nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};
use skiff_harness::audit::AuditEntry;
use skiff_harness::cluster::{Options, User};
use skiff_harness::git_server::Repository;
use skiff_shared::api::v1alpha1::{App, AppStatus, HistoryEntry};

use super::Arguments;
use super::floor::make_namespace;
use super::objects::{EDITION, Kind, NAMESPACE, Objects, kind, name};
use super::report::progress;
use super::results::{Commits, Cost, FirstSync, Footprint, Memories, Samples, Skiff};
use super::window::{Window, is_background};
use crate::build::Built;
use crate::site::{self, Site};
use crate::usage;
use crate::witness::Witness;

/// The app that holds all objects.
const APP: &str = "bench";

/// How long one thing may take, however many objects there are.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long the agent gets to come to rest before its memory is read.
const REST: Duration = Duration::from_secs(10);

const NO_APPS: &str = "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps: []\n";

const ONE_APP: &str = "\
apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- name: bench
  path: objects
  namespace: bench
";

/// A benchmark in progress.
struct Bench<'a> {
    site: Site,
    repository: Repository,
    objects: &'a Objects,
    apps: Witness,
    memory: Memories,
}

pub(super) async fn measure(
    objects: &Objects,
    arguments: &Arguments,
    built: &Built,
) -> anyhow::Result<Skiff> {
    let mut bench = Bench::start(objects, built).await?;
    progress("  idle, without apps");
    let (idle_without_apps, _) = bench.idle(arguments.idle).await?;
    progress("  first sync");
    let (first_sync, first_sync_stages) = bench.first_sync().await?;
    progress("  no change");
    let no_change = bench.no_change().await?;
    progress("  one object changed");
    let one_changed = bench.one_changed().await?;
    let commits = bench.commits(arguments.commits).await?;
    progress("  drift");
    let (drift, drift_cost) = bench.drift(arguments.drifts).await?;
    progress("  restart");
    let restart = bench.restart().await?;
    progress("  idle");
    let (idle, idle_requests) = bench.idle(arguments.idle).await?;
    let memory = bench.memory;
    bench.site.end_agent().await?;
    Ok(Skiff {
        idle_without_apps,
        first_sync,
        first_sync_stages,
        no_change,
        one_changed,
        commits,
        drift,
        drift_cost,
        restart,
        memory,
        idle,
        idle_requests,
    })
}

impl<'a> Bench<'a> {
    /// Starts everything, with an environment that lists no app yet.
    async fn start(objects: &'a Objects, built: &Built) -> anyhow::Result<Self> {
        let mut site = Site::start(Options::default()).await?;
        site.use_program(built.program.clone());
        make_namespace(&site.cluster).await?;
        let mut repository = site.repository("bench")?;
        repository.write("skiff.yaml", NO_APPS).commit("No apps yet")?;
        let apps = Witness::start::<App>(site.admin()?, site::NAMESPACE).await?;
        site.start_agent(json!([environment(&repository, "1s")]))?;
        Ok(Self { site, repository, objects, apps, memory: Memories::default() })
    }

    fn agent(&mut self) -> u32 {
        self.site.agent().id()
    }

    async fn first_sync(&mut self) -> anyhow::Result<(Cost, FirstSync)> {
        let id = self.agent();
        usage::reset_peak(id)?;
        for (name, text) in self.objects.files()? {
            self.repository.write(&format!("objects/{name}"), text);
        }
        let window = Window::open(&self.site.cluster, &self.site.identity.username(), Some(id))?;
        let commit = self.repository.write("skiff.yaml", ONE_APP).commit("All objects")?;
        let entry = wait_healthy(&mut self.apps, &self.site, &commit).await?;
        window.settle(PATIENCE).await?;
        let mut closed = window.close()?;
        let stages = first_sync_stages(&entry, &closed.entries)?;
        closed.cost.wall_seconds = stages.last_apply;
        self.memory.first_sync_peak = usage::memory(id)?.peak;
        tokio::time::sleep(REST).await;
        self.memory.after_first_sync = usage::memory(id)?.resident;
        usage::reset_peak(id)?;
        Ok((closed.cost, stages))
    }

    /// A commit that touches nothing the app reads.
    async fn no_change(&mut self) -> anyhow::Result<Cost> {
        let id = self.agent();
        let window = Window::open(&self.site.cluster, &self.site.identity.username(), Some(id))?;
        let commit = self.repository.write("README.md", "Read me\n").commit("Words")?;
        let began = Instant::now();
        wait_at(&mut self.apps, &self.site, &commit, "recorded", |_| true).await?;
        let took = began.elapsed();
        window.settle(PATIENCE).await?;
        let mut cost = window.close()?.cost;
        cost.wall_seconds = took.as_secs_f64();
        Ok(cost)
    }

    async fn one_changed(&mut self) -> anyhow::Result<Cost> {
        let id = self.agent();
        let index = self.objects.count() / 2;
        let (file, text) = self.objects.changed_file(index, 1)?;
        let window = Window::open(&self.site.cluster, &self.site.identity.username(), Some(id))?;
        let commit = self.repository.write(&format!("objects/{file}"), text).commit("One object")?;
        let entry = wait_healthy(&mut self.apps, &self.site, &commit).await?;
        window.settle(PATIENCE).await?;
        let mut cost = window.close()?.cost;
        cost.wall_seconds = entry.applied_at.map_or(0.0, |applied| seconds(&entry, applied));
        Ok(cost)
    }

    /// Several commits of one changed object each, one after the other.
    async fn commits(&mut self, count: usize) -> anyhow::Result<Commits> {
        let mark = self.site.cluster.audit().mark()?;
        let mut entries = Vec::new();
        for number in 0..count {
            let index = (number * 7 + 3) % self.objects.count();
            let (file, text) = self.objects.changed_file(index, number + 2)?;
            let commit = self.repository.write(&format!("objects/{file}"), text).commit("One object")?;
            entries.push(wait_healthy(&mut self.apps, &self.site, &commit).await?);
        }
        let user = self.site.identity.username();
        let requests = self.site.cluster.audit().since(mark, &user)?;
        let first = |entry: &HistoryEntry, dry_run: bool| {
            let patches =
                requests.iter().filter(|request| request.verb == "patch" && request.namespace == NAMESPACE);
            let mut patches =
                patches.filter(|request| request.dry_run == dry_run && request.began >= entry.seen_at);
            patches.next().map(|request| request.began.duration_since(entry.seen_at).unsigned_abs())
        };
        let samples =
            |dry_run| Samples::of(entries.iter().filter_map(|entry| first(entry, dry_run)).collect());
        let healthy = entries
            .iter()
            .filter_map(|entry| Some(entry.healthy_at?.duration_since(entry.seen_at).unsigned_abs()));
        Ok(Commits {
            to_first_dry_run: samples(true),
            to_first_patch: samples(false),
            to_healthy: Samples::of(healthy.collect()),
        })
    }

    /// Somebody changes one object after the other; a watch of its own sees each change and its undoing.
    async fn drift(&mut self, count: usize) -> anyhow::Result<(Samples, Cost)> {
        let mut witnesses = Witnesses::start(self.site.admin()?).await?;
        let dev = self.site.cluster.client(User::Dev)?;
        let id = self.agent();
        let window = Window::open(&self.site.cluster, &self.site.identity.username(), Some(id))?;
        let mut times = Vec::new();
        for number in 0..count {
            let index = (number * 13 + 1) % self.objects.count();
            times.push(witnesses.healed(&dev, index).await?);
        }
        window.settle(PATIENCE).await?;
        let cost = window.close()?.cost;
        Ok((Samples::of(times), cost))
    }

    /// Ends the agent and starts it with the default interval; the work ends with the last request.
    async fn restart(&mut self) -> anyhow::Result<Cost> {
        let id = self.agent();
        self.memory.work_peak = usage::memory(id)?.peak;
        self.site.end_agent().await?;
        self.site.configure(json!([environment(&self.repository, "60s")]))?;
        let began = Timestamp::now();
        let user = self.site.identity.username();
        self.site.restart_agent()?;
        let id = self.agent();
        let window = Window::open(&self.site.cluster, &user, Some(id))?;
        tokio::time::sleep(REST).await;
        window.settle(PATIENCE).await?;
        let mut closed = window.close()?;
        // The window opened after the start: what the process used before counts as well.
        closed.cost.tool_cpu_seconds = usage::processor_time(id)?.as_secs_f64();
        let last = closed.entries.iter().filter(|entry| !is_background(entry)).map(|entry| entry.ended).max();
        let Some(last) = last else { bail!("the restarted agent asked nothing") };
        closed.cost.wall_seconds = last.duration_since(began).as_secs_f64();
        self.memory.restart_peak = usage::memory(id)?.peak;
        let memory = usage::memory(id)?;
        self.memory.after_restart = memory.resident;
        self.memory.after_restart_anonymous = memory.anonymous;
        Ok(closed.cost)
    }

    /// Does nothing for a while.
    async fn idle(&mut self, wanted: u64) -> anyhow::Result<(Footprint, BTreeMap<String, usize>)> {
        let id = self.agent();
        tokio::time::sleep(REST).await;
        let user = self.site.identity.username();
        let mark = self.site.cluster.audit().mark()?;
        let (before, began) = (usage::processor_time(id)?, Instant::now());
        tokio::time::sleep(Duration::from_secs(wanted)).await;
        let used = usage::processor_time(id)?.saturating_sub(before);
        let millicores = used.as_secs_f64() / began.elapsed().as_secs_f64() * 1_000.0;
        let mut requests = BTreeMap::new();
        for entry in self.site.cluster.audit().since(mark, &user)? {
            *requests.entry(format!("{} {}", entry.verb, entry.resource)).or_default() += 1;
        }
        Ok((Footprint::new(usage::memory(id)?, millicores), requests))
    }
}

/// Waits until the app is at a commit and as wanted; returns its status.
async fn wait_at(
    apps: &mut Witness,
    site: &Site,
    commit: &str,
    what: &str,
    wanted: impl Fn(&AppStatus) -> bool,
) -> anyhow::Result<AppStatus> {
    let what = format!("the app at {commit} is {what}");
    let sighting = apps
        .until(APP, &what, PATIENCE, |seen| {
            let status = status(&seen.object);
            let revision = status.revision.as_ref();
            revision.is_some_and(|revision| revision.commit.ends_with(commit)) && wanted(&status)
        })
        .await;
    let sighting = sighting.with_context(|| {
        let log = site.log();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        format!("the agent's log ends with (newest first)\n{}", lines.join("\n"))
    })?;
    Ok(status(&sighting.object))
}

/// Waits until the app is synced and healthy at a commit; returns when what happened.
async fn wait_healthy(apps: &mut Witness, site: &Site, commit: &str) -> anyhow::Result<HistoryEntry> {
    let is_healthy =
        |entry: &HistoryEntry| entry.revision.commit.ends_with(commit) && entry.healthy_at.is_some();
    let status = wait_at(apps, site, commit, "synced and healthy", |status| {
        let is_well = status.sync == "Synced" && status.health == "Healthy";
        is_well && status.history.iter().any(is_healthy)
    })
    .await?;
    status.history.into_iter().find(is_healthy).context("it has just been there")
}

/// One witness for each kind.
struct Witnesses {
    config_maps: Witness,
    deployments: Witness,
    services: Witness,
}

impl Witnesses {
    async fn start(client: Client) -> anyhow::Result<Self> {
        Ok(Self {
            config_maps: Witness::start::<ConfigMap>(client.clone(), NAMESPACE).await?,
            deployments: Witness::start::<Deployment>(client.clone(), NAMESPACE).await?,
            services: Witness::start::<Service>(client, NAMESPACE).await?,
        })
    }

    /// Changes an object and returns how long the change lasted.
    async fn healed(&mut self, dev: &Client, index: usize) -> anyhow::Result<Duration> {
        let name = name(index);
        let (witness, resource) = match kind(index) {
            Kind::ConfigMap => (&mut self.config_maps, ApiResource::erase::<ConfigMap>(&())),
            Kind::Deployment => (&mut self.deployments, ApiResource::erase::<Deployment>(&())),
            Kind::Service => (&mut self.services, ApiResource::erase::<Service>(&())),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(dev.clone(), NAMESPACE, &resource);
        let change = json!({"metadata": {"annotations": {EDITION: "drifted"}}});
        api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(change)).await?;
        let edition = |object: &Value| object["metadata"]["annotations"][EDITION] == "drifted";
        let what = format!("the witness sees the change of {name}");
        let changed = witness.until(&name, &what, PATIENCE, |seen| edition(&seen.object)).await?;
        let what = format!("{name} is healed");
        let healed = witness.until(&name, &what, PATIENCE, |seen| !edition(&seen.object)).await?;
        Ok(healed.at - changed.at)
    }
}

fn environment(repository: &Repository, interval: &str) -> Value {
    let mut environment = Site::environment("development", repository.url(), "");
    environment["sync"]["interval"] = interval.into();
    if let Some(source) = environment["source"].as_object_mut() {
        source.remove("path");
    }
    environment
}

fn status(app: &Value) -> AppStatus {
    serde_json::from_value(app["status"].clone()).unwrap_or_default()
}

fn seconds(entry: &HistoryEntry, moment: Timestamp) -> f64 {
    moment.duration_since(entry.seen_at).as_secs_f64()
}

/// Returns when the parts of a first sync ended, by the audit log.
fn first_sync_stages(entry: &HistoryEntry, requests: &[AuditEntry]) -> anyhow::Result<FirstSync> {
    let of = |dry_run: bool| {
        requests.iter().filter(move |request| {
            request.verb == "patch" && request.namespace == NAMESPACE && request.dry_run == dry_run
        })
    };
    let at = |moment: Option<Timestamp>| moment.map(|moment| seconds(entry, moment));
    let missing = "the audit log holds no such request of a first sync";
    Ok(FirstSync {
        first_dry_run: at(of(true).map(|request| request.began).min()).context(missing)?,
        last_dry_run: at(of(true).map(|request| request.ended).max()).context(missing)?,
        first_apply: at(of(false).map(|request| request.began).min()).context(missing)?,
        last_apply: at(of(false).map(|request| request.ended).max()).context(missing)?,
        healthy: at(entry.healthy_at).context("the app is not healthy")?,
    })
}
