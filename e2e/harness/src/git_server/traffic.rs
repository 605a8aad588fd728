//! What was asked of the Git server: a log of requests and the bytes of each kind.

use std::sync::{Arc, Mutex, MutexGuard};

/// The kinds of requests that Git's smart HTTP consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestKind {
    /// `GET info/refs`: the capabilities, and with protocol 0 all references.
    Advertisement,
    /// `ls-refs` of protocol 2: the poll.
    Listing,
    /// `fetch`: the only answer that carries a pack.
    Fetch,
    /// `git-receive-pack`, with its advertisement.
    Push,
    /// Anything else.
    Other,
}

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub requests: u64,
    /// Bytes of request bodies.
    pub received: u64,
    /// Bytes of response bodies that left the server.
    pub sent: u64,
}

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub kind: RequestKind,
    pub path: String,
    /// The `Authorization` header as it was sent.
    pub authorization: Option<String>,
    /// The `Git-Protocol` header as it was sent.
    pub protocol: Option<String>,
    /// The status of the answer; 0 while there is none.
    pub status: u16,
}

/// The log of one server.
#[derive(Clone, Default)]
pub(super) struct Traffic {
    log: Arc<Mutex<Vec<(Request, Count)>>>,
}

/// Counts what one request moves.
#[derive(Clone)]
pub(super) struct Meter {
    traffic: Traffic,
    index: usize,
}

impl Traffic {
    pub(super) fn begin(&self, request: Request, received: u64) -> Meter {
        let mut log = self.lock();
        log.push((request, Count { requests: 1, received, sent: 0 }));
        Meter { traffic: self.clone(), index: log.len() - 1 }
    }

    pub(super) fn count(&self, kind: RequestKind) -> Count {
        let log = self.lock();
        log.iter().filter(|(request, _)| request.kind == kind).fold(Count::default(), |sum, (_, count)| {
            Count {
                requests: sum.requests + count.requests,
                received: sum.received + count.received,
                sent: sum.sent + count.sent,
            }
        })
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.lock().iter().map(|(request, _)| request.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Request, Count)>> {
        self.log.lock().expect("no code panics while it holds the log")
    }
}

impl Meter {
    pub(super) fn sent(&self, bytes: u64) {
        self.traffic.lock()[self.index].1.sent += bytes;
    }

    pub(super) fn answered(&self, status: u16) {
        self.traffic.lock()[self.index].0.status = status;
    }
}
