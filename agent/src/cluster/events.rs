//! Kubernetes Events on `App` objects, as `events.k8s.io/v1` has them.
//!
//! Adapter at the end of the pipeline: what becomes an Event is decided by [`skiff_shared::news`]. Kube's own recorder is
//! not used: it counts a second Event of the same reason to the first one and keeps the first one's text, so that
//! the second of two syncs would go by the name of the first one's commit.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::PostParams;
use skiff_shared::managed_fields::FIELD_MANAGER;
use skiff_shared::news::News;
use skiff_shared::report::shortened;

/// How long the API server may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// The name of the controller that the Events are from.
const CONTROLLER: &str = "skiff.dev/agent";

/// Bytes that the note of an Event may have (k8s.io/api events/v1).
const MAX_NOTE: usize = 1_024;

/// The Events of one agent.
pub struct Events {
    events: Api<Event>,
    namespace: String,
    instance: String,
}

/// Why an Event was not written.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error("failed to write an Event of {app}")]
    Request { app: String, source: kube::Error },
    #[error("no answer in {} s to an Event of {app}", DEADLINE.as_secs())]
    Deadline { app: String },
}

impl EventError {
    /// Whether another try may do better.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Request { source: kube::Error::Api(status), .. } => {
                status.code == 429 || status.code >= 500
            }
            Self::Request { .. } | Self::Deadline { .. } => true,
        }
    }
}

impl Events {
    pub fn new(client: &kube::Client, namespace: &str, instance: &str) -> Self {
        let events = Api::namespaced(client.clone(), namespace);
        Self { events, namespace: namespace.to_owned(), instance: instance.to_owned() }
    }

    /// Makes the Event of news about the `App` of this name and uid.
    pub fn event(&self, app: &str, uid: &str, news: &News, now: Timestamp) -> Event {
        let regarding = ObjectReference {
            api_version: Some("skiff.dev/v1alpha1".to_owned()),
            kind: Some("App".to_owned()),
            name: Some(app.to_owned()),
            namespace: Some(self.namespace.clone()),
            uid: (!uid.is_empty()).then(|| uid.to_owned()),
            ..ObjectReference::default()
        };
        let kind = if news.reason.is_warning() { "Warning" } else { "Normal" };
        Event {
            metadata: ObjectMeta {
                // Unlike others of the same app, and the same when it is sent again.
                name: Some(format!("{app}.{:x}", now.as_nanosecond())),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some("Sync".to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(note(&news.text)),
            reason: Some(news.reason.word().to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(kind.to_owned()),
            ..Event::default()
        }
    }

    /// Writes an Event. One that is there already was written by a try whose answer was lost.
    pub async fn write(&self, app: &str, event: &Event) -> Result<(), EventError> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match tokio::time::timeout(DEADLINE, self.events.create(&params, event)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.reason == "AlreadyExists" => Ok(()),
            Ok(Err(source)) => Err(EventError::Request { app: app.to_owned(), source }),
            Err(_) => Err(EventError::Deadline { app: app.to_owned() }),
        }
    }
}

/// Returns a text that fits.
fn note(text: &str) -> String {
    let whole = shortened(text, MAX_NOTE);
    // A character has four bytes at most, the mark of what was left out among them.
    if whole.len() <= MAX_NOTE { whole } else { shortened(text, MAX_NOTE / 4) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_has_no_more_bytes_than_the_api_server_takes() {
        assert_eq!(note("synced"), "synced");
        for letter in ["a", "é", "漢", "🦀"] {
            let note = note(&letter.repeat(5_000));
            assert!(note.len() <= MAX_NOTE && note.len() > MAX_NOTE / 8, "{} bytes", note.len());
        }
    }
}
