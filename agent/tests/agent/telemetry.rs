//! Telemetry as a backend receives it, and what a bad backend may not do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use skiff::telemetry::{
    AppName, AppTelemetry, Detail, Flushed, Identity, LogFormat, SHUTDOWN_CAP, SourceFailure, Telemetry,
    TelemetryConfig, Variables,
};
use skiff_harness::otlp::{Attributes, Fault, Measured, OtlpReceiver, Span, Status};
use skiff_shared::desired::{Interval, Revision};
use skiff_shared::managed_fields::{Actor, Path};
use skiff_shared::object::{Interner, ObjectId};
use skiff_shared::plan::Action;
use skiff_shared::policy::Policy;
use skiff_shared::report::{Cause, Outcome, Report, RunRecord, Stage, SyncStatus};
use skiff_shared::sync::effect::{Drift, DriftKind, Notice};

#[path = "telemetry/collector.rs"]
mod collector;
#[path = "telemetry/documented.rs"]
mod documented;

const DEADLINE: Duration = Duration::from_secs(20);

/// Starts telemetry that sends to `receiver`, quickly, with more variables.
fn start(receiver: &OtlpReceiver, variables: &[(&str, &str)]) -> Telemetry {
    start_with(config(&receiver.endpoint(), variables))
}

fn start_with(config: TelemetryConfig) -> Telemetry {
    Telemetry::start(config)
}

fn config(endpoint: &str, variables: &[(&str, &str)]) -> TelemetryConfig {
    let quick =
        [("OTEL_BSP_SCHEDULE_DELAY", "10"), ("OTEL_BLRP_SCHEDULE_DELAY", "10"), ("RUST_LOG", "skiff=info")];
    let variables =
        quick.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    TelemetryConfig {
        identity: Identity::new("eu-1", "eu-1"),
        endpoint: Some(endpoint.to_owned()),
        headers_file: None,
        detail: Detail::Stages,
        log_format: LogFormat::Json,
        log_filter: None,
        variables: variables.collect::<Variables>(),
    }
}

fn web(telemetry: &Telemetry) -> AppTelemetry {
    let (environment, app) = ("production".to_owned(), "web".to_owned());
    telemetry.app(AppName { environment, app, namespace: Some("shop".to_owned()) })
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_795_000_000 + seconds)
}

fn revision(traceparent: Option<&str>) -> Revision {
    Revision {
        url: "https://robot:secret@git.example/shop".to_owned(),
        reference: "main".to_owned(),
        commit: "sha1:4f2c9a7d3be1a90c5d6e7f8091a2b3c4d5e6f708".to_owned(),
        author: "Ada".to_owned(),
        subject: "More replicas".to_owned(),
        committed_at: Some(at(-20)),
        traceparent: traceparent.map(str::to_owned),
        chart: None,
    }
}

fn stage(name: &'static str, start: i64, end: i64) -> Stage {
    Stage { name, interval: Interval { start: at(start), end: at(end) }, events: Vec::new() }
}

/// Returns a sync with all stages that there are, which waited a day for its approval.
fn run(cause: Cause) -> RunRecord {
    let hook_ended = (at(86_410), "PostSync hook Job/shop/smoke succeeded".to_owned());
    RunRecord {
        revision: revision(None),
        cause,
        outcome: Outcome::Success,
        stages: vec![
            stage("fetch", 0, 1),
            stage("render", 1, 2),
            stage("plan", 2, 3),
            stage("approve", 3, 86_403),
            stage("apply", 86_403, 86_404),
            stage("prune", 86_404, 86_405),
            Stage { events: vec![hook_ended], ..stage("hook", 86_405, 86_410) },
            stage("health", 86_410, 86_420),
        ],
        began: at(0),
        ended: at(86_420),
        counts: vec![(Action::Created, 2), (Action::Pruned, 1)],
        failures: Vec::new(),
        approved_by: Some("ops".to_owned()),
    }
}

fn report() -> Report {
    Report {
        sync: SyncStatus::Synced,
        health: skiff_shared::health::Health::Healthy,
        revision: Some(revision(None)),
        applied: Some(revision(None)),
        assignment: None,
        policy: Policy::default(),
        phase: "Idle",
        waiting_for: Vec::new(),
        gate: None,
        plan: None,
        conditions: Vec::new(),
        objects: skiff_shared::report::ObjectCounts::default(),
        held: BTreeMap::new(),
        rows: Vec::new(),
        history: Vec::new(),
        pinned: None,
        unlisted: false,
        window: None,
        synced_for: None,
    }
}

fn deployment() -> ObjectId {
    Interner::default().object("apps", "Deployment", Some("shop"), "web")
}

fn healed() -> Notice {
    let actor = Actor {
        manager: "kubectl-edit".to_owned(),
        operation: "Update".to_owned(),
        subresource: "scale".to_owned(),
        time: 0,
    };
    let drift = Drift {
        id: deployment(),
        kind: DriftKind::Changed,
        paths: vec![Path::from_pointer("/spec/replicas").expect("a pointer")],
        actor: Some(actor),
    };
    Notice::Healed { drift, seen_at: at(0), healed_at: at(0) + SignedDuration::from_millis(12) }
}

/// Waits for this many spans, all of whose attributes are in the documentation.
async fn spans(receiver: &OtlpReceiver, count: usize) -> Vec<Span> {
    let documentation = include_str!("../../../docs/telemetry.md");
    let spans = receiver.wait_for(|spans| spans.len() >= count, DEADLINE).await.expect("the spans arrive");
    for span in &spans {
        let of_events = span.events.iter().flat_map(|event| event.attributes.keys().chain([&event.name]));
        let of_links = span.links.iter().flat_map(|link| link.attributes.keys());
        for name in span.attributes.keys().chain(span.resource.keys()).chain(of_events).chain(of_links) {
            let generic = if name.starts_with("skiff.objects.") { "skiff.objects.<action>" } else { name };
            assert!(documentation.contains(&format!("`{generic}`")), "{name} is not in docs/telemetry.md");
        }
    }
    spans
}

fn tree(spans: &[Span]) -> String {
    let mut text = String::new();
    for span in spans {
        let time = |time: Timestamp| time.duration_since(at(0)).as_secs_f64();
        let parent = span.parent_id.as_deref().unwrap_or("-");
        let (start, end) = (time(span.start), time(span.end));
        let Span { trace_id, span_id, name, kind, .. } = span;
        writeln!(text, "{name} ({kind}) {trace_id} {span_id} < {parent} [{start}..{end}]")
            .expect("text grows");
        for link in &span.links {
            writeln!(text, "  -> {} {} {:?}", link.trace_id, link.span_id, link.attributes)
                .expect("text grows");
        }
    }
    text
}

fn listed(attributes: &Attributes) -> String {
    attributes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn first_sync_to_a_commit_is_the_trace_that_every_cluster_derives() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    let telemetry = start(&receiver, &[]);
    web(&telemetry).finished(&run(Cause::Release));
    let spans = spans(&receiver, 9).await;
    insta::assert_snapshot!(tree(&spans), @"
    SYNC web (server) 365938300c1b14589f00bda8bcb09193 88879d06e26ff1d4 < - [0..86420]
    fetch (internal) 365938300c1b14589f00bda8bcb09193 87450918e46b1f8a < 88879d06e26ff1d4 [0..1]
    render (internal) 365938300c1b14589f00bda8bcb09193 58647ba72377fbeb < 88879d06e26ff1d4 [1..2]
    plan (internal) 365938300c1b14589f00bda8bcb09193 72d0f19d70b3ebfd < 88879d06e26ff1d4 [2..3]
    approve (internal) 365938300c1b14589f00bda8bcb09193 074d1f637d0bc7a6 < 88879d06e26ff1d4 [3..86403]
    apply (internal) 365938300c1b14589f00bda8bcb09193 c1fa8054e8e0c825 < 88879d06e26ff1d4 [86403..86404]
    prune (internal) 365938300c1b14589f00bda8bcb09193 35a4ac0a13caf765 < 88879d06e26ff1d4 [86404..86405]
    hook (internal) 365938300c1b14589f00bda8bcb09193 13943d506130731a < 88879d06e26ff1d4 [86405..86410]
    health (internal) 365938300c1b14589f00bda8bcb09193 640457c3b1f6b5a8 < 88879d06e26ff1d4 [86410..86420]
    ");
    insta::assert_snapshot!(listed(&spans[0].attributes), @r#"
    cicd.pipeline.action.name="SYNC"
    cicd.pipeline.name="web"
    cicd.pipeline.result="success"
    cicd.pipeline.run.id="365938300c1b14589f00bda8bcb09193-88879d06e26ff1d4"
    deployment.environment.name="production"
    k8s.cluster.name="eu-1"
    k8s.namespace.name="shop"
    skiff.approved_by="ops"
    skiff.objects.created=2
    skiff.objects.pruned=1
    skiff.revision="main@sha1:4f2c9a7d3be1"
    skiff.revision.subject="More replicas"
    skiff.sync.cause="release"
    vcs.ref.head.name="main"
    vcs.ref.head.revision="4f2c9a7d3be1a90c5d6e7f8091a2b3c4d5e6f708"
    vcs.repository.url.full="https://git.example/shop"
    "#);
    insta::assert_snapshot!(listed(&spans[5].attributes), @r#"
    cicd.pipeline.name="web"
    cicd.pipeline.task.name="apply"
    cicd.pipeline.task.run.id="365938300c1b14589f00bda8bcb09193-c1fa8054e8e0c825"
    cicd.pipeline.task.run.result="success"
    deployment.environment.name="production"
    k8s.cluster.name="eu-1"
    k8s.namespace.name="shop"
    "#);
    insta::assert_snapshot!(listed(&spans[0].resource), @r#"
    k8s.cluster.name="eu-1"
    service.instance.id="eu-1"
    service.name="skiff"
    service.version="0.1.0"
    telemetry.sdk.language="rust"
    telemetry.sdk.name="opentelemetry"
    telemetry.sdk.version="0.33.1"
    "#);
    assert_eq!((&spans[0].scope, &spans[0].status), (&"skiff".to_owned(), &Status::Unset));
}

#[tokio::test]
async fn a_sync_told_twice_has_the_same_ids() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    let lives = [start(&receiver, &[]), start(&receiver, &[])];
    for telemetry in &lives {
        web(telemetry).finished(&run(Cause::Release));
    }
    let spans = spans(&receiver, 18).await;
    let ids: BTreeMap<&str, &str> =
        spans.iter().map(|span| (span.span_id.as_str(), span.trace_id.as_str())).collect();
    assert_eq!(ids.len(), 9);
}

#[tokio::test]
async fn trailer_of_the_commit_joins_the_sync_to_the_ci_run() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    let trailer = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let record = RunRecord { revision: revision(Some(trailer)), stages: Vec::new(), ..run(Cause::Release) };
    let app = web(&start(&receiver, &[]));
    app.finished(&record);
    insta::assert_snapshot!(tree(&spans(&receiver, 1).await), @"SYNC web (server) 0af7651916cd43dd8448eb211c80319c abfd5a136e7eeeed < b7ad6b7169203331 [0..86420]");
}

#[tokio::test]
async fn invalid_trailer_is_ignored_and_told() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    let record =
        RunRecord { revision: revision(Some("00-0-0-0")), stages: Vec::new(), ..run(Cause::Release) };
    let app = web(&start(&receiver, &[]));
    app.finished(&record);
    let span = &spans(&receiver, 1).await[0];
    assert_eq!(
        (span.parent_id.as_deref(), span.events[0].name.as_str()),
        (None, "skiff.traceparent.ignored")
    );
}

#[tokio::test]
async fn later_sync_to_the_commit_is_a_new_trace_with_a_link() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    let record = RunRecord { stages: vec![stage("apply", 90_000, 90_001)], ..run(Cause::Resync) };
    let app = web(&start(&receiver, &[]));
    app.finished(&RunRecord { began: at(90_000), ended: at(90_001), ..record });
    insta::assert_snapshot!(tree(&spans(&receiver, 2).await), @r#"
    SYNC web (server) f5ec8f5957f89b1b6fb41d436c4ad402 50e75dd7a242220a < - [90000..90001]
      -> 365938300c1b14589f00bda8bcb09193 88879d06e26ff1d4 {"skiff.link": String("release")}
    apply (internal) f5ec8f5957f89b1b6fb41d436c4ad402 9d9dd33cc6fed9fc < 50e75dd7a242220a [90000..90001]
    "#);
}

#[tokio::test]
async fn release_that_was_blocked_first_does_not_use_its_ids_again() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    let app = web(&start(&receiver, &[]));
    let failure = (deployment().to_string(), "Invalid", "spec.replicas: must be positive".to_owned());
    let secret = ("Secret/shop/key".to_owned(), "Invalid", "data.key: aGVsbG8".to_owned());
    let blocked = RunRecord {
        outcome: Outcome::Blocked,
        stages: vec![stage("plan", 0, 1)],
        ended: at(1),
        failures: vec![failure, secret],
        ..run(Cause::Release)
    };
    app.finished(&blocked);
    app.finished(&RunRecord { began: at(60), stages: Vec::new(), ..run(Cause::Release) });
    let spans = spans(&receiver, 3).await;
    insta::assert_snapshot!(tree(&spans), @r#"
    SYNC web (server) 365938300c1b14589f00bda8bcb09193 88879d06e26ff1d4 < - [0..1]
    plan (internal) 365938300c1b14589f00bda8bcb09193 72d0f19d70b3ebfd < 88879d06e26ff1d4 [0..1]
    SYNC web (server) 31e7172c52cbbd7c6a6889cf88777423 d6de3b824a29fd7b < - [60..86420]
      -> 365938300c1b14589f00bda8bcb09193 88879d06e26ff1d4 {"skiff.link": String("release")}
    "#);
    insta::assert_debug_snapshot!(spans[0].status, @r#"
    Error(
        "Deployment/shop/web: Invalid; and 1 more",
    )
    "#);
    let events: Vec<String> = spans[0].events.iter().map(|event| listed(&event.attributes)).collect();
    insta::assert_snapshot!(events.join("\n\n"), @r#"
    error.type="Invalid"
    skiff.message="spec.replicas: must be positive"
    skiff.object="Deployment/shop/web"

    error.type="Invalid"
    skiff.message="(withheld: it may quote the Secret)"
    skiff.object="Secret/shop/key"
    "#);
    assert_eq!(spans[0].attributes["error.type"], "Invalid");
}

#[tokio::test]
async fn a_fetch_that_failed_is_a_span_without_credentials() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    let telemetry = start(&receiver, &[]);
    telemetry.source_failed(&SourceFailure {
        environment: "production",
        url: "https://ci:secret@git.example/shop",
        reason: "Unreachable",
        message: "failed to fetch https://git.example/shop: connection refused",
        tried: Interval { start: at(0), end: at(2) },
    });
    let spans = spans(&receiver, 1).await;
    insta::assert_snapshot!(tree(&spans), @"FETCH production (client) d5c8e4be9da271812499582086c3ee5d 7bc062c5ffa2c4a0 < - [0..2]");
    assert_eq!(
        spans[0].status,
        Status::Error("failed to fetch https://git.example/shop: connection refused".into())
    );
    insta::assert_snapshot!(listed(&spans[0].attributes), @r#"
    cicd.pipeline.name="production"
    cicd.pipeline.task.name="fetch"
    cicd.pipeline.task.run.id="d5c8e4be9da271812499582086c3ee5d-7bc062c5ffa2c4a0"
    cicd.pipeline.task.run.result="failure"
    deployment.environment.name="production"
    error.type="Unreachable"
    k8s.cluster.name="eu-1"
    vcs.repository.url.full="https://git.example/shop"
    "#);
}

#[tokio::test]
async fn heal_is_a_trace_of_its_own_that_says_who_and_what() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    let app = web(&start(&receiver, &[]));
    app.report(&report());
    app.notice(&healed());
    let spans = spans(&receiver, 1).await;
    insta::assert_snapshot!(tree(&spans), @r#"
    HEAL web (internal) 4079f6fa20231657347a557f5fbf0a56 96f82bfc16184e7d < - [0..0.012]
      -> 365938300c1b14589f00bda8bcb09193 88879d06e26ff1d4 {"skiff.link": String("release")}
    "#);
    insta::assert_snapshot!(listed(&spans[0].attributes), @r#"
    cicd.pipeline.name="web"
    deployment.environment.name="production"
    k8s.cluster.name="eu-1"
    k8s.namespace.name="shop"
    skiff.drift.kind="changed"
    skiff.drift.manager="kubectl-edit"
    skiff.drift.operation="Update"
    skiff.drift.paths=[".spec.replicas"]
    skiff.drift.subresource="scale"
    skiff.object="Deployment/shop/web"
    skiff.revision="main@sha1:4f2c9a7d3be1"
    skiff.revision.subject="More replicas"
    vcs.ref.head.name="main"
    vcs.ref.head.revision="4f2c9a7d3be1a90c5d6e7f8091a2b3c4d5e6f708"
    vcs.repository.url.full="https://git.example/shop"
    "#);
}

#[tokio::test]
async fn large_fleets_can_have_one_span_per_app() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    let telemetry = start_with(TelemetryConfig { detail: Detail::App, ..config(&receiver.endpoint(), &[]) });
    web(&telemetry).finished(&run(Cause::Release));
    assert_eq!(telemetry.shutdown(DEADLINE).await, Flushed::All);
    assert_eq!(receiver.spans().len(), 1);
}

#[tokio::test]
async fn what_is_not_sampled_is_not_sent() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    let never = start(&receiver, &[("OTEL_TRACES_SAMPLER", "always_off")]);
    web(&never).finished(&run(Cause::Release));
    let as_the_parent = start(&receiver, &[]);
    let trailer = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    web(&as_the_parent).finished(&RunRecord { revision: revision(Some(trailer)), ..run(Cause::Release) });
    assert_eq!(never.shutdown(DEADLINE).await, Flushed::All);
    assert_eq!(as_the_parent.shutdown(DEADLINE).await, Flushed::All);
    assert_eq!(receiver.spans(), []);
}

#[tokio::test]
async fn log_records_are_part_of_the_trace_that_they_speak_of() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    let telemetry = start(&receiver, &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
    let app = web(&telemetry);
    tracing::dispatcher::with_default(telemetry.dispatch(), || {
        app.report(&report());
        app.notice(&Notice::Written { id: deployment(), action: Action::Configured });
        app.notice(&healed());
        app.finished(&run(Cause::Release));
    });
    let spans = spans(&receiver, 9).await;
    let records =
        receiver.wait_for_records(|records| records.len() >= 2, DEADLINE).await.expect("the records arrive");
    let span = |name: &str| spans.iter().find(|span| span.name == name).expect("the span arrived");
    for (record, span) in records.iter().zip([span("SYNC web"), span("HEAL web")]) {
        assert_eq!(record.trace_id.as_deref(), Some(span.trace_id.as_str()), "{record:?}");
        assert_eq!(record.span_id.as_deref(), Some(span.span_id.as_str()), "{record:?}");
    }
    assert_eq!(
        (records[0].body.as_str(), records[0].severity.as_str()),
        (Some("configured Deployment/shop/web"), "INFO")
    );
    insta::assert_snapshot!(listed(&records[0].attributes), @r#"
    app="web"
    environment="production"
    event="written"
    object="Deployment/shop/web"
    trace_id="365938300c1b14589f00bda8bcb09193"
    "#);
    assert_eq!(records[0].resource["k8s.cluster.name"], "eu-1");
}

#[tokio::test]
async fn metrics_of_the_last_moment_are_flushed() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    let telemetry = start(&receiver, &[]);
    web(&telemetry).finished(&run(Cause::Release));
    assert_eq!(telemetry.shutdown(DEADLINE).await, Flushed::All);
    let durations = receiver.newest("cicd.pipeline.run.duration");
    let sum = |state: &str| {
        let point = durations.iter().find(|point| point.attributes["cicd.pipeline.run.state"] == state);
        match point.expect("a point of the state").value {
            Measured::Histogram { sum, count: 1, .. } => sum,
            ref other => panic!("not one measurement: {other:?}"),
        }
    };
    assert_eq!((sum("pending"), sum("executing")), (86_400.0, 20.0));
    assert_eq!(durations[0].unit, "s");
}

#[tokio::test]
async fn nothing_waits_for_a_collector_that_hangs() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    receiver.behave(Fault::Hang);
    let telemetry =
        start(&receiver, &[("OTEL_BSP_MAX_QUEUE_SIZE", "16"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")]);
    let app = web(&telemetry);
    // The first batch is on its way and will not be answered; whatever comes now must not wait for it.
    app.finished(&run(Cause::Release));
    receiver.wait_for_requests(1, DEADLINE).await.expect("a request hangs");
    for began in 1..100 {
        app.finished(&RunRecord { began: at(began), ..run(Cause::Release) });
        app.notice(&healed());
    }
    let lost = lost(&telemetry, "traces", "queue_full");
    assert!(lost > 0.0, "{lost} dropped");
    // Nor does the end of the process, although the request hangs on.
    assert_eq!(telemetry.shutdown(Duration::from_millis(100)).await, Flushed::Cut);
    assert_eq!(receiver.spans(), []);
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted_and_the_next_is_sent() {
    let receiver = OtlpReceiver::start().expect("a receiver");
    receiver.behave(Fault::Status { code: 429, retry_after: Some(Duration::from_secs(3600)) });
    let telemetry = start(&receiver, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "100")]);
    let app = web(&telemetry);
    app.finished(&run(Cause::Release));
    until(|| lost(&telemetry, "traces", "refused") == 9.0).await;
    receiver.behave(Fault::None);
    app.notice(&healed());
    assert_eq!(spans(&receiver, 1).await[0].name, "HEAL web");
}

#[tokio::test]
async fn without_a_collector_there_are_still_metrics_to_scrape() {
    let telemetry = start_with(TelemetryConfig { endpoint: None, ..config("", &[]) });
    let app = web(&telemetry);
    app.finished(&run(Cause::Release));
    app.notice(&healed());
    assert!(telemetry.prometheus().expect("text").contains("skiff_heals_total"));
    assert_eq!(telemetry.shutdown(SHUTDOWN_CAP).await, Flushed::All);
}

#[tokio::test]
async fn token_of_the_headers_file_is_read_for_every_request() {
    let collector = collector::Collector::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("headers");
    std::fs::write(&file, "authorization: Bearer one\nx-scope: shop\n").expect("the file is written");
    let off = [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")];
    let config = TelemetryConfig { headers_file: Some(file.clone()), ..config(&collector.endpoint(), &off) };
    let app = web(&start_with(config));
    app.notice(&healed());
    assert_eq!(collector.next("authorization").await, "Bearer one");
    std::fs::write(&file, "authorization: Bearer two\n").expect("the file is written");
    app.notice(&healed());
    assert_eq!(collector.next("authorization").await, "Bearer two");
}

/// Waits until something is so that nobody tells of.
async fn until(condition: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let met = async {
        while !condition() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, met).await.expect("it becomes so in time");
}

/// Returns how many records of a signal were lost for a reason.
fn lost(telemetry: &Telemetry, signal: &str, reason: &str) -> f64 {
    let metrics = telemetry.prometheus().expect("the metrics can be encoded");
    let line = metrics.lines().find(|line| {
        line.starts_with("skiff_telemetry_lost") && line.contains(signal) && line.contains(reason)
    });
    line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().expect("a number"))
}
