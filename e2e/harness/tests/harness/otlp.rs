//! The telemetry backend, sent to as the protocol has it.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use skiff_harness::otlp::{Fault, Measured, OtlpReceiver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Long enough for any machine; reached only where a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends one request and returns the head of the answer.
async fn send(receiver: &OtlpReceiver, path: &str, headers: &str, body: &[u8]) -> String {
    let endpoint = receiver.endpoint();
    let address = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(text: &str) -> Value {
    Value::StringValue(text.into())
}

fn resource() -> Option<Resource> {
    Some(Resource { attributes: vec![attribute("service.name", text("skiff"))], ..Resource::default() })
}

fn trace(names: &[&str]) -> Vec<u8> {
    let span = |name: &&str| Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![],
        name: (*name).into(),
        kind: 3,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 2_500_000_000,
        attributes: vec![attribute("skiff.objects", Value::IntValue(3))],
        events: vec![Event { name: "wave".into(), time_unix_nano: 2_000_000_000, ..Event::default() }],
        links: vec![Link { trace_id: vec![3; 16], span_id: vec![4; 8], ..Link::default() }],
        status: Some(Status { code: 2, message: "no".into() }),
        ..Span::default()
    };
    let scope = Some(InstrumentationScope { name: "skiff".into(), ..InstrumentationScope::default() });
    let scope_spans =
        vec![ScopeSpans { scope, spans: names.iter().map(span).collect(), ..ScopeSpans::default() }];
    let group = ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
}

#[tokio::test]
async fn spans_are_kept_with_everything_they_say() {
    let receiver = OtlpReceiver::start().unwrap();
    let answer = send(&receiver, "/v1/traces", PROTOBUF, &trace(&["SYNC shop"])).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let spans = receiver.wait_for(|spans| !spans.is_empty(), PATIENCE).await.unwrap();
    insta::assert_debug_snapshot!(spans[0], @r#"
    Span {
        trace_id: "01010101010101010101010101010101",
        span_id: "0202020202020202",
        parent_id: None,
        name: "SYNC shop",
        kind: "client",
        start: 1970-01-01T00:00:01Z,
        end: 1970-01-01T00:00:02.5Z,
        attributes: {
            "skiff.objects": Number(3),
        },
        events: [
            Event {
                name: "wave",
                time: 1970-01-01T00:00:02Z,
                attributes: {},
            },
        ],
        links: [
            Link {
                trace_id: "03030303030303030303030303030303",
                span_id: "0404040404040404",
                attributes: {},
            },
        ],
        status: Error(
            "no",
        ),
        resource: {
            "service.name": String("skiff"),
        },
        scope: "skiff",
    }
    "#);
}

#[tokio::test]
async fn compressed_requests_are_read() {
    let receiver = OtlpReceiver::start().unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&trace(&["fetch", "render"])).unwrap();
    let headers = format!("{PROTOBUF}Content-Encoding: gzip\r\n");
    send(&receiver, "/v1/traces", &headers, &encoder.finish().unwrap()).await;
    let names: Vec<String> = receiver.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["fetch", "render"]);
}

fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.into(), unit: "1".into(), data: Some(data), ..Metric::default() }
}

fn number(value: Number) -> NumberDataPoint {
    let attributes = vec![attribute("app", text("shop"))];
    NumberDataPoint { attributes, value: Some(value), ..NumberDataPoint::default() }
}

#[tokio::test]
async fn newest_measurement_of_each_series_is_found() {
    let receiver = OtlpReceiver::start().unwrap();
    for round in 1..=2 {
        let sum =
            Sum { data_points: vec![number(Number::AsInt(round))], is_monotonic: true, ..Sum::default() };
        let gauge = Gauge { data_points: vec![number(Number::AsDouble(0.5))] };
        let distribution = HistogramDataPoint {
            count: 2,
            sum: Some(3.0),
            explicit_bounds: vec![1.0],
            bucket_counts: vec![1, 1],
            ..HistogramDataPoint::default()
        };
        let histogram = Histogram { data_points: vec![distribution], ..Histogram::default() };
        let metrics = vec![
            metric("syncs", Data::Sum(sum)),
            metric("share", Data::Gauge(gauge)),
            metric("duration", Data::Histogram(histogram)),
        ];
        let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
        let group = ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() };
        let request = ExportMetricsServiceRequest { resource_metrics: vec![group] };
        send(&receiver, "/v1/metrics", PROTOBUF, &request.encode_to_vec()).await;
    }
    assert_eq!(receiver.wait_for_points(|points| points.len() == 6, PATIENCE).await.unwrap().len(), 6);
    let newest = receiver.newest("syncs");
    assert_eq!(newest.len(), 1);
    assert_eq!(newest[0].value, Measured::Sum { value: 2.0, monotonic: true });
    assert_eq!(newest[0].attributes["app"], "shop");
    assert_eq!(receiver.newest("share")[0].value, Measured::Gauge(0.5));
    let Measured::Histogram { count, counts, .. } = &receiver.newest("duration")[0].value else {
        panic!("a histogram was sent");
    };
    assert_eq!((*count, counts.as_slice()), (2, &[1, 1][..]));
}

#[tokio::test]
async fn log_records_carry_their_trace() {
    let receiver = OtlpReceiver::start().unwrap();
    let record = LogRecord {
        observed_time_unix_nano: 1_000_000_000,
        severity_text: "WARN".into(),
        body: Some(AnyValue { value: Some(text("healed")) }),
        trace_id: vec![1; 16],
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let group = ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() };
    let request = ExportLogsServiceRequest { resource_logs: vec![group] };
    send(&receiver, "/v1/logs", PROTOBUF, &request.encode_to_vec()).await;
    let records = receiver.wait_for_records(|records| !records.is_empty(), PATIENCE).await.unwrap();
    assert_eq!(records[0].body, "healed");
    assert_eq!(records[0].trace_id.as_deref(), Some("01010101010101010101010101010101"));
    assert_eq!(records[0].span_id, None);
}

#[tokio::test]
async fn refusals_keep_nothing_and_count() {
    let receiver = OtlpReceiver::start().unwrap();
    receiver.behave(Fault::Status { code: 429, retry_after: Some(Duration::from_secs(3)) });
    let answer = send(&receiver, "/v1/traces", PROTOBUF, &trace(&["fetch"])).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 3"), "{answer}");
    receiver.behave(Fault::Hang);
    let hung = send(&receiver, "/v1/traces", PROTOBUF, &[]);
    let seen = receiver.wait_for_requests(2, PATIENCE);
    tokio::select! {
        answer = hung => panic!("it hangs, and answered {answer}"),
        seen = seen => seen.unwrap(),
    }
    receiver.behave(Fault::None);
    let answer = send(&receiver, "/v1/traces", PROTOBUF, b"\xff").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(receiver.spans().is_empty());
    let missing = receiver.wait_for(|spans| !spans.is_empty(), Duration::ZERO).await.unwrap_err();
    assert_eq!(missing.to_string(), "the awaited spans did not come within 0ns; 0 came: ");
}
