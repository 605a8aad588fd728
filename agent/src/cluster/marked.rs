//! Objects that carry an agent's marks, whatever kind they are of: how a lost inventory is found again.
//!
//! Lists the metadata of every kind once, and only where an inventory is lost; what that means is decided elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, ObjectMeta, PartialObjectMeta};
use serde_json::{Map, Value};
use skiff_shared::desired::annotations;
use skiff_shared::inventory::Found;
use skiff_shared::managed_fields::FIELD_MANAGER;
use skiff_shared::object::{ApiSet, GroupKind, Interner, ServedKind, api_version};
use tokio::sync::{Mutex, watch};

use super::connection::Connection;
use super::error::ClusterError;
use super::next_page;

/// Objects of one page.
const PAGE: u32 = 500;

/// What was found holds so long: several apps that have lost theirs at once share one look.
const FRESH: Duration = Duration::from_secs(60);

const DEADLINE: Duration = Duration::from_secs(10);

/// Finds objects by their marks.
pub struct Marked {
    client: Client,
    apis: watch::Receiver<Arc<ApiSet>>,
    instance: Arc<str>,
    /// Where the agent works; everywhere where there is none.
    namespaces: Vec<Arc<str>>,
    found: Mutex<Option<(Instant, Arc<[OfApp]>)>>,
}

struct OfApp {
    app: String,
    found: Found,
}

impl Marked {
    pub fn new(
        connection: &Connection,
        apis: &watch::Receiver<Arc<ApiSet>>,
        instance: &Arc<str>,
        namespaces: Vec<Arc<str>>,
    ) -> Self {
        let (client, apis, instance) = (connection.client().clone(), apis.clone(), instance.clone());
        Self { client, apis, instance, namespaces, found: Mutex::default() }
    }

    /// Returns the objects that this agent has applied for an app, as far as it may list them: with its labels, its
    /// entry in managedFields and no owner. Hooks are left out: they are run, not kept.
    ///
    /// # Errors
    /// Fails where a kind cannot be listed for another reason than a missing right: half of the truth would be
    /// recorded as the whole.
    pub async fn of_app(&self, app: &str) -> Result<Vec<Found>, ClusterError> {
        let mut found = self.found.lock().await;
        let known = found.as_ref().filter(|(at, _)| at.elapsed() < FRESH).map(|(_, known)| known.clone());
        let known = match known {
            Some(known) => known,
            None => {
                let fresh: Arc<[OfApp]> = self.all().await?.into();
                *found = Some((Instant::now(), fresh.clone()));
                fresh
            }
        };
        Ok(known.iter().filter(|it| it.app == app).map(|it| it.found.clone()).collect())
    }

    async fn all(&self) -> Result<Vec<OfApp>, ClusterError> {
        let apis = self.apis.borrow().clone();
        if apis.kinds.is_empty() {
            return Err(ClusterError::Undiscovered);
        }
        let mut interner = Interner::default();
        let mut all = Vec::new();
        for (kind, served) in &apis.kinds {
            let Some(version) = served.versions.first() else { continue };
            for object in self.list(kind, served, version).await? {
                all.extend(of_app(object, kind, version, &mut interner));
            }
        }
        Ok(all)
    }

    /// Lists the objects of one kind; none where that is refused.
    async fn list(
        &self,
        kind: &GroupKind,
        served: &ServedKind,
        version: &str,
    ) -> Result<Vec<ObjectMeta>, ClusterError> {
        let resource = ApiResource {
            group: kind.group.to_string(),
            version: version.to_owned(),
            api_version: api_version(&kind.group, version),
            kind: kind.kind.to_string(),
            plural: served.plural.to_string(),
        };
        let apis: Vec<Api<DynamicObject>> = if self.namespaces.is_empty() {
            vec![Api::all_with(self.client.clone(), &resource)]
        } else if served.namespaced {
            let of = |namespace: &Arc<str>| Api::namespaced_with(self.client.clone(), namespace, &resource);
            self.namespaces.iter().map(of).collect()
        } else {
            Vec::new()
        };
        let mut found = Vec::new();
        for api in apis {
            match tokio::time::timeout(DEADLINE, self.pages(&api)).await {
                Ok(Ok(objects)) => found.extend(objects),
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 403..=405) => {
                    tracing::warn!(%kind, code = status.code, "objects of a lost inventory may be of this kind, which cannot be listed");
                }
                Ok(Err(error)) => {
                    return Err(ClusterError::Marks { kind: kind.to_string(), source: Box::new(error) });
                }
                Err(_) => return Err(ClusterError::MarksDeadline { kind: kind.to_string() }),
            }
        }
        Ok(found)
    }

    async fn pages(&self, api: &Api<DynamicObject>) -> Result<Vec<ObjectMeta>, kube::Error> {
        let selector = format!("skiff.dev/instance={}", self.instance);
        let mut params = ListParams::default().labels(&selector).limit(PAGE);
        let mut found = Vec::new();
        loop {
            let page = api.list_metadata(&params).await?;
            found.extend(page.items.into_iter().map(|PartialObjectMeta { metadata, .. }| metadata));
            match next_page(&params, &page.metadata) {
                Some(next) => params = next,
                None => return Ok(found),
            }
        }
    }
}

/// Returns an object of ours, and the app that it says it is of.
fn of_app(object: ObjectMeta, kind: &GroupKind, version: &str, interner: &mut Interner) -> Option<OfApp> {
    let app = object.labels.as_ref()?.get("skiff.dev/app")?.clone();
    let is_ours = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    };
    let applied = object.managed_fields.iter().flatten().any(is_ours);
    let has_owner = object.owner_references.is_some_and(|owners| !owners.is_empty());
    if !applied || has_owner || object.deletion_timestamp.is_some() {
        return None;
    }
    let written: Map<String, Value> =
        object.annotations.into_iter().flatten().map(|(name, value)| (name, Value::String(value))).collect();
    let annotated = annotations::read(&written);
    if !matches!(annotated.role, annotations::Role::Object) {
        return None;
    }
    let id = interner.object(&kind.group, &kind.kind, object.namespace.as_deref(), object.name.as_deref()?);
    let (version, wave, options) = (interner.string(version), annotated.wave, annotated.options);
    Some(OfApp { app, found: Found { id, version, wave, options } })
}
