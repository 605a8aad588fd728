//! A driver's mailbox: events in order, with one newest observation per object.
//!
//! Between the tasks that observe and the driver that decides. Bounded by the app's inventory: a burst
//! of changes to one object takes one place.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use skiff_shared::object::ObjectId;
use skiff_shared::sync::event::{Event, Observation};
use tokio::sync::Notify;

/// Events on their way to one driver.
#[derive(Default)]
pub struct Mailbox {
    pending: Mutex<Pending>,
    filled: Notify,
}

#[derive(Default)]
struct Pending {
    events: Vec<Event>,
    /// Where in `events` the observation of an object stands.
    observed: HashMap<ObjectId, usize>,
}

impl Mailbox {
    /// Adds an event and wakes the driver.
    pub fn send(&self, event: Event) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Observed(id, observation) => pending.observe(id, observation),
            other => pending.events.push(other),
        }
        drop(pending);
        self.filled.notify_one();
    }

    /// Waits for events, or for `wake`, and takes all there are; empty when `wake` came first.
    pub async fn drain(&self, wake: Option<Timestamp>) -> Vec<Event> {
        loop {
            let taken = self.take();
            if !taken.is_empty() {
                return taken;
            }
            let Some(wake) = wake else {
                self.filled.notified().await;
                continue;
            };
            let left = wake.duration_since(Timestamp::now());
            let Ok(left) = std::time::Duration::try_from(left) else { return Vec::new() };
            if tokio::time::timeout(left, self.filled.notified()).await.is_err() {
                return self.take();
            }
        }
    }

    fn take(&self) -> Vec<Event> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.observed.clear();
        std::mem::take(&mut pending.events)
    }
}

impl Pending {
    /// Puts an observation in the place of an older one of the same object.
    fn observe(&mut self, id: ObjectId, observation: Observation) {
        if let Some(at) = self.observed.get(&id).copied()
            && let Some(Event::Observed(_, before)) = self.events.get_mut(at)
        {
            *before = observation;
            return;
        }
        self.observed.insert(id.clone(), self.events.len());
        self.events.push(Event::Observed(id, observation));
    }
}

#[cfg(test)]
mod tests {
    use skiff_shared::object::Interner;
    use skiff_shared::sync::event::Point;

    use super::*;

    #[tokio::test]
    async fn only_the_newest_observation_of_an_object_waits() {
        let id = Interner::default().object("", "ConfigMap", Some("shop"), "a");
        let mailbox = Mailbox::default();
        for rv in 1..=3 {
            let absent = Observation::Absent(Point { watch: 1, rv });
            mailbox.send(Event::Observed(id.clone(), absent));
        }
        mailbox.send(Event::Drain);
        let events = mailbox.drain(None).await;
        assert_eq!(events.len(), 2);
        let Event::Observed(_, Observation::Absent(point)) = &events[0] else { panic!("an observation") };
        assert_eq!(point.rv, 3);
    }

    #[tokio::test]
    async fn a_wake_up_time_in_the_past_returns_at_once() {
        assert!(Mailbox::default().drain(Some(Timestamp::UNIX_EPOCH)).await.is_empty());
    }
}
