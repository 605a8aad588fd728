//! What one app's driver tells: finished syncs, new states, and notices as they happen.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt as _, TraceFlags};
use opentelemetry_sdk::trace::SpanData;
use skiff_shared::desired::Revision;
use skiff_shared::report::{Cause, Report, RunRecord};
use skiff_shared::sync::effect::Notice;
use skiff_shared::trace::{SpanId, TraceId};

use super::metrics::{Fact, Source};
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

/// The telemetry of one app. Cheap to clone; nothing in it waits. When the last clone goes, the app's gauges end.
#[derive(Clone)]
pub struct AppTelemetry {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    app: AppName,
    /// Tells this value from one that was made for the same app before or after it.
    life: u64,
    memory: Mutex<Memory>,
}

impl Inner {
    fn record(&self, fact: &Fact<'_>) {
        self.shared.metrics.record(Source { app: &self.app, life: self.life }, fact);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.record(&Fact::Gone);
    }
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
        f.debug_struct("AppTelemetry").field("app", &self.inner.app).finish_non_exhaustive()
    }
}

impl AppTelemetry {
    pub(super) fn new(shared: Arc<Shared>, app: AppName) -> Self {
        let life = shared.metrics.next_life();
        Self { inner: Arc::new(Inner { shared, app, life, memory: Mutex::default() }) }
    }

    /// Ends the app's gauges: it is no more.
    pub fn gone(&self) {
        self.inner.record(&Fact::Gone);
    }

    /// Tells of a finished sync: its spans and its numbers.
    pub fn finished(&self, run: &RunRecord) {
        let sync = Sync { run, cause: self.with_memory(|memory| memory.cause(run)) };
        self.inner.record(&Fact::Finished(&sync));
        self.send(self.spans().sync(&sync));
    }

    /// Shows a new state of the app.
    pub fn report(&self, report: &Report) {
        let release = report.revision.as_ref().map(|revision| self.spans().sync_ids(revision));
        self.with_memory(|memory| {
            memory.release = release;
            memory.applied.clone_from(&report.applied);
        });
        self.inner.record(&Fact::Reported(report));
    }

    /// Tells of something as it happens: a log line, its numbers, and the span of a heal.
    pub fn notice(&self, notice: &Notice) {
        self.inner.record(&Fact::Noticed(notice));
        if let Notice::SyncStarted { revision, .. } | Notice::RenderFailed { revision, .. } = notice {
            // What follows is part of this release, also before the next report says so.
            let release = Some(self.spans().sync_ids(revision));
            self.with_memory(|memory| memory.release = release);
        }
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

    fn spans(&self) -> SpanContextOf<'_> {
        let Shared { identity, detail, sampler, .. } = &*self.inner.shared;
        SpanContextOf { identity, app: &self.inner.app, detail: *detail, sampler }
    }

    fn send(&self, spans: Vec<SpanData>) {
        if let Some(sender) = &self.inner.shared.spans {
            spans.into_iter().for_each(|span| sender.send(span));
        }
    }

    fn with_memory<T>(&self, use_it: impl FnOnce(&mut Memory) -> T) -> T {
        use_it(&mut self.inner.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes one line inside the trace that it belongs to.
    fn log(&self, line: &notice::Line, ids: Option<(TraceId, SpanId)>) {
        let context = ids.map(|(trace, span)| {
            Context::new().with_remote_span_context(spans::context(trace, span, TraceFlags::SAMPLED))
        });
        let _attached = context.map(Context::attach);
        let trace_id = ids.map(|(trace, _)| trace.to_string());
        let AppName { app, environment, .. } = &self.inner.app;
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
