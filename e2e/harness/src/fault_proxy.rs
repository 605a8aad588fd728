//! A TCP proxy that makes a network bad: in front of an API server, a Git server or a telemetry collector.
//!
//! A fault holds for open connections as for new ones from the moment it is set, and ends when another is set.

mod flow;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::background::Background;

/// What the proxy does to the connections through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Passes everything on.
    #[default]
    None,
    /// Passes everything on this much later, in each direction.
    Latency(Duration),
    /// Passes on at most this many bytes a second, for each connection and direction.
    Bandwidth { bytes_per_second: u64 },
    /// Closes a connection after this many more bytes of answers.
    Cut { after: u64 },
    /// Resets open connections, and new ones as soon as they are accepted.
    Reset,
    /// Leaves clients connected to nobody: their bytes are swallowed, and neither answer nor end comes.
    HalfOpen,
    /// Keeps connections and passes nothing on; what was held back flows once another fault is set.
    Silence,
}

/// What went through the proxy so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub open: u64,
    /// Bytes that reached the target.
    pub up: u64,
    /// Bytes that reached clients.
    pub down: u64,
}

/// A running proxy; it ends, and its connections with it, when it is dropped.
pub struct FaultProxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    meters: Arc<Meters>,
    _background: Background,
}

/// The proxy's orders; the counters tell an order from the same one given again.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    fault: Fault,
    faults: u64,
    severed: u64,
}

#[derive(Default)]
struct Meters {
    accepted: AtomicU64,
    open: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

impl FaultProxy {
    /// Starts a proxy in front of `target` on 127.78.0.1 and a free port.
    pub fn start(target: SocketAddr) -> Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::new(127, 78, 0, 1), 0)), target)
    }

    /// Starts a proxy in front of `target` on `address`; port 0 takes a free one.
    pub fn start_on(address: SocketAddr, target: SocketAddr) -> Result<Self> {
        let background = Background::start("fault-proxy")?;
        let (listener, address) = background.listen(address)?;
        let (state, orders) = watch::channel(State::default());
        let meters = Arc::new(Meters::default());
        background.spawn(accept_all(listener, target, orders, meters.clone()));
        Ok(Self { address, state, meters, _background: background })
    }

    /// Returns the address that clients use instead of the target's.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the fault.
    pub fn behave(&self, fault: Fault) {
        self.state.send_modify(|state| {
            state.fault = fault;
            state.faults += 1;
        });
    }

    /// Resets the open connections, once; new ones are not touched.
    pub fn sever(&self) {
        self.state.send_modify(|state| state.severed += 1);
    }

    /// Returns what went through so far.
    pub fn counts(&self) -> Counts {
        let read = |meter: &AtomicU64| meter.load(Ordering::Relaxed);
        let meters = &self.meters;
        Counts {
            accepted: read(&meters.accepted),
            open: read(&meters.open),
            up: read(&meters.up),
            down: read(&meters.down),
        }
    }
}

async fn accept_all(
    listener: TcpListener,
    target: SocketAddr,
    orders: watch::Receiver<State>,
    meters: Arc<Meters>,
) {
    while let Ok((client, _)) = listener.accept().await {
        meters.accepted.fetch_add(1, Ordering::Relaxed);
        meters.open.fetch_add(1, Ordering::Relaxed);
        let (orders, meters) = (orders.clone(), meters.clone());
        tokio::spawn(async move {
            // A connection that fails ends; that is what its client sees of it.
            let _ended = connection(client, target, orders, &meters).await;
            meters.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// How a connection stops being relayed.
enum End {
    Closed,
    Reset,
    Abandoned,
}

async fn connection(
    mut client: TcpStream,
    target: SocketAddr,
    mut orders: watch::Receiver<State>,
    meters: &Meters,
) -> std::io::Result<()> {
    let begun = *orders.borrow_and_update();
    let mut relayed = None;
    let end = match begun.fault {
        Fault::Reset => End::Reset,
        Fault::HalfOpen => End::Abandoned,
        _ => {
            let Ok(stream) = TcpStream::connect(target).await else {
                return reset(&client);
            };
            stream.set_nodelay(true)?;
            client.set_nodelay(true)?;
            let target = relayed.insert(stream);
            tokio::select! {
                end = flow::relay(&mut client, target, &orders, meters) => end,
                end = interrupted(orders.clone(), begun.severed) => end,
            }
        }
    };
    match end {
        End::Closed => Ok(()),
        End::Reset => {
            relayed.as_ref().map_or(Ok(()), reset)?;
            reset(&client)
        }
        End::Abandoned => {
            drop(relayed);
            flow::swallow(&mut client, orders).await?;
            reset(&client)
        }
    }
}

/// Waits for an order that ends the relaying of a connection.
async fn interrupted(mut orders: watch::Receiver<State>, severed: u64) -> End {
    let ends =
        |state: &State| state.severed != severed || matches!(state.fault, Fault::Reset | Fault::HalfOpen);
    match orders.wait_for(ends).await {
        Ok(state) if state.severed == severed && state.fault == Fault::HalfOpen => End::Abandoned,
        Ok(_) | Err(_) => End::Reset,
    }
}

/// Makes the closing of `stream` a reset instead of an orderly end.
fn reset(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_zero_linger()
}
