//! The requests that rewrite an object's managedFields: taking fields over, and letting go of them.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use skiff_shared::desired::yields::Yields;
use skiff_shared::inventory::Uid;
use skiff_shared::managed_fields::{ADOPTED, Adoption, Entry, FIELD_MANAGER, adopt, release_fields};
use skiff_shared::object::{Target, api_version};
use skiff_shared::sync::event::{Answer, Cause, Failure, Refusal};

use super::{REWRITE_TRIES, Requests, of_precondition, unreadable, unreleased};
use crate::cluster::connection::{Call, METADATA};

impl Requests {
    /// Makes the fields of other tools ours, so that a field that leaves Git leaves the object.
    pub async fn adopt(&self, target: &Target) -> Result<Answer, Failure> {
        let version = api_version(&target.id.kind().group, &target.version);
        let adoption = Adoption { api_version: &version, take: &ADOPTED, yielded: &[] };
        let is_bare = AtomicBool::new(false);
        let edit = |entries: &[Entry]| {
            is_bare.store(entries.is_empty(), Ordering::Relaxed);
            match adopt(entries, &adoption) {
                Ok(adopted) => Ok(adopted.entries),
                Err(error) => Err(unreadable(&error)),
            }
        };
        let uid = self.rewrite(target, &edit).await?;
        if let Some(uid) = uid.filter(|_| is_bare.load(Ordering::Relaxed)) {
            self.have_tracked(target, &version, &uid).await?;
            self.rewrite(target, &edit).await?;
        }
        Ok(Answer::Adopted)
    }

    /// Has the server note whose the fields of an object are that nobody has applied: it gives all of them to
    /// `before-first-apply` with the first apply, which would keep those that leave Git.
    async fn have_tracked(&self, target: &Target, version: &str, uid: &Uid) -> Result<(), Failure> {
        let (id, kind) = (&target.id, &target.id.kind().kind);
        let mut metadata = json!({"name": id.name(), "uid": &*uid.0});
        if let Some(namespace) = id.namespace() {
            metadata["namespace"] = namespace.into();
        }
        let body = json!({"apiVersion": version, "kind": &**kind, "metadata": metadata}).to_string();
        let call = self.applying(target, body.into(), "")?.accept(METADATA);
        let reply = self.connection.call(call).await?.success();
        reply.map(drop).map_err(of_precondition)
    }

    /// Lets our entry go of what is left to others. `body` tells which items of lists the fields are in.
    pub async fn release(&self, target: &Target, body: &[u8], yields: &Yields) -> Result<Answer, Failure> {
        let body: Value = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
        let fields = yields.paths();
        let edit = |entries: &[Entry]| release_fields(entries, &fields, &body).map_err(unreleased);
        self.rewrite(target, &edit).await.map(Answer::Released)
    }

    /// Replaces an object's managedFields under compare-and-swap; returns the object's uid if there is one.
    async fn rewrite(
        &self,
        target: &Target,
        edit: &impl Fn(&[Entry]) -> Result<Vec<Entry>, Failure>,
    ) -> Result<Option<Uid>, Failure> {
        let path = self.path(target)?;
        for _ in 0..REWRITE_TRIES {
            let Some(live) = self.metadata(&path).await? else { return Ok(None) };
            let entries = live.entries().map_err(|error| unreadable(&error))?;
            let edited = edit(&entries)?;
            let uid = Some(Uid(live.metadata.uid.clone()));
            if edited == entries {
                return Ok(uid);
            }
            let patch = replacing(&edited, live.metadata.resource_version)?;
            let uri = format!("{path}?fieldManager={FIELD_MANAGER}");
            let call = Call::of(Method::PATCH, uri).accept(METADATA);
            let call = call.body("application/json-patch+json", patch);
            match self.connection.call(call).await?.success() {
                // Somebody wrote in between: what they own has to be read again.
                Err(Failure::Unavailable(cause)) if cause.reason == Refusal::Conflict => {}
                other => return other.map(|_| uid),
            }
        }
        let message = format!("{} kept changing while its managedFields were being rewritten", target.id);
        Err(Failure::Unavailable(Cause { reason: Refusal::Conflict, code: 409, message }))
    }
}

/// Returns the patch that replaces the whole list: patching single paths of it is refused in ways that
/// cannot be told apart, and the version makes it a compare-and-swap.
fn replacing(entries: &[Entry], resource_version: u64) -> Result<Bytes, Failure> {
    let entries = serde_json::value::to_raw_value(entries).map_err(|error| unreadable(&error))?;
    let patch = format!(
        r#"[{{"op":"replace","path":"/metadata/managedFields","value":{entries}}},{{"op":"replace","path":"/metadata/resourceVersion","value":"{resource_version}"}}]"#
    );
    Ok(patch.into())
}
