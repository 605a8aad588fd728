//! Reads Secrets of the agent's own namespace for those who name them in the config: one request for each use, so that
//! a rotated Secret needs no restart. Nothing of them is kept.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use skiff_shared::sync::event::{Cause, Failure, Refusal};

use super::connection::{Call, Connection};
use super::error::words;
use crate::git::{NamedSecret, NamedSecretError, NamedSecrets};

/// The Secrets of one namespace.
pub struct Secrets {
    connection: Connection,
    namespace: String,
}

impl Secrets {
    pub fn new(connection: Connection, namespace: &str) -> Self {
        Self { connection, namespace: namespace.to_owned() }
    }

    async fn get(&self, bare: &str) -> Result<NamedSecret, NamedSecretError> {
        let name = format!("{}/{bare}", self.namespace);
        let uri = format!("/api/v1/namespaces/{}/secrets/{bare}", self.namespace);
        let reply = self.connection.call(Call::get(uri)).await;
        match reply.and_then(|reply| reply.unless_absent()?.map(|reply| reply.json::<Secret>()).transpose()) {
            Ok(Some(secret)) => {
                let data = secret.data.unwrap_or_default().into_iter();
                Ok(NamedSecret { name, data: data.map(|(key, value)| (key, value.0)).collect() })
            }
            Ok(None) => Err(NamedSecretError::NotFound { name }),
            Err(Failure::Rejected(Cause { reason: Refusal::Forbidden, .. })) => {
                Err(NamedSecretError::Forbidden { name })
            }
            Err(failure) => Err(NamedSecretError::Unanswered { name, problem: words(&failure) }),
        }
    }
}

impl NamedSecrets for Secrets {
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<NamedSecret, NamedSecretError>> {
        self.get(name).boxed()
    }
}
