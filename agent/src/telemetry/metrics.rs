//! Facts as metrics: the same instruments feed OTLP and `/metrics`.
//!
//! [`Metrics::record`] is the one place that turns what happened into numbers. Labels are bounded: app,
//! environment, states and classes; never a revision, an object's name or the text of an error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use opentelemetry_semantic_conventions::{attribute as name, metric};
use skiff_shared::desired::Interval;
use skiff_shared::report::{Cause, Outcome, Report};
use skiff_shared::sync::effect::Notice;

use super::Rendering;
use super::app::AppName;
use super::spans::{Sync, error_type};
use observed::Observed;

mod gauges;
mod observed;

/// Something that happened to an app.
pub(super) enum Fact<'a> {
    Finished(&'a Sync<'a>),
    Reported(&'a Report),
    Noticed(&'a Notice),
    /// Nobody tells of it any more: its gauges end.
    Gone,
}

/// Who tells. An app whose driver is replaced has two lives for a moment; the end of the old one must not
/// end the gauges of the new.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) app: &'a AppName,
    pub(super) life: u64,
}

/// The instruments, and the state that gauges are read from.
pub(super) struct Metrics {
    run_duration: Histogram<f64>,
    run_errors: Counter<u64>,
    commit_to_healthy: Histogram<f64>,
    render_duration: Histogram<f64>,
    drifts: Counter<u64>,
    heals: Counter<u64>,
    heal_duration: Histogram<f64>,
    contested: Counter<u64>,
    state_failures: Counter<u64>,
    contested_hold: Histogram<f64>,
    requests: Counter<u64>,
    render_files: Counter<u64>,
    lives: AtomicU64,
    observed: Arc<Observed>,
}

impl Metrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let observed = Arc::new(Observed::default());
        gauges::register(meter, &observed);
        let seconds = |name, bounds: &[f64], text| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(text);
            histogram.with_boundaries(bounds.to_vec()).build()
        };
        let counter =
            |name, unit, text| meter.u64_counter(name).with_unit(unit).with_description(text).build();
        Self {
            run_duration: seconds(
                metric::CICD_PIPELINE_RUN_DURATION,
                &RUN,
                "Duration of a sync by state and result",
            ),
            run_errors: counter(
                metric::CICD_PIPELINE_RUN_ERRORS,
                "{error}",
                "Objects refused or failed in syncs",
            ),
            commit_to_healthy: seconds(
                "skiff.commit_to_healthy.duration",
                &LONG,
                "From the commit to all healthy",
            ),
            render_duration: seconds(
                "skiff.render.duration",
                &RENDER,
                "Duration of making an app's objects of a revision, by what came of it",
            ),
            drifts: counter("skiff.drifts", "{drift}", "Changes by others to what Git declares"),
            heals: counter("skiff.heals", "{heal}", "Objects re-applied after drift"),
            heal_duration: seconds(
                "skiff.heal.duration",
                &SHORT,
                "From the drift event to the healed object",
            ),
            contested: counter(
                "skiff.contested",
                "{object}",
                "Times that an object was left to another manager",
            ),
            state_failures: counter(
                "skiff.state.failures",
                "{failure}",
                "Failures to store the agent's own state, by what was to be stored",
            ),
            contested_hold: seconds(
                "skiff.contested.hold.duration",
                &HOLD,
                "For how long an object is left to another manager each time",
            ),
            requests: counter(
                "skiff.api.requests",
                "{request}",
                "Requests to the API server by verb and code",
            ),
            render_files: counter(
                "skiff.render.files",
                "{file}",
                "Manifest files of rendered apps, by whether they had to be read",
            ),
            lives: AtomicU64::new(0),
            observed,
        }
    }

    /// Returns a number that no other [`Source`] has.
    pub(super) fn next_life(&self) -> u64 {
        self.lives.fetch_add(1, Ordering::Relaxed)
    }

    /// Turns one fact into metrics.
    pub(super) fn record(&self, source: Source<'_>, fact: &Fact<'_>) {
        let labels = labels(source.app);
        match fact {
            Fact::Finished(sync) => self.finished(source, &labels, sync),
            Fact::Reported(report) => self.observed.change(source, |state| state.show(report)),
            Fact::Noticed(notice) => self.noticed(&labels, notice),
            Fact::Gone => self.observed.end(source),
        }
    }

    fn finished(&self, source: Source<'_>, labels: &[KeyValue], sync: &Sync<'_>) {
        let run = sync.run;
        let waited = run.stages.iter().filter(|stage| stage.name == "approve");
        let waited: f64 = waited.map(|stage| seconds(stage.interval.start, stage.interval.end)).sum();
        let worked = (seconds(run.began, run.ended) - waited).max(0.0);
        if waited > 0.0 {
            let pending = KeyValue::new(name::CICD_PIPELINE_RUN_STATE, "pending");
            self.run_duration.record(waited, &with(labels, [pending]));
        }
        let mut executing = with(
            labels,
            [
                KeyValue::new(name::CICD_PIPELINE_RUN_STATE, "executing"),
                KeyValue::new(name::CICD_PIPELINE_RESULT, run.outcome.result()),
            ],
        );
        executing.extend(error_type(run).map(|error| KeyValue::new(name::ERROR_TYPE, error)));
        self.run_duration.record(worked, &executing);
        for (_, reason, _) in &run.failures {
            self.run_errors.add(1, &with(labels, [KeyValue::new(name::ERROR_TYPE, *reason)]));
        }
        if run.outcome == Outcome::Success {
            self.observed.change(source, |state| state.synced_at(run.ended));
        }
        if let (Outcome::Success, Cause::Release, Some(committed_at)) =
            (run.outcome, sync.cause, run.revision.committed_at)
        {
            self.commit_to_healthy.record(seconds(committed_at, run.ended), labels);
        }
    }

    fn noticed(&self, labels: &[KeyValue], notice: &Notice) {
        match notice {
            Notice::Drifted(drift) => {
                self.drifts.add(1, &with(labels, [KeyValue::new("skiff.drift.kind", drift.kind.word())]));
            }
            Notice::Healed { seen_at, healed_at, .. } => {
                self.heals.add(1, labels);
                self.heal_duration.record(seconds(*seen_at, *healed_at), labels);
            }
            Notice::Contested { since, until, .. } => {
                self.contested.add(1, labels);
                self.contested_hold.record(seconds(*since, *until), labels);
            }
            Notice::StateNotStored { what, cause, .. } => {
                self.state_not_stored(labels, what.word(), cause.reason.word());
            }
            _ => {}
        }
    }

    /// Counts a failure to store a part of an app's own state.
    fn state_not_stored(&self, labels: &[KeyValue], part: &'static str, error_type: &'static str) {
        let why = [KeyValue::new("skiff.state.part", part), KeyValue::new(name::ERROR_TYPE, error_type)];
        self.state_failures.add(1, &with(labels, why));
    }

    pub(super) fn rendered(&self, app: &AppName, rendering: Rendering, took: Interval) {
        let labels = labels(app);
        let result = KeyValue::new("skiff.render.result", rendering.word());
        self.render_duration.record(seconds(took.start, took.end), &with(&labels, [result]));
        let Rendering::Done { read, reused } = rendering else { return };
        for (word, count) in [("read", read), ("reused", reused)] {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            if count > 0 {
                self.render_files.add(count, &with(&labels, [KeyValue::new("skiff.render.file", word)]));
            }
        }
    }

    pub(super) fn request(&self, verb: &'static str, code: u16) {
        let labels = [
            KeyValue::new("skiff.api.verb", verb),
            KeyValue::new(name::HTTP_RESPONSE_STATUS_CODE, i64::from(code)),
        ];
        self.requests.add(1, &labels);
    }

    /// Notes that an environment's source is asked for from now on, without saying that it was read.
    pub(super) fn source_expected(&self, environment: &str, now: Timestamp) {
        self.observed.sources().entry(environment.to_owned()).or_insert(now);
    }

    pub(super) fn source_read(&self, environment: &str, now: Timestamp) {
        self.observed.sources().insert(environment.to_owned(), now);
    }

    pub(super) fn source_gone(&self, environment: &str) {
        self.observed.sources().remove(environment);
    }

    /// Shows these labels of the cluster from now on, instead of those before.
    pub(super) fn cluster_labelled(&self, labels: &BTreeMap<String, String>) {
        let named = |(key, value): (&String, &String)| {
            KeyValue::new(format!("skiff.cluster.label.{key}"), value.clone())
        };
        *self.observed.cluster() = labels.iter().map(named).collect();
    }
}

const SHORT: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
const HOLD: [f64; 8] = [1.5, 3.0, 6.0, 12.0, 25.0, 50.0, 100.0, 200.0];
const RENDER: [f64; 13] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
const RUN: [f64; 14] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];
const LONG: [f64; 12] =
    [5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0, 86_400.0, 604_800.0];

fn labels(app: &AppName) -> Vec<KeyValue> {
    vec![
        KeyValue::new(name::CICD_PIPELINE_NAME, app.app.clone()),
        KeyValue::new(name::DEPLOYMENT_ENVIRONMENT_NAME, app.environment.clone()),
    ]
}

fn with<const N: usize>(labels: &[KeyValue], more: [KeyValue; N]) -> Vec<KeyValue> {
    labels.iter().cloned().chain(more).collect()
}

fn seconds(start: Timestamp, end: Timestamp) -> f64 {
    end.duration_since(start).as_secs_f64().max(0.0)
}
