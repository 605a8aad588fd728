//! Objects as people look at them: read with their own rights, and judged by the built-in rules of health.
//!
//! For one look, not for a watch: nothing is kept or followed here.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::value::RawValue;
use skiff_shared::health::{self, Assessment, Observed};
use skiff_shared::object::{ApiSet, GroupKind, ObjectId, Target};
use skiff_shared::sync::event::Failure;

use super::connection::{Call, Connection, JSON, METADATA, METADATA_LIST, Reply};
use super::path;

/// Objects of one page.
const PAGE: u32 = 500;

/// An object as the API server has it; of a kind whose health is its existence, its metadata alone.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Looked {
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: Option<Box<RawValue>>,
    #[serde(default)]
    status: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: Continued,
    #[serde(default, deserialize_with = "super::live::or_default")]
    items: Vec<Looked>,
}

#[derive(Default, Deserialize)]
struct Continued {
    #[serde(default, rename = "continue")]
    token: String,
}

impl Looked {
    /// Judges the object as the agent does where the app says nothing of its kind.
    pub fn assess(&self, kind: &GroupKind) -> Assessment {
        let none = BTreeMap::new();
        health::assess(
            kind,
            &Observed {
                generation: self.metadata.generation.unwrap_or_default(),
                deleting: self.metadata.deletion_timestamp.is_some(),
                annotations: self.metadata.annotations.as_ref().unwrap_or(&none),
                spec: self.spec.as_deref(),
                status: self.status.as_deref(),
            },
        )
    }
}

/// Which objects of a kind are read.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub kind: &'a GroupKind,
    /// All namespaces where there is none, or where the kind has none.
    pub namespace: Option<&'a Arc<str>>,
    /// A label selector; all objects where it is empty.
    pub selector: &'a str,
}

/// Reads the objects of a kind, page by page; none where the cluster does not serve the kind.
pub async fn list(connection: &Connection, apis: &ApiSet, part: Part<'_>) -> Result<Vec<Looked>, Failure> {
    let Part { kind, namespace, selector } = part;
    let namespaces: Vec<Arc<str>> = namespace.cloned().into_iter().collect();
    let mut found = Vec::new();
    for path::Part { namespace: _, path } in path::of_kind(apis, kind, &namespaces).unwrap_or_default() {
        let mut token = String::new();
        loop {
            let mut uri = format!("{path}?limit={PAGE}");
            for (name, value) in [("labelSelector", selector), ("continue", token.as_str())] {
                if !value.is_empty() {
                    uri.push_str(&format!("&{name}={}", path::segment(value)));
                }
            }
            let accept = if health::needs(kind).is_metadata_only() { METADATA_LIST } else { JSON };
            let reply = connection.call(Call::get(uri).accept(accept)).await?.success()?;
            let Page { metadata: Continued { token: next }, items } = reply.json()?;
            found.extend(items);
            if next.is_empty() {
                break;
            }
            token = next;
        }
    }
    Ok(found)
}

/// Reads one object, in the version that the server prefers; nothing where it is not there.
pub async fn get(connection: &Connection, apis: &ApiSet, id: &ObjectId) -> Result<Option<Looked>, Failure> {
    let served = apis.kinds.get(id.kind()).and_then(|served| served.versions.first());
    // Of a kind that is not served there is no object.
    let Some(version) = served else { return Ok(None) };
    let target = Target { id: id.clone(), version: version.as_ref().into() };
    let uri = path::of_object(apis, &target)?;
    let accept = if health::needs(id.kind()).is_metadata_only() { METADATA } else { JSON };
    let reply = connection.call(Call::get(uri).accept(accept)).await?;
    reply.unless_absent()?.as_ref().map(Reply::json).transpose()
}
