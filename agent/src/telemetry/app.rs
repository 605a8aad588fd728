//! What one app's driver tells: finished syncs, new states, and notices as they happen.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt as _, TraceFlags};
use opentelemetry_sdk::trace::SpanData;
use skiff_shared::desired::Revision;
use skiff_shared::report::{Cause, Report, RunRecord};
use skiff_shared::sync::effect::Notice;
use skiff_shared::trace::{SpanId, TraceId};

use super::metrics::Fact;
use super::spans::{self, Heal, SpanContextOf, Sync};
use super::{Shared, notice};

/// An app as telemetry names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AppName {
    pub environment: String,
    pub app: String,
    /// The namespace that its objects get where they name none.
    pub namespace: Option<String>,
}

/// The telemetry of one app. Cheap to clone; nothing in it waits.
#[derive(Clone)]
pub struct AppTelemetry {
    shared: Arc<Shared>,
    app: Arc<AppName>,
    memory: Arc<Mutex<Memory>>,
}

/// What later facts refer to.
#[derive(Default)]
struct Memory {
    /// The release of the revision last taken from Git: what happens now is part of it.
    release: Option<(TraceId, SpanId)>,
    /// The revision that the cluster was last made equal to: what is healed is healed to it.
    applied: Option<Revision>,
    /// The commit whose release was told, and when that sync began.
    released: Option<(String, Timestamp)>,
}

impl fmt::Debug for AppTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppTelemetry").field("app", &self.app).finish_non_exhaustive()
    }
}

impl AppTelemetry {
    pub(super) fn new(shared: Arc<Shared>, app: AppName) -> Self {
        Self { shared, app: Arc::new(app), memory: Arc::default() }
    }

    /// Tells of a finished sync: its spans and its numbers.
    pub fn finished(&self, run: &RunRecord) {
        let sync = Sync { run, cause: self.with_memory(|memory| memory.cause(run)) };
        self.shared.metrics.record(&self.app, &Fact::Finished(&sync));
        self.send(self.spans().sync(&sync));
    }

    /// Shows a new state of the app.
    pub fn report(&self, report: &Report) {
        let release = report.revision.as_ref().map(|revision| self.spans().sync_ids(revision));
        self.with_memory(|memory| {
            memory.release = release;
            memory.applied.clone_from(&report.applied);
        });
        self.shared.metrics.record(&self.app, &Fact::Reported(report));
    }

    /// Tells of something as it happens: a log line, its numbers, and the span of a heal.
    pub fn notice(&self, notice: &Notice) {
        self.shared.metrics.record(&self.app, &Fact::Noticed(notice));
        let ids = if let Notice::Healed { drift, seen_at, healed_at } = notice {
            let applied = self.with_memory(|memory| memory.applied.clone());
            let heal = Heal { drift, seen_at: *seen_at, healed_at: *healed_at, revision: applied.as_ref() };
            self.send(self.spans().heal(&heal));
            Some(self.spans().heal_ids(&heal))
        } else {
            self.with_memory(|memory| memory.release)
        };
        self.log(&notice::line(notice), ids);
    }

    /// Notes how long a render took; `renderer` is `plain`, `kustomize` or `helm`.
    pub fn rendered(&self, renderer: &'static str, took: Duration) {
        self.shared.metrics.rendered(&self.app, renderer, took);
    }

    /// Ends the app's gauges: it is no longer in the environment.
    pub fn gone(&self) {
        self.shared.metrics.record(&self.app, &Fact::Gone);
    }

    fn spans(&self) -> SpanContextOf<'_> {
        let Shared { identity, detail, sampler, .. } = &*self.shared;
        SpanContextOf { identity, app: &self.app, detail: *detail, sampler }
    }

    fn send(&self, spans: Vec<SpanData>) {
        if let Some(sender) = &self.shared.spans {
            spans.into_iter().for_each(|span| sender.send(span));
        }
    }

    fn with_memory<T>(&self, use_it: impl FnOnce(&mut Memory) -> T) -> T {
        use_it(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes one line inside the trace that it belongs to.
    fn log(&self, line: &notice::Line, ids: Option<(TraceId, SpanId)>) {
        let context = ids.map(|(trace, span)| {
            Context::new().with_remote_span_context(spans::context(trace, span, TraceFlags::SAMPLED))
        });
        let _attached = context.map(Context::attach);
        let trace_id = ids.map(|(trace, _)| trace.to_string());
        let AppName { app, environment, .. } = &*self.app;
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    target: "skiff",
                    app,
                    environment,
                    event = line.event,
                    object = line.object,
                    "error.type" = line.error_type,
                    trace_id,
                    "{}",
                    line.text
                )
            };
        }
        match line.level {
            notice::Level::Info => log!(info),
            notice::Level::Warn => log!(warn),
            notice::Level::Error => log!(error),
        }
    }
}

impl Memory {
    /// Returns why a sync ran. A second sync to a commit is a resync, also where the first one was blocked and
    /// the machine still waits for the release: two spans must not have one id. The same sync told twice is the same.
    fn cause(&mut self, run: &RunRecord) -> Cause {
        let this = (run.revision.commit.clone(), run.began);
        match &self.released {
            Some(released) if *released == this => Cause::Release,
            Some((commit, _)) if *commit == this.0 => Cause::Resync,
            _ => {
                if run.cause == Cause::Release {
                    self.released = Some(this);
                }
                run.cause
            }
        }
    }
}
