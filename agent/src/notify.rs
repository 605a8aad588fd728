//! Notifications: news are told to people and programs outside of the cluster.
//!
//! Adapter at the end of the pipeline. What is news, and who wants which, is decided by [`skiff_shared::news`]; here each
//! becomes the requests that a receiver understands, one file per kind of receiver. A [`Postman`] has a queue of its own:
//! nobody waits for it, and no receiver for another. Secrets are read from their files for each delivery.

mod alertmanager;
mod cloudevents;
mod commit_status;
mod deliver;
mod message;
mod pagerduty;
mod slack;
mod standard;
mod template;
mod webhook;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use skiff_shared::news::Allowance;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::{Destination, Receiver};
use crate::telemetry::chain;
use deliver::Letter;

pub use deliver::DeliveryError;
pub use message::{About, Message, Teller};
pub use standard::{ID, Key, SIGNATURE, TIMESTAMP};
pub use template::{Template, TemplateError};

/// Messages that a receiver gets at once, and how far apart the others are.
const BURST: u32 = 20;
const APART: Duration = Duration::from_secs(1);

/// Tries to deliver one message, and the pause after the first of them; it doubles.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_secs(1);

/// A receiver that asks for a longer pause does not get it.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// What a receiver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// Something has happened.
    Told(Box<Message>),
    /// What is wrong with an app now, and what is no longer.
    Standing(Standing),
}

/// The troubles of one app, as far as the receiver wants to know of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub app: String,
    pub troubles: Vec<Message>,
    pub ended: Vec<Message>,
}

impl Destination {
    /// Whether it is told of troubles from their beginning to their end.
    pub fn follows_troubles(&self) -> bool {
        matches!(self, Self::PagerDuty { .. } | Self::Alertmanager { .. })
    }
}

/// Brings one receiver what it is told.
pub struct Postman {
    receiver: Receiver,
    /// For Alertmanager, who forgets what it is not told again: the troubles of each app.
    standing: BTreeMap<String, Vec<Message>>,
    /// When they are told again.
    due: Option<Instant>,
    allowance: Allowance,
    timing: Timing,
}

/// How long a postman waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// After a first failure; it doubles.
    pub pause: Duration,
    /// Between two times that a trouble which lasts is told.
    pub again: Duration,
}

impl Postman {
    pub fn new(receiver: Receiver) -> Self {
        let every = SignedDuration::try_from(APART).unwrap_or(SignedDuration::ZERO);
        let timing = Timing { pause: PAUSE, again: alertmanager::AGAIN };
        let allowance = Allowance::new(BURST, every);
        Self { receiver, standing: BTreeMap::new(), due: None, allowance, timing }
    }

    /// Waits as long as this.
    #[must_use]
    pub fn timed(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Delivers what comes, until nothing more can come.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Dispatch>) {
        loop {
            let letters = tokio::select! {
                dispatch = queue.recv() => match dispatch {
                    Some(dispatch) => self.letters(dispatch),
                    None => return,
                },
                () = until(self.due) => self.reminders(),
            };
            match letters {
                Ok(letters) => {
                    for letter in letters {
                        self.deliver(letter).await;
                    }
                }
                Err(error) => self.complain(&error),
            }
        }
    }

    /// Writes the requests that a dispatch becomes for this receiver.
    fn letters(&mut self, dispatch: Dispatch) -> Result<Vec<Letter>, DeliveryError> {
        let template = self.receiver.template.as_ref();
        match (&self.receiver.destination, dispatch) {
            (Destination::SlackWebhook { url_file }, Dispatch::Told(message)) => {
                slack::to_webhook(url_file, &message, template).map(one)
            }
            (Destination::SlackBot { token_file, channel, api_url }, Dispatch::Told(message)) => {
                slack::to_channel(token_file, channel, api_url, &message, template).map(one)
            }
            (Destination::PagerDuty { routing_key_file, url }, dispatch) => {
                pagerduty::letters(routing_key_file, url, &dispatch, template)
            }
            (Destination::Webhook { url, secret_file }, Dispatch::Told(message)) => {
                webhook::letter(url, secret_file.as_deref(), &message, template, Timestamp::now()).map(one)
            }
            (Destination::CloudEvents { url, token_file }, Dispatch::Told(message)) => {
                cloudevents::letter(url, token_file.as_deref(), &message).map(one)
            }
            (Destination::Github { token_file, api_url }, Dispatch::Told(message)) => {
                commit_status::github(token_file, api_url, &message, template)
                    .map(|letter| letter.into_iter().collect())
            }
            (Destination::Gitlab { token_file, api_url }, Dispatch::Told(message)) => {
                commit_status::gitlab(token_file, api_url, &message, template)
                    .map(|letter| letter.into_iter().collect())
            }
            (Destination::Alertmanager { .. }, Dispatch::Standing(standing)) => self.alerts(standing),
            (Destination::Alertmanager { .. }, Dispatch::Told(_)) | (_, Dispatch::Standing(_)) => {
                Ok(Vec::new())
            }
        }
    }

    fn alerts(&mut self, standing: Standing) -> Result<Vec<Letter>, DeliveryError> {
        let Standing { app, mut troubles, ended } = standing;
        let known = self.standing.remove(&app).unwrap_or_default();
        for trouble in &mut troubles {
            // It began when it was first told.
            let first = known.iter().find(|known| known.reason == trouble.reason);
            trouble.time = first.map_or(trouble.time, |first| first.time);
        }
        let is_told =
            |it: &Message| known.iter().any(|known| (known.reason, &known.text) == (it.reason, &it.text));
        let is_news = !ended.is_empty() || !troubles.iter().all(is_told);
        if !troubles.is_empty() {
            self.standing.insert(app, troubles.clone());
        }
        self.due = match self.due {
            _ if self.standing.is_empty() => None,
            None => Some(Instant::now() + self.timing.again),
            due => due,
        };
        if is_news { self.alert(&troubles, &ended) } else { Ok(Vec::new()) }
    }

    fn reminders(&mut self) -> Result<Vec<Letter>, DeliveryError> {
        self.due = Some(Instant::now() + self.timing.again);
        let troubles: Vec<Message> = self.standing.values().flatten().cloned().collect();
        self.alert(&troubles, &[])
    }

    fn alert(&self, troubles: &[Message], ended: &[Message]) -> Result<Vec<Letter>, DeliveryError> {
        let Destination::Alertmanager { url, token_file } = &self.receiver.destination else {
            return Ok(Vec::new());
        };
        let template = self.receiver.template.as_ref();
        let now = Timestamp::now();
        alertmanager::letter(url, token_file.as_deref(), (troubles, ended), template, now).map(one)
    }

    /// Delivers a letter: tries again what may pass, and gives up at last.
    async fn deliver(&mut self, letter: Letter) {
        while !self.allowance.take(Timestamp::now()) {
            tokio::time::sleep(APART).await;
        }
        let mut pause = self.timing.pause;
        for tried in 1..=TRIES {
            let Err(error) = deliver::send(&self.receiver, &letter).await else { return };
            let Some(asked) = error.retry().filter(|_| tried < TRIES) else {
                self.complain(&error);
                return;
            };
            tokio::time::sleep(pause.max(asked).min(LONGEST_PAUSE)).await;
            pause *= 2;
        }
    }

    fn complain(&self, error: &DeliveryError) {
        tracing::warn!(
            receiver = self.receiver.name,
            error = chain(error),
            "a notification is not delivered"
        );
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn one(letter: Letter) -> Vec<Letter> {
    vec![letter]
}
