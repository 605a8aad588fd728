//! What is told, as templates see it and as JSON shows it.

use jiff::Timestamp;
use serde::Serialize;
use skiff_shared::api::v1alpha1::{AppStatus, Revision};
use skiff_shared::news::{News, Reason, Trigger};

/// The agent that tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Teller {
    /// The cluster's name.
    pub cluster: String,
    /// The value of `skiff.dev/instance`.
    pub instance: String,
    /// Where the `App` objects are.
    pub namespace: String,
}

/// The app that is told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    pub name: String,
    pub environment: String,
    /// `Synced`, `OutOfSync` or `Unknown`.
    pub sync: String,
    /// `Healthy`, `Degraded` and so on.
    pub health: String,
}

/// One notification: the model of templates and the body of webhooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The same at every try, and no other's.
    pub id: String,
    pub time: Timestamp,
    pub trigger: Trigger,
    #[serde(serialize_with = "word")]
    pub reason: Reason,
    /// `warning` where somebody may have to do something, else `info`.
    pub severity: &'static str,
    /// In one line.
    pub text: String,
    pub app: About,
    pub agent: Teller,
    pub revision: Revision,
}

impl About {
    pub fn new(name: &str, status: &AppStatus) -> Self {
        let AppStatus { environment, sync, health, .. } = status.clone();
        Self { name: name.to_owned(), environment, sync, health }
    }
}

impl Message {
    pub fn new(news: News, app: About, agent: Teller, time: Timestamp) -> Self {
        let News { reason, revision, text } = news;
        Self {
            id: format!("{}.{}.{}.{:x}", agent.instance, app.name, reason.word(), time.as_nanosecond()),
            time,
            trigger: reason.trigger(),
            reason,
            severity: if reason.is_warning() { "warning" } else { "info" },
            text,
            app,
            agent,
            revision,
        }
    }

    /// Names the trouble that it tells of, the same from its beginning to its end.
    pub fn trouble(&self) -> String {
        format!("skiff/{}/{}/{}", self.agent.instance, self.app.name, self.reason.word())
    }

    /// Returns the model of templates.
    pub fn model(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a message has nothing that JSON cannot show")
    }
}

fn word<S: serde::Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.word())
}

/// A message as examples and tests of templates have it.
pub fn example() -> Message {
    let revision = Revision {
        name: "main@sha1:4f2c9a7d3b4f2c9a7d3b4f2c9a7d3b4f2c9a7d3b".to_owned(),
        url: "https://git.example/shop".to_owned(),
        reference: "main".to_owned(),
        commit: "sha1:4f2c9a7d3b4f2c9a7d3b4f2c9a7d3b4f2c9a7d3b".to_owned(),
        author: "Ada <ada@example>".to_owned(),
        subject: "web: two replicas more".to_owned(),
        ..Revision::default()
    };
    let app = About {
        name: "web".to_owned(),
        environment: "production".to_owned(),
        sync: "OutOfSync".to_owned(),
        health: "Degraded".to_owned(),
    };
    let [cluster, instance, namespace] = ["eu-1", "eu-1", "skiff"].map(str::to_owned);
    let text = "Deployment/shop/web: 1 of 3 pods are ready".to_owned();
    let news = News { reason: Reason::Degraded, revision, text };
    Message::new(news, app, Teller { cluster, instance, namespace }, Timestamp::UNIX_EPOCH)
}
