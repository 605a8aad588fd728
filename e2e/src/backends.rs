//! Telemetry backends of others, on loopback: Jaeger for traces, VictoriaMetrics for metrics.
//!
//! They get what the receiver in this process gets, byte for byte, so that nothing else changes where they run.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use skiff_harness::cluster::Cluster;
use skiff_harness::otlp::{OtlpReceiver, Taken};
use skiff_harness::process::Process;
use skiff_harness::toolchain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How long they may take to listen on a machine that is busy otherwise.
const START: Duration = Duration::from_secs(60);

/// Both backends; they end when this is dropped, and leave nothing.
pub struct Backends {
    forwarding: JoinHandle<()>,
    jaeger: Process,
    metrics: Process,
    places: Places,
    _home: tempfile::TempDir,
}

/// Where they listen: an address of their own for each cluster, with the ports that everybody knows.
#[derive(Clone, Copy)]
struct Places {
    address: Ipv4Addr,
}

impl Places {
    fn traces(self) -> SocketAddr {
        (self.address, 4318).into()
    }

    fn jaeger(self) -> SocketAddr {
        (self.address, 16686).into()
    }

    fn metrics(self) -> SocketAddr {
        (self.address, 8428).into()
    }
}

impl Backends {
    /// Builds them if they are missing, which blocks for minutes the first time, and starts them beside a cluster.
    pub async fn start(cluster: &Cluster, receiver: &OtlpReceiver) -> anyhow::Result<Self> {
        let programs =
            tokio::task::spawn_blocking(toolchain::backends).await.context("the build was cancelled")??;
        let places = Places { address: Ipv4Addr::new(127, 82, cluster.number(), 1) };
        let home = tempfile::tempdir().context("failed to make the backends' folder")?;
        let mut jaeger = Command::new(programs.jaeger);
        for (flag, port) in [
            ("collector.otlp.http", places.traces().port()),
            ("collector.otlp.grpc", 4317),
            ("query.http-server", places.jaeger().port()),
            ("query.grpc-server", 16685),
            ("admin.http", 14269),
            ("collector.http-server", 14268),
            ("collector.grpc-server", 14250),
        ] {
            jaeger.arg(format!("--{flag}.host-port={}:{port}", places.address));
        }
        let mut metrics = Command::new(programs.victoria_metrics);
        metrics.arg(format!("-httpListenAddr={}", places.metrics()));
        metrics.arg(format!("-storageDataPath={}", home.path().join("metrics").display()));
        metrics.args([
            "-opentelemetry.usePrometheusNaming",
            "-search.latencyOffset=0s",
            "-retentionPeriod=1d",
        ]);
        let jaeger = Process::start("jaeger", jaeger, &home.path().join("jaeger.log"))?;
        let metrics = Process::start("victoria-metrics", metrics, &home.path().join("metrics.log"))?;
        let forwarding = tokio::spawn(forward(receiver, places));
        let backends = Self { forwarding, jaeger, metrics, places, _home: home };
        backends.ready().await?;
        Ok(backends)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        for (place, process) in [
            (self.places.traces(), &self.jaeger),
            (self.places.jaeger(), &self.jaeger),
            (self.places.metrics(), &self.metrics),
        ] {
            while TcpStream::connect(place).await.is_err() {
                if began.elapsed() > START {
                    bail!("nobody listens at {place}:\n{}", process.log_tail(20));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Where a person reads a trace: as JSON, the module has no web page.
    #[must_use]
    pub fn trace_link(&self, trace: &str) -> String {
        format!("http://{}/api/traces/{trace}?prettyPrint=true", self.places.jaeger())
    }

    /// Where a person asks for metrics.
    #[must_use]
    pub fn metrics_link(&self) -> String {
        format!("http://{}/vmui", self.places.metrics())
    }

    /// Returns a trace as Jaeger has it: `traceID`, `spans`, `processes`; `None` if it has none.
    pub async fn trace(&self, trace: &str) -> anyhow::Result<Option<Value>> {
        let (_, body) = ask(self.places.jaeger(), &format!("/api/traces/{trace}")).await?;
        let answer: Value = serde_json::from_slice(&body).context("Jaeger does not answer with JSON")?;
        Ok(answer["data"].get(0).cloned())
    }

    /// Asks VictoriaMetrics a question in PromQL about now; returns the elements of the vector.
    pub async fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let path = format!("/api/v1/query?query={}", escaped(query));
        let (status, body) = ask(self.places.metrics(), &path).await?;
        if status != 200 {
            bail!("VictoriaMetrics answers {status}: {}", String::from_utf8_lossy(&body));
        }
        let answer: Value =
            serde_json::from_slice(&body).context("VictoriaMetrics does not answer with JSON")?;
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        self.forwarding.abort();
    }
}

/// Hands on what the receiver takes, logs apart: neither backend is for those.
fn forward(receiver: &OtlpReceiver, places: Places) -> impl Future<Output = ()> + use<> {
    let mut taken = receiver.copies();
    async move {
        while let Some(Taken { path, body }) = taken.recv().await {
            let (place, path) = match path.as_str() {
                "/v1/traces" => (places.traces(), "/v1/traces"),
                "/v1/metrics" => (places.metrics(), "/opentelemetry/v1/metrics"),
                _ => continue,
            };
            // Who looks for it there finds that it is missing.
            let _handed_on = request(place, "POST", path, &body).await;
        }
    }
}

async fn ask(place: SocketAddr, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    request(place, "GET", path, &[]).await
}

/// Sends one request on a connection of its own; returns the status and the body.
async fn request(place: SocketAddr, method: &str, path: &str, body: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(place).await.with_context(|| format!("failed to reach {place}"))?;
    // Version 1.0: the answer is in one piece, and ends with the connection.
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {place}\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("the answer breaks off")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer has no status")?;
    Ok((status, answer.split_off(end + 4)))
}

/// Returns a text as a part of a URL's query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
