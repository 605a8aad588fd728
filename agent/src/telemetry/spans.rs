//! Recorded facts of a sync or a heal as finished spans.
//!
//! Nothing is held open: a span is made when its facts are complete, with their true times and with ids
//! derived from what it stands for ([`skiff_shared::trace`]). Values only; sending is somebody else's business.

use std::time::SystemTime;

use jiff::Timestamp;
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, ShouldSample as _, SpanData, SpanEvents, SpanLinks,
};
use opentelemetry_semantic_conventions as semconv;
use semconv::attribute as name;
use skiff_shared::desired::{Interval, Revision};
use skiff_shared::report::{Cause, Outcome, RunRecord, Stage};
use skiff_shared::sync::effect::Drift;
use skiff_shared::trace::{self, Release, Traceparent};

use super::app::AppName;
use super::identity::Identity;
use super::{Detail, redacted};

/// Children that a sync has at most.
const MAX_STAGES: usize = 8;

/// Paths that a heal names at most.
const MAX_PATHS: usize = 20;

/// What every span of an app needs to know.
pub(super) struct SpanContextOf<'a> {
    pub(super) identity: &'a Identity,
    pub(super) app: &'a AppName,
    pub(super) detail: Detail,
    pub(super) sampler: &'a Sampler,
}

/// A sync that has ended.
pub(super) struct Sync<'a> {
    pub(super) run: &'a RunRecord,
    /// Whether it counts as the commit's first, however often the machine says so.
    pub(super) cause: Cause,
}

/// A heal that has ended.
pub(super) struct Heal<'a> {
    pub(super) drift: &'a Drift,
    pub(super) seen_at: Timestamp,
    pub(super) healed_at: Timestamp,
    /// The revision that the object was healed to.
    pub(super) revision: Option<&'a Revision>,
}

/// A source that could not be read.
#[derive(Clone, Copy, Debug)]
pub struct SourceFailure<'a> {
    pub environment: &'a str,
    /// The repository, without credentials.
    pub url: &'a str,
    /// One word, the value of `error.type`.
    pub reason: &'a str,
    pub message: &'a str,
    pub tried: Interval,
}

/// Where a span stands.
#[derive(Clone, Copy)]
struct Ids {
    trace: trace::TraceId,
    span: trace::SpanId,
    parent: Option<Parent>,
}

#[derive(Clone, Copy)]
enum Parent {
    Local(trace::SpanId),
    /// The CI run that the commit's trailer names.
    Remote(Traceparent),
}

/// A span before it is one of the SDK's.
struct Draft {
    ids: Ids,
    name: String,
    kind: SpanKind,
    start: Timestamp,
    end: Timestamp,
    attributes: Vec<KeyValue>,
    events: Vec<Event>,
    links: Vec<Link>,
    status: Status,
}

impl SpanContextOf<'_> {
    /// Returns the spans of a sync: the root first. Empty where the sampler says so.
    pub(super) fn sync(&self, sync: &Sync<'_>) -> Vec<SpanData> {
        let root = self.sync_root(sync);
        if !self.is_sampled(&root) {
            return Vec::new();
        }
        let ids = root.ids;
        let mut spans = vec![root.finish()];
        if self.detail == Detail::Stages {
            let stages = sync.run.stages.iter().take(MAX_STAGES);
            spans.extend(stages.enumerate().map(|(index, stage)| {
                let is_last = index + 1 == sync.run.stages.len();
                self.stage(stage, ids, if is_last { sync.run.outcome } else { Outcome::Success }).finish()
            }));
        }
        spans
    }

    /// Returns the trace and root span that an app's sync to a revision has or will have.
    pub(super) fn sync_ids(&self, revision: &Revision) -> (trace::TraceId, trace::SpanId) {
        let release = Release::of(revision);
        (release.trace, release.root(self.place()))
    }

    fn place(&self) -> trace::Place<'_> {
        trace::Place { cluster: self.identity.place(), app: &self.app.app }
    }

    fn sync_root(&self, sync: &Sync<'_>) -> Draft {
        let run = sync.run;
        let release = Release::of(&run.revision);
        let (ids, links) = match sync.cause {
            Cause::Release => {
                let parent = release.parent.map(Parent::Remote);
                let ids = Ids { trace: release.trace, span: release.root(self.place()), parent };
                (ids, Vec::new())
            }
            Cause::Resync => {
                let trace = release.resync(self.place(), run.began);
                let ids = Ids { trace, span: trace::SpanId::root(trace, self.place()), parent: None };
                (ids, vec![self.link(&release)])
            }
        };
        Draft {
            ids,
            name: format!("SYNC {}", self.app.app),
            kind: SpanKind::Server,
            start: run.began,
            end: run.ended,
            attributes: self.sync_attributes(sync, ids),
            events: sync_events(run, &release),
            links,
            status: status(run),
        }
    }

    /// Returns what every span says, so that each can be found by cluster and environment.
    fn common(&self) -> Vec<KeyValue> {
        let mut attributes = vec![
            KeyValue::new(name::CICD_PIPELINE_NAME, self.app.app.clone()),
            KeyValue::new(name::K8S_CLUSTER_NAME, self.identity.cluster.clone()),
            KeyValue::new(name::DEPLOYMENT_ENVIRONMENT_NAME, self.app.environment.clone()),
        ];
        let namespace = self.app.namespace.clone();
        attributes.extend(namespace.map(|namespace| KeyValue::new(name::K8S_NAMESPACE_NAME, namespace)));
        attributes
    }

    fn sync_attributes(&self, sync: &Sync<'_>, ids: Ids) -> Vec<KeyValue> {
        let run = sync.run;
        let mut attributes = self.common();
        attributes.extend([
            KeyValue::new(name::CICD_PIPELINE_ACTION_NAME, "SYNC"),
            KeyValue::new(name::CICD_PIPELINE_RUN_ID, format!("{}-{}", ids.trace, ids.span)),
            KeyValue::new(name::CICD_PIPELINE_RESULT, run.outcome.result()),
            KeyValue::new("skiff.sync.cause", cause_word(sync.cause)),
        ]);
        attributes.extend(revision_attributes(&run.revision));
        if let Some(error) = error_type(run) {
            attributes.push(KeyValue::new(name::ERROR_TYPE, error));
        }
        let approver = run.approved_by.clone();
        attributes.extend(approver.map(|approver| KeyValue::new("skiff.approved_by", approver)));
        attributes.extend(run.counts.iter().map(|(action, count)| {
            KeyValue::new(format!("skiff.objects.{}", action.word()), i64::from(*count))
        }));
        attributes
    }

    fn stage(&self, stage: &Stage, root: Ids, outcome: Outcome) -> Draft {
        let ids = Ids {
            trace: root.trace,
            span: root.span.child(stage.name),
            parent: Some(Parent::Local(root.span)),
        };
        let mut attributes = self.common();
        attributes.extend([
            KeyValue::new(name::CICD_PIPELINE_TASK_NAME, stage.name),
            KeyValue::new(name::CICD_PIPELINE_TASK_RUN_ID, format!("{}-{}", ids.trace, ids.span)),
            KeyValue::new(name::CICD_PIPELINE_TASK_RUN_RESULT, outcome.result()),
        ]);
        let note = |(time, text): &(Timestamp, String)| {
            let text = vec![KeyValue::new("skiff.message", text.clone())];
            Event::new("skiff.note", SystemTime::from(*time), text, 0)
        };
        Draft {
            ids,
            name: stage.name.to_owned(),
            kind: SpanKind::Internal,
            start: stage.interval.start,
            end: stage.interval.end,
            attributes,
            events: stage.events.iter().map(note).collect(),
            links: Vec::new(),
            status: if outcome.is_failure() { Status::error("") } else { Status::Unset },
        }
    }

    /// Returns the span of a fetch that failed, a trace of its own: there is no revision that it belongs to.
    pub(super) fn source_failed(&self, failure: &SourceFailure<'_>) -> Vec<SpanData> {
        let trace = trace::TraceId::fetch(failure.url, self.place(), failure.tried.start);
        let span = trace::SpanId::root(trace, self.place());
        let mut attributes = self.common();
        attributes.extend([
            KeyValue::new(name::CICD_PIPELINE_TASK_NAME, "fetch"),
            KeyValue::new(name::CICD_PIPELINE_TASK_RUN_ID, format!("{trace}-{span}")),
            KeyValue::new(name::CICD_PIPELINE_TASK_RUN_RESULT, Outcome::Blocked.result()),
            KeyValue::new(name::VCS_REPOSITORY_URL_FULL, without_credentials(failure.url)),
            KeyValue::new(name::ERROR_TYPE, failure.reason.to_owned()),
        ]);
        let draft = Draft {
            ids: Ids { trace, span, parent: None },
            name: format!("FETCH {}", self.app.environment),
            kind: SpanKind::Client,
            start: failure.tried.start,
            end: failure.tried.end,
            attributes,
            events: Vec::new(),
            links: Vec::new(),
            status: Status::error(failure.message.to_owned()),
        };
        if self.is_sampled(&draft) { vec![draft.finish()] } else { Vec::new() }
    }

    /// Returns the span of a heal, a trace of its own that points at the release. Empty where the sampler says so.
    pub(super) fn heal(&self, heal: &Heal<'_>) -> Vec<SpanData> {
        let draft = self.heal_root(heal);
        if self.is_sampled(&draft) { vec![draft.finish()] } else { Vec::new() }
    }

    pub(super) fn heal_ids(&self, heal: &Heal<'_>) -> (trace::TraceId, trace::SpanId) {
        let unknown = Revision::default();
        let release = Release::of(heal.revision.unwrap_or(&unknown));
        let trace = release.heal(self.place(), &heal.drift.id.to_string(), heal.seen_at);
        (trace, trace::SpanId::root(trace, self.place()))
    }

    fn heal_root(&self, heal: &Heal<'_>) -> Draft {
        let (trace, span) = self.heal_ids(heal);
        let mut attributes = self.common();
        attributes.extend(drift_attributes(heal.drift));
        attributes.extend(heal.revision.map(revision_attributes).into_iter().flatten());
        let links = heal.revision.map(|revision| self.link(&Release::of(revision)));
        Draft {
            ids: Ids { trace, span, parent: None },
            name: format!("HEAL {}", self.app.app),
            kind: SpanKind::Internal,
            start: heal.seen_at,
            end: heal.healed_at,
            attributes,
            events: Vec::new(),
            links: links.into_iter().collect(),
            status: Status::Unset,
        }
    }

    /// Returns the link to the root span of this app's first sync to the commit.
    fn link(&self, release: &Release) -> Link {
        let flags = release.parent.map_or(TraceFlags::SAMPLED, |parent| TraceFlags::new(parent.flags));
        let context = context(release.trace, release.root(self.place()), flags);
        Link::new(context, vec![KeyValue::new("skiff.link", "release")], 0)
    }

    fn is_sampled(&self, root: &Draft) -> bool {
        let parent = match root.ids.parent {
            Some(Parent::Remote(parent)) => {
                let flags = TraceFlags::new(parent.flags);
                let remote = SpanContext::new(
                    TraceId::from_bytes(parent.trace.bytes()),
                    SpanId::from_bytes(parent.span.bytes()),
                    flags,
                    true,
                    TraceState::default(),
                );
                Context::new().with_remote_span_context(remote)
            }
            Some(Parent::Local(_)) | None => Context::new(),
        };
        let trace = TraceId::from_bytes(root.ids.trace.bytes());
        let Draft { name, kind, attributes, links, .. } = root;
        let result = self.sampler.should_sample(Some(&parent), trace, name, kind, attributes, links);
        result.decision == SamplingDecision::RecordAndSample
    }
}

impl Draft {
    fn finish(self) -> SpanData {
        let (parent, is_remote) = match self.ids.parent {
            None => (SpanId::INVALID, false),
            Some(Parent::Local(span)) => (SpanId::from_bytes(span.bytes()), false),
            Some(Parent::Remote(parent)) => (SpanId::from_bytes(parent.span.bytes()), true),
        };
        let mut events = SpanEvents::default();
        events.events = self.events;
        let mut links = SpanLinks::default();
        links.links = self.links;
        SpanData {
            span_context: context(self.ids.trace, self.ids.span, TraceFlags::SAMPLED),
            parent_span_id: parent,
            parent_span_is_remote: is_remote,
            span_kind: self.kind,
            name: self.name.into(),
            start_time: SystemTime::from(self.start),
            // A clock that was set back must not make a span of negative length.
            end_time: SystemTime::from(self.end.max(self.start)),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events,
            links,
            status: self.status,
            instrumentation_scope: scope(),
        }
    }
}

/// Returns the context that makes a log record part of a span.
pub(super) fn context(trace: trace::TraceId, span: trace::SpanId, flags: TraceFlags) -> SpanContext {
    let (trace, span) = (TraceId::from_bytes(trace.bytes()), SpanId::from_bytes(span.bytes()));
    SpanContext::new(trace, span, flags, false, TraceState::default())
}

/// Who made the spans and instruments.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("skiff")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(semconv::SCHEMA_URL)
        .build()
}

/// Returns the class of what stopped a sync, or nothing where nothing did.
pub(super) fn error_type(run: &RunRecord) -> Option<&'static str> {
    let first = run.failures.first().map_or("_OTHER", |(_, reason, _)| *reason);
    run.outcome.is_failure().then_some(first)
}

fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Release => "release",
        Cause::Resync => "resync",
    }
}

fn status(run: &RunRecord) -> Status {
    match run.failures.as_slice() {
        _ if !run.outcome.is_failure() => Status::Unset,
        [] if run.outcome == Outcome::Blocked => Status::error("nothing was written"),
        [] => Status::error(""),
        [(id, reason, _)] => Status::error(format!("{id}: {reason}")),
        [(id, reason, _), rest @ ..] => Status::error(format!("{id}: {reason}; and {} more", rest.len())),
    }
}

fn sync_events(run: &RunRecord, release: &Release) -> Vec<Event> {
    let failed = run.failures.iter().map(|(id, reason, message)| {
        let attributes = vec![
            KeyValue::new("skiff.object", id.clone()),
            KeyValue::new(name::ERROR_TYPE, *reason),
            KeyValue::new("skiff.message", redacted(id, message).to_owned()),
        ];
        Event::new("skiff.object.failed", SystemTime::from(run.ended), attributes, 0)
    });
    let ignored = release.ignored.as_ref().map(|error| {
        let reason = vec![KeyValue::new("skiff.message", error.to_string())];
        Event::new("skiff.traceparent.ignored", SystemTime::from(run.began), reason, 0)
    });
    ignored.into_iter().chain(failed).collect()
}

fn revision_attributes(revision: &Revision) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(name::VCS_REPOSITORY_URL_FULL, without_credentials(&revision.url)),
        KeyValue::new(name::VCS_REF_HEAD_REVISION, revision.id().to_owned()),
        KeyValue::new("skiff.revision", revision.to_string()),
    ];
    let named =
        [(name::VCS_REF_HEAD_NAME, &revision.reference), ("skiff.revision.subject", &revision.subject)];
    let named = named.into_iter().filter(|(_, value)| !value.is_empty());
    attributes.extend(named.map(|(name, value)| KeyValue::new(name, value.clone())));
    attributes
}

fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

fn drift_attributes(drift: &Drift) -> Vec<KeyValue> {
    let paths = drift.paths.iter().take(MAX_PATHS).map(|path| StringValue::from(path.to_string())).collect();
    let mut attributes = vec![
        KeyValue::new("skiff.object", drift.id.to_string()),
        KeyValue::new("skiff.drift.kind", drift.kind.word()),
        KeyValue::new("skiff.drift.paths", Value::Array(Array::String(paths))),
    ];
    if let Some(actor) = &drift.actor {
        attributes.extend([
            KeyValue::new("skiff.drift.manager", actor.manager.clone()),
            KeyValue::new("skiff.drift.operation", actor.operation.clone()),
        ]);
        if !actor.subresource.is_empty() {
            attributes.push(KeyValue::new("skiff.drift.subresource", actor.subresource.clone()));
        }
    }
    attributes
}
