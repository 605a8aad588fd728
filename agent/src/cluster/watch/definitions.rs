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

/// Passes on that something changed after the first list. Without the right to see definitions, something may
/// have changed every `look_again`.
pub(super) async fn run(mut events: mpsc::Receiver<Fed>, changed: mpsc::Sender<()>, look_again: Duration) {
    let (seen, bursts) = mpsc::channel(1);
    let notice = async move {
        let mut is_blind = false;
        loop {
            let next =
                if is_blind { timeout(look_again, events.recv()).await } else { Ok(events.recv().await) };
            let may_have_changed = match next {
                Ok(None) => return,
                Ok(Some(Fed::Blind(places))) => {
                    is_blind = !places.is_empty();
                    tell_sight(is_blind);
                    false
                }
                Ok(Some(fed)) => matches!(fed, Fed::Changed(_) | Fed::Deleted(_)),
                Err(_) => true,
            };
            if may_have_changed {
                // A full channel already says so.
                let _ = seen.try_send(());
            }
        }
    };
    tokio::join!(notice, tell_bursts(bursts, changed));
}

fn tell_sight(is_blind: bool) {
    if is_blind {
        tracing::info!(
            "definitions of kinds may not be watched: the cluster is asked for its kinds from time to time"
        );
    } else {
        tracing::info!("definitions of kinds are watched again");
    }
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
