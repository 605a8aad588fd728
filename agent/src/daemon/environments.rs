//! The environments of the configuration: started, changed and ended as it says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skiff_shared::desired::Assignment;
use skiff_shared::environment::Facts;
use skiff_shared::sync::event::Event;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::apps::{Apps, Waiting, WantedSets};
use super::environment::{Environment, Rules, Workshop};
use super::launch::Launcher;
use super::source::{Poller, Sourced};
use crate::cluster::discovery::Discovered;
use crate::config::{self, EnvironmentConfig};
use crate::git::{self, RepositoryUrl};
use crate::http::Readiness;
use crate::telemetry::chain;

/// All running environments.
pub struct Environments {
    workshop: Workshop,
    launcher: Arc<Launcher>,
    apis: watch::Receiver<Option<Arc<Discovered>>>,
    wanted: Arc<WantedSets>,
    readiness: Readiness,
    running: BTreeMap<String, Running>,
    pollers: CancellationToken,
}

struct Running {
    config: EnvironmentConfig,
    rules: watch::Sender<Rules>,
}

impl Environments {
    pub fn new(
        workshop: Workshop,
        launcher: Arc<Launcher>,
        apis: watch::Receiver<Option<Arc<Discovered>>>,
        wanted: Arc<WantedSets>,
        readiness: Readiness,
    ) -> Self {
        Self {
            workshop,
            launcher,
            apis,
            wanted,
            readiness,
            running: BTreeMap::new(),
            pollers: CancellationToken::new(),
        }
    }

    /// Makes the configured environments the running ones. Changed rules are handed to the running
    /// apps; a changed source starts the environment's tasks anew, with its apps as they are.
    pub async fn apply(&mut self, configured: Vec<EnvironmentConfig>, facts: Arc<Facts>) {
        let rules_only = self.running.len() == configured.len()
            && configured.iter().all(|new| {
                self.running.get(new.name.as_str()).is_some_and(|old| is_same_source(&old.config, new))
            });
        if rules_only {
            for new in configured {
                if let Some(running) = self.running.get_mut(new.name.as_str()) {
                    let fresh = rules_of(&new, &facts);
                    running.rules.send_if_modified(|rules| {
                        let changed = *rules != fresh;
                        *rules = fresh;
                        changed
                    });
                    running.config = new;
                }
            }
            return;
        }
        self.pollers.cancel();
        self.pollers = CancellationToken::new();
        let names: BTreeSet<String> = configured.iter().map(|new| new.name.to_string()).collect();
        for ended in self.launcher.registry.environments().iter().filter(|name| !names.contains(&***name)) {
            self.end(ended);
        }
        self.running.clear();
        self.forget_repositories(&configured).await;
        self.start(configured, &facts).await;
    }

    /// Returns what every app wants.
    pub fn wanted(&self) -> Arc<WantedSets> {
        self.wanted.clone()
    }

    /// Stops asking the sources; the apps go on until they are drained.
    pub fn stop(&self) {
        self.pollers.cancel();
    }

    /// Removes from the disk what was fetched of repositories that no environment reads any more.
    async fn forget_repositories(&self, configured: &[EnvironmentConfig]) {
        let urls: Vec<RepositoryUrl> = configured.iter().map(|config| config.source.url.clone()).collect();
        let cache = self.workshop.cache.clone();
        // Nothing is asked for meanwhile: it must not be removed while it is being fetched.
        let removed = tokio::task::spawn_blocking(move || cache.retain(&urls)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(error = chain(&error), "repositories that are no longer read stay on disk");
        }
    }

    /// Ends the apps of an environment that is no longer configured; their objects stay as they are.
    fn end(&self, environment: &str) {
        for app in self.launcher.registry.apps_of(environment) {
            self.launcher.registry.send(&app, Event::Drain);
            self.launcher.registry.remove(&app);
            self.wanted.remove(&app);
        }
        self.readiness.forget(&format!("source of {environment}"));
        self.launcher.telemetry.source_gone(environment);
        tracing::info!(environment, "no longer configured: its objects stay as they are");
    }

    async fn start(&mut self, configured: Vec<EnvironmentConfig>, facts: &Arc<Facts>) {
        let mut readers: Vec<(git::Source, Duration, Vec<mpsc::Sender<Sourced>>)> = Vec::new();
        let mut starting = Vec::new();
        for config in configured {
            let source = source_of(&config);
            let (sender, sourced) = mpsc::channel(8);
            match readers.iter_mut().find(|(known, ..)| *known == source) {
                Some((_, interval, list)) => {
                    *interval = config.interval.min(*interval);
                    list.push(sender);
                }
                None => readers.push((source.clone(), config.interval, vec![sender])),
            }
            let apps = self.open(&config, &source).await;
            starting.push((config, source, sourced, apps));
        }
        for (config, source, sourced, apps) in starting {
            let rules = rules_of(&config, facts);
            self.start_one(Starting { config, source, sourced, apps, rules }).await;
        }
        for (source, interval, readers) in readers {
            let stop = self.pollers.child_token();
            let salt = self.workshop.instance.clone();
            let poller = Poller { cache: self.workshop.cache.clone(), source, interval, salt, readers, stop };
            self.launcher.vital.spawn("a poller", poller.run());
        }
    }

    /// Opens the mailboxes of an environment's apps, as far as they are known.
    async fn open(&self, config: &EnvironmentConfig, source: &git::Source) -> Apps {
        let name: Arc<str> = config.name.as_str().into();
        let mut apps = Apps {
            environment: name.clone(),
            assignment: assignment_of(config, source),
            launcher: self.launcher.clone(),
            registry: self.launcher.registry.clone(),
            wanted: self.wanted.clone(),
            running: self.launcher.registry.apps_of(&name).into_iter().collect(),
            known: Vec::new(),
            waiting: Waiting::default(),
        };
        apps.find_known().await;
        apps
    }

    async fn start_one(&mut self, starting: Starting) {
        let Starting { config, source, sourced, mut apps, rules } = starting;
        let (rules, changes) = watch::channel(rules);
        apps.resume(&config.policy).await;
        self.readiness.expect(format!("source of {}", config.name));
        self.launcher.telemetry.source_expected(config.name.as_str());
        let environment = Environment {
            config: config.clone(),
            source,
            workshop: self.workshop.clone(),
            apps,
            apis: self.apis.clone(),
            rules: changes,
            last: BTreeMap::new(),
            files: BTreeMap::new(),
            failures: 0,
            told: None,
            warned: Vec::new(),
            renders: JoinSet::new(),
            busy: BTreeMap::new(),
            current: None,
            unlisted: None,
            readiness: self.readiness.clone(),
        };
        let stop = self.pollers.child_token();
        let task = format!("the environment {}", config.name);
        self.launcher.vital.spawn(task, async move {
            tokio::select! {
                () = environment.run(sourced) => {}
                () = stop.cancelled() => {}
            }
        });
        self.running.insert(config.name.to_string(), Running { config, rules });
    }
}

/// An environment whose apps' mailboxes are open, on its way to its tasks.
struct Starting {
    config: EnvironmentConfig,
    source: git::Source,
    sourced: mpsc::Receiver<Sourced>,
    apps: Apps,
    rules: Rules,
}

fn rules_of(config: &EnvironmentConfig, facts: &Arc<Facts>) -> Rules {
    let limits = Arc::new(config.limits.clone());
    Rules { policy: config.policy.clone(), facts: facts.clone(), limits }
}

fn is_same_source(old: &EnvironmentConfig, new: &EnvironmentConfig) -> bool {
    let EnvironmentConfig { name, source, policy: _, interval, on_duplicate, limits: _ } = old;
    *name == new.name
        && *source == new.source
        && *interval == new.interval
        && *on_duplicate == new.on_duplicate
}

fn assignment_of(config: &EnvironmentConfig, source: &git::Source) -> Assignment {
    Assignment {
        environment: config.name.to_string(),
        url: source.url.canonical(),
        path: config.source.path.as_str().to_owned(),
        // Known with the first revision: they may change without a new source.
        facts: String::new(),
    }
}

/// Turns the configured source into the one that Git reads.
pub fn source_of(config: &EnvironmentConfig) -> git::Source {
    let config::Source { url, reference, path: _, credentials, proxy } = &config.source;
    let reference = match reference {
        config::Reference::Branch(name) => git::Reference::Branch(name.clone()),
        config::Reference::Tag(name) => git::Reference::Tag(name.clone()),
        config::Reference::Versions(range) => git::Reference::Versions(range.clone()),
        config::Reference::Commit(id) => git::Reference::Commit(*id),
    };
    git::Source {
        url: url.clone(),
        reference,
        credentials: credentials_of(credentials.clone()),
        proxy: proxy.clone().map(|config::Proxy { url, username_file, password_file }| git::Proxy {
            url,
            username: username_file,
            password: password_file,
        }),
        limits: git::Limits::default(),
    }
}

fn credentials_of(credentials: config::Credentials) -> git::Credentials {
    let config::Credentials {
        username_file,
        password_file,
        token_file,
        ca_file,
        certificate_file,
        key_file,
        ssh_key_file,
        known_hosts_file,
        ssh_passphrase_file,
        github_app,
        secret_ref,
    } = credentials;
    let app = |app: config::GithubApp| {
        let config::GithubApp { app_id, installation_id, private_key_file, api_url } = app;
        git::GithubApp {
            app: app_id.to_string(),
            installation: installation_id.to_string(),
            private_key: private_key_file,
            api: api_url,
        }
    };
    git::Credentials {
        username: username_file,
        password: password_file,
        token: token_file,
        ca: ca_file,
        certificate: certificate_file,
        certificate_key: key_file,
        ssh_key: ssh_key_file,
        ssh_passphrase: ssh_passphrase_file,
        known_hosts: known_hosts_file,
        github_app: github_app.map(app),
        secret: secret_ref,
    }
}
