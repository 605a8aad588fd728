//! One list and one stream of a collection: the requests of a watch, without its loop.
//!
//! kube's `watcher` is not used: it lists from the API server's cache (`resourceVersion=0`), which may be
//! older than an answer that we have had; it hides that a kind is gone; and it holds a page twice.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::core::WatchEvent;
use serde::Deserialize;
use skiff_shared::sync::event::{Failure, Refusal};

use super::super::connection::{Call, Connection, DEADLINE, JSON, METADATA, METADATA_LIST, Reply, broken};
use super::super::live::{Live, or_default};
use super::super::{classify::classify, path::segment};

/// After this time the server ends a stream by itself; it is then opened again where it ended.
const STREAM_SECONDS: u32 = 290;

/// Objects in one page where lists cannot be streamed: a compromise between memory and requests.
const PAGE: u32 = 250;

/// The annotation of the bookmark that ends a streamed list.
const LIST_ENDS: &str = "k8s.io/initial-events-end";

/// What is read of every object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Metadata,
    Whole,
}

/// A collection and how it is read.
pub(super) struct Collection {
    pub connection: Connection,
    pub form: Form,
    pub selector: Option<String>,
    /// Whether this server streams lists; learned by trying.
    pub streams_lists: AtomicBool,
}

/// One thing that a stream says.
pub(super) enum Said {
    Present(Box<Live>),
    Deleted(Box<Live>),
    /// Nothing happened up to this version.
    UpTo(String),
    /// The list is complete up to this version.
    ListEnds(String),
    /// The stream is over, by the server's word or by a broken connection.
    Ended,
    Failed(Failure),
}

/// An open stream.
pub(super) struct Events(BoxStream<'static, kube::Result<WatchEvent<Live>>>);

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct Page {
    pub metadata: PageMetadata,
    #[serde(default, deserialize_with = "or_default")]
    pub items: Vec<Live>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageMetadata {
    pub resource_version: String,
    #[serde(default, rename = "continue")]
    pub next: String,
}

impl Collection {
    /// Opens a stream that begins with a list as fresh as a read from the store. `None` where the server
    /// cannot do that.
    pub async fn open_with_list(&self, path: &str) -> Result<Option<Events>, Failure> {
        if !self.streams_lists.load(Ordering::Relaxed) {
            return Ok(None);
        }
        // No resourceVersion: "at least as fresh as now", where 0 would be "whatever you have".
        match self.open(path, "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan").await {
            Err(Failure::Rejected(cause)) if cause.reason == Refusal::Invalid => {
                self.streams_lists.store(false, Ordering::Relaxed);
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Opens a stream of what happened after a version.
    pub async fn open_after(&self, path: &str, version: &str) -> Result<Events, Failure> {
        self.open(path, &format!("&resourceVersion={}", segment(version))).await
    }

    async fn open(&self, path: &str, more: &str) -> Result<Events, Failure> {
        let selector = self.selector();
        let uri = format!(
            "{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={STREAM_SECONDS}{selector}{more}"
        );
        let request = Call::get(uri).accept(self.accept(METADATA)).into_request::<Vec<u8>>()?;
        let opening = self.connection.client().request_events::<Live>(request);
        match tokio::time::timeout(DEADLINE, opening).await {
            Ok(Ok(stream)) => Ok(Events(stream.boxed())),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Failure::Unknown(format!("no answer within {} s", DEADLINE.as_secs()))),
        }
    }

    /// Reads a page of a list; an empty token reads the first.
    pub async fn page(&self, path: &str, token: &str) -> Result<Page, Failure> {
        let selector = self.selector();
        let uri = format!("{path}?limit={PAGE}{selector}&continue={}", segment(token));
        let call = Call::get(uri).accept(self.accept(METADATA_LIST));
        self.connection.call(call).await.and_then(Reply::success)?.json()
    }

    fn selector(&self) -> String {
        self.selector.as_ref().map_or_else(String::new, |label| format!("&labelSelector={}", segment(label)))
    }

    fn accept(&self, metadata: &'static str) -> &'static str {
        match self.form {
            Form::Metadata => metadata,
            Form::Whole => JSON,
        }
    }
}

impl Events {
    /// Returns what the stream says next.
    pub async fn next(&mut self) -> Said {
        match self.0.next().await {
            None => Said::Ended,
            Some(Err(error)) => Said::Failed(failure(&error)),
            Some(Ok(WatchEvent::Added(live) | WatchEvent::Modified(live))) => Said::Present(Box::new(live)),
            Some(Ok(WatchEvent::Deleted(live))) => Said::Deleted(Box::new(live)),
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                let version = bookmark.metadata.resource_version;
                if bookmark.metadata.annotations.contains_key(LIST_ENDS) {
                    Said::ListEnds(version)
                } else {
                    Said::UpTo(version)
                }
            }
            Some(Ok(WatchEvent::Error(status))) => Said::Failed(refusal(&status)),
        }
    }
}

fn failure(error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => refusal(status),
        other => broken(other),
    }
}

fn refusal(status: &kube::core::Status) -> Failure {
    let body = serde_json::to_vec(status).unwrap_or_default();
    classify(status.code, None, &body)
}
