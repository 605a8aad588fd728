//! From the protocol's messages to the plain values that tests ask for.

use anyhow::{Context, Result};
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as trace;
use prost::Message;
use serde_json::{Value, json};

use super::{Attributes, Event, Link, Measured, Point, Record, Span, Status};

/// Reads the spans of one request.
pub(super) fn spans(body: &[u8]) -> Result<Vec<Span>> {
    let request = ExportTraceServiceRequest::decode(body).context("not an ExportTraceServiceRequest")?;
    let mut spans = Vec::new();
    for group in request.resource_spans {
        let resource = resource(group.resource);
        for scoped in group.scope_spans {
            let scope = scope(scoped.scope);
            for received in scoped.spans {
                spans.push(span(received, &resource, &scope)?);
            }
        }
    }
    Ok(spans)
}

/// Reads the measurements of one request.
pub(super) fn points(body: &[u8]) -> Result<Vec<Point>> {
    let request = ExportMetricsServiceRequest::decode(body).context("not an ExportMetricsServiceRequest")?;
    let mut points = Vec::new();
    for group in request.resource_metrics {
        let resource = resource(group.resource);
        for metric in group.scope_metrics.into_iter().flat_map(|scoped| scoped.metrics) {
            points.extend(series(metric, &resource)?);
        }
    }
    Ok(points)
}

/// Reads the log records of one request.
pub(super) fn records(body: &[u8]) -> Result<Vec<Record>> {
    let request = ExportLogsServiceRequest::decode(body).context("not an ExportLogsServiceRequest")?;
    let mut records = Vec::new();
    for group in request.resource_logs {
        let resource = resource(group.resource);
        for scoped in group.scope_logs {
            let scope = scope(scoped.scope);
            for received in scoped.log_records {
                records.push(record(received, &resource, &scope)?);
            }
        }
    }
    Ok(records)
}

fn span(span: trace::Span, resource: &Attributes, scope: &str) -> Result<Span> {
    let events = span.events.into_iter().map(|event| {
        let time = time(event.time_unix_nano)?;
        Ok(Event { name: event.name, time, attributes: attributes(event.attributes) })
    });
    let links = span.links.into_iter().map(|link| Link {
        trace_id: hex::encode(link.trace_id),
        span_id: hex::encode(link.span_id),
        attributes: attributes(link.attributes),
    });
    let kind = trace::span::SpanKind::try_from(span.kind).unwrap_or_default();
    Ok(Span {
        trace_id: hex::encode(span.trace_id),
        span_id: hex::encode(span.span_id),
        parent_id: id(&span.parent_span_id),
        name: span.name,
        kind: kind.as_str_name().trim_start_matches("SPAN_KIND_").to_lowercase(),
        start: time(span.start_time_unix_nano)?,
        end: time(span.end_time_unix_nano)?,
        attributes: attributes(span.attributes),
        events: events.collect::<Result<_>>()?,
        links: links.collect(),
        status: status(span.status),
        resource: resource.clone(),
        scope: scope.to_owned(),
    })
}

fn status(status: Option<trace::Status>) -> Status {
    let Some(status) = status else {
        return Status::Unset;
    };
    match status.code() {
        trace::status::StatusCode::Unset => Status::Unset,
        trace::status::StatusCode::Ok => Status::Ok,
        trace::status::StatusCode::Error => Status::Error(status.message),
    }
}

fn series(metric: metrics::Metric, resource: &Attributes) -> Result<Vec<Point>> {
    let name = metric.name;
    let data = metric.data.with_context(|| format!("metric {name} has no data"))?;
    let measured: Vec<(Vec<KeyValue>, u64, Measured)> = match data {
        Data::Gauge(gauge) => numbers(gauge.data_points, Measured::Gauge),
        Data::Sum(sum) => {
            let monotonic = sum.is_monotonic;
            numbers(sum.data_points, |value| Measured::Sum { value, monotonic })
        }
        Data::Histogram(histogram) => histogram.data_points.into_iter().map(distribution).collect(),
        Data::ExponentialHistogram(_) | Data::Summary(_) => {
            anyhow::bail!("metric {name}: exponential histograms and summaries are not read")
        }
    };
    let point = |(labels, nanoseconds, value)| {
        Ok(Point {
            metric: name.clone(),
            unit: metric.unit.clone(),
            attributes: attributes(labels),
            time: time(nanoseconds)?,
            value,
            resource: resource.clone(),
        })
    };
    measured.into_iter().map(point).collect()
}

fn numbers(
    points: Vec<metrics::NumberDataPoint>,
    measured: impl Fn(f64) -> Measured,
) -> Vec<(Vec<KeyValue>, u64, Measured)> {
    let number = |point: metrics::NumberDataPoint| {
        let value = match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None => f64::NAN,
        };
        (point.attributes, point.time_unix_nano, measured(value))
    };
    points.into_iter().map(number).collect()
}

fn distribution(point: metrics::HistogramDataPoint) -> (Vec<KeyValue>, u64, Measured) {
    let measured = Measured::Histogram {
        count: point.count,
        sum: point.sum.unwrap_or(f64::NAN),
        bounds: point.explicit_bounds,
        counts: point.bucket_counts,
    };
    (point.attributes, point.time_unix_nano, measured)
}

fn record(record: logs::LogRecord, resource: &Attributes, scope: &str) -> Result<Record> {
    let happened = match record.time_unix_nano {
        0 => record.observed_time_unix_nano,
        known => known,
    };
    Ok(Record {
        time: time(happened)?,
        severity: record.severity_text,
        body: record.body.map_or(Value::Null, value),
        attributes: attributes(record.attributes),
        trace_id: id(&record.trace_id),
        span_id: id(&record.span_id),
        resource: resource.clone(),
        scope: scope.to_owned(),
    })
}

fn resource(resource: Option<Resource>) -> Attributes {
    resource.map(|resource| attributes(resource.attributes)).unwrap_or_default()
}

fn scope(scope: Option<InstrumentationScope>) -> String {
    scope.map(|scope| scope.name).unwrap_or_default()
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    pairs.into_iter().map(|pair| (pair.key, pair.value.map_or(Value::Null, value))).collect()
}

fn value(any: AnyValue) -> Value {
    match any.value {
        None => Value::Null,
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(truth)) => json!(truth),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::BytesValue(bytes)) => json!(hex::encode(bytes)),
        Some(Any::ArrayValue(array)) => array.values.into_iter().map(value).collect(),
        Some(Any::KvlistValue(list)) => json!(attributes(list.values)),
        // An index into a table that only profiles have.
        Some(Any::StringValueStrindex(index)) => json!(index),
    }
}

/// Returns an id as text; an empty one, or one of zeros, is none.
fn id(bytes: &[u8]) -> Option<String> {
    bytes.iter().any(|byte| *byte != 0).then(|| hex::encode(bytes))
}

fn time(nanoseconds: u64) -> Result<Timestamp> {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).with_context(|| format!("not a time: {nanoseconds}"))
}
