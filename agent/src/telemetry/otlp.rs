//! The way to the collector: exporters, their queues and their HTTP client.
//!
//! Every exporter works on a thread of its own and takes from a bounded queue ([`Backlog`]); callers never wait.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, Request, Response};
use opentelemetry::InstrumentationScope;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{
    Compression, ExporterBuildError, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig,
    WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder as LogBatching, BatchLogProcessor, LogBatch, LogProcessor, SdkLogRecord,
};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder as SpanBatching, BatchSpanProcessor, SpanData, SpanProcessor,
};

use super::backlog::Backlog;
use super::chain::chain;
use super::settings::{Export, Queue, Transport};

const PROTOBUF: &str = "application/x-protobuf";

/// Why a signal is not exported.
#[derive(Debug, thiserror::Error)]
pub(super) enum OtlpError {
    #[error("failed to read {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("failed to use {} as a PEM certificate", path.display())]
    Certificate { path: PathBuf, source: reqwest::Error },
    #[error("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY need each other")]
    HalfIdentity,
    #[error("failed to build the HTTP client")]
    Client { source: reqwest::Error },
    #[error("failed to start the thread of the HTTP client")]
    Thread { source: std::io::Error },
    #[error("failed to build the exporter")]
    Exporter { source: ExporterBuildError },
}

/// HTTP clients, one for every way of connecting: usually one for all signals.
pub(super) struct Clients {
    built: Vec<(Transport, Client)>,
    headers_file: Option<PathBuf>,
}

impl Clients {
    pub(super) fn new(headers_file: Option<PathBuf>) -> Self {
        Self { built: Vec::new(), headers_file }
    }

    fn client(&mut self, transport: &Transport) -> Result<Client, OtlpError> {
        if let Some((_, client)) = self.built.iter().find(|(known, _)| known == transport) {
            return Ok(client.clone());
        }
        let client = Client { inner: build(transport)?, headers_file: self.headers_file.clone() };
        self.built.push((transport.clone(), client.clone()));
        Ok(client)
    }
}

/// Sends an empty message as it would be sent; fails with why it was not taken.
pub(super) fn try_out(export: &Export, clients: &mut Clients) -> Result<(), String> {
    let mut request = Request::post(&export.endpoint).header(http::header::CONTENT_TYPE, PROTOBUF);
    for (name, value) in &export.headers {
        request = request.header(name, value);
    }
    // A message without spans, metrics or logs has no bytes.
    let request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
    let client = clients.client(&export.transport).map_err(|error| chain(&error))?;
    // The client blocks, so the answer is there when it returns.
    let answered =
        client.send_bytes(request).now_or_never().expect("a blocking client is done when it returns");
    answered.map(drop).map_err(|error| chain(error.as_ref()))
}

/// Builds a blocking client on a thread that no runtime owns, as reqwest asks for.
fn build(transport: &Transport) -> Result<reqwest::blocking::Client, OtlpError> {
    let mut builder = reqwest::blocking::Client::builder()
        .timeout(transport.timeout)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(1);
    let roots = match &transport.ca_file {
        Some(path) => Some(certificates(path)?),
        // Without TLS the system's roots are not even loaded.
        None => (!transport.is_tls).then(Vec::new),
    };
    if let Some(roots) = roots {
        builder = builder.tls_certs_only(roots);
    }
    if let Some(identity) = identity(transport)? {
        builder = builder.identity(identity);
    }
    let built = std::thread::Builder::new().name("otlp-client".to_owned()).spawn(move || builder.build());
    let built = built.map_err(|source| OtlpError::Thread { source })?.join();
    built.expect("building a client does not panic").map_err(|source| OtlpError::Client { source })
}

fn certificates(path: &PathBuf) -> Result<Vec<reqwest::Certificate>, OtlpError> {
    reqwest::Certificate::from_pem_bundle(&read(path)?)
        .map_err(|source| OtlpError::Certificate { path: path.clone(), source })
}

fn identity(transport: &Transport) -> Result<Option<reqwest::Identity>, OtlpError> {
    let (certificate, key) = match (&transport.certificate_file, &transport.key_file) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => return Err(OtlpError::HalfIdentity),
    };
    let mut pem = read(certificate)?;
    pem.push(b'\n');
    pem.extend(read(key)?);
    let identity = reqwest::Identity::from_pem(&pem)
        .map_err(|source| OtlpError::Certificate { path: certificate.clone(), source })?;
    Ok(Some(identity))
}

fn read(path: &PathBuf) -> Result<Vec<u8>, OtlpError> {
    std::fs::read(path).map_err(|source| OtlpError::File { path: path.clone(), source })
}

/// An HTTP client that adds the headers of a file, read anew for every request: a rotated token needs no restart.
#[derive(Clone, Debug)]
struct Client {
    inner: reqwest::blocking::Client,
    headers_file: Option<PathBuf>,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Client {
    // The signature that `async_trait` writes for `async fn send_bytes`.
    fn send_bytes<'life0, 'async_trait>(&'life0 self, mut request: Request<Bytes>) -> Answer<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            if let Some(path) = &self.headers_file {
                let file = std::fs::read_to_string(path)?;
                request.headers_mut().extend(file.lines().filter_map(header));
            }
            self.inner.send_bytes(request).await
        })
    }
}

/// Reads a line `name: value`.
fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let mut value: HeaderValue = value.trim().parse().ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

fn exported<B: WithExportConfig + WithHttpConfig>(builder: B, export: &Export, client: Client) -> B {
    let builder = builder
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(export.endpoint.clone())
        .with_timeout(export.transport.timeout)
        .with_headers(export.headers.clone().into_iter().collect())
        .with_http_client(client);
    if export.gzip { builder.with_compression(Compression::Gzip) } else { builder }
}

/// The queue and thread that spans are exported by.
pub(super) struct Spans {
    processor: BatchSpanProcessor,
    pub(super) backlog: Arc<Backlog>,
}

impl Spans {
    pub(super) fn start(
        export: &Export,
        queue: Queue,
        clients: &mut Clients,
        backlog: Arc<Backlog>,
    ) -> Result<Self, OtlpError> {
        let builder =
            exported(SpanExporter::builder().with_http(), export, clients.client(&export.transport)?);
        let exporter = builder.build().map_err(|source| OtlpError::Exporter { source })?;
        let batching = SpanBatching::default()
            .with_max_queue_size(queue.limit)
            .with_max_export_batch_size(queue.batch)
            .with_scheduled_delay(queue.delay)
            .build();
        let exporter = Counted { exporter, backlog: backlog.clone() };
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batching).build();
        Ok(Self { processor, backlog })
    }

    pub(super) fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }

    /// Hands a finished span over, or drops it if the queue is full.
    pub(super) fn send(&self, span: SpanData) {
        if self.backlog.admit() {
            self.processor.on_end(span);
        }
    }

    pub(super) fn shutdown(&self, within: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(within)
    }
}

/// An exporter that counts what leaves the queue and what the collector refuses.
struct Counted<E> {
    exporter: E,
    backlog: Arc<Backlog>,
}

impl<E> fmt::Debug for Counted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").field("backlog", &self.backlog).finish_non_exhaustive()
    }
}

impl<E> Counted<E> {
    fn settle(&self, records: usize, result: OTelSdkResult) -> OTelSdkResult {
        self.backlog.settle(records, result.as_ref().err().map(ToString::to_string).as_deref());
        result
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Counted<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let records = batch.len();
        self.backlog.leave(records);
        let result = self.exporter.export(batch).await;
        self.settle(records, result)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl opentelemetry_sdk::logs::LogExporter for Counted<LogExporter> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let records = batch.iter().count();
        self.backlog.leave(records);
        let result = self.exporter.export(batch).await;
        self.settle(records, result)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Counted<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.settle(1, result)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// Builds the exporter that the metrics' reader pushes to.
pub(super) fn metrics(
    export: &Export,
    clients: &mut Clients,
    backlog: Arc<Backlog>,
) -> Result<impl PushMetricExporter, OtlpError> {
    let builder = exported(MetricExporter::builder().with_http(), export, clients.client(&export.transport)?);
    let exporter = builder.build().map_err(|source| OtlpError::Exporter { source })?;
    Ok(Counted { exporter, backlog })
}

/// Builds the queue and thread that log records are exported by.
pub(super) fn logs(
    export: &Export,
    queue: Queue,
    clients: &mut Clients,
    backlog: Arc<Backlog>,
) -> Result<impl LogProcessor + 'static, OtlpError> {
    let builder = exported(LogExporter::builder().with_http(), export, clients.client(&export.transport)?);
    let exporter = builder.build().map_err(|source| OtlpError::Exporter { source })?;
    let batching = LogBatching::default()
        .with_max_queue_size(queue.limit)
        .with_max_export_batch_size(queue.batch)
        .with_scheduled_delay(queue.delay)
        .build();
    let exporter = Counted { exporter, backlog: backlog.clone() };
    let processor = BatchLogProcessor::builder(exporter).with_batch_config(batching).build();
    Ok(Bounded { processor, backlog })
}

/// A log processor that drops and counts what finds its queue full.
#[derive(Debug)]
struct Bounded {
    processor: BatchLogProcessor,
    backlog: Arc<Backlog>,
}

impl LogProcessor for Bounded {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.backlog.admit() {
            self.processor.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}
