//! The endpoint over a real connection.

use std::net::SocketAddr;
use std::time::Duration;

use skiff::http::{Endpoint, Heartbeats, HttpError, Readiness, listen, serve};
use skiff::telemetry::{Detail, Identity, LogFormat, Telemetry, TelemetryConfig, Variables, chain};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(20);

struct Served {
    address: SocketAddr,
    endpoint: Endpoint,
    end: oneshot::Sender<()>,
    task: JoinHandle<Result<(), HttpError>>,
}

async fn start() -> Served {
    let telemetry = Telemetry::start(TelemetryConfig {
        identity: Identity::new("eu-1", "eu-1"),
        endpoint: None,
        headers_file: None,
        detail: Detail::Stages,
        log_format: LogFormat::Text,
        log_filter: Some("off".to_owned()),
        variables: Variables::default(),
    });
    let endpoint = Endpoint { telemetry, heartbeats: Heartbeats::default(), readiness: Readiness::default() };
    let listener = listen("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (end, ended) = oneshot::channel::<()>();
    let task = tokio::spawn(serve(listener, endpoint.clone(), async move { drop(ended.await) }));
    Served { address, endpoint, end, task }
}

/// Returns the answer to a GET, head and body.
async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the endpoint listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: skiff\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

fn status_and_body(answer: &str) -> (&str, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    (head.lines().next().unwrap_or_default(), body)
}

#[tokio::test]
async fn liveness_names_the_tasks_that_are_silent() {
    let served = start().await;
    let lease = served.endpoint.heartbeats.promise("lease", Duration::from_secs(60));
    assert_eq!(status_and_body(&get(served.address, "/livez").await), ("HTTP/1.1 200 OK", "ok\n"));
    // A promise that nobody can keep.
    let _stuck = served.endpoint.heartbeats.promise("router", Duration::ZERO);
    let answer = loop {
        let answer = get(served.address, "/livez").await;
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
    };
    let expected = ("HTTP/1.1 503 Service Unavailable", "router has been silent for 0 s\n");
    assert_eq!(status_and_body(&answer), expected);
    drop(lease);
}

#[tokio::test]
async fn readiness_lists_what_is_known() {
    let served = start().await;
    let readiness = &served.endpoint.readiness;
    readiness.known("config", "loaded");
    readiness.expect("lease");
    let answer = get(served.address, "/readyz").await;
    let expected = ("HTTP/1.1 503 Service Unavailable", "config: loaded\nlease: not known yet\n");
    assert_eq!(status_and_body(&answer), expected);
    readiness.known("lease", "held by skiff-0");
    let answer = get(served.address, "/readyz").await;
    assert_eq!(status_and_body(&answer), ("HTTP/1.1 200 OK", "config: loaded\nlease: held by skiff-0\n"));
}

#[tokio::test]
async fn metrics_are_in_the_format_of_scrapers() {
    let served = start().await;
    served.endpoint.telemetry.source_expected("production");
    let answer = get(served.address, "/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4\r\n"), "{answer}");
    assert!(
        answer.contains("\nskiff_source_age_seconds{deployment_environment_name=\"production\",k8s_cluster_name=\"eu-1\"} "),
        "{answer}"
    );
    assert!(get(served.address, "/").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_client_that_says_nothing() {
    let served = start().await;
    let mut silent = TcpStream::connect(served.address).await.expect("the endpoint listens");
    silent.write_all(b"GET /livez HTTP/1.1\r\nhost:").await.expect("half a request is sent");
    assert_eq!(status_and_body(&get(served.address, "/livez").await).0, "HTTP/1.1 200 OK");
    served.end.send(()).expect("the server runs");
    let ended = tokio::time::timeout(DEADLINE, served.task).await.expect("the end comes");
    assert!(ended.expect("no panic").is_ok());
    drop(silent);
}

#[tokio::test]
async fn an_address_in_use_is_told_with_the_way_out() {
    let served = start().await;
    let error = listen(served.address).await.expect_err("the address is in use");
    let text = chain(&error).replace(&served.address.to_string(), "ADDRESS");
    assert_eq!(
        text,
        "failed to listen on ADDRESS: set http.listen to an address and port that are free: Address already in use (os error 98)"
    );
}
