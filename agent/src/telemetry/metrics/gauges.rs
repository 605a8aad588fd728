//! Gauges: read from the newest state whenever somebody collects, so that an app that left has no series.

use std::sync::Arc;

use jiff::Timestamp;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use opentelemetry_semantic_conventions::metric;

use super::{AppState, Observed, Shown, labels, lock, seconds, with};
use crate::telemetry::AppName;

pub(super) fn register(meter: &Meter, observed: &Arc<Observed>) {
    apps(meter, observed);
    objects(meter, observed);
    revisions(meter, observed);
    sources(meter, observed);
    process(meter);
}

/// Returns a callback that shows every app.
fn each<T: 'static>(
    observed: &Arc<Observed>,
    show: impl Fn(&dyn AsyncInstrument<T>, &AppName, &AppState) + Send + Sync + 'static,
) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
    let observed = observed.clone();
    move |gauge| lock(&observed.apps).iter().for_each(|(app, state)| show(gauge, app, state))
}

fn apps(meter: &Meter, observed: &Arc<Observed>) {
    let info = each(observed, |gauge, app, state| {
        if let Some(Shown { sync, health, phase, .. }) = &state.report {
            let states = [
                KeyValue::new("skiff.sync.status", *sync),
                KeyValue::new("skiff.health.status", *health),
                KeyValue::new("skiff.app.phase", *phase),
            ];
            gauge.observe(1, &with(&labels(app), states));
        }
    });
    meter
        .u64_observable_gauge("skiff.app.info")
        .with_description("1 for every app, with its sync status, health and phase")
        .with_callback(info)
        .build();
    let last_sync = each(observed, |gauge, app, state| {
        if let Some(time) = state.last_sync {
            gauge.observe(time.as_second(), &labels(app));
        }
    });
    meter
        .i64_observable_gauge("skiff.app.last_sync_time")
        .with_unit("s")
        .with_description("Unix time at which the last successful sync ended")
        .with_callback(last_sync)
        .build();
}

fn objects(meter: &Meter, observed: &Arc<Observed>) {
    let total = each(observed, |gauge, app, state| {
        if let Some(shown) = &state.report {
            gauge.observe(u64::from(shown.total), &labels(app));
        }
    });
    meter
        .u64_observable_gauge("skiff.app.objects")
        .with_unit("{object}")
        .with_description("Objects that the app owns")
        .with_callback(total)
        .build();
    let by_state = each(observed, |gauge, app, state| {
        for (word, count) in state.report.iter().flat_map(|shown| shown.objects) {
            gauge.observe(u64::from(count), &with(&labels(app), [KeyValue::new("skiff.object.state", word)]));
        }
    });
    meter
        .u64_observable_gauge("skiff.app.objects.by_state")
        .with_unit("{object}")
        .with_description("Objects in a state; one object can be in several")
        .with_callback(by_state)
        .build();
}

fn revisions(meter: &Meter, observed: &Arc<Observed>) {
    let number = each(observed, |gauge, app, state| {
        if let Some(applied) = state.report.as_ref().and_then(|shown| shown.applied) {
            gauge.observe(applied.number, &labels(app));
        }
    });
    meter
        .u64_observable_gauge("skiff.app.revision")
        .with_description("First 48 bits of the applied commit as a number: equal numbers, equal commits")
        .with_callback(number)
        .build();
    let committed = each(observed, |gauge, app, state| {
        let applied = state.report.as_ref().and_then(|shown| shown.applied);
        if let Some(time) = applied.and_then(|applied| applied.committed_at) {
            gauge.observe(time.as_second(), &labels(app));
        }
    });
    meter
        .i64_observable_gauge("skiff.app.revision.commit_time")
        .with_unit("s")
        .with_description("Unix time of the applied commit")
        .with_callback(committed)
        .build();
}

fn sources(meter: &Meter, observed: &Arc<Observed>) {
    let observed = observed.clone();
    meter
        .f64_observable_gauge("skiff.source.age")
        .with_unit("s")
        .with_description("Time since the source was last read, or since it is asked for if it never was")
        .with_callback(move |gauge| {
            let now = Timestamp::now();
            for (environment, read_at) in lock(&observed.sources).iter() {
                let name = opentelemetry_semantic_conventions::attribute::DEPLOYMENT_ENVIRONMENT_NAME;
                gauge.observe(seconds(*read_at, now), &[KeyValue::new(name, environment.clone())]);
            }
        })
        .build();
}

fn process(meter: &Meter) {
    meter
        .i64_observable_up_down_counter(metric::PROCESS_MEMORY_USAGE)
        .with_unit("By")
        .with_description("Resident memory of the agent, its renderers not counted")
        .with_callback(|memory| {
            if let Some(bytes) = resident_bytes() {
                memory.observe(bytes, &[]);
            }
        })
        .build();
}

fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
