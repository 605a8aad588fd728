//! The part of `skiff doctor` that asks the API server: what it serves, what time it has, what the agent may do.

use http::Request;
use http::header::DATE;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use kube::client::Body;
use skiff_shared::object::GroupKind;

use super::{Finding, Verdict};
use crate::args::ClusterArgs;
use crate::cluster::Connection;
use crate::cluster::discovery::{Discovered, discover};
use crate::commands::{self, ask};
use crate::config::Config;
use crate::telemetry::chain;

/// Clocks that are further apart let one agent take the Lease of another that still works.
const APART: SignedDuration = SignedDuration::from_secs(5);

/// What the agent has to be allowed in its own namespace: group, resource, subresource, verbs. As the chart's Role.
const NEEDED: [(&str, &str, &str, &[&str]); 6] = [
    ("", "configmaps", "", &["get", "list", "create", "update", "delete"]),
    ("", "secrets", "", &["get", "list", "create", "update", "delete"]),
    ("coordination.k8s.io", "leases", "", &["get", "create", "update"]),
    ("skiff.dev", "apps", "", &["get", "list", "watch", "create", "delete"]),
    ("skiff.dev", "apps", "status", &["get", "patch"]),
    ("apiextensions.k8s.io", "customresourcedefinitions", "", &["list", "watch"]),
];

/// Connects as the pod does where this is one, else as a person.
pub(super) async fn connect(cluster: ClusterArgs) -> Result<Connection, Finding> {
    let is_pod = cluster.kubeconfig.is_none() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let connected = if is_pod {
        Connection::in_cluster().map_err(|error| chain(&error))
    } else {
        commands::connect(cluster).await.map_err(|error| chain(error.as_ref()))
    };
    connected.map_err(|words| Finding::new("cluster", Verdict::Bad, words))
}

pub(super) async fn look(connection: &Connection, config: &Config) -> Vec<Finding> {
    let discovered = match discover(connection).await {
        Ok(discovered) => discovered,
        Err(error) => return vec![Finding::new("cluster", Verdict::Bad, chain(&error))],
    };
    let mut findings = served(&discovered);
    findings.push(clock(connection).await);
    findings.extend(rights(connection, config.agent.namespace.as_str()).await);
    findings
}

fn served(discovered: &Discovered) -> Vec<Finding> {
    let mut findings = vec![Finding::new("cluster", Verdict::Good, discovered.kube_version.clone())];
    let incomplete = &discovered.apis.incomplete;
    if !incomplete.is_empty() {
        let words = format!(
            "{} cannot be discovered: nothing of them is pruned and no chart is rendered meanwhile; mend their APIService",
            incomplete.join(", ")
        );
        findings.push(Finding::new("API groups", Verdict::Doubtful, words));
    }
    if !discovered.apis.served(&GroupKind::new("skiff.dev", "App"), "v1alpha1") {
        let words = "the definition of App is not installed: install the chart, which brings it";
        findings.push(Finding::new("definition", Verdict::Bad, words));
    }
    findings
}

/// Compares the clock here with that of the API server.
async fn clock(connection: &Connection) -> Finding {
    let unknown = |words: String| Finding::new("clock", Verdict::Doubtful, words);
    let request = match Request::get("/version").body(Body::empty()) {
        Ok(request) => request,
        Err(error) => return unknown(error.to_string()),
    };
    let response = match connection.client().send(request).await {
        Ok(response) => response,
        Err(error) => return unknown(chain(&error)),
    };
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else {
        return unknown("the API server does not tell its time".to_owned());
    };
    let apart = Timestamp::now().duration_since(theirs.timestamp());
    let words = format!("{} s apart from that of the API server", apart.as_secs());
    if apart.abs() <= APART {
        Finding::new("clock", Verdict::Good, words)
    } else {
        Finding::new("clock", Verdict::Bad, format!("{words}: set it by NTP, as the Lease goes by it"))
    }
}

/// Asks for every right that the agent needs in its own namespace, and whether it may do everything.
async fn rights(connection: &Connection, namespace: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (group, resource, subresource, verbs) in NEEDED {
        let mut missing = Vec::new();
        for verb in verbs {
            match may(connection, namespace, (group, resource, subresource), verb).await {
                Ok(true) => {}
                Ok(false) => missing.push(*verb),
                Err(words) => return vec![Finding::new("rights", Verdict::Doubtful, words)],
            }
        }
        if !missing.is_empty() {
            let name = if subresource.is_empty() {
                resource.to_owned()
            } else {
                format!("{resource}/{subresource}")
            };
            let words = format!(
                "grant in namespace {namespace}: {{apiGroups: [{group:?}], resources: [{name}], verbs: [{}]}}",
                missing.join(", ")
            );
            findings.push(Finding::new("rights", Verdict::Bad, words));
        }
    }
    if findings.is_empty() {
        let words = format!("enough for its own objects in namespace {namespace}");
        findings.push(Finding::new("rights", Verdict::Good, words));
    }
    match may(connection, "", ("*", "*", ""), "*").await {
        Ok(true) => findings.push(Finding::new("rights", Verdict::Good, "everything may be synced")),
        Ok(false) => {
            let words = "not everything may be synced: an object that is refused says Forbidden; rbac.rules of the chart widens what may";
            findings.push(Finding::new("rights", Verdict::Doubtful, words));
        }
        Err(_) => {}
    }
    findings
}

/// Asks whether a verb on a resource is allowed; without a namespace, in all of them.
async fn may(
    connection: &Connection,
    namespace: &str,
    (group, resource, subresource): (&str, &str, &str),
    verb: &str,
) -> Result<bool, String> {
    let attributes = ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()).filter(|name| !name.is_empty()),
        namespace: Some(namespace.to_owned()).filter(|name| !name.is_empty()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    Ok(ask::may(connection, attributes).await.map_err(|error| chain(&error))?.unwrap_or(false))
}
