//! What waits for the collector, and what was given up.
//!
//! A sync hands its facts over and goes on. What does not fit into the queue is dropped and counted, and
//! so is what the collector refused: nothing ever waits for room.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::settings::Signal;

/// The queue of one signal, counted.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) signal: Signal,
    limit: usize,
    waiting: AtomicUsize,
    /// Records that found the queue full.
    dropped: AtomicU64,
    /// Records that the collector did not take.
    refused: AtomicU64,
    is_refused: AtomicBool,
}

impl Backlog {
    pub(super) fn new(signal: Signal, limit: usize) -> Self {
        Self {
            signal,
            limit,
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            is_refused: AtomicBool::new(false),
        }
    }

    /// Takes a place in the queue, or counts a record that found none.
    pub(super) fn admit(&self) -> bool {
        let taken = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            (waiting < self.limit).then_some(waiting + 1)
        });
        if taken.is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Frees the places of a batch that is about to be sent.
    pub(super) fn leave(&self, records: usize) {
        // A record may be on its way before its place is counted: never below zero.
        let _before = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            Some(waiting.saturating_sub(records))
        });
    }

    /// Counts what became of a batch, and says once when the collector stops and starts taking.
    pub(super) fn settle(&self, records: usize, error: Option<&str>) {
        let was_refused = self.is_refused.swap(error.is_some(), Ordering::AcqRel);
        let signal = self.signal.word();
        match error {
            Some(error) => {
                let records = u64::try_from(records).unwrap_or(u64::MAX);
                self.refused.fetch_add(records, Ordering::Relaxed);
                if !was_refused {
                    tracing::warn!(
                        signal,
                        error,
                        "the collector does not take {signal}: they are dropped and counted"
                    );
                }
            }
            None if was_refused => tracing::info!(signal, "the collector takes {signal} again"),
            None => {}
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
