//! The channel of an SSH session as gix reads and writes it, within the operation's budget.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect};

use super::{Conversation, SshFailure};
use crate::git::budget::{Budget, Failure};

/// How much of what the server says beside its answer is kept.
const LONGEST_SAID: usize = 2000;

pub(super) fn new(budget: Arc<Budget>, conversation: Conversation) -> (Reader, Writer) {
    let Conversation { session, channel } = conversation;
    let (incoming, outgoing) = channel.split();
    let closing = Closing { budget: budget.clone(), session: Some(session) };
    let reader =
        Reader { budget: budget.clone(), incoming, chunk: Bytes::new(), said: Vec::new(), _closing: closing };
    (reader, Writer { budget, outgoing })
}

/// What the server's program prints.
pub(in crate::git) struct Reader {
    budget: Arc<Budget>,
    incoming: ChannelReadHalf,
    chunk: Bytes,
    said: Vec<u8>,
    _closing: Closing,
}

/// What the server's program is given.
pub(in crate::git) struct Writer {
    budget: Arc<Budget>,
    outgoing: ChannelWriteHalf<Msg>,
}

/// Takes leave of the server when the conversation is over.
struct Closing {
    budget: Arc<Budget>,
    session: Option<russh::client::Handle<super::Guard>>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.budget.spawn(async move {
                // A server that is gone needs no farewell.
                let _sent = session.disconnect(Disconnect::ByApplication, "", "").await;
            });
        }
    }
}

impl Reader {
    /// Returns the next bytes. There is no orderly end: gix stops reading before it.
    async fn next(
        incoming: &mut ChannelReadHalf,
        said: &mut Vec<u8>,
        budget: &Budget,
    ) -> Result<Bytes, Failure> {
        let mut refused = false;
        loop {
            match incoming.wait().await {
                Some(ChannelMsg::Data { data }) if !data.is_empty() => {
                    budget.receive(data.len())?;
                    return Ok(data);
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    budget.receive(data.len())?;
                    let room = LONGEST_SAID.saturating_sub(said.len()).min(data.len());
                    said.extend_from_slice(&data[..room]);
                }
                Some(ChannelMsg::Failure) => {
                    refused = true;
                    break;
                }
                // The exit status comes after the end of the output, and what was said may come in between.
                Some(ChannelMsg::Close | ChannelMsg::ExitStatus { .. } | ChannelMsg::ExitSignal { .. })
                | None => break,
                Some(_) => {}
            }
        }
        let mut said = String::from_utf8_lossy(said).trim().to_owned();
        if refused && said.is_empty() {
            said = "the server runs no commands".to_owned();
        }
        Err(Failure::Ssh(SshFailure::Ended { said }))
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.chunk.is_empty() {
            let Self { budget, incoming, said, .. } = self;
            self.chunk = budget.wait(Self::next(incoming, said, budget))?;
        }
        let length = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.outgoing.data_bytes(bytes.to_vec());
        self.budget.wait(async {
            // Why the server listens no more is known to the reader.
            sent.await.map_err(|error| Failure::Ssh(SshFailure::Protocol(error)))
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
