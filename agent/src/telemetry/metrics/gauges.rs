//! Gauges: read from the newest state whenever somebody collects, so that an app that left has no series.

use std::sync::Arc;

use jiff::Timestamp;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use opentelemetry_semantic_conventions::{attribute as name, metric};
use skiff_shared::gate::Wait;

use super::observed::{AppState, Observed, Shown, ShownCondition};
use super::{labels, seconds, with};
use crate::telemetry::AppName;

pub(super) fn register(meter: &Meter, observed: &Arc<Observed>) {
    agent(meter, observed);
    apps(meter, observed);
    conditions(meter, observed);
    waits(meter, observed);
    objects(meter, observed);
    held(meter, observed);
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
    move |gauge| observed.apps().iter().for_each(|(app, state)| show(gauge, app, state))
}

fn agent(meter: &Meter, observed: &Arc<Observed>) {
    let observed = observed.clone();
    meter
        .u64_observable_gauge("skiff.agent.info")
        .with_description("1 for every agent, with the labels that its file gives the cluster")
        .with_callback(move |gauge| gauge.observe(1, &observed.cluster()))
        .build();
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

fn conditions(meter: &Meter, observed: &Arc<Observed>) {
    let conditions = each(observed, |gauge, app, state| {
        for ShownCondition { kind, status, reason } in state.report.iter().flat_map(|shown| &shown.conditions)
        {
            let condition = [
                KeyValue::new("skiff.condition.type", *kind),
                KeyValue::new("skiff.condition.status", if *status { "true" } else { "false" }),
                KeyValue::new("skiff.condition.reason", reason.clone()),
            ];
            gauge.observe(1, &with(&labels(app), condition));
        }
    });
    meter
        .u64_observable_gauge("skiff.app.condition")
        .with_description("1 for every condition of an app, with its status and reason")
        .with_callback(conditions)
        .build();
}

fn waits(meter: &Meter, observed: &Arc<Observed>) {
    let waits = each(observed, |gauge, app, state| {
        let Some(wait) = state.report.as_ref().and_then(|shown| shown.gate.as_ref()) else { return };
        let waits = with(&labels(app), [KeyValue::new("skiff.wait.reason", wait.word())]);
        if let Wait::Dependencies(apps) = wait {
            for other in apps {
                gauge.observe(1, &with(&waits, [KeyValue::new("skiff.wait.app", other.to_string())]));
            }
        } else {
            gauge.observe(1, &waits);
        }
    });
    meter
        .u64_observable_gauge("skiff.app.waiting")
        .with_description("1 for every app whose plan a gate stops, with what it waits for")
        .with_callback(waits)
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

fn held(meter: &Meter, observed: &Arc<Observed>) {
    let held = each(observed, |gauge, app, state| {
        for (word, count) in state.report.iter().flat_map(|shown| &shown.held) {
            gauge
                .observe(u64::from(*count), &with(&labels(app), [KeyValue::new("skiff.held.reason", *word)]));
        }
    });
    meter
        .u64_observable_gauge("skiff.app.objects.held")
        .with_unit("{object}")
        .with_description("Objects that are held back, by the reason")
        .with_callback(held)
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
            for (environment, read_at) in observed.sources().iter() {
                let label = KeyValue::new(name::DEPLOYMENT_ENVIRONMENT_NAME, environment.clone());
                gauge.observe(seconds(*read_at, now), &[label]);
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
