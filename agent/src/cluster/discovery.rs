//! What the cluster serves: kinds, versions, and what of it cannot be known at the moment.
//!
//! Two requests of aggregated discovery and one for the version. kube's own helper drops a group whose
//! server is away; here it is listed, because nothing may be pruned or rendered on half of the truth.

use std::collections::BTreeSet;

use serde::Deserialize;
use skiff_shared::object::{ApiSet, GroupKind, ServedKind, api_version};

use super::connection::{Call, Connection};
use super::error::ClusterError;

/// The form of the answer; a server that does not know it answers with another one.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// The verb that a kind must allow to be of use to us.
const APPLY: &str = "patch";

/// What discovery found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Discovered {
    pub apis: ApiSet,
    /// `v1.37.2`, as the server says.
    pub kube_version: String,
    /// `apps/v1` and `apps/v1/Deployment` of everything served, sorted: Helm's capabilities.
    pub api_versions: Vec<String>,
}

#[derive(Deserialize)]
struct GroupList {
    kind: String,
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: GroupName,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Deserialize, Default)]
struct GroupName {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: Box<str>,
    #[serde(default)]
    resources: Vec<Resource>,
    /// `Current`; `Stale` while the server behind it does not answer.
    #[serde(default)]
    freshness: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource: Box<str>,
    response_kind: Option<ResponseKind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct ResponseKind {
    #[serde(default)]
    kind: Box<str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServerVersion {
    git_version: String,
}

/// Asks the cluster what it serves.
pub async fn discover(connection: &Connection) -> Result<Discovered, ClusterError> {
    let core = connection.read("discover the core API", Call::get("/api".into()).accept(AGGREGATED));
    let groups = connection.read("discover the API groups", Call::get("/apis".into()).accept(AGGREGATED));
    let version = connection.read("ask for the version", Call::get("/version".into()));
    let (core, groups, version): (GroupList, GroupList, ServerVersion) =
        tokio::try_join!(core, groups, version)?;
    if [&core, &groups].iter().any(|list| list.kind != "APIGroupDiscoveryList") {
        return Err(ClusterError::TooOld);
    }
    let groups: Vec<Group> = core.items.into_iter().chain(groups.items).collect();
    Ok(Discovered { api_versions: names(&groups), apis: assemble(groups), kube_version: version.git_version })
}

/// Returns the names by which charts ask for APIs: also of kinds that cannot be applied.
fn names(groups: &[Group]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for group in groups {
        for version in &group.versions {
            let api_version = api_version(&group.metadata.name, &version.version);
            let kinds = version.resources.iter().filter_map(|resource| resource.response_kind.as_ref());
            names.extend(kinds.map(|response| format!("{api_version}/{}", response.kind)));
            names.insert(api_version);
        }
    }
    names.into_iter().collect()
}

fn assemble(groups: Vec<Group>) -> ApiSet {
    let mut apis = ApiSet::default();
    for group in groups {
        let name = group.metadata.name;
        if group.versions.iter().any(|version| version.freshness == "Stale") {
            apis.incomplete.push(name.as_str().into());
        }
        for version in group.versions {
            for resource in version.resources {
                add(&mut apis, &name, &version.version, resource);
            }
        }
    }
    apis
}

/// Adds one version of one kind; the server names its preferred version first.
fn add(apis: &mut ApiSet, group: &str, version: &str, resource: Resource) {
    let Some(response) = resource.response_kind else { return };
    if !resource.verbs.iter().any(|verb| verb == APPLY) {
        return;
    }
    let kind = GroupKind { group: group.into(), kind: response.kind };
    let served = apis.kinds.entry(kind).or_insert_with(|| ServedKind {
        plural: resource.resource,
        namespaced: resource.scope == "Namespaced",
        versions: Vec::new(),
    });
    if !served.versions.iter().any(|known| &**known == version) {
        served.versions.push(version.into());
    }
}
