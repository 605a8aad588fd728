//! Renders a release of the past again, where its render is not stored any more.
//!
//! From Git at the release's commit, with the options that the app list had there. What comes out has the digest that
//! the release had, or it is refused: with other facts of the cluster, or another renderer, it would be another release.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use skiff_shared::desired::{Desired, Interval, Problem};
use skiff_shared::environment::{AppSource, AppSpec, ChartVersion, RepoPath};
use skiff_shared::sync::effect::Release;
use skiff_shared::sync::event::{Cause, Failure, Refusal};
use tokio::sync::watch;

use super::environment::Outcome;
use super::environment::{Rules, Workshop, read_list};
use super::job::{AppFiles, Failed, Job, desired, environment_value_files};
use super::own;
use super::source::Fetched;
use crate::charts::Chart;
use crate::cluster::discovery::Discovered;
use crate::config::EnvironmentConfig;
use crate::git::{self, CommitId, Reference, Retry, SignaturePolicy, Signed, Update};
use crate::render::FileCache;
use crate::telemetry::chain;

/// What the releases of each environment are rendered with.
#[derive(Default)]
pub struct Past(Mutex<BTreeMap<String, Place>>);

/// An environment as it is configured now.
#[derive(Clone)]
pub struct Place {
    pub config: EnvironmentConfig,
    pub source: git::Source,
    pub workshop: Workshop,
    pub rules: watch::Receiver<Rules>,
    pub apis: watch::Receiver<Option<Arc<Discovered>>>,
}

impl Past {
    pub fn know(&self, environment: &str, place: Place) {
        self.places().insert(environment.to_owned(), place);
    }

    pub fn forget(&self, environment: &str) {
        self.places().remove(environment);
    }

    /// Renders a release anew. Whoever calls holds the store: the bodies are nobody's until the set is wanted.
    pub async fn render(&self, environment: &str, app: &str, release: &Release) -> Result<Desired, Failure> {
        let place = self.places().get(environment).cloned();
        let place = place.ok_or_else(|| later("its environment is not configured"))?;
        place.render(app, release).await
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<String, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    async fn render(self, app: &str, release: &Release) -> Result<Desired, Failure> {
        let unknown = || later("the kinds of the cluster are not known yet");
        let apis = self.apis.borrow().clone().ok_or_else(unknown)?;
        let rules = self.rules.borrow().clone();
        let Self { config, workshop, .. } = self.clone();
        let (name, wanted) = (app.to_owned(), release.clone());
        let found = tokio::task::spawn_blocking(move || self.find(&name, &wanted)).await;
        let (spec, files) = found.map_err(|_| Failure::NotSent)??;
        let began = Timestamp::now();
        let mut job = Job::new(workshop, spec, files, apis, rules, config);
        job.take_bench().await;
        let inputs = job.prepare().await.map_err(|why| refused(&first(&why.problems)))?;
        let rendered = job.render(&inputs, &mut FileCache::default()).await;
        let rendered = rendered.map_err(|Failed { why, outcome }| match outcome {
            Outcome::FailedInPassing => later(&first(&why.problems)),
            Outcome::Good | Outcome::Failed => refused(&first(&why.problems)),
        })?;
        let rendered_at = Interval { start: began, end: Timestamp::now() };
        let (set, _hold) = desired(&job.files, release.assignment.clone(), rendered, rendered_at);
        if set.render != release.render {
            return Err(refused(
                "what comes out is not what it was: the cluster's facts or version, or the renderer, have changed since",
            ));
        }
        let (revision, seen_at) = (release.revision.clone(), release.seen_at);
        Ok(Desired { revision, seen_at, fetched: None, ..set })
    }

    /// Fetches the release's commit and finds the app in the list that it was rendered by.
    fn find(&self, app: &str, release: &Release) -> Result<(AppSpec, AppFiles), Failure> {
        let commit: CommitId =
            release.revision.commit.parse().map_err(|_| refused("its commit is not known"))?;
        let of_list = release.revision.url == self.source.url.canonical();
        // Of an app with a repository of its own the list of then is not known: it is the one of now.
        let source = if of_list { at(&self.source, commit) } else { self.source.clone() };
        let listed = self.fetch(&source)?;
        let spec = self.spec(app, &source, &listed, release)?;
        let files = match &spec.source {
            AppSource::Environment => AppFiles { source, revision: listed, chart: None, values: None },
            AppSource::Chart(_) => {
                let chart = Some(self.chart(&spec, release)?);
                AppFiles { source, revision: listed, chart, values: None }
            }
            AppSource::Git(_) => {
                let limits = self.rules.borrow().limits.clone();
                let own = own::subject_of(&spec, &self.config, &limits);
                let own = own.map_err(|why| refused(&first(&why.problems)))?;
                let Some(super::source::Subject::Git(own)) = own else {
                    return Err(refused("its repository is not known"));
                };
                // Which commit the values were of then is not known either: the digest tells whether they still are.
                let takes_values = !environment_value_files(&spec.renderer).is_empty();
                let values = takes_values.then_some((source, listed));
                let source = at(&own, commit);
                AppFiles { revision: self.fetch(&source)?, source, chart: None, values }
            }
        };
        Ok((spec, files))
    }

    /// Returns the app as the list of a commit has it.
    fn spec(
        &self,
        app: &str,
        source: &git::Source,
        listed: &Fetched<git::Revision>,
        release: &Release,
    ) -> Result<AppSpec, Failure> {
        let path = RepoPath::parse(&release.assignment.path).map_err(|_| refused("its path is not known"))?;
        let snapshot = self.workshop.cache.snapshot(source, listed.what.commit);
        let snapshot = snapshot.map_err(|error| later(&chain(&error)))?;
        let rules = self.rules.borrow().clone();
        let list = read_list(&snapshot, self.config.name.clone(), &path, &rules);
        let list = list.map_err(|unlisted| refused(&first(&unlisted.problems)))?;
        let missing = || refused("the app list of that commit does not have the app");
        list.apps.into_iter().find(|spec| spec.name.as_str() == app).ok_or_else(missing)
    }

    /// Fetches the version of the chart that the release was rendered from.
    fn chart(&self, spec: &AppSpec, release: &Release) -> Result<Fetched<Chart>, Failure> {
        let (AppSource::Chart(chart), Some(was)) = (&spec.source, &release.revision.chart) else {
            return Err(refused("the version of its chart is not known"));
        };
        let mut chart = chart.clone();
        chart.version = ChartVersion::Exact(was.version.clone());
        let began = Timestamp::now();
        let wanted = own::wanted(chart, &self.config).map_err(|error| refused(&error.to_string()))?;
        let found = self.workshop.charts.locked(&wanted);
        let found = found.map_err(|error| later(&chain(&error)))?;
        if found.release.digest != was.digest {
            return Err(refused("its chart has another archive by now"));
        }
        Ok(fetched(found, began))
    }

    fn fetch(&self, source: &git::Source) -> Result<Fetched<git::Revision>, Failure> {
        let began = Timestamp::now();
        match self.workshop.cache.update(source, None) {
            Ok(Update::Moved(revision)) => Ok(fetched(Arc::new(*revision), began)),
            // Nothing is known that it could be the same as.
            Ok(Update::Unchanged) => Err(Failure::NotSent),
            Err(error) => Err(match error.retry() {
                Retry::OnChange => refused(&chain(&error)),
                Retry::Backoff | Retry::AtInterval | Retry::After(_) => later(&chain(&error)),
            }),
        }
    }
}

fn fetched<T>(what: Arc<T>, began: Timestamp) -> Fetched<T> {
    let took = Interval { start: began, end: Timestamp::now() };
    Fetched { what, seen_at: began, took }
}

/// Returns a source at a commit that was applied before. The tag that led there was judged then, and is not known any
/// more; the commit's own signature is judged again.
fn at(source: &git::Source, commit: CommitId) -> git::Source {
    let verify = source.verify.clone().and_then(|policy| match policy.signed {
        Signed::Tag | Signed::Either => None,
        Signed::Commit | Signed::Both => Some(SignaturePolicy { signed: Signed::Commit, ..policy }),
    });
    git::Source { reference: Reference::Commit(commit), verify, ..source.clone() }
}

fn first(problems: &[Problem]) -> String {
    problems.first().map_or_else(String::new, ToString::to_string)
}

fn cause(why: &str) -> Cause {
    let message = format!("the release is not stored any more, and cannot be rendered again: {why}");
    Cause { reason: Refusal::Unclassified, code: 0, message }
}

/// Another try will not do.
fn refused(why: &str) -> Failure {
    Failure::Rejected(cause(why))
}

fn later(why: &str) -> Failure {
    Failure::Unavailable(cause(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tag_proved_then_is_not_asked_of_a_commit_now() {
        let commit: CommitId = "0123456789012345678901234567890123456789".parse().unwrap();
        let asked = |signed| {
            let policy = SignaturePolicy {
                signed,
                allowed_signers: None,
                public_keys: None,
                secret: Some("who".to_owned()),
            };
            let source = git::Source {
                url: "https://git.example/shop".parse().unwrap(),
                reference: Reference::Tag("v1".to_owned()),
                credentials: git::Credentials::default(),
                proxy: None,
                verify: Some(policy),
                rewrites: git::Rewrites::Follow,
                approvals: None,
                limits: git::Limits::default(),
            };
            at(&source, commit).verify.map(|policy| policy.signed)
        };
        assert_eq!(asked(Signed::Tag), None);
        assert_eq!(asked(Signed::Either), None, "it may have been the tag that was signed");
        assert_eq!(asked(Signed::Both), Some(Signed::Commit));
        assert_eq!(asked(Signed::Commit), Some(Signed::Commit));
    }
}
