//! Long results on a terminal go through the person's pager.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::screen;

static PAGER: Mutex<Option<Child>> = Mutex::new(None);

fn pager() -> MutexGuard<'static, Option<Child>> {
    PAGER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets everything that is printed from now on go through the pager, where a person looks at it: `$SKIFF_PAGER`, else
/// `$PAGER`, else `less`. An empty value and `cat` mean none, and so does a pager that cannot be started.
pub fn page() {
    if !screen().pages {
        return;
    }
    let named = ["SKIFF_PAGER", "PAGER"].iter().find_map(std::env::var_os);
    let named = named.map_or_else(|| "less".to_owned(), |name| name.to_string_lossy().into_owned());
    let mut words = named.split_whitespace();
    let Some(program) = words.next().filter(|program| *program != "cat") else { return };
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // As Git has it: what fits the screen is only printed, colours are colours, and the screen is left as it is.
        // An interrupt ends both programs, so that none of them is left with the terminal.
        command.env("LESS", "FRXK");
    }
    *pager() = command.spawn().ok();
}

/// Gives text to the pager, if there is one; one that was left before the end has read enough.
pub(super) fn takes(text: &str) -> bool {
    let mut pager = pager();
    let Some(input) = pager.as_mut().and_then(|child| child.stdin.as_mut()) else { return false };
    if input.write_all(text.as_bytes()).is_err() {
        drop(pager);
        end();
        std::process::exit(super::NOBODY_READS);
    }
    true
}

/// Waits until the pager is left.
pub(super) fn end() {
    let ended = pager().take();
    if let Some(mut child) = ended {
        drop(child.stdin.take());
        // How a pager ends says nothing about what it showed.
        let _ = child.wait();
    }
}
