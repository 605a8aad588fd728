//! The requests of a machine: apply, dry run, get, delete, adopt, release.
//!
//! Bodies are sent as they were rendered; only what leaves fields to others is parsed whole. Every function sends
//! as few requests as it can
//! and answers in the words of the machine; nothing is tried twice here.

mod surgery;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use skiff_shared::desired::yields::Yields;
use skiff_shared::desired::{BodyDigest, Propagation};
use skiff_shared::health;
use skiff_shared::inventory::{Applied, Uid};
use skiff_shared::managed_fields::{FIELD_MANAGER, FieldSet, ReleaseError, field_set_of, release_fields};
use skiff_shared::object::{ApiSet, Digest, ObjectId, Target};
use skiff_shared::sync::effect::WithFields;
use skiff_shared::sync::event::{Answer, AppliedAnswer, Cause, Failure, Observation, Point, Refusal, Seen};
use tokio::sync::watch;

use super::connection::{Call, Connection, JSON, METADATA, Reply};
use crate::expr::HealthBook;

use super::generations::Generations;
use super::live::{Keep, Live, View};
use super::path;

/// How often a rewriting of managedFields reads again because somebody wrote in between.
const REWRITE_TRIES: u32 = 5;

/// The version that no stored object has: etcd's first revision is older than any object.
const NO_VERSION: &str = "1";

/// The content type of a server-side apply; JSON is YAML.
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// Sends a machine's requests.
#[derive(Clone)]
pub struct Requests {
    connection: Connection,
    apis: watch::Receiver<Arc<ApiSet>>,
    generations: Generations,
    /// Our value of the instance label.
    instance: Arc<str>,
    health: HealthBook,
}

/// A body on its way to the cluster.
#[derive(Clone, Debug)]
pub struct Sending {
    pub target: Target,
    pub digest: BodyDigest,
    /// Canonical JSON.
    pub body: Bytes,
    /// What is left out of the body.
    pub yields: Option<Arc<Yields>>,
    /// The only object that it is for.
    pub uid: Option<Uid>,
    /// What is let go of afterwards, if that can be: a dry run tells.
    pub releases: Option<Arc<Yields>>,
    pub with_fields: WithFields,
}

/// A body without what is left to others.
struct Prepared {
    body: Bytes,
    /// The version of the object that told what managers own, where that was asked.
    version: Option<u64>,
}

/// Where a dry run is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DryRunPlace<'a> {
    /// The object's own namespace.
    Own,
    /// This namespace, which exists.
    Substitute(&'a str),
    /// Another name, under which there is no object.
    Aside,
}

impl Requests {
    /// Sends over `connection` to what `apis` says is served. `generations` are those of the watches, so
    /// that answers and events can be ordered.
    pub fn new(
        connection: Connection,
        apis: watch::Receiver<Arc<ApiSet>>,
        generations: Generations,
        instance: Arc<str>,
    ) -> Self {
        Self { connection, apis, generations, instance, health: HealthBook::default() }
    }

    /// Judges health also by what apps say of their kinds.
    #[must_use]
    pub fn judging_by(self, health: HealthBook) -> Self {
        Self { health, ..self }
    }

    /// Applies a body.
    pub async fn apply(&self, sending: &Sending) -> Result<Answer, Failure> {
        for _ in 0..REWRITE_TRIES {
            let Prepared { body, version } = self.prepared(sending).await?;
            let Some(version) = version else {
                let written = self.written(sending, body).await;
                // Nothing stands there that has the uid.
                return if sending.uid.is_some() { written.map_err(of_precondition) } else { written };
            };
            match self.written(sending, with_version(&body, &version.to_string())?).await {
                // Somebody wrote in between: what a manager has given up would be nobody's, and go.
                Err(Failure::Unavailable(cause)) if cause.reason == Refusal::Conflict => {}
                other => return other,
            }
        }
        let message = format!("{} kept changing while it was asked what others own of it", sending.target.id);
        Err(Failure::Unavailable(Cause { reason: Refusal::Conflict, code: 409, message }))
    }

    /// Applies a body where no object stands: the API server takes a version that no object can have for a creation,
    /// and refuses it as a conflict where one is.
    pub async fn create(&self, sending: &Sending) -> Result<Answer, Failure> {
        self.written(sending, with_version(&sending.body, NO_VERSION)?).await.map_err(of_precondition)
    }

    async fn written(&self, sending: &Sending, body: Bytes) -> Result<Answer, Failure> {
        let Sending { target, digest, yields, with_fields, .. } = sending;
        let call = self.applying(target, body, "")?.accept(form(target));
        let reply = self.connection.call(call).await?.success()?;
        let live: Live = reply.json()?;
        let seen = self.seen(target, &live)?;
        let applied = Applied {
            body: *digest,
            yields: yields.clone(),
            uid: seen.uid.clone(),
            rv: seen.at.rv,
            generation: seen.generation,
            fields: seen.fields,
        };
        let owned = owned(&live, *with_fields)?;
        Ok(Answer::Applied(Box::new(AppliedAnswer { applied, seen, owned })))
    }

    /// Has the server go through an apply without storing anything.
    pub async fn dry_run(&self, sending: &Sending, place: DryRunPlace<'_>) -> Result<Answer, Failure> {
        let Sending { target, with_fields, .. } = sending;
        let Prepared { body, .. } = self.prepared(sending).await?;
        let (target, body) = match place {
            DryRunPlace::Own => (target.clone(), body),
            DryRunPlace::Substitute(namespace) => moved(target, &body, namespace)?,
            DryRunPlace::Aside => renamed(target, &body)?,
        };
        let call = self.applying(&target, body, "&dryRun=All")?.accept(METADATA);
        let reply = self.connection.call(call).await?.success()?;
        let live: Live = reply.json()?;
        let fields = live.fields().map_err(|error| unreadable(&error))?;
        // What would be created has been stored nowhere, so it has no version.
        let exists = live.metadata.resource_version != 0;
        if let Some(yields) = &sending.releases {
            let entries = live.entries().map_err(|error| unreadable(&error))?;
            let object: Value = serde_json::from_slice(&sending.body).map_err(|error| unreadable(&error))?;
            release_fields(&entries, &yields.paths(), &object).map_err(unreleased)?;
        }
        Ok(Answer::DryRun { exists, fields, owned: owned(&live, *with_fields)? })
    }

    /// Reads an object.
    pub async fn get(&self, target: &Target) -> Result<Answer, Failure> {
        let call = Call::get(self.path(target)?).accept(form(target));
        let observation = match self.connection.call(call).await?.unless_absent()? {
            Some(reply) => Observation::Present(Box::new(self.seen(target, &reply.json()?)?)),
            None => Observation::Absent(Point { watch: self.generations.current(target.id.kind()), rv: 0 }),
        };
        Ok(Answer::Got(observation))
    }

    /// Deletes an object if it is still the one with this uid.
    pub async fn delete(
        &self,
        target: &Target,
        uid: &Uid,
        propagation: Propagation,
    ) -> Result<Answer, Failure> {
        // Without an explicit policy the default of a Job leaves its pods behind.
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": { "uid": &*uid.0 },
            "propagationPolicy": propagation.word(),
        });
        let call = Call::of(Method::DELETE, self.path(target)?).accept(METADATA).json(&options);
        match self.connection.call(call).await?.unless_absent() {
            Ok(None) => Ok(Answer::Deleted { gone: true }),
            Ok(Some(reply)) => Ok(Answer::Deleted { gone: is_status(&reply)? }),
            // The only precondition is the uid.
            Err(failure) => Err(of_precondition(failure)),
        }
    }

    /// Reads an object's metadata; `None` where there is no object.
    async fn metadata(&self, path: &str) -> Result<Option<Live>, Failure> {
        let read = self.connection.call(Call::get(path.to_owned()).accept(METADATA)).await?;
        read.unless_absent()?.map(|reply| reply.json()).transpose()
    }

    /// Returns the body as it is sent: without what is left to others, and for one object only.
    async fn prepared(&self, sending: &Sending) -> Result<Prepared, Failure> {
        let Sending { target, body, yields, uid, .. } = sending;
        if yields.is_none() && uid.is_none() {
            return Ok(Prepared { body: body.clone(), version: None });
        }
        let mut version = None;
        let mut object: Value = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
        if let Some(yields) = yields {
            let live =
                if yields.managers.is_empty() { None } else { self.metadata(&self.path(target)?).await? };
            if let (Some(live), Some(uid)) = (&live, uid)
                && live.metadata.uid != uid.0
            {
                return Err(Failure::Replaced(replaced(target)));
            }
            version = live.as_ref().map(|live| live.metadata.resource_version);
            let entries = live.map(|live| live.entries()).transpose().map_err(|error| unreadable(&error))?;
            yields
                .take_from(&mut object, &entries.unwrap_or_default())
                .map_err(|error| unreadable(&error))?;
        }
        if let (Some(uid), Some(metadata)) = (uid, object.get_mut("metadata")) {
            metadata["uid"] = (&*uid.0).into();
        }
        Ok(Prepared { body: object.to_string().into(), version })
    }

    fn path(&self, target: &Target) -> Result<String, Failure> {
        path::of_object(&self.apis.borrow(), target)
    }

    fn applying(&self, target: &Target, body: Bytes, more: &str) -> Result<Call, Failure> {
        let path = self.path(target)?;
        let uri = format!("{path}?fieldManager={FIELD_MANAGER}&force=true&fieldValidation=Strict{more}");
        Ok(Call::of(Method::PATCH, uri).body(APPLY_PATCH, body))
    }

    fn seen(&self, target: &Target, live: &Live) -> Result<Seen, Failure> {
        let kind = target.id.kind();
        let view = View { kind, instance: &self.instance, health: &self.health };
        live.seen(view, self.generations.current(kind), Keep::Entries).map_err(|error| unreadable(&error))
    }
}

/// Returns the form of the answer: whole only where health reads more than metadata.
fn form(target: &Target) -> &'static str {
    if health::needs(target.id.kind()).is_metadata_only() { METADATA } else { JSON }
}

fn owned(live: &Live, with_fields: WithFields) -> Result<Option<FieldSet>, Failure> {
    match with_fields {
        WithFields::No => Ok(None),
        WithFields::Yes => {
            let entries = live.entries().map_err(|error| unreadable(&error))?;
            field_set_of(&entries).map(Some).map_err(|error| unreadable(&error))
        }
    }
}

/// A field that is only a part of what the server keeps as one can never be left to others.
fn unreleased(error: ReleaseError) -> Failure {
    match error {
        ReleaseError::Entry(error) => unreadable(&error),
        ReleaseError::PartOfWhole { .. } => {
            Failure::Rejected(Cause { reason: Refusal::Invalid, code: 0, message: error.to_string() })
        }
    }
}

fn unreadable(error: &dyn std::error::Error) -> Failure {
    Failure::Unknown(format!("the answer cannot be read: {error}"))
}

/// Returns the object as it would be in another namespace.
fn moved(target: &Target, body: &[u8], namespace: &str) -> Result<(Target, Bytes), Failure> {
    let mut object: Value = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    if let Some(metadata) = object.get_mut("metadata") {
        metadata["namespace"] = namespace.into();
    }
    let id = ObjectId::new(target.id.kind().clone(), Some(namespace.into()), target.id.name());
    Ok((Target { id, version: target.version.clone() }, object.to_string().into()))
}

/// Says that another object has the name of the one that is meant.
fn replaced(target: &Target) -> Cause {
    let message = format!("{} is another object than the one that is meant", target.id);
    Cause { reason: Refusal::Conflict, code: 409, message }
}

/// Reads a conflict as what it is to a request whose only precondition says which object stands there.
fn of_precondition(failure: Failure) -> Failure {
    match failure {
        Failure::Unavailable(cause) if cause.reason == Refusal::Conflict => Failure::Replaced(cause),
        other => other,
    }
}

/// Returns the body with `metadata.resourceVersion`.
fn with_version(body: &[u8], version: &str) -> Result<Bytes, Failure> {
    let mut object: BTreeMap<&str, Box<RawValue>> =
        serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let metadata = object.get("metadata").map_or("{}", |metadata| metadata.get());
    let mut metadata: Value = serde_json::from_str(metadata).map_err(|error| unreadable(&error))?;
    metadata["resourceVersion"] = version.into();
    let metadata = serde_json::value::to_raw_value(&metadata).map_err(|error| unreadable(&error))?;
    object.insert("metadata", metadata);
    serde_json::to_vec(&object).map(Bytes::from).map_err(|error| unreadable(&error))
}

/// Returns the object as it would be under another name.
fn renamed(target: &Target, body: &[u8]) -> Result<(Target, Bytes), Failure> {
    let mut object: Value = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let name = name_aside(target.id.name());
    if let Some(metadata) = object.get_mut("metadata") {
        metadata["name"] = name.as_str().into();
    }
    let id = ObjectId::new(target.id.kind().clone(), target.id.namespace().map(Into::into), &name);
    Ok((Target { id, version: target.version.clone() }, object.to_string().into()))
}

/// Returns a name that nothing has: as long as every kind takes it, and different for every object.
pub fn name_aside(name: &str) -> String {
    let start: String = name.chars().take(40).collect();
    let digest = Digest::of(name.as_bytes()).to_string();
    let end: String = digest.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("{}-x{end}", start.trim_end_matches(['-', '.', '_', ':']))
}

/// Whether an answer is a `Status`: a delete answers with the object while something holds it.
fn is_status(reply: &Reply) -> Result<bool, Failure> {
    #[derive(serde::Deserialize)]
    struct Kind {
        kind: String,
    }
    let Kind { kind } = reply.json()?;
    Ok(kind == "Status")
}
