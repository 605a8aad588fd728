//! The herald: hears what happens to apps, asks the newsroom what of it is news, and passes that on to those who tell
//! people. Nobody waits for it, and it waits for nobody: what does not fit into a queue is dropped, with a word in the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use skiff_shared::news::{News, Newsroom, Standing};
use skiff_shared::sync::effect::Notice;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::receivers::Receivers;
use super::vital::Vital;
use crate::cluster::events::Events;
use crate::config::Receiver;
use crate::notify::{About, Teller};
use crate::state::Published;
use crate::telemetry::chain;

/// What may be heard and not yet looked at. A start of five thousand apps fits.
const HEARD: usize = 8_192;

/// Events that may wait for the API server.
const UNWRITTEN: usize = 1_024;

/// Tries to write one Event, and the pause after the first of them; it doubles.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// Whom the tasks of the agent tell. Cheap to clone.
#[derive(Clone)]
pub struct Herald {
    heard: mpsc::Sender<Heard>,
    tasks: TaskTracker,
    end: CancellationToken,
}

enum Heard {
    Noticed(Arc<str>, Box<Notice>),
    Published(Arc<str>, Box<Published>),
    Gone(Arc<str>),
}

impl Herald {
    pub fn start(vital: &Vital, events: Events, receivers: Vec<Receiver>, teller: Teller) -> Self {
        let (heard, hears) = mpsc::channel(HEARD);
        let (unwritten, writes) = mpsc::channel(UNWRITTEN);
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let events = Arc::new(events);
        vital.spawn_on(&tasks, "the writer of Events", write(events.clone(), writes));
        let receivers = Receivers::start(vital, &tasks, receivers, teller);
        let (newsroom, known) = (Newsroom::default(), HashMap::new());
        let desk = Desk { newsroom, known, events, unwritten, receivers };
        vital.spawn_on(&tasks, "the herald", desk.run(hears, end.clone()));
        Self { heard, tasks, end }
    }

    /// Tells of what no status shows; of all else nothing.
    pub fn noticed(&self, app: &Arc<str>, notice: Notice) {
        if matches!(notice, Notice::SyncStarted { .. } | Notice::Healed { .. }) {
            self.hear(Heard::Noticed(app.clone(), Box::new(notice)));
        }
    }

    pub fn published(&self, app: &Arc<str>, published: Published) {
        self.hear(Heard::Published(app.clone(), Box::new(published)));
    }

    /// Tells that an app is no more.
    pub fn gone(&self, app: &Arc<str>) {
        self.hear(Heard::Gone(app.clone()));
    }

    /// Tells what has been heard, as far as that takes no longer than `cap`, and nothing after that.
    pub async fn finish(&self, cap: Duration) {
        self.end.cancel();
        self.tasks.close();
        if tokio::time::timeout(cap, self.tasks.wait()).await.is_err() {
            tracing::warn!("not everybody was told what happened last");
        }
    }

    fn hear(&self, heard: Heard) {
        if self.heard.try_send(heard).is_err() {
            tracing::warn!("too much happens at once: some of it becomes neither Event nor notification");
        }
    }
}

/// Where what is heard becomes news.
struct Desk {
    newsroom: Newsroom,
    known: HashMap<Arc<str>, Known>,
    events: Arc<Events>,
    unwritten: mpsc::Sender<(Arc<str>, Event)>,
    receivers: Receivers,
}

/// What is known of an app from what was published last.
#[derive(Default)]
struct Known {
    /// Of its `App`; empty until something was written.
    uid: String,
    about: About,
    standing: Standing,
}

impl Desk {
    async fn run(mut self, mut hears: mpsc::Receiver<Heard>, end: CancellationToken) {
        loop {
            let due = self.newsroom.due();
            tokio::select! {
                biased;
                Some(heard) = hears.recv() => self.hear(heard),
                () = until(due) => self.tell_gathered(Timestamp::now()),
                () = end.cancelled() => break,
            }
        }
        self.tell_gathered(Timestamp::MAX);
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Noticed(app, notice) => {
                let news = self.newsroom.noticed(&app, &notice, Timestamp::now());
                self.tell(&app, news);
            }
            Heard::Published(app, published) => {
                let Published { uid, before, status } = *published;
                let known = self.known.entry(app.clone()).or_default();
                known.uid = uid.unwrap_or(std::mem::take(&mut known.uid));
                known.about = About::new(&app, &status);
                known.standing = Standing::of(before.as_ref(), &status);
                self.receivers.stand(&known.about, &known.standing, Timestamp::now());
                let news = self.newsroom.published(&app, before.as_ref(), &status);
                self.tell(&app, news);
            }
            Heard::Gone(app) => {
                let news = self.newsroom.gone(&app);
                self.tell(&app, [news]);
                if let Some(Known { about, standing, .. }) = self.known.remove(&app) {
                    self.receivers.stand(&about, &standing.over(), Timestamp::now());
                }
            }
        }
    }

    fn tell_gathered(&mut self, now: Timestamp) {
        for (app, news) in self.newsroom.gathered(now) {
            self.tell(&app, [news]);
        }
    }

    fn tell(&mut self, app: &Arc<str>, news: impl IntoIterator<Item = News>) {
        for news in news {
            let now = Timestamp::now();
            let known = self.known.entry(app.clone()).or_default();
            // A sync begins before the first status is there.
            if known.about.name.is_empty() {
                app.as_ref().clone_into(&mut known.about.name);
            }
            self.receivers.tell(&known.about, &news, now);
            if self.newsroom.may_record(app, &news, now) {
                let event = self.events.event(app, &known.uid, &news, now);
                if self.unwritten.try_send((app.clone(), event)).is_err() {
                    tracing::warn!(%app, reason = news.reason.word(), "the API server takes no Events: one is dropped");
                }
            }
        }
    }
}

async fn until(due: Option<Timestamp>) {
    match due {
        Some(due) => {
            let wait = due.duration_since(Timestamp::now());
            tokio::time::sleep(Duration::try_from(wait).unwrap_or(Duration::ZERO)).await;
        }
        None => std::future::pending().await,
    }
}

/// Writes Events one after the other, until no more come.
async fn write(events: Arc<Events>, mut writes: mpsc::Receiver<(Arc<str>, Event)>) {
    while let Some((app, event)) = writes.recv().await {
        let mut pause = PAUSE;
        for tried in 1..=TRIES {
            match events.write(&app, &event).await {
                Ok(()) => break,
                Err(error) if error.is_transient() && tried < TRIES => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "an Event is not written");
                    break;
                }
            }
        }
    }
}
