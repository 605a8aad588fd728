//! The agent's identity: a real service account with the rights that the chart gives it, and a token for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::cluster::{Access, Cluster, User, client};

/// A service account that can act, because somebody asked the server for a token.
pub struct Identity {
    namespace: String,
    account: String,
    authority_pem: String,
    directory: PathBuf,
    kubeconfig: PathBuf,
}

impl Identity {
    /// Asks for a token of an existing service account, as the kubelet does for a pod.
    ///
    /// The server grants no less than ten minutes.
    pub async fn of(
        cluster: &Cluster,
        namespace: &str,
        account: &str,
        lifetime: Duration,
    ) -> anyhow::Result<Self> {
        let mut identity = Self {
            namespace: namespace.to_owned(),
            account: account.to_owned(),
            authority_pem: cluster.authority_pem().to_owned(),
            directory: cluster.directory().to_owned(),
            kubeconfig: PathBuf::new(),
        };
        identity.renew(cluster, lifetime).await?;
        identity.kubeconfig = identity.kubeconfig_for("kubeconfig", &cluster.url())?;
        Ok(identity)
    }

    /// Puts a new token into the token file, as the kubelet does before the old one expires.
    pub async fn renew(&self, cluster: &Cluster, lifetime: Duration) -> anyhow::Result<()> {
        let accounts = Api::<ServiceAccount>::namespaced(cluster.client(User::Admin)?, &self.namespace);
        let expiration_seconds = i64::try_from(lifetime.as_secs()).context("the lifetime is too long")?;
        let spec =
            TokenRequestSpec { expiration_seconds: Some(expiration_seconds), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = accounts
            .create_token_request(&self.account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("failed to get a token for {}", self.username()))?;
        let token =
            answer.status.and_then(|status| status.token).context("the server answered without a token")?;
        // Whoever reads meanwhile finds the old token or the new one, never half of one.
        let fresh = self.file("token.new");
        write(&fresh, &token)?;
        fs::rename(&fresh, self.token_file()).context("failed to replace the token")
    }

    /// Returns the user name that the audit log and RBAC know.
    #[must_use]
    pub fn username(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.account)
    }

    /// Returns the file that holds the token.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.file("token")
    }

    /// Returns a kubeconfig that names the token file and the authority.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Returns a kubeconfig for another way to the same apiserver, such as a fault proxy before it.
    pub fn kubeconfig_through(&self, url: &str) -> anyhow::Result<PathBuf> {
        self.kubeconfig_for("proxied.kubeconfig", url)
    }

    /// Returns a new client that acts as the service account.
    pub fn client(&self) -> anyhow::Result<Client> {
        client(&self.kubeconfig)
    }

    fn kubeconfig_for(&self, extension: &str, url: &str) -> anyhow::Result<PathBuf> {
        let path = self.file(extension);
        let access = Access { url, authority_pem: &self.authority_pem, user: &self.account };
        write(&path, &access.kubeconfig(&json!({ "tokenFile": self.token_file() })))?;
        Ok(path)
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{}.{extension}", self.namespace, self.account))
    }
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))
}
