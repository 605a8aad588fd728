//! Colours: what is well, what is under way, what is wrong.

use std::io::IsTerminal as _;

use super::screen;

/// What a colour stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shade {
    Good,
    /// Under way, or to be looked at.
    Busy,
    Bad,
    /// Where something stands, not what it is.
    Place,
    /// Beside the point.
    Faint,
}

impl Shade {
    /// Returns the shade of a word that Skiff and Kubernetes use for states.
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "Healthy" | "Synced" | "success" | "created" | "ok" => Self::Good,
            "Progressing" | "OutOfSync" | "Suspended" | "configured" | "Warning" | "held" | "running" => {
                Self::Busy
            }
            "Degraded" | "Missing" | "failed" | "failure" | "pruned" | "recreated" => Self::Bad,
            "Unknown" | "-" | "Normal" | "unchanged" => Self::Faint,
            _ => return None,
        })
    }

    /// The ANSI colour: of the 16 that every terminal has and its owner may choose.
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Busy => "33",
            Self::Bad => "31",
            Self::Place => "36",
            Self::Faint => "2",
        }
    }
}

/// Returns text in a shade, if colours are wanted.
pub fn shaded(text: &str, shade: Shade) -> String {
    wrapped(text, shade, screen().colours)
}

/// Returns a cell as it is, with the word in it in the word's shade.
pub fn painted(cell: &str) -> String {
    match Shade::of(cell.trim_end()) {
        Some(shade) if screen().colours => {
            let word = cell.trim_end();
            format!("{}{}", wrapped(word, shade, true), &cell[word.len()..])
        }
        _ => cell.to_owned(),
    }
}

/// Returns text in one of some colours, so that those who speak can be told apart.
pub fn tinted(text: &str, turn: usize) -> String {
    const TINTS: [&str; 6] = ["32", "33", "34", "35", "36", "94"];
    let tint = TINTS[turn % TINTS.len()];
    if screen().colours { format!("\x1b[{tint}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Returns a line of a unified diff in its shade.
pub fn diff_line(line: &str) -> String {
    let shade = match line.as_bytes().first() {
        Some(b'+') => Shade::Good,
        Some(b'-') => Shade::Bad,
        Some(b'@') => Shade::Place,
        _ => return line.to_owned(),
    };
    shaded(line, shade)
}

/// Returns text in a shade for the standard error, which may be a terminal where the output is none.
pub(super) fn on_errors(text: &str, shade: Shade) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    wrapped(text, shade, std::io::stderr().is_terminal() && !plain)
}

fn wrapped(text: &str, shade: Shade, colours: bool) -> String {
    if colours && !text.is_empty() { format!("\x1b[{}m{text}\x1b[0m", shade.code()) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_and_other_words_stay_as_they_are() {
        assert_eq!(painted("Healthy   "), "Healthy   ", "no colours are wanted here");
        assert_eq!(wrapped("Healthy", Shade::Good, true), "\x1b[32mHealthy\x1b[0m");
        assert_eq!(wrapped("", Shade::Good, true), "");
        assert_eq!(Shade::of("Deployment/shop/web"), None);
    }
}
