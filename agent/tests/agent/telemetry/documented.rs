//! docs/telemetry.md names everything that is told and nothing else, and what OpenTelemetry defines is told as it says.

use std::collections::{BTreeMap, BTreeSet};

use http::{Request, Response};
use opentelemetry_semantic_conventions::{attribute, metric, resource};
use skiff::telemetry::{AppName, Flushed, Rendering, SourceFailure, Telemetry};
use skiff_harness::otlp::{Attributes, Measured, OtlpReceiver, Point, Span};
use skiff_shared::desired::Interval;
use skiff_shared::gate::Wait;
use skiff_shared::object::Digest;
use skiff_shared::plan::Action;
use skiff_shared::report::{Cause, Condition, Outcome, Report, RunRecord};
use skiff_shared::sync::effect::{Drift, DriftKind, Notice, StatePart};
use skiff_shared::sync::event::{Cause as Refused, Refusal};
use tower::{Layer as _, Service as _};

use super::{DEADLINE, at, deployment, healed, report, revision, run, start, web};

const DOCUMENT: &str = include_str!("../../../../docs/telemetry.md");

/// Names of attributes that OpenTelemetry defines and Skiff tells. A name that is deprecated does not compile.
const ATTRIBUTES: [&str; 22] = [
    attribute::CICD_PIPELINE_ACTION_NAME,
    attribute::CICD_PIPELINE_NAME,
    attribute::CICD_PIPELINE_RESULT,
    attribute::CICD_PIPELINE_RUN_ID,
    attribute::CICD_PIPELINE_RUN_STATE,
    attribute::CICD_PIPELINE_TASK_NAME,
    attribute::CICD_PIPELINE_TASK_RUN_ID,
    attribute::CICD_PIPELINE_TASK_RUN_RESULT,
    attribute::DEPLOYMENT_ENVIRONMENT_NAME,
    attribute::ERROR_TYPE,
    attribute::HTTP_RESPONSE_STATUS_CODE,
    attribute::K8S_CLUSTER_NAME,
    attribute::K8S_NAMESPACE_NAME,
    attribute::VCS_REF_HEAD_NAME,
    attribute::VCS_REF_HEAD_REVISION,
    attribute::VCS_REPOSITORY_URL_FULL,
    resource::SERVICE_INSTANCE_ID,
    resource::SERVICE_NAME,
    resource::SERVICE_VERSION,
    resource::TELEMETRY_SDK_LANGUAGE,
    resource::TELEMETRY_SDK_NAME,
    resource::TELEMETRY_SDK_VERSION,
];

/// Metrics that OpenTelemetry defines, with their units.
const METRICS: [(&str, &str); 3] = [
    (metric::CICD_PIPELINE_RUN_DURATION, "s"),
    (metric::CICD_PIPELINE_RUN_ERRORS, "{error}"),
    (metric::PROCESS_MEMORY_USAGE, "By"),
];

/// Values of `cicd.pipeline.result` and `cicd.pipeline.task.run.result`:
/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/cicd/>.
const RESULTS: [&str; 6] = ["cancellation", "error", "failure", "skip", "success", "timeout"];

/// Everything that can be told, told once.
struct Told {
    spans: Vec<Span>,
    points: Vec<Point>,
    fields: BTreeSet<String>,
    /// What a scraper reads.
    scraped: String,
}

impl Told {
    async fn everything() -> Self {
        let receiver = OtlpReceiver::start().expect("a receiver");
        let telemetry = start(&receiver, &[]);
        let app = web(&telemetry);
        tracing::dispatcher::with_default(telemetry.dispatch(), || {
            app.finished(&success());
            app.finished(&blocked());
            for report in reports() {
                app.report(&report);
            }
            for notice in notices() {
                app.notice(&notice);
            }
        });
        tell_the_rest(&telemetry).await;
        let scraped = telemetry.prometheus().expect("the metrics can be encoded");
        assert_eq!(telemetry.shutdown(DEADLINE).await, Flushed::All);
        let records = receiver.records();
        let fields = records.iter().flat_map(|record| record.attributes.keys().cloned()).collect();
        Self { spans: receiver.spans(), points: receiver.points(), fields, scraped }
    }

    fn attributes(&self) -> impl Iterator<Item = &Attributes> {
        let of_spans = self.spans.iter().flat_map(|span| {
            let events = span.events.iter().map(|event| &event.attributes);
            let links = span.links.iter().map(|link| &link.attributes);
            events.chain(links).chain([&span.attributes, &span.resource])
        });
        of_spans.chain(self.points.iter().flat_map(|point| [&point.attributes, &point.resource]))
    }
}

fn success() -> RunRecord {
    let all = [
        Action::Created,
        Action::Configured,
        Action::Unchanged,
        Action::Recreated,
        Action::Pruned,
        Action::Held,
    ];
    RunRecord { counts: all.map(|action| (action, 1)).to_vec(), ..run(Cause::Release) }
}

fn blocked() -> RunRecord {
    let failures = vec![(deployment().to_string(), "Invalid", "words".to_owned())];
    let revision = revision(Some("no traceparent"));
    RunRecord { outcome: Outcome::Blocked, failures, revision, began: at(90_000), ..run(Cause::Resync) }
}

/// The states that have labels of their own; the last one stays.
fn reports() -> [Report; 2] {
    let condition = Condition {
        kind: "Ready",
        status: false,
        reason: "WaitingForDependencies".to_owned(),
        message: String::new(),
    };
    let waits = Report {
        gate: Some(Wait::Dependencies(vec!["db".into()])),
        conditions: vec![condition],
        held: BTreeMap::from([("PruneBudget", 1)]),
        ..report()
    };
    let approval = Wait::Approval { digest: Digest::of(b"plan"), outdated: None };
    [Report { gate: Some(approval), ..report() }, waits]
}

fn notices() -> [Notice; 5] {
    let drift = Drift { id: deployment(), kind: DriftKind::Changed, paths: Vec::new(), actor: None };
    let contested = Notice::Contested {
        id: deployment(),
        manager: "autoscaler".to_owned(),
        since: at(56),
        until: at(60),
    };
    let cause = Refused { reason: Refusal::Forbidden, code: 403, message: "words".to_owned() };
    let not_stored = Notice::StateNotStored { what: StatePart::Inventory, cause, attempt: 1 };
    let failed = Notice::SyncFailed { message: "words".to_owned() };
    [Notice::Drifted(drift), healed(), contested, failed, not_stored]
}

async fn tell_the_rest(telemetry: &Telemetry) {
    let name = AppName { environment: "production".to_owned(), app: "web".to_owned(), namespace: None };
    let took = Interval { start: at(0), end: at(1) };
    telemetry.rendered(&name, Rendering::Done { read: 1, reused: 1 }, took);
    telemetry.source_expected("production");
    telemetry.cluster_labelled(&BTreeMap::from([("ring".to_owned(), "canary".to_owned())]));
    telemetry.source_failed(&SourceFailure {
        environment: "production",
        url: "https://git.example/shop",
        reason: "Unreachable",
        message: "connection refused",
        tried: took,
    });
    let answer = |_: Request<()>| async { Response::builder().status(200).body(()) };
    let mut client = telemetry.count_requests().layer(tower::service_fn(answer));
    client.call(Request::new(())).await.expect("an answer");
}

/// Returns the cells of the rows of the first table whose head begins like this.
fn table(head: &str) -> Vec<Vec<String>> {
    let lines = DOCUMENT.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.split('|').skip(1).map(|cell| cell.trim().to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    assert!(rows.len() > 3, "the document has no table {head:?}");
    rows
}

fn unquoted(cell: &str) -> String {
    cell.replace('`', "")
}

/// Returns a name whose end is the user's own as the document writes it.
fn generic(name: &str) -> String {
    for (prefix, end) in [("skiff.objects.", "<action>"), ("skiff.cluster.label.", "<key>")] {
        if name.starts_with(prefix) {
            return format!("{prefix}{end}");
        }
    }
    name.to_owned()
}

#[tokio::test]
async fn table_of_metrics_is_what_is_measured() {
    let told = Told::everything().await;
    let mut measured: BTreeMap<String, (String, String, BTreeSet<String>)> = BTreeMap::new();
    for point in &told.points {
        let kind = match point.value {
            Measured::Gauge(_) | Measured::Sum { monotonic: false, .. } => "gauge",
            Measured::Sum { monotonic: true, .. } => "counter",
            Measured::Histogram { .. } => "histogram",
        };
        let (_, _, labels) = measured
            .entry(point.metric.clone())
            .or_insert_with(|| (kind.to_owned(), point.unit.clone(), BTreeSet::new()));
        labels.extend(point.attributes.keys().map(|name| generic(name)));
    }
    let app = [attribute::CICD_PIPELINE_NAME, attribute::DEPLOYMENT_ENVIRONMENT_NAME].map(str::to_owned);
    let rows = table("| metric | at `/metrics`");
    let documented: BTreeMap<String, (String, String, BTreeSet<String>)> = rows
        .iter()
        .map(|row| {
            let labels = row[4].split(", ").map(unquoted).filter(|label| !label.is_empty());
            let labels = labels.flat_map(|label| if label == "app" { app.to_vec() } else { vec![label] });
            (unquoted(&row[0]), (row[2].clone(), unquoted(&row[3]), labels.collect()))
        })
        .collect();
    assert_eq!(measured, documented);

    let types = told.scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let scraped: BTreeSet<(String, String)> = types
        .filter(|(name, _)| *name != "target_info")
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    let documented = rows.iter().map(|row| (unquoted(&row[1]), row[2].clone())).collect();
    assert_eq!(scraped, documented);
}

#[tokio::test]
async fn table_of_attributes_is_what_spans_have() {
    let told = Told::everything().await;
    let mut had = BTreeSet::new();
    for span in &told.spans {
        let first = span.name.split(' ').next().unwrap_or_default();
        let kind = if ["SYNC", "HEAL", "FETCH"].contains(&first) { first } else { "stages" };
        had.extend(span.attributes.keys().map(|name| (generic(name), kind.to_owned())));
    }
    let documented: BTreeSet<(String, String)> = table("| attribute | on |")
        .iter()
        .flat_map(|row| {
            let on = if row[1] == "all" { "SYNC, stages, HEAL, FETCH" } else { &row[1] };
            let kinds = on.split(", ").map(str::to_owned);
            kinds.map(|kind| (unquoted(&row[0]), kind)).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(had, documented);

    let had: BTreeSet<String> = told.spans.iter().flat_map(|span| span.resource.keys().cloned()).collect();
    let documented = table("| attribute | value |")
        .iter()
        .flat_map(|row| row[0].split(", ").map(unquoted).collect::<Vec<_>>())
        .collect();
    assert_eq!(had, documented);
}

#[tokio::test]
async fn table_of_fields_is_what_log_records_have() {
    let told = Told::everything().await;
    let documented: BTreeSet<String> = table("| field | value |")
        .iter()
        .flat_map(|row| row[0].split(", ").map(unquoted).collect::<Vec<_>>())
        .collect();
    assert_eq!(told.fields, documented);
}

#[tokio::test]
async fn names_are_those_of_the_semantic_conventions_or_our_own() {
    let told = Told::everything().await;
    let names: BTreeSet<&str> = told.attributes().flat_map(|all| all.keys().map(String::as_str)).collect();
    let (own, foreign): (BTreeSet<&str>, BTreeSet<&str>) =
        names.into_iter().partition(|name| name.starts_with("skiff."));
    assert_eq!(foreign, BTreeSet::from(ATTRIBUTES));
    assert!(own.len() > 20, "{own:?}");

    let metrics = told.points.iter().map(|point| (point.metric.as_str(), point.unit.as_str()));
    let foreign: BTreeSet<(&str, &str)> = metrics.filter(|(name, _)| !name.starts_with("skiff.")).collect();
    assert_eq!(foreign, BTreeSet::from(METRICS));
}

#[tokio::test]
async fn values_and_required_attributes_are_those_of_the_semantic_conventions() {
    let told = Told::everything().await;
    for attributes in told.attributes() {
        for name in [attribute::CICD_PIPELINE_RESULT, attribute::CICD_PIPELINE_TASK_RUN_RESULT] {
            let value = attributes.get(name).and_then(|value| value.as_str());
            assert!(value.is_none_or(|value| RESULTS.contains(&value)), "{name}={value:?}");
        }
    }
    let has = |span: &Span, names: &[&str]| {
        let missing: Vec<_> = names.iter().filter(|name| !span.attributes.contains_key(**name)).collect();
        assert!(missing.is_empty(), "{} has no {missing:?}", span.name);
    };
    for span in &told.spans {
        match span.kind.as_str() {
            // https://opentelemetry.io/docs/specs/semconv/cicd/cicd-spans/
            "server" => {
                let action = span.attributes[attribute::CICD_PIPELINE_ACTION_NAME].as_str();
                let pipeline = span.attributes[attribute::CICD_PIPELINE_NAME].as_str();
                assert_eq!(
                    Some(span.name.as_str()),
                    action.zip(pipeline).map(|(a, p)| format!("{a} {p}")).as_deref()
                );
                has(span, &[attribute::CICD_PIPELINE_RESULT, attribute::CICD_PIPELINE_RUN_ID]);
                let failed = span.attributes[attribute::CICD_PIPELINE_RESULT] == "failure";
                assert_eq!(span.attributes.contains_key(attribute::ERROR_TYPE), failed);
            }
            "internal" | "client" if !span.name.starts_with("HEAL") => has(
                span,
                &[
                    attribute::CICD_PIPELINE_TASK_NAME,
                    attribute::CICD_PIPELINE_TASK_RUN_ID,
                    attribute::CICD_PIPELINE_TASK_RUN_RESULT,
                ],
            ),
            _ => assert_eq!(span.name, "HEAL web"),
        }
    }
    // https://opentelemetry.io/docs/specs/semconv/cicd/cicd-metrics/
    for point in told.points.iter().filter(|point| point.metric == metric::CICD_PIPELINE_RUN_DURATION) {
        let state = point.attributes[attribute::CICD_PIPELINE_RUN_STATE].as_str();
        assert!(matches!(state, Some("pending" | "executing")), "{state:?}");
        let ended = point.attributes.contains_key(attribute::CICD_PIPELINE_RESULT);
        assert_eq!(ended, state == Some("executing"));
    }
}
