//! The floor: the requests of a first sync (a dry run and an apply of each object) by a bare loop on 16 connections.
//!
//! It renders nothing, remembers nothing and reads no answer beyond its status: nobody who asks the same of this API
//! server on this machine can be much faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use skiff_harness::cluster::{Cluster, User};

use super::objects::{self, Objects};
use super::results::{Floor, Samples};
use super::window::Window;

/// Connections, each with one request in flight.
const CONNECTIONS: usize = 16;

/// Single changes that are timed.
const CHANGES: usize = 20;

/// What the loop sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    DryRun,
    Apply,
}

pub(super) async fn measure(cluster: &Cluster, objects: &Objects) -> anyhow::Result<Floor> {
    make_namespace(cluster).await?;
    let clients = connect(cluster).await?;
    let bodies: Arc<Vec<Vec<u8>>> =
        Arc::new((0..objects.count()).map(|index| body(index, 0)).collect::<anyhow::Result<_>>()?);
    let window = Window::open(cluster, User::Ops.name(), Some(std::process::id()))?;
    let began = Instant::now();
    round(&clients, &bodies, Round::DryRun).await?;
    let dry_run = began.elapsed();
    round(&clients, &bodies, Round::Apply).await?;
    let wall = began.elapsed();
    let mut first_sync = window.close()?.cost;
    first_sync.wall_seconds = wall.as_secs_f64();
    let one_changed = one_changed(&clients[0], objects).await?;
    Ok(Floor { first_sync, dry_run_seconds: dry_run.as_secs_f64(), one_changed })
}

/// Makes the namespace of the objects and waits until objects can be made in it.
pub(super) async fn make_namespace(cluster: &Cluster) -> anyhow::Result<()> {
    let client = cluster.client(User::Admin)?;
    let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": objects::NAMESPACE}});
    let request = Request::post("/api/v1/namespaces").header(CONTENT_TYPE, "application/json");
    client.request_text(request.body(namespace.to_string().into_bytes())?).await?;
    Ok(())
}

/// Returns the clients, each with its connection open: a tool that runs has its own.
async fn connect(cluster: &Cluster) -> anyhow::Result<Vec<Client>> {
    let clients: Vec<Client> =
        (0..CONNECTIONS).map(|_| cluster.client(User::Ops)).collect::<anyhow::Result<_>>()?;
    for client in &clients {
        client.apiserver_version().await.context("failed to connect")?;
    }
    Ok(clients)
}

async fn round(clients: &[Client], bodies: &Arc<Vec<Vec<u8>>>, round: Round) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let workers = clients.iter().map(|client| {
        let (client, bodies, next) = (client.clone(), bodies.clone(), next.clone());
        tokio::spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(body) = bodies.get(index) else { return anyhow::Ok(()) };
                send(&client, index, body.clone(), round).await?;
            }
        })
    });
    for worker in futures::future::join_all(workers).await {
        worker.context("a worker of the floor ended")??;
    }
    Ok(())
}

/// Times single changes: a dry run, then an apply.
async fn one_changed(client: &Client, objects: &Objects) -> anyhow::Result<Samples> {
    let mut times = Vec::new();
    for number in 0..CHANGES {
        let index = number % objects.count();
        let body = body(index, number + 1)?;
        let began = Instant::now();
        send(client, index, body.clone(), Round::DryRun).await?;
        send(client, index, body, Round::Apply).await?;
        times.push(began.elapsed());
    }
    Ok(Samples::of(times))
}

async fn send(client: &Client, index: usize, body: Vec<u8>, round: Round) -> anyhow::Result<()> {
    let dry_run = if round == Round::DryRun { "&dryRun=All" } else { "" };
    let uri =
        format!("{}?fieldManager=floor&force=true&fieldValidation=Strict{dry_run}", Objects::path(index));
    let request = Request::builder()
        .method(Method::PATCH)
        .uri(uri)
        .header(ACCEPT, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
        .header(CONTENT_TYPE, "application/apply-patch+yaml")
        .body(Body::from(body))?;
    let response = client.send(request).await?;
    let (head, body) = response.into_parts();
    let answer = http_body_util::BodyExt::collect(body).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    if !head.status.is_success() {
        let answer = answer.to_bytes();
        bail!(
            "{} was answered with {}: {}",
            objects::name(index),
            head.status,
            String::from_utf8_lossy(&answer)
        );
    }
    Ok(())
}

/// Returns the body that Skiff would send, labels included.
fn body(index: usize, edition: usize) -> anyhow::Result<Vec<u8>> {
    let mut object = objects::object(index, edition);
    object["metadata"]["labels"]["skiff.dev/instance"] = "lab".into();
    object["metadata"]["labels"]["skiff.dev/app"] = "bench".into();
    Ok(serde_json::to_vec(&object)?)
}
