//! Definitions of kinds: that they changed, told once for many changes.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::feed::Fed;

/// A change is told when there was no other for this long, so that ten of them are one...
const QUIET: Duration = Duration::from_millis(100);

/// ...but not later than this.
const BURST: Duration = Duration::from_secs(1);

/// It is told once more after this time: discovery follows a definition with a delay.
const ECHO: Duration = Duration::from_secs(2);

/// Passes on that something changed after the first list.
pub(super) async fn run(mut events: mpsc::Receiver<Fed>, changed: mpsc::Sender<()>) {
    let (seen, bursts) = mpsc::channel(1);
    let notice = async move {
        while let Some(fed) = events.recv().await {
            if matches!(fed, Fed::Changed(_) | Fed::Deleted(_)) {
                // A full channel already says so.
                let _ = seen.try_send(());
            }
        }
    };
    tokio::join!(notice, tell_bursts(bursts, changed));
}

async fn tell_bursts(mut seen: mpsc::Receiver<()>, changed: mpsc::Sender<()>) {
    let mut begun = seen.recv().await;
    while begun.is_some() {
        let quiet = async { while let Ok(Some(())) = timeout(QUIET, seen.recv()).await {} };
        let _ = timeout(BURST, quiet).await;
        let _ = changed.send(()).await;
        begun = match timeout(ECHO, seen.recv()).await {
            Ok(next) => next,
            Err(_) => {
                let _ = changed.send(()).await;
                seen.recv().await
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_changes_are_told_once_and_once_again_later() {
        let (seen, bursts) = mpsc::channel(1);
        let (changed, mut told) = mpsc::channel(8);
        let teller = tokio::spawn(tell_bursts(bursts, changed));
        for _ in 0..10 {
            let _ = seen.try_send(());
        }
        told.recv().await.unwrap();
        told.recv().await.unwrap();
        drop(seen);
        teller.await.unwrap();
        assert!(told.recv().await.is_none());
    }
}
