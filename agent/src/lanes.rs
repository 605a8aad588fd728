//! Lanes: at most so many writes in flight over all apps, heals first, apps in turn.
//!
//! A priority semaphore. Beside the performer; it orders requests and knows nothing of what they do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use skiff_shared::sync::effect::Urgency;
use tokio::sync::oneshot;

/// The bound on requests in flight, shared by all apps.
#[derive(Clone)]
pub struct Lanes(Arc<Mutex<State>>);

struct State {
    free: usize,
    /// One line per urgency, in the order of [`Urgency`].
    lines: [Line; 3],
}

/// Waiting requests of one urgency: each app has its own queue, and the apps take turns.
#[derive(Default)]
struct Line {
    apps: VecDeque<(Arc<str>, VecDeque<oneshot::Sender<Permit>>)>,
}

/// The right to have one request in flight; given back when dropped.
pub struct Permit(Option<Lanes>);

impl Lanes {
    pub fn new(width: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: width, lines: Default::default() })))
    }

    /// Waits for a place. Waiting requests of higher urgency go first, whenever they came.
    pub async fn enter(&self, urgency: Urgency, app: &Arc<str>) -> Permit {
        let waiting = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.free > 0 {
                state.free -= 1;
                return Permit(Some(self.clone()));
            }
            let (sender, receiver) = oneshot::channel();
            state.lines[lane(urgency)].push(app, sender);
            receiver
        };
        waiting.await.expect("a line hands its permit on before it is dropped")
    }

    /// Hands a place to the next in line, or frees it.
    fn leave(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = state.lines.iter_mut().find_map(Line::pop) {
            match sender.send(Permit(Some(self.clone()))) {
                Ok(()) => return,
                // The one who waited has gone; the permit must not come back through its drop.
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
        state.free += 1;
    }
}

fn lane(urgency: Urgency) -> usize {
    match urgency {
        Urgency::Heal => 0,
        Urgency::Apply => 1,
        Urgency::DryRun => 2,
    }
}

impl Line {
    fn push(&mut self, app: &Arc<str>, sender: oneshot::Sender<Permit>) {
        match self.apps.iter_mut().find(|(name, _)| name == app) {
            Some((_, queue)) => queue.push_back(sender),
            None => self.apps.push_back((app.clone(), VecDeque::from([sender]))),
        }
    }

    fn pop(&mut self) -> Option<oneshot::Sender<Permit>> {
        let (app, mut queue) = self.apps.pop_front()?;
        let sender = queue.pop_front();
        if !queue.is_empty() {
            self.apps.push_back((app, queue));
        }
        sender
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(lanes) = self.0.take() {
            lanes.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::FutureExt as _;

    use super::*;

    fn app(name: &str) -> Arc<str> {
        name.into()
    }

    #[tokio::test]
    async fn heals_pass_writes_and_writes_pass_dry_runs() {
        let lanes = Lanes::new(1);
        let first = lanes.enter(Urgency::Apply, &app("a")).await;
        let (name, other) = (app("a"), app("b"));
        let mut dry_run = Box::pin(lanes.enter(Urgency::DryRun, &name));
        let mut apply = Box::pin(lanes.enter(Urgency::Apply, &name));
        let mut heal = Box::pin(lanes.enter(Urgency::Heal, &other));
        assert!(dry_run.as_mut().now_or_never().is_none());
        assert!(apply.as_mut().now_or_never().is_none());
        assert!(heal.as_mut().now_or_never().is_none());
        drop(first);
        let healing = heal.as_mut().now_or_never().expect("the heal is next");
        assert!(apply.as_mut().now_or_never().is_none());
        drop(healing);
        let applying = apply.as_mut().now_or_never().expect("the write is next");
        assert!(dry_run.as_mut().now_or_never().is_none());
        drop(applying);
        assert!(dry_run.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn apps_take_turns() {
        let lanes = Lanes::new(1);
        let held = lanes.enter(Urgency::Apply, &app("a")).await;
        let (a, b) = (app("a"), app("b"));
        let mut first = Box::pin(lanes.enter(Urgency::Apply, &a));
        let mut second = Box::pin(lanes.enter(Urgency::Apply, &a));
        let mut other = Box::pin(lanes.enter(Urgency::Apply, &b));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(other.as_mut().now_or_never().is_none());
        drop(held);
        drop(first.as_mut().now_or_never().expect("first of a"));
        let turn = other.as_mut().now_or_never().expect("then b, though the second of a came before");
        drop(turn);
        assert!(second.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_place_given_to_somebody_who_left_is_not_lost() {
        let lanes = Lanes::new(1);
        let held = lanes.enter(Urgency::Apply, &app("a")).await;
        let name = app("a");
        let mut gone = Box::pin(lanes.enter(Urgency::Apply, &name));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        drop(held);
        assert!(lanes.enter(Urgency::DryRun, &app("b")).now_or_never().is_some());
    }
}
