//! What people ask of an app: its `App` object, found with the person's own rights, and a patch of its `spec`.

use anyhow::Context as _;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::Value;
use skiff_shared::api::v1alpha1::App;

use super::{connect, get};
use crate::args::AppArgs;
use crate::cluster::Connection;

/// The field manager of what people write through this program.
const PERSON: &str = "skiff-cli";

/// One app that somebody wants something of.
pub struct Asked {
    pub connection: Connection,
    pub app: App,
    pub name: String,
    /// The agent's namespace.
    pub namespace: String,
}

/// Why an app's `spec` was not written.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(
        "you may not change App objects in namespace {namespace:?}: ask for a Role with apiGroups [skiff.dev], resources [apps], verbs [get, list, watch, patch]"
    )]
    NoRight { namespace: String, source: Box<kube::Error> },
    #[error("app {name:?} was refused what you ask")]
    Refused { name: String, source: Box<kube::Error> },
    #[error("app {name:?} cannot be changed")]
    Request { name: String, source: Box<kube::Error> },
}

/// Asks the API server whether the person may do something; `None` where it does not say.
pub async fn may(
    connection: &Connection,
    attributes: ResourceAttributes,
) -> Result<Option<bool>, kube::Error> {
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..Default::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(connection.client().clone());
    let answered = reviews.create(&PostParams::default(), &review).await?;
    Ok(answered.status.map(|status| status.allowed))
}

impl Asked {
    /// Connects as the person and finds the app.
    pub async fn find(arguments: AppArgs) -> anyhow::Result<Self> {
        let AppArgs { app: name, namespace, cluster } = arguments;
        let connection = connect(cluster).await?;
        let app = get::find(&connection, namespace.as_deref(), &name).await?;
        let namespace = app.metadata.namespace.clone().context("an App object has a namespace")?;
        Ok(Self { connection, app, name, namespace })
    }

    pub fn api(&self) -> Api<App> {
        Api::namespaced(self.connection.client().clone(), &self.namespace)
    }

    /// Lays `spec` over what was asked before; null takes a word back. Returns the app as it is then.
    pub async fn ask(&self, spec: Value) -> Result<App, AskError> {
        let patch = Patch::Merge(serde_json::json!({ "spec": spec }));
        let params = PatchParams { field_manager: Some(PERSON.to_owned()), ..PatchParams::default() };
        let name = self.name.clone();
        match self.api().patch(&name, &params, &patch).await {
            Ok(app) => Ok(app),
            Err(error) => {
                let code = if let kube::Error::Api(status) = &error { status.code } else { 0 };
                let source = Box::new(error);
                Err(match code {
                    403 if !self.may_patch().await => {
                        AskError::NoRight { namespace: self.namespace.clone(), source }
                    }
                    403 | 422 => AskError::Refused { name, source },
                    _ => AskError::Request { name, source },
                })
            }
        }
    }

    /// Asks whether the person may change the app; an unanswered question counts as yes, so that the first refusal is
    /// what is told.
    async fn may_patch(&self) -> bool {
        let attributes = ResourceAttributes {
            group: Some("skiff.dev".to_owned()),
            resource: Some("apps".to_owned()),
            verb: Some("patch".to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            ..ResourceAttributes::default()
        };
        may(&self.connection, attributes).await.ok().flatten().unwrap_or(true)
    }
}
