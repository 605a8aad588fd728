//! Sources of single apps: Git repositories and charts that an app names beside its environment's repository.
//!
//! Git names them, the agent's file says which are allowed and with which credentials they are read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skiff_shared::desired::Unrendered;
use skiff_shared::environment::{AppSource, AppSpec, ChartSource, ListReason};
use skiff_shared::limits::{Limits, Refusal};
use tokio::sync::mpsc;

use super::environments::{credentials_of, proxy_of};
use super::source::{Sourced, State, Subject, Trouble};
use super::sources::{Following, Sources, Told};
use crate::charts::{Access, Wanted};
use crate::config::{self, AccessError, EnvironmentConfig};
use crate::git;
use crate::render::Reason;
use crate::telemetry::chain;

/// The own sources of one environment's apps.
pub struct OwnSources {
    pub sources: Arc<Sources>,
    pub told: mpsc::UnboundedSender<Told>,
    pub interval: Duration,
    pub followed: Vec<Followed>,
    pub of_app: BTreeMap<Arc<str>, Arc<Subject>>,
}

/// One of them, as far as it is known.
pub struct Followed {
    following: Following,
    state: Option<State>,
    trouble: Option<Trouble>,
}

impl OwnSources {
    pub fn new(sources: Arc<Sources>, told: mpsc::UnboundedSender<Told>, interval: Duration) -> Self {
        Self { sources, told, interval, followed: Vec::new(), of_app: BTreeMap::new() }
    }

    /// Follows the sources of these apps, and no others.
    pub fn follow(&mut self, wanted: BTreeMap<Arc<str>, Subject>) {
        self.followed
            .retain(|followed| wanted.values().any(|subject| *subject == *followed.following.subject));
        self.of_app.clear();
        for (app, subject) in wanted {
            let known = self.followed.iter().find(|followed| *followed.following.subject == subject);
            let subject = match known {
                Some(followed) => followed.following.subject.clone(),
                None => {
                    let following = self.sources.follow(subject, self.interval, self.told.clone());
                    let subject = following.subject.clone();
                    self.followed.push(Followed { following, state: None, trouble: None });
                    subject
                }
            };
            self.of_app.insert(app, subject);
        }
    }

    /// Takes news, and returns the apps that they are of; none if nobody reads the source any more. Says also whether
    /// the trouble of a failure is another than before.
    pub fn note(&mut self, told: &Told) -> (Vec<Arc<str>>, News) {
        let followed =
            self.followed.iter_mut().find(|followed| Arc::ptr_eq(&followed.following.subject, &told.subject));
        let Some(followed) = followed else { return (Vec::new(), News::Old) };
        let before = followed.trouble.take();
        let mut news = News::Old;
        match &told.sourced {
            Sourced::Moved(state) => followed.state = Some(state.clone()),
            Sourced::Unmoved | Sourced::Approvals(_) => {}
            Sourced::Failed(trouble) => {
                if before.is_none_or(|before| before.message != trouble.message) {
                    news = News::New;
                }
                followed.trouble = Some(trouble.clone());
            }
        }
        let apps = self.of_app.iter().filter(|(_, subject)| Arc::ptr_eq(subject, &told.subject));
        (apps.map(|(app, _)| app.clone()).collect(), news)
    }

    /// Returns what an app's own source stands at, if it was read.
    pub fn state(&self, app: &str) -> Option<&State> {
        self.of(app)?.state.as_ref()
    }

    /// Returns an app's own Git repository.
    pub fn git_source(&self, app: &str) -> Option<git::Source> {
        match &**self.of_app.get(app)? {
            Subject::Git(source) => Some(source.clone()),
            Subject::Chart(_) => None,
        }
    }

    pub fn trouble(&self, app: &str) -> Option<&Trouble> {
        self.of(app)?.trouble.as_ref()
    }

    fn of(&self, app: &str) -> Option<&Followed> {
        let subject = self.of_app.get(app)?;
        self.followed.iter().find(|followed| Arc::ptr_eq(&followed.following.subject, subject))
    }
}

/// Whether something is known already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    New,
    Old,
}

/// Returns the source that an app has of its own, if it has one and may use it.
pub fn subject_of(
    spec: &AppSpec,
    config: &EnvironmentConfig,
    limits: &Limits,
) -> Result<Option<Subject>, Unrendered> {
    let outside = |refusal: Refusal| unusable(spec, Reason::OutsideLimits.word(), refusal.to_string());
    limits.source(&spec.source).map_err(outside)?;
    subject(spec, Some(config))
}

/// Says why an app cannot have what it comes from.
pub fn unusable(spec: &AppSpec, reason: &'static str, message: String) -> Unrendered {
    Unrendered::one(reason, spec.place.clone(), message)
}

/// Returns the source that an app has of its own, as the agent's file reaches it; without one nothing is asked of it.
pub fn subject(spec: &AppSpec, config: Option<&EnvironmentConfig>) -> Result<Option<Subject>, Unrendered> {
    let invalid = |message: String| unusable(spec, ListReason::InvalidAppList.word(), message);
    match &spec.source {
        AppSource::Environment => Ok(None),
        AppSource::Git(asked) => {
            let reference = asked.reference.clone().try_into();
            let reference = reference.map_err(|error: git::IdError| invalid(chain(&error)))?;
            let access = config.map_or_else(|| Ok(config::Access::default()), |it| it.git_access(asked));
            let access = access.map_err(|error| invalid(error.to_string()))?;
            let config::Access { credentials, proxy, verify, rewrites } = access;
            Ok(Some(Subject::Git(git::Source {
                url: asked.url.parse().map_err(|error: git::UrlError| invalid(chain(&error)))?,
                reference,
                credentials: credentials_of(credentials),
                proxy: proxy.map(proxy_of),
                verify,
                rewrites,
                // Plans are approved where the environment comes from.
                approvals: None,
                limits: config.map(|config| config.fetch).unwrap_or_default(),
            })))
        }
        AppSource::Chart(chart) => match config {
            Some(config) => {
                let wanted = wanted(chart.clone(), config).map_err(|error| invalid(error.to_string()))?;
                Ok(Some(Subject::Chart(wanted)))
            }
            None => {
                let (credentials, limits) = (git::Credentials::default(), git::Limits::default());
                let access = Access { credentials, proxy: None, limits };
                Ok(Some(Subject::Chart(Wanted { chart: chart.clone(), access })))
            }
        },
    }
}

/// Returns a chart with what its repository is reached by.
pub fn wanted(chart: ChartSource, config: &EnvironmentConfig) -> Result<Wanted, AccessError> {
    let config::Access { credentials, proxy, .. } = config.chart_access(&chart)?;
    let (credentials, proxy) = (credentials_of(credentials), proxy.map(proxy_of));
    Ok(Wanted { chart, access: Access { credentials, proxy, limits: config.fetch } })
}
