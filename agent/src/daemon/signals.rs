//! Signals that ask the process to end.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `ending` at the first SIGTERM or SIGINT. From here on neither ends the process by itself; the kernel drops
/// one that the first process of a container does not listen to.
pub fn listen(ending: CancellationToken) -> std::io::Result<()> {
    let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(wait(terminate, interrupt, ending));
    Ok(())
}

async fn wait(mut terminate: Signal, mut interrupt: Signal, ending: CancellationToken) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    ending.cancel();
}
