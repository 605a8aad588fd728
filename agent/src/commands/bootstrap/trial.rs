//! Tries what the agent will do before there is one: asks the repositories, and renders what they hold.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use skiff_shared::object::Interner;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::args::ToolArgs;
use crate::cluster::discovery::Discovered;
use crate::commands::described::Described;
use crate::commands::local::{self, Local, NotHere, Served};
use crate::commands::ui;
use crate::config::{Config, EnvironmentConfig};
use crate::daemon::source_of;
use crate::git::{Cache, FetchError, NamedSecrets, Snapshot, Update};

/// How often a repository is asked that does not let the key in yet.
const PAUSE: Duration = Duration::from_secs(3);

/// Fetches with the agent's own credentials.
pub(super) struct Trial {
    cache: Arc<Cache>,
    scratch: TempDir,
}

/// Whether a repository let us in.
pub(super) enum Opened {
    Yes(Box<Snapshot>),
    /// The time was over before somebody gave the key access.
    NotYet(FetchError),
}

impl Trial {
    pub(super) fn open(secrets: Arc<dyn NamedSecrets>) -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir().context("failed to make a folder")?;
        let (runtime, cancel) = (Handle::current(), CancellationToken::new());
        let cache = Cache::open(&scratch.path().join("git"), runtime, cancel, secrets)?;
        Ok(Self { cache: Arc::new(cache), scratch })
    }

    /// Fetches an environment's commit. A server that lets the key in only later is asked again until `until`, after
    /// `locked` has been called once.
    pub(super) async fn fetch(
        &self,
        environment: &EnvironmentConfig,
        until: Instant,
        locked: impl FnOnce(),
    ) -> anyhow::Result<Opened> {
        let mut locked = Some(locked);
        loop {
            let (cache, source) = (self.cache.clone(), source_of(environment));
            let fetched = tokio::task::spawn_blocking(move || match cache.update(&source, None) {
                Ok(Update::Moved(revision)) => Ok(cache.snapshot(&source, revision.commit)),
                // Nothing is known that it could be the same as.
                Ok(Update::Unchanged) => Ok(cache.snapshot(&source, cache.poll(&source)?)),
                Err(error) => Err(error),
            });
            let error = match fetched.await? {
                Ok(snapshot) => return Ok(Opened::Yes(Box::new(snapshot?))),
                Err(error) => error,
            };
            if !lacks_access(&error) {
                return Err(error.into());
            }
            if let Some(locked) = locked.take() {
                locked();
            }
            if Instant::now() + PAUSE > until {
                return Ok(Opened::NotYet(error));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Renders every app of an environment that comes from its own repository.
    pub(super) async fn render(
        &self,
        environment: &EnvironmentConfig,
        config: &Config,
        snapshot: &Snapshot,
        found: &Discovered,
        tools: &ToolArgs,
    ) -> anyhow::Result<()> {
        let name = environment.name.as_str();
        let root = self.scratch.path().join("trees").join(name);
        snapshot.export("", &root)?;
        let described = Described::of_agent(config.clone(), name);
        let local = Local::within(root, environment.source.path.clone(), name, tools, described)?;
        let list = local.environment().map_err(|unlisted| local::problems(&unlisted.problems))?;
        list.warnings.iter().for_each(|warning| ui::warning(&warning.to_string()));
        let served = Served { apis: &found.apis, kube_version: &found.kube_version };
        let interner = Mutex::new(Interner::default());
        let mut failed = 0;
        for spec in &list.apps {
            let place = match local.place(spec).await {
                Ok(place) => place,
                Err(NotHere::LeftOut(_)) => {
                    let from = local::origin(spec).unwrap_or_default();
                    ui::progress(&format!("render    {}: not tried, as it comes from {from}", spec.name));
                    continue;
                }
                Err(why @ NotHere::Failed(_)) => {
                    failed += 1;
                    ui::error(&format!("app {}: {why}", spec.name));
                    continue;
                }
            };
            match local.render(&place, &served, &config.agent.instance, &interner).await {
                Ok(rendered) => {
                    ui::progress(&format!("render    {}: {} objects", spec.name, rendered.rows.len()));
                    rendered.warnings.iter().for_each(|warning| ui::warning(warning));
                }
                Err(error) => {
                    failed += 1;
                    let problems = error.problems.iter();
                    problems.for_each(|problem| ui::error(&format!("app {}: {problem}", spec.name)));
                }
            }
        }
        if failed > 0 {
            bail!("{failed} of the apps of {name} cannot be rendered: nothing is installed");
        }
        Ok(())
    }
}

/// Whether the error goes away once the repository's owner lets the key in.
fn lacks_access(error: &FetchError) -> bool {
    matches!(error, FetchError::SshKeyRefused { .. } | FetchError::RepositoryUnknown { .. })
}
