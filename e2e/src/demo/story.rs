//! The story: one chapter for each thing that the main job is made of, with times that a witness measured.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use serde_json::{Value, json};
use skiff_harness::audit::{AuditEntry, Mark};
use skiff_harness::cluster::User;
use skiff_harness::git_server::Repository;
use skiff_harness::otlp::Span;
use skiff_shared::api::v1alpha1::{App, HistoryEntry};

use super::shop::{self, APPS, ENVIRONMENT};
use super::trace;
use super::ui::{Style, Terminal, cut, words};
use crate::site::Site;
use crate::witness::{Sighting, Witness};

/// How long one thing may take before the story says that it does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of the agent's log that a failure shows.
const LAST_WORDS: usize = 30;

/// A story in progress.
pub(super) struct Story<'a> {
    site: &'a mut Site,
    terminal: &'a Terminal,
    shop: Repository,
    first: String,
    results: Vec<Outcome>,
}

/// What a chapter came to, for the summary.
struct Outcome {
    what: &'static str,
    result: String,
}

impl<'a> Story<'a> {
    /// Makes the repository and starts the agent, which finds no commit yet.
    pub(super) fn begin(site: &'a mut Site, terminal: &'a Terminal) -> anyhow::Result<Self> {
        let shop = site.repository("shop")?;
        Ok(Self { site, terminal, shop, first: String::new(), results: Vec::new() })
    }

    pub(super) fn into_repository(self) -> Repository {
        self.shop
    }

    pub(super) async fn tell(&mut self) -> anyhow::Result<()> {
        let Err(error) = self.chapters().await else { return Ok(()) };
        let chapter = self.results.len() + 1;
        let error = error.context(format!("chapter {chapter} did not come to its end"));
        if format!("{error:#}").contains("log ends with\n") {
            return Err(error);
        }
        let log = self.site.log();
        let first = log.lines().count().saturating_sub(LAST_WORDS);
        let words: Vec<&str> = log.lines().skip(first).collect();
        Err(error.context(format!("the agent's log ends with\n{}\n", words.join("\n"))))
    }

    async fn chapters(&mut self) -> anyhow::Result<()> {
        self.first_sync().await?;
        self.commit().await?;
        self.edit().await?;
        self.deletion().await?;
        self.prune().await?;
        self.trace().await
    }

    async fn first_sync(&mut self) -> anyhow::Result<()> {
        self.terminal.chapter(1, "The first sync");
        self.terminal.prose(
            "A repository whose skiff.yaml lists a plain folder, a kustomize overlay and a Helm chart. The agent runs \
             under its own ServiceAccount and asks the repository every second here (every minute by default).",
        );
        let pushed = self.push(shop::found)?;
        self.first.clone_from(&pushed.commit);
        let url = self.shop.url().to_owned();
        self.site.start_agent(json!([Site::environment(ENVIRONMENT, &url, ENVIRONMENT)]))?;
        let began = Instant::now();
        let mut objects = 0;
        for (name, kind) in APPS {
            let app = self.synced(name, &pushed.commit).await?;
            let status = app.status.unwrap_or_default();
            objects += status.counts.total;
            let entry = entry(&status.history, &pushed.commit)?;
            let detail =
                format!("{kind}, {} objects, applied after {}", status.counts.total, span(entry, applied));
            self.terminal.done(name, &detail, since(entry, healthy));
        }
        let took = began.elapsed();
        self.terminal.fact(
            "in all",
            &format!("{objects} objects of 3 apps healthy {} after the agent's start", words(took)),
        );
        self.remember("first sync", format!("{objects} objects healthy in {}", words(took)));
        Ok(())
    }

    async fn commit(&mut self) -> anyhow::Result<()> {
        self.terminal.chapter(2, "A commit");
        self.terminal.prose("The storefront's image changes: one object of one app.");
        let mark = self.settled().await?;
        let pushed = self.push(shop::release)?;
        let app = self.synced("storefront", &pushed.commit).await?;
        let status = app.status.unwrap_or_default();
        let entry = entry(&status.history, &pushed.commit)?;
        let polled = entry.seen_at.duration_since(pushed.at).unsigned_abs();
        let polled = if entry.seen_at < pushed.at { Duration::ZERO } else { polled };
        self.terminal.done("seen by a poll", "after the push", polled);
        self.terminal.done("applied", "after it was seen", since(entry, applied));
        self.terminal.done("healthy", "after it was seen: both pods replaced", since(entry, healthy));
        self.others_unmoved(&pushed.commit).await?;
        self.settled().await?;
        let requests = self.requests(mark)?;
        self.terminal.fact("requests", &format!("{requests}; nothing for the two other apps' objects"));
        self.remember(
            "a commit",
            format!(
                "applied in {}, healthy in {}",
                words(since(entry, applied)),
                words(since(entry, healthy))
            ),
        );
        Ok(())
    }

    async fn edit(&mut self) -> anyhow::Result<()> {
        self.terminal.chapter(3, "An edit by somebody else");
        let arguments = ["set", "image", "deployment/web", "web=registry.example/web:hotfix"];
        self.terminal.command(&format!("kubectl -n storefront {}", arguments.join(" ")));
        let mut witness = Witness::start::<Deployment>(self.site.admin()?, "storefront").await?;
        self.as_dev("storefront", &arguments).await?;
        let changed = witness
            .until("web", "the witness sees the edit", PATIENCE, |seen| image(seen).ends_with(":hotfix"))
            .await?;
        let healed =
            witness.until("web", "the edit is healed", PATIENCE, |seen| image(seen).ends_with(":2")).await?;
        let took = healed.at - changed.at;
        self.terminal.done("healed", "from the event to the restored image, by another watch", took);
        let span = self.heal_of("Deployment/storefront/web").await?;
        let (manager, paths) = (text(&span, "skiff.drift.manager"), paths(&span));
        self.terminal.fact(
            "who",
            &format!("field manager {manager:?}, operation {}", text(&span, "skiff.drift.operation")),
        );
        self.terminal.fact("what", &paths);
        self.terminal.fact(
            "agent's words",
            &format!("{} from its event to the server's answer", words(duration(&span))),
        );
        if manager.is_empty() || paths.is_empty() {
            bail!("the heal does not say who changed which paths: {:?}", span.attributes);
        }
        self.remember("an edit, healed", format!("{}, by {manager:?}", words(took)));
        Ok(())
    }

    async fn deletion(&mut self) -> anyhow::Result<()> {
        self.terminal.chapter(4, "A deletion by somebody else");
        let arguments = ["delete", "service", "web"];
        self.terminal.command(&format!("kubectl -n storefront {}", arguments.join(" ")));
        let mut witness = Witness::start::<Service>(self.site.admin()?, "storefront").await?;
        self.as_dev("storefront", &arguments).await?;
        let gone = witness.until("web", "the witness sees it go", PATIENCE, |seen| seen.is_deletion).await?;
        let back = witness.until("web", "the Service is back", PATIENCE, |seen| !seen.is_deletion).await?;
        let took = back.at - gone.at;
        self.terminal.done("back again", "from the event to the new object, by another watch", took);
        self.remember("a deletion, healed", words(took));
        Ok(())
    }

    async fn prune(&mut self) -> anyhow::Result<()> {
        self.terminal.chapter(5, "A file removed from Git");
        self.terminal.command("git rm development/storefront/banner.yaml");
        let mut witness = Witness::start::<ConfigMap>(self.site.admin()?, "storefront").await?;
        let began = Instant::now();
        let pushed = self.push(shop::take_down_banner)?;
        let gone = witness.until("banner", "the banner is pruned", PATIENCE, |seen| seen.is_deletion).await?;
        let took = gone.at - began;
        self.synced("storefront", &pushed.commit).await?;
        self.terminal.done("pruned ConfigMap/storefront/banner", "after the push, one poll included", took);
        self.remember("a file removed, pruned", format!("{} after the push", words(took)));
        Ok(())
    }

    async fn trace(&mut self) -> anyhow::Result<()> {
        self.terminal.chapter(6, "The release as one trace");
        self.terminal.prose(
            "Its id is derived from the repository and the commit, so every cluster's rollout of this commit is part \
             of the same trace, without coordination.",
        );
        let first = self.first.clone();
        let spans = self.site.otlp.wait_for(|spans| trace::is_complete(spans, &first), PATIENCE).await?;
        let tree = trace::of_release(&spans, &first).context("the release has a trace")?;
        let count = tree.spans();
        tree.print(self.terminal);
        self.remember("one trace", format!("{count} spans of 3 apps"));
        Ok(())
    }

    /// Prints what every chapter came to.
    pub(super) fn summary(&self) {
        self.terminal.chapter(7, "Summary");
        for Outcome { what, result } in &self.results {
            let mark = self.terminal.paint("✓", Style::Good);
            self.terminal.line(&format!("  {mark} {what:<26} {}", cut(result, 48)));
        }
        let told = self.results.len();
        if told < 6 {
            let mark = self.terminal.paint("✗", Style::Bad);
            self.terminal
                .line(&format!("  {mark} chapter {} and what comes after it did not happen", told + 1));
        }
    }

    fn remember(&mut self, what: &'static str, result: String) {
        self.results.push(Outcome { what, result });
    }

    fn push(
        &mut self,
        change: impl FnOnce(&mut Repository) -> anyhow::Result<String>,
    ) -> anyhow::Result<Pushed> {
        let commit = change(&mut self.shop)?;
        Ok(Pushed { commit, at: Timestamp::now() })
    }

    /// Waits until an app is synced and healthy at a commit and its history says since when.
    async fn synced(&self, name: &str, commit: &str) -> anyhow::Result<App> {
        let what = format!("{name} is synced and healthy at {commit}");
        self.site
            .app(name, &what, |app| {
                app.status.as_ref().is_some_and(|status| {
                    let entry = entry(&status.history, commit);
                    let is_recorded = entry.is_ok_and(|entry| entry.healthy_at.is_some());
                    is_recorded && status.sync == "Synced" && status.health == "Healthy"
                })
            })
            .await
    }

    async fn others_unmoved(&self, commit: &str) -> anyhow::Result<()> {
        for (name, _) in &APPS[1..] {
            let what = format!("{name} stands at {commit}");
            self.site
                .app(name, &what, |app| {
                    let status = app.status.as_ref();
                    let revision = status.and_then(|status| status.revision.as_ref());
                    revision.is_some_and(|revision| revision.commit.ends_with(commit))
                })
                .await?;
        }
        Ok(())
    }

    /// Waits until the agent has sent nothing for a second and a half; returns that moment in the log.
    async fn settled(&self) -> anyhow::Result<Mark> {
        let audit = self.site.cluster.audit();
        loop {
            let mark = audit.mark()?;
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            if audit.since(mark, &self.site.identity.username())?.iter().all(is_background) {
                return audit.mark();
            }
        }
    }

    /// Says in words what the agent has asked of the API server, its Lease and its watches apart.
    fn requests(&self, mark: Mark) -> anyhow::Result<String> {
        let entries = self.site.cluster.audit().since(mark, &self.site.identity.username())?;
        let mut counts: Vec<(String, usize)> = Vec::new();
        for entry in entries.iter().filter(|entry| !is_background(entry)) {
            let words = request_in_words(entry);
            match counts.iter_mut().find(|(known, _)| *known == words) {
                Some((_, count)) => *count += 1,
                None => counts.push((words, 1)),
            }
        }
        let counts: Vec<String> = counts.iter().map(|(words, count)| format!("{count} {words}")).collect();
        Ok(counts.join(", "))
    }

    /// Waits for the span of a heal, which names who and what.
    async fn heal_of(&self, object: &str) -> anyhow::Result<Span> {
        let wanted = |span: &&Span| span.name.starts_with("HEAL ") && text(span, "skiff.object") == object;
        let spans = self.site.otlp.wait_for(|spans| spans.iter().any(|span| wanted(&span)), PATIENCE).await?;
        spans.iter().find(wanted).cloned().context("it has just been there")
    }

    /// Runs kubectl as the person `dev`.
    async fn as_dev(&self, namespace: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut kubectl: Command = self.site.cluster.kubectl(User::Dev);
        kubectl.args(["--namespace", namespace]).args(arguments);
        let output = tokio::process::Command::from(kubectl).kill_on_drop(true).output().await?;
        if !output.status.success() {
            bail!(
                "kubectl {} failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }
}

/// A commit that the repository has.
struct Pushed {
    commit: String,
    at: Timestamp,
}

fn entry<'a>(history: &'a [HistoryEntry], commit: &str) -> anyhow::Result<&'a HistoryEntry> {
    let found = history.iter().find(|entry| entry.revision.commit.ends_with(commit));
    found.with_context(|| format!("the history does not name {commit}"))
}

fn applied(entry: &HistoryEntry) -> Option<Timestamp> {
    entry.applied_at
}

fn healthy(entry: &HistoryEntry) -> Option<Timestamp> {
    entry.healthy_at
}

/// Returns how long after the agent saw a commit something was so.
fn since(entry: &HistoryEntry, moment: fn(&HistoryEntry) -> Option<Timestamp>) -> Duration {
    moment(entry).map_or(Duration::ZERO, |moment| moment.duration_since(entry.seen_at).unsigned_abs())
}

fn span(entry: &HistoryEntry, moment: fn(&HistoryEntry) -> Option<Timestamp>) -> String {
    words(since(entry, moment))
}

fn is_background(entry: &AuditEntry) -> bool {
    entry.verb == "watch" || entry.resource == "leases"
}

fn request_in_words(entry: &AuditEntry) -> String {
    match (entry.verb.as_str(), entry.dry_run, entry.resource.as_str(), entry.subresource.as_str()) {
        ("patch", true, ..) => "dry run".to_owned(),
        ("patch", false, "apps", "status") => "status".to_owned(),
        ("patch" | "update" | "create", _, "configmaps", _) if entry.namespace == crate::site::NAMESPACE => {
            "inventory".to_owned()
        }
        (_, _, "secrets", _) if entry.namespace == crate::site::NAMESPACE => format!("render {}", entry.verb),
        ("patch", false, ..) => "apply".to_owned(),
        (verb, _, resource, _) => format!("{verb} {resource}"),
    }
}

fn image(sighting: &Sighting) -> &str {
    sighting
        .object
        .pointer("/spec/template/spec/containers/0/image")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn text<'a>(span: &'a Span, name: &str) -> &'a str {
    span.attributes.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn paths(span: &Span) -> String {
    let paths = span.attributes.get("skiff.drift.paths").and_then(Value::as_array);
    let paths = paths.into_iter().flatten().filter_map(Value::as_str);
    paths.collect::<Vec<_>>().join(", ")
}

fn duration(span: &Span) -> Duration {
    span.end.duration_since(span.start).unsigned_abs()
}
