//! What the API server makes of changes by others to objects that `skiff` applied: performed, and recorded as fixtures.
//!
//! The rule of drift rests on these facts, so they are not written down but asked for: [`record_all`] performs every
//! [`Case`] on a real control plane and returns the metadata before and after. The recordings are committed as
//! `tests/fixtures/drift/*.json` (`cargo run -p skiff-e2e --bin record-fixtures`), a pure test proves the rule over
//! them, and a cluster test compares them with what the API server of today does.

mod case;
mod object;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use kube::Client;
use serde::Serialize;
use serde_json::value::RawValue;
use skiff_harness::cluster::{Cluster, User};

pub use case::{Case, Change, Expected, When, all};
pub use object::Metadata;
use object::Object;

/// How often a case that needs everything within one second is tried.
const ATTEMPTS: u32 = 20;

/// What the API server made of one case.
#[derive(Serialize)]
pub struct Recording {
    /// The name of the case and of its file.
    pub case: &'static str,
    /// What was done.
    pub change: &'static str,
    /// Metadata in the answer to our apply.
    pub recorded: Metadata,
    /// Metadata after the change; `None` if the object is gone.
    pub now: Option<Metadata>,
    /// What the rule has to say.
    pub expected: Expected,
}

impl Recording {
    /// Returns the content of the fixture file.
    pub fn to_json(&self) -> anyhow::Result<String> {
        let mut json = serde_json::to_string(self).context("a recording is plain JSON")?;
        json.push('\n');
        Ok(json)
    }
}

/// Performs all cases, each on an object of its own, in the order of their names.
///
/// The cluster has to run without controllers, whose writes would come between.
pub async fn record_all(cluster: &Cluster) -> anyhow::Result<Vec<Recording>> {
    let client = cluster.client(User::Dev)?;
    object::create_namespace(&client).await?;
    let (at_once, later): (Vec<Case>, Vec<Case>) =
        all().into_iter().partition(|case| case.when == When::SameSecond);
    let mut recordings = record_later(cluster, &client, later).await?;
    for case in at_once {
        recordings.push(record_at_once(cluster, &client, case).await?);
    }
    recordings.sort_by_key(|recording| recording.case);
    Ok(recordings)
}

/// Applies all objects, lets the second pass, and then performs the changes.
async fn record_later(
    cluster: &Cluster,
    client: &Client,
    cases: Vec<Case>,
) -> anyhow::Result<Vec<Recording>> {
    let mut prepared = Vec::new();
    for case in cases {
        let object = Object::new(cluster, client.clone(), &case)?;
        object.perform_all(&case.before, None).await?;
        prepared.push((case, object));
    }
    until_after(now()).await;
    let mut applied = Vec::new();
    for (case, object) in prepared {
        let recorded = object.apply_ours().await.with_context(|| format!("case {}", case.name))?;
        applied.push((case, object, recorded));
    }
    until_after(now()).await;
    let mut recordings = Vec::new();
    for (case, object, recorded) in applied {
        object
            .perform_all(&case.changes, Some(&recorded))
            .await
            .with_context(|| format!("case {}", case.name))?;
        let now = object.metadata().await?;
        recordings.push(recording(case, recorded, now));
    }
    Ok(recordings)
}

/// Performs a case of which everything has to happen within one second, and tries again if it did not.
async fn record_at_once(cluster: &Cluster, client: &Client, case: Case) -> anyhow::Result<Recording> {
    for _ in 0..ATTEMPTS {
        let object = Object::new(cluster, client.clone(), &case)?;
        object.perform(&Change::Delete, None).await?;
        until_after(now()).await;
        let second = now();
        object.perform_all(&case.before, None).await?;
        let recorded = object.apply_ours().await?;
        object
            .perform_all(&case.changes, Some(&recorded))
            .await
            .with_context(|| format!("case {}", case.name))?;
        let after = object.metadata().await?;
        if now() == second {
            return Ok(recording(case, recorded, after));
        }
    }
    bail!("case {} did not fit into one second in {ATTEMPTS} attempts", case.name)
}

fn recording(case: Case, recorded: Metadata, now: Option<Metadata>) -> Recording {
    let Case { name, change, expected, .. } = case;
    Recording { case: name, change, recorded, now, expected }
}

/// The clock of this machine is also the API server's.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Waits until the clock shows a later second.
async fn until_after(second: u64) {
    while now() <= second {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The managedFields of a recording as the API server wrote them.
pub type ManagedFields = Box<RawValue>;
