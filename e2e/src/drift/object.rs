//! One object of a case: how it is applied, changed and looked at.

use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use http::{Method, Request};
use kube::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skiff_harness::cluster::{Cluster, User};

use super::ManagedFields;
use super::case::{Case, Change, Kind};

const NAMESPACE: &str = "drift";

/// What of an object's metadata the rule reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub uid: String,
    pub resource_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_fields: Option<ManagedFields>,
}

#[derive(Deserialize)]
struct WithMetadata {
    metadata: Metadata,
}

pub(super) async fn create_namespace(client: &Client) -> anyhow::Result<()> {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    let request = Request::post("/api/v1/namespaces").header("Content-Type", "application/json");
    let request = request.body(body.to_string().into_bytes()).context("the request is well-formed")?;
    client.request_text(request).await.context("failed to create the namespace of the cases")?;
    Ok(())
}

/// One object on the cluster.
pub(super) struct Object<'a> {
    cluster: &'a Cluster,
    client: Client,
    kind: Kind,
    name: &'static str,
    ours: Value,
}

impl<'a> Object<'a> {
    pub(super) fn new(cluster: &'a Cluster, client: Client, case: &Case) -> anyhow::Result<Self> {
        let mut object = Self { cluster, client, kind: case.kind, name: case.name, ours: Value::Null };
        object.ours = object.complete(case.kind.manifest());
        Ok(object)
    }

    /// Applies the object as the agent does and returns the metadata of the answer.
    pub(super) async fn apply_ours(&self) -> anyhow::Result<Metadata> {
        let answer = self.send(&Write::apply("skiff", &self.ours)).await?;
        let answer: WithMetadata = serde_json::from_str(&answer).context("the answer has no metadata")?;
        Ok(answer.metadata)
    }

    /// Returns the metadata as a metadata-only watch would show them; `None` if the object is gone.
    pub(super) async fn metadata(&self) -> anyhow::Result<Option<Metadata>> {
        let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let request = Request::get(self.path("")).header("Accept", accept).body(Vec::new());
        match self.client.request_text(request.context("the request is well-formed")?).await {
            Ok(answer) => {
                let answer: WithMetadata = serde_json::from_str(&answer)?;
                Ok(Some(answer.metadata))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", self.name)),
        }
    }

    pub(super) async fn perform_all(
        &self,
        changes: &[Change],
        recorded: Option<&Metadata>,
    ) -> anyhow::Result<()> {
        for change in changes {
            self.perform(change, recorded).await?;
        }
        Ok(())
    }

    /// Performs one change; forging needs the metadata that were recorded.
    pub(super) async fn perform(&self, change: &Change, recorded: Option<&Metadata>) -> anyhow::Result<()> {
        match change {
            Change::Merge { by, at, body } => {
                self.send(&Write::patch("application/merge-patch+json", by, body).at(at)).await?;
            }
            Change::Strategic { by, body } => {
                self.send(&Write::patch("application/strategic-merge-patch+json", by, body)).await?;
            }
            Change::JsonPatch { by, body } => {
                self.send(&Write::patch("application/json-patch+json", by, body)).await?;
            }
            Change::Apply { by, body } => {
                self.send(&Write::apply(by, &self.complete(body.clone()))).await?;
            }
            Change::Put { by, edit } => self.put(by, edit).await?,
            Change::Forge { by } => {
                let recorded = recorded.context("only what was recorded can be put back")?;
                let fields = serde_json::to_value(&recorded.managed_fields)?;
                self.put(by, |object| object["metadata"]["managedFields"] = fields).await?;
            }
            Change::Kubectl { edit } => self.kubectl_apply(edit)?,
            Change::Delete => self.delete().await?,
            Change::ApplyOurs => {
                self.apply_ours().await?;
            }
        }
        Ok(())
    }

    fn complete(&self, mut manifest: Value) -> Value {
        let (api_version, kind, _) = self.kind.names();
        manifest["apiVersion"] = api_version.into();
        manifest["kind"] = kind.into();
        manifest["metadata"]["name"] = self.name.into();
        manifest["metadata"]["namespace"] = NAMESPACE.into();
        manifest
    }

    fn path(&self, subresource: &str) -> String {
        let (api_version, _, plural) = self.kind.names();
        let root = if api_version.contains('/') { "apis" } else { "api" };
        let slash = if subresource.is_empty() { "" } else { "/" };
        format!("/{root}/{api_version}/namespaces/{NAMESPACE}/{plural}/{}{slash}{subresource}", self.name)
    }

    async fn send(&self, write: &Write<'_>) -> anyhow::Result<String> {
        let force = if write.content_type == APPLY { "&force=true" } else { "" };
        let uri = format!("{}?fieldManager={}{force}", self.path(write.subresource), write.by);
        let request = Request::builder().method(write.method.clone()).uri(uri);
        let request =
            request.header("Content-Type", write.content_type).body(write.body.to_string().into_bytes());
        let answer = self.client.request_text(request.context("the request is well-formed")?).await;
        answer.with_context(|| format!("failed to write {} as {}", self.name, write.by))
    }

    /// Reads the object, edits it and puts it back, as controllers do.
    async fn put(&self, by: &str, edit: impl FnOnce(&mut Value)) -> anyhow::Result<()> {
        let request = Request::get(self.path("")).body(Vec::new()).context("the request is well-formed")?;
        let mut object: Value = self.client.request(request).await.context("failed to read")?;
        edit(&mut object);
        self.send(&Write {
            method: Method::PUT,
            content_type: "application/json",
            by,
            body: &object,
            subresource: "",
        })
        .await?;
        Ok(())
    }

    /// Applies as kubectl does without server-side apply.
    fn kubectl_apply(&self, edit: &fn(&mut Value)) -> anyhow::Result<()> {
        let mut manifest = self.ours.clone();
        edit(&mut manifest);
        let path = self.cluster.directory().join(format!("{}.json", self.name));
        std::fs::write(&path, manifest.to_string()).context("failed to write the manifest")?;
        let mut kubectl = self.cluster.kubectl(User::Dev);
        let output = kubectl.args(["apply", "-f"]).arg(&path).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "kubectl failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Deletes the object, if it is there, without waiting for anything but the answer.
    async fn delete(&self) -> anyhow::Result<()> {
        let request = Request::delete(self.path("")).header("Content-Type", "application/json");
        let body = json!({"propagationPolicy": "Background"}).to_string().into_bytes();
        match self.client.request_text(request.body(body).context("the request is well-formed")?).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => bail!("failed to delete {}: {error}", self.name),
        }
    }
}

const APPLY: &str = "application/apply-patch+yaml";

/// One write as it goes over the wire.
struct Write<'a> {
    method: Method,
    content_type: &'static str,
    by: &'a str,
    body: &'a Value,
    subresource: &'a str,
}

impl<'a> Write<'a> {
    fn patch(content_type: &'static str, by: &'a str, body: &'a Value) -> Self {
        Self { method: Method::PATCH, content_type, by, body, subresource: "" }
    }

    fn apply(by: &'a str, body: &'a Value) -> Self {
        Self::patch(APPLY, by, body)
    }

    fn at(self, subresource: &'a str) -> Self {
        Self { subresource, ..self }
    }
}
