//! Where a sync waits for something: readiness, the wave before, the app before. What it takes beyond that is the tool's.
//!
//! Every time is from the poll that saw the commit to the last app's being healthy, as the apps' own histories tell.
//! Each round is a commit that changes every object of its part, and nothing of the others.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;
use skiff_harness::cluster::Options;
use skiff_harness::git_server::Repository;
use skiff_harness::kubelet::BEHAVIOUR;
use skiff_shared::api::v1alpha1::{App, HistoryEntry};

use super::floor::make_namespace;
use super::objects::NAMESPACE;
use super::results::{Samples, Timed};
use crate::build::Built;
use crate::manifests::config_map;
use crate::site::Site;

/// Apps of one Deployment each, whose pod is ready a second after it was made.
const READY: usize = 20;

const WAVES: usize = 5;

/// ConfigMaps of each wave.
const WAVE: usize = 20;

/// Apps each of which depends on the one before, with a ConfigMap each.
const CHAIN: usize = 10;

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Readiness,
    Waves,
    Chain,
}

impl Wait {
    const ALL: [Self; 3] = [Self::Readiness, Self::Waves, Self::Chain];

    fn described(self) -> String {
        match self {
            Self::Readiness => format!("{READY} apps of one Deployment that is ready after 1 s"),
            Self::Waves => format!("{WAVES} waves of {WAVE} ConfigMaps"),
            Self::Chain => format!("{CHAIN} apps, each depends on the one before"),
        }
    }

    fn apps(self) -> Vec<String> {
        match self {
            Self::Readiness => (0..READY).map(|number| format!("ready-{number}")).collect(),
            Self::Waves => vec!["waves".to_owned()],
            Self::Chain => (0..CHAIN).map(|number| format!("chain-{number}")).collect(),
        }
    }

    fn write(self, repository: &mut Repository, edition: usize) {
        for app in self.apps() {
            let text = match self {
                Self::Readiness => deployment(&app, edition),
                Self::Waves => waves(edition),
                Self::Chain => config_map(&app, &edition.to_string()),
            };
            repository.write(&format!("{app}/all.yaml"), text);
        }
    }
}

pub(super) async fn measure(built: &Built, rounds: usize) -> anyhow::Result<Vec<Timed>> {
    let mut site = Site::start(Options::default()).await?;
    site.use_program(built.program.clone());
    make_namespace(&site.cluster).await?;
    let mut repository = site.repository("waits")?;
    repository.write("skiff.yaml", list());
    for wait in Wait::ALL {
        wait.write(&mut repository, 0);
    }
    let first = repository.commit("Everything")?;
    site.start_agent(json!([Site::environment("development", repository.url(), "")]))?;
    for wait in Wait::ALL {
        took(&site, wait, &first).await?;
    }
    let mut timed = Vec::new();
    for wait in Wait::ALL {
        let mut times = Vec::new();
        for edition in 1..=rounds {
            wait.write(&mut repository, edition);
            let commit = repository.commit("Another edition")?;
            times.push(took(&site, wait, &commit).await?);
        }
        timed.push(Timed { what: wait.described(), times: Samples::of(times) });
    }
    site.end_agent().await?;
    Ok(timed)
}

/// Waits until every app is healthy at a commit; returns how long that took from the poll that saw it.
async fn took(site: &Site, wait: Wait, commit: &str) -> anyhow::Result<Duration> {
    let mut seen: Option<Timestamp> = None;
    let mut healthy: Option<Timestamp> = None;
    for name in wait.apps() {
        let what = format!("{name} is healthy at {commit}");
        let app = site.app(&name, &what, |app| release(app, commit).is_some()).await?;
        let release = release(&app, commit).context("it has just been there")?;
        seen = Some(seen.map_or(release.seen_at, |seen| seen.min(release.seen_at)));
        healthy = healthy.max(release.healthy_at);
    }
    let (seen, healthy) = seen.zip(healthy).context("every part has apps")?;
    Ok(healthy.duration_since(seen).unsigned_abs())
}

/// Returns the release of a commit, once it is healthy.
fn release<'a>(app: &'a App, commit: &str) -> Option<&'a HistoryEntry> {
    let history = &app.status.as_ref()?.history;
    history.iter().find(|entry| entry.revision.commit.ends_with(commit) && entry.healthy_at.is_some())
}

fn list() -> String {
    let mut text = "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n".to_owned();
    for wait in Wait::ALL {
        let mut before: Option<String> = None;
        for app in wait.apps() {
            write!(text, "- {{name: {app}, namespace: {NAMESPACE}").expect("a String takes everything");
            if let Some(before) = before.filter(|_| wait == Wait::Chain) {
                write!(text, ", dependsOn: [{before}]").expect("a String takes everything");
            }
            text.push_str("}\n");
            before = Some(app);
        }
    }
    text
}

fn deployment(name: &str, edition: usize) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  \
         strategy: {{type: Recreate}}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata:\n      \
         labels: {{app: {name}}}\n      annotations: {{{BEHAVIOUR}: delay=1, edition: \"{edition}\"}}\n    \
         spec:\n      containers:\n      - {{name: web, image: \"registry.example/web:1\"}}\n"
    )
}

fn waves(edition: usize) -> String {
    let mut text = String::new();
    for wave in 0..WAVES {
        for number in 0..WAVE {
            let name = format!("wave-{wave}-{number}");
            let annotated =
                format!("metadata:\n  annotations: {{skiff.dev/wave: \"{wave}\"}}\n  name: {name}\n",);
            let map = config_map(&name, &edition.to_string());
            let map = map.replace(&format!("metadata:\n  name: {name}\n"), &annotated);
            write!(text, "---\n{map}").expect("a String takes everything");
        }
    }
    text
}
