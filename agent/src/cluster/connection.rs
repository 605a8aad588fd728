//! One identity's connection to one API server.
//!
//! Everything that is sent goes through [`Connection::call`], which knows only HTTP: each request has a
//! deadline, nothing is sent twice, and an answer is bytes with a status.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use jiff::SignedDuration;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use skiff_shared::sync::event::Failure;

use super::classify::{classify, is_absent};
use super::error::ClusterError;

/// How long one request may take, from sending to the last byte of its answer.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How long it may take to reach the server: less than the deadline, so that its error is seen.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The program's name in the API server's audit log.
const AGENT: &str = concat!("skiff/", env!("CARGO_PKG_VERSION"));

/// Asks for whole objects.
pub(super) const JSON: &str = "application/json";

/// Asks for the metadata of an object alone.
pub(super) const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Asks for a list of metadata.
pub(super) const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Which kubeconfig, context and user, as `kubectl` takes them.
#[derive(Clone, Debug, Default)]
pub struct KubeconfigChoice {
    /// The file; without it `KUBECONFIG`, else `~/.kube/config`.
    pub path: Option<PathBuf>,
    pub context: Option<String>,
    pub cluster: Option<String>,
    pub user: Option<String>,
}

/// A connection pool to the API server under one identity. Cheap to clone.
///
/// It belongs to the runtime it was made in.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    config: Config,
    namespace: String,
}

/// A request without a body to send yet.
pub(super) struct Call {
    method: Method,
    /// Path and query.
    uri: String,
    accept: &'static str,
    body: Bytes,
    content_type: Option<&'static str>,
}

/// A complete answer, whatever it says.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub body: Bytes,
    retry_after: Option<SignedDuration>,
}

impl Reply {
    /// Returns the answer if it is a success, else why it is not.
    pub fn success(self) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(classify(self.status.as_u16(), self.retry_after, &self.body))
    }

    /// Returns the answer if it is a success, and nothing if the object is not there.
    pub fn unless_absent(self) -> Result<Option<Self>, Failure> {
        if is_absent(self.status.as_u16(), &self.body) { Ok(None) } else { self.success().map(Some) }
    }

    /// Reads the answer as JSON.
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::Unknown(format!("the answer cannot be read: {error}")))
    }
}

impl Call {
    pub fn get(uri: String) -> Self {
        Self::of(Method::GET, uri)
    }

    pub fn of(method: Method, uri: String) -> Self {
        Self { method, uri, accept: JSON, body: Bytes::new(), content_type: None }
    }

    /// Asks for another form of the answer.
    pub fn accept(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }

    pub fn body(self, content_type: &'static str, body: Bytes) -> Self {
        Self { content_type: Some(content_type), body, ..self }
    }

    pub fn json(self, body: &serde_json::Value) -> Self {
        self.body(JSON, body.to_string().into())
    }

    pub(super) fn into_request<B: From<Bytes>>(self) -> Result<Request<B>, Failure> {
        let mut request = Request::builder().method(self.method).uri(&self.uri).header(ACCEPT, self.accept);
        if let Some(content_type) = self.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        request.body(B::from(self.body)).map_err(|error| Failure::Unknown(error.to_string()))
    }
}

impl Connection {
    /// Connects as the ServiceAccount of the pod that this process runs in.
    pub fn in_cluster() -> Result<Self, ClusterError> {
        let config = Config::incluster().map_err(|source| ClusterError::InCluster { source })?;
        Self::new(config)
    }

    /// Connects as a kubeconfig says.
    pub async fn kubeconfig(choice: KubeconfigChoice) -> Result<Self, ClusterError> {
        let KubeconfigChoice { path, context, cluster, user } = choice;
        let options = KubeConfigOptions { context, cluster, user };
        let config = match path {
            Some(path) => match Kubeconfig::read_from(path) {
                Ok(read) => Config::from_custom_kubeconfig(read, &options).await,
                Err(error) => Err(error),
            },
            None => Config::from_kubeconfig(&options).await,
        };
        Self::new(config.map_err(|source| ClusterError::Kubeconfig { source })?)
    }

    fn new(mut config: Config) -> Result<Self, ClusterError> {
        // An answer is classed and retried by those who asked: kube would hide up to 15 tries.
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT_WITHIN);
        config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config.clone()).map_err(|source| ClusterError::Client { source })?;
        Ok(Self { client, config, namespace })
    }

    /// Returns the namespace of the identity: the pod's own, or the context's.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns what the connection was made of, for a client of a runtime of its own.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// Returns the client beneath, for streams.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request and returns its answer, or the failure to get one in time.
    pub(super) async fn call(&self, call: Call) -> Result<Reply, Failure> {
        let request = call.into_request::<Body>()?;
        match tokio::time::timeout(DEADLINE, self.exchange(request)).await {
            Ok(answered) => answered,
            Err(_) => Err(Failure::Unknown(format!("no answer within {} s", DEADLINE.as_secs()))),
        }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Reply, Failure> {
        let response = self.client.send(request).await.map_err(|error| broken(&error))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| broken(&error))?.to_bytes();
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| value.parse().ok()).map(SignedDuration::from_secs);
        Ok(Reply { status: head.status, body, retry_after })
    }

    /// Sends a request and reads its answer as JSON.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        action: &str,
        call: Call,
    ) -> Result<T, ClusterError> {
        let refused = |failure| ClusterError::Refused { action: action.to_owned(), failure };
        let reply = self.call(call).await.and_then(Reply::success).map_err(refused)?;
        serde_json::from_slice(&reply.body)
            .map_err(|source| ClusterError::Malformed { action: action.to_owned(), source })
    }
}

/// Returns the failure of a request whose answer did not come, or not whole: it may have happened.
pub(super) fn broken(error: &dyn std::error::Error) -> Failure {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let source_words = source.to_string();
        // Several of these errors repeat their source's words in their own.
        if !words.contains(&source_words) {
            words = format!("{words}: {source_words}");
        }
        next = source.source();
    }
    Failure::Unknown(words)
}
