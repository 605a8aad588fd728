//! How the Git server misbehaves, and the pump that a response body goes through so that it can.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;

use super::traffic::Meter;

/// What the server does to the requests that a fault was set for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Answers as it should.
    #[default]
    None,
    /// Answers as it should, after this time.
    Delay(Duration),
    /// Accepts the request and never answers.
    Hang,
    /// Sends this many bytes of the body, then nothing, and keeps the connection open.
    Stall { after: u64 },
    /// Sends one byte of the body at a time, with this pause before each.
    Drip { every: Duration },
    /// Breaks the connection after this many bytes of the body.
    Cut { after: u64 },
    /// Ends the body after this many bytes as if it were complete: well-formed HTTP, half a pack.
    Truncate { after: u64 },
    /// Answers with this status and no Git.
    Status { code: u16, retry_after: Option<Duration> },
    /// Sends the client to the same path below another base, as in `http://127.79.0.2:8080`.
    Redirect { to: String },
}

impl Fault {
    /// Answers 429 and asks to come back after `wait`.
    pub fn rate_limited(wait: Duration) -> Self {
        Self::Status { code: 429, retry_after: Some(wait) }
    }

    /// Answers with a bare status.
    pub fn status(code: u16) -> Self {
        Self::Status { code, retry_after: None }
    }
}

/// A response body on its way to the client.
pub(super) type Body = BoxStream<'static, io::Result<Bytes>>;

/// Sends `body` on as `fault` has it, counting what really leaves.
pub(super) fn shape(body: Body, fault: Fault, meter: Meter) -> Body {
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move { pump(body, fault, meter, sender).await });
    futures::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })
    .boxed()
}

type Sender = mpsc::Sender<io::Result<Bytes>>;

async fn pump(mut body: Body, fault: Fault, meter: Meter, sender: Sender) {
    let mut sent = 0_u64;
    while let Some(chunk) = body.next().await {
        let Ok(mut chunk) = chunk else {
            return fail(&sender, "the Git process broke off").await;
        };
        let room = room(&fault, sent);
        let ends_here = chunk.len() as u64 >= room;
        if ends_here {
            chunk.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        }
        sent += chunk.len() as u64;
        if !deliver(chunk, &fault, &meter, &sender).await {
            return;
        }
        if ends_here {
            return finish(&fault, &sender).await;
        }
    }
}

/// Says how many more bytes the fault lets pass after `sent`.
fn room(fault: &Fault, sent: u64) -> u64 {
    match fault {
        Fault::Stall { after } | Fault::Cut { after } | Fault::Truncate { after } => {
            after.saturating_sub(sent)
        }
        Fault::None
        | Fault::Delay(_)
        | Fault::Hang
        | Fault::Drip { .. }
        | Fault::Status { .. }
        | Fault::Redirect { .. } => u64::MAX,
    }
}

async fn deliver(chunk: Bytes, fault: &Fault, meter: &Meter, sender: &Sender) -> bool {
    let Fault::Drip { every } = fault else {
        return send(chunk, meter, sender).await;
    };
    for byte in chunk {
        tokio::time::sleep(*every).await;
        if !send(Bytes::copy_from_slice(&[byte]), meter, sender).await {
            return false;
        }
    }
    true
}

async fn send(chunk: Bytes, meter: &Meter, sender: &Sender) -> bool {
    let length = chunk.len() as u64;
    if length == 0 {
        return true;
    }
    let delivered = sender.send(Ok(chunk)).await.is_ok();
    if delivered {
        meter.sent(length);
    }
    delivered
}

/// Ends a body that the fault does not let pass in full.
async fn finish(fault: &Fault, sender: &Sender) {
    match fault {
        Fault::Stall { .. } => sender.closed().await,
        Fault::Truncate { .. } => {}
        _ => fail(sender, "cut by the test").await,
    }
}

async fn fail(sender: &Sender, reason: &'static str) {
    // A client that is gone already has what the fault wanted.
    let _gone = sender.send(Err(io::Error::other(reason))).await;
}
