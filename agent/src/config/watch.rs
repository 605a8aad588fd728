//! Sees a changed configuration file without a restart.
//!
//! A ConfigMap mount is changed by renaming a symlink in the file's folder, so the folder is watched: whoever watches
//! the file sees one change and none after it. Not every volume sends events, so the file is also read every minute.
//! Only a changed content is a change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Config, ConfigErrors, unreadable};

const REREAD_INTERVAL: Duration = Duration::from_secs(60);
/// How long the folder is left alone after an event: an editor may still be writing.
const SETTLE: Duration = Duration::from_millis(50);

/// Every later content of the file: a new configuration, or why it is none. After an error the one before it stays.
pub type Changes = mpsc::Receiver<Result<Config, ConfigErrors>>;

/// A configuration and its changes.
#[derive(Debug)]
pub struct Watched {
    /// The configuration at the start.
    pub config: Config,
    /// What comes after it. Dropping it ends the watch.
    pub changes: Changes,
}

/// Loads the configuration and watches its file. Must be called within a tokio runtime.
///
/// Fails if the file holds no valid configuration at the start. A folder that cannot be watched is no failure:
/// changes are then seen within a minute.
pub fn watch(path: PathBuf, variables: Vec<(String, String)>) -> Result<Watched, ConfigErrors> {
    let (sender, changes) = mpsc::channel(1);
    let (nudge, nudges) = mpsc::channel(1);
    // Watching before reading: a change in between is then seen.
    let watcher = watch_folder(&path, nudge)
        .inspect_err(|error| tracing::warn!(%error, path = %path.display(), "changes of the configuration are seen within a minute only"))
        .ok();
    let mut file = File { path, variables, last: None };
    let config = match file.read() {
        Some(first) => first?,
        None => return Err(ConfigErrors::one(file.path.display().to_string(), "cannot be read".to_owned())),
    };
    tokio::spawn(follow(file, nudges, sender, watcher));
    Ok(Watched { config, changes })
}

fn watch_folder(path: &Path, nudge: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // A full channel means that a reading is due already.
            let _ = nudge.try_send(());
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

async fn follow(
    mut file: File,
    mut nudges: mpsc::Receiver<()>,
    sender: mpsc::Sender<Result<Config, ConfigErrors>>,
    watcher: Option<RecommendedWatcher>,
) {
    let mut timer = interval(REREAD_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            Some(()) = nudges.recv() => {
                sleep(SETTLE).await;
                let _ = nudges.try_recv();
            }
            () = sender.closed() => break,
        }
        if let Some(change) = file.read()
            && sender.send(change).await.is_err()
        {
            break;
        }
    }
    drop(watcher);
}

/// The file and what was last seen of it.
struct File {
    path: PathBuf,
    variables: Vec<(String, String)>,
    last: Option<Seen>,
}

#[derive(PartialEq, Eq)]
enum Seen {
    Content([u8; 32]),
    Unreadable(std::io::ErrorKind),
}

impl File {
    /// Returns what the file says, or `None` if it says what it said before.
    fn read(&mut self) -> Option<Result<Config, ConfigErrors>> {
        let read = std::fs::read(&self.path);
        let seen = match &read {
            Ok(bytes) => Seen::Content(Sha256::digest(bytes).into()),
            Err(error) => Seen::Unreadable(error.kind()),
        };
        if self.last.as_ref() == Some(&seen) {
            return None;
        }
        self.last = Some(seen);
        Some(match read {
            Ok(bytes) => {
                Config::parse(&bytes, &self.path.display().to_string(), self.variables.iter().cloned())
            }
            Err(error) => Err(unreadable(&self.path, &error)),
        })
    }
}
