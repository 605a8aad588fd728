//! The environments of the configuration: started, changed and ended as it says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skiff_shared::desired::Assignment;
use skiff_shared::environment::Facts;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::apps::{Apps, Waiting, WantedSets};
use super::environment::{Environment, Rules, Workshop};
use super::launch::Launcher;
use super::own::OwnSources;
use super::past::Place;
use super::source::Subject;
use super::sources::Told;
use super::unattended;
use crate::cluster::discovery::Discovered;
use crate::config::{self, EnvironmentConfig};
use crate::git;
use crate::http::Readiness;

/// All running environments.
pub struct Environments {
    workshop: Workshop,
    launcher: Arc<Launcher>,
    apis: watch::Receiver<Option<Arc<Discovered>>>,
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
        readiness: Readiness,
    ) -> Self {
        Self {
            workshop,
            launcher,
            apis,
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
        self.start(configured, &facts).await;
        let told = unattended::tell(self.launcher.clone(), names);
        tokio::spawn(self.pollers.clone().run_until_cancelled_owned(told));
    }

    /// Returns what every app wants.
    pub fn wanted(&self) -> Arc<WantedSets> {
        self.launcher.wanted.clone()
    }

    /// Stops asking the sources; the apps go on until they are drained.
    pub fn stop(&self) {
        self.pollers.cancel();
    }

    /// Removes from the disk what was fetched of sources that nobody reads any more.
    pub fn forget_sources(&self) {
        let sources = self.workshop.sources.clone();
        tokio::task::spawn_blocking(move || sources.forget());
    }

    /// Ends the apps of an environment that is no longer configured; their objects stay as they are.
    fn end(&self, environment: &str) {
        for app in self.launcher.registry.apps_of(environment) {
            self.launcher.registry.remove(&app);
            self.launcher.wanted.remove(&app);
        }
        self.launcher.past.forget(environment);
        self.launcher.wanted.lists.forget(environment);
        self.readiness.forget(&format!("source of {environment}"));
        self.launcher.telemetry.source_gone(environment);
        self.workshop.sources.list_read(environment);
        tracing::info!(environment, "no longer configured: its objects stay as they are");
    }

    async fn start(&mut self, configured: Vec<EnvironmentConfig>, facts: &Arc<Facts>) {
        let mut starting = Vec::new();
        for config in configured {
            let source = source_of(&config);
            self.workshop.sources.list_unread(config.name.as_str());
            self.launcher.wanted.lists.expect(&config.name.as_str().into());
            let apps = self.open(&config, &source).await;
            if let Some(commit) = apps.stood_at(&source) {
                self.workshop.remember(&source, commit).await;
            }
            starting.push((config, source, apps));
        }
        for (config, source, apps) in starting {
            let rules = rules_of(&config, facts);
            self.start_one(Starting { config, source, apps, rules }).await;
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
            wanted: self.launcher.wanted.clone(),
            running: self.launcher.registry.apps_of(&name).into_iter().collect(),
            known: Vec::new(),
            recorded: Vec::new(),
            is_refused: false,
            waiting: Waiting::default(),
        };
        apps.find_known().await;
        apps
    }

    async fn start_one(&mut self, starting: Starting) {
        let Starting { config, source, mut apps, rules } = starting;
        let (rules, changes) = watch::channel(rules);
        apps.resume(&config.policy).await;
        self.readiness.expect(format!("source of {}", config.name));
        self.launcher.telemetry.source_expected(config.name.as_str());
        let (told, sourced) = mpsc::unbounded_channel::<Told>();
        let sources = self.workshop.sources.clone();
        let following = sources.follow(Subject::Git(source.clone()), config.interval, told.clone());
        let place = Place {
            config: config.clone(),
            source: source.clone(),
            workshop: self.workshop.clone(),
            rules: changes.clone(),
            apis: self.apis.clone(),
        };
        self.launcher.past.know(config.name.as_str(), place);
        let environment = Environment {
            config: config.clone(),
            own: OwnSources::new(sources, told, config.interval),
            following,
            listed: BTreeMap::new(),
            trouble: None,
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
    apps: Apps,
    rules: Rules,
}

fn rules_of(config: &EnvironmentConfig, facts: &Arc<Facts>) -> Rules {
    let limits = Arc::new(config.limits.clone());
    Rules { policy: config.policy.clone(), facts: facts.clone(), limits }
}

fn is_same_source(old: &EnvironmentConfig, new: &EnvironmentConfig) -> bool {
    let EnvironmentConfig {
        name,
        source,
        repositories,
        policy: _,
        approvals,
        interval,
        fetch,
        on_duplicate,
        limits: _,
    } = old;
    *name == new.name
        && *source == new.source
        && *repositories == new.repositories
        && *approvals == new.approvals
        && *interval == new.interval
        && *fetch == new.fetch
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
    let config::Source { url, reference, path: _, credentials, proxy, verify, rewrites } = &config.source;
    git::Source {
        url: url.clone(),
        reference: reference.clone(),
        credentials: credentials_of(credentials.clone()),
        proxy: proxy.clone().map(proxy_of),
        verify: verify.clone(),
        rewrites: rewrites.clone(),
        approvals: config.approvals.clone().map(Box::new),
        limits: config.fetch,
    }
}

pub fn proxy_of(proxy: config::Proxy) -> git::Proxy {
    let config::Proxy { url, username_file, password_file, secret_ref } = proxy;
    git::Proxy { url, username: username_file, password: password_file, secret: secret_ref }
}

pub fn credentials_of(credentials: config::Credentials) -> git::Credentials {
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
