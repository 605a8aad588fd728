//! Whom news go to outside of the cluster: a queue and a postman each. What does not fit into a queue is dropped, with a
//! word in the log.

use jiff::Timestamp;
use skiff_shared::news::{News, Reason, Standing, Subscription};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::vital::Vital;
use crate::config::Receiver;
use crate::notify::{self, About, Dispatch, Message, Postman, Teller};

/// Messages that may wait for one receiver.
const WAITING: usize = 1_024;

/// All receivers of the configuration.
pub struct Receivers {
    all: Vec<Addressee>,
    teller: Teller,
}

struct Addressee {
    name: String,
    subscription: Subscription,
    follows_troubles: bool,
    queue: mpsc::Sender<Dispatch>,
}

impl Receivers {
    /// Starts their postmen, who end when this is dropped and everything is delivered.
    pub fn start(vital: &Vital, tasks: &TaskTracker, receivers: Vec<Receiver>, teller: Teller) -> Self {
        let start = |receiver: Receiver| {
            let (queue, waiting) = mpsc::channel(WAITING);
            let Receiver { name, triggers, apps, destination, .. } = receiver.clone();
            let subscription = Subscription::new(triggers, apps);
            let follows_troubles = destination.follows_troubles();
            let postman = Postman::new(receiver).run(waiting);
            vital.spawn_on(tasks, format!("the postman of {name}"), postman);
            Addressee { name, subscription, follows_troubles, queue }
        };
        Self { all: receivers.into_iter().map(start).collect(), teller }
    }

    /// Tells those who want to know and have not been told.
    pub fn tell(&mut self, about: &About, news: &News, now: Timestamp) {
        for addressee in &mut self.all {
            if addressee.subscription.takes(&about.name, news, now) {
                let message = Message::new(news.clone(), about.clone(), self.teller.clone(), now);
                addressee.send(Dispatch::Told(Box::new(message)));
            }
        }
    }

    /// Tells those who follow troubles from their beginning to their end how an app stands.
    pub fn stand(&self, about: &About, standing: &Standing, now: Timestamp) {
        let Standing { revision, troubles, ended } = standing;
        for addressee in self.all.iter().filter(|addressee| addressee.follows_troubles) {
            let message = |reason: Reason, text: &str| {
                let news = News { reason, revision: revision.clone(), text: text.to_owned() };
                Message::new(news, about.clone(), self.teller.clone(), now)
            };
            let covers = |reason: Reason| addressee.subscription.covers(&about.name, reason);
            let troubles = troubles.iter().filter(|(reason, _)| covers(**reason));
            let troubles: Vec<Message> = troubles.map(|(reason, text)| message(*reason, text)).collect();
            let ended = ended.iter().filter(|reason| covers(**reason));
            let ended: Vec<Message> = ended.map(|reason| message(*reason, "it is over")).collect();
            if !troubles.is_empty() || !ended.is_empty() {
                let app = about.name.clone();
                addressee.send(Dispatch::Standing(notify::Standing { app, troubles, ended }));
            }
        }
    }
}

impl Addressee {
    fn send(&self, dispatch: Dispatch) {
        if self.queue.try_send(dispatch).is_err() {
            tracing::warn!(receiver = self.name, "a receiver takes no notifications: one is dropped");
        }
    }
}
