//! The two directions of one connection. Each is a queue: what is read is stamped with its time, so that latency
//! delays bytes without slowing the stream, and what is held back flows later.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::{End, Fault, Meters, State};

/// Bandwidth is dealt out in portions of this time.
const PORTION: Duration = Duration::from_millis(20);

/// Passes bytes between the two until both have ended, or one fails.
pub(super) async fn relay(
    client: &mut TcpStream,
    target: &mut TcpStream,
    orders: &watch::Receiver<State>,
    meters: &Meters,
) -> End {
    let (from_client, to_client) = client.split();
    let (from_target, to_target) = target.split();
    let up = Direction { orders: orders.clone(), meter: &meters.up, answers: None };
    let down = Direction { orders: orders.clone(), meter: &meters.down, answers: Some(Answers::default()) };
    // An end is an end, however it came: both streams are dropped by the caller.
    let _ended = tokio::try_join!(up.pass(from_client, to_target), down.pass(from_target, to_client));
    End::Closed
}

/// Reads and forgets what the client sends, until it goes away or the fault is another.
pub(super) async fn swallow(client: &mut TcpStream, mut orders: watch::Receiver<State>) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            read = client.read(&mut buffer) => if read? == 0 { return Ok(()) },
            order = orders.wait_for(|state| state.fault != Fault::HalfOpen) => {
                drop(order);
                return Ok(());
            }
        }
    }
}

struct Direction<'a> {
    orders: watch::Receiver<State>,
    meter: &'a AtomicU64,
    /// Only answers are cut.
    answers: Option<Answers>,
}

/// Counts the bytes of answers that passed since a fault was set.
#[derive(Default)]
struct Answers {
    fault: u64,
    passed: u64,
}

type Chunk = (Instant, Bytes);

impl Direction<'_> {
    async fn pass(mut self, reader: ReadHalf<'_>, mut writer: WriteHalf<'_>) -> io::Result<()> {
        let (sender, mut receiver) = mpsc::channel::<Chunk>(64);
        let write = async {
            while let Some(chunk) = receiver.recv().await {
                self.write(chunk, &mut writer).await?;
            }
            self.audible().await?;
            writer.shutdown().await
        };
        tokio::try_join!(read(reader, sender), write).map(drop)
    }

    async fn write(&mut self, (read, mut bytes): Chunk, writer: &mut WriteHalf<'_>) -> io::Result<()> {
        while !bytes.is_empty() {
            let state = *self.orders.borrow_and_update();
            match state.fault {
                Fault::Silence | Fault::Reset | Fault::HalfOpen => self.next_order().await?,
                Fault::Latency(wait) => {
                    if self.reached(read + wait).await? {
                        self.send(bytes.split_off(0), writer).await?;
                    }
                }
                Fault::Bandwidth { bytes_per_second } => {
                    let portion = bytes_per_second * PORTION.as_millis() as u64 / 1000;
                    let portion = usize::try_from(portion.max(1)).unwrap_or(usize::MAX).min(bytes.len());
                    self.send(bytes.split_to(portion), writer).await?;
                    sleep(PORTION).await;
                }
                Fault::Cut { after } => {
                    let left = self.left(state, after);
                    let portion = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    self.send(bytes.split_to(portion), writer).await?;
                    if self.left(state, after) == 0 {
                        return Err(io::Error::other("cut by the test"));
                    }
                }
                Fault::None => self.send(bytes.split_off(0), writer).await?,
            }
        }
        Ok(())
    }

    async fn send(&mut self, bytes: Bytes, writer: &mut WriteHalf<'_>) -> io::Result<()> {
        writer.write_all(&bytes).await?;
        self.meter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if let Some(answers) = &mut self.answers {
            answers.passed += bytes.len() as u64;
        }
        Ok(())
    }

    /// Says how many bytes of answers may pass until the cut that `state` orders.
    fn left(&mut self, state: State, after: u64) -> u64 {
        let Some(answers) = &mut self.answers else {
            return u64::MAX;
        };
        if answers.fault != state.faults {
            *answers = Answers { fault: state.faults, passed: 0 };
        }
        after.saturating_sub(answers.passed)
    }

    /// Waits for `time`, or for an order that comes before it.
    async fn reached(&mut self, time: Instant) -> io::Result<bool> {
        tokio::select! {
            () = sleep_until(time) => Ok(true),
            order = self.orders.changed() => order.map(|()| false).map_err(io::Error::other),
        }
    }

    async fn next_order(&mut self) -> io::Result<()> {
        self.orders.changed().await.map_err(io::Error::other)
    }

    /// Waits until an end of the stream may be heard of on the other side.
    async fn audible(&mut self) -> io::Result<()> {
        let heard = self.orders.wait_for(|state| state.fault != Fault::Silence).await;
        heard.map(drop).map_err(io::Error::other)
    }
}

async fn read(mut reader: ReadHalf<'_>, sender: mpsc::Sender<Chunk>) -> io::Result<()> {
    loop {
        let mut chunk = vec![0; 16 * 1024];
        let length = reader.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        chunk.truncate(length);
        if sender.send((Instant::now(), Bytes::from(chunk))).await.is_err() {
            return Ok(());
        }
    }
}
