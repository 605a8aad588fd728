//! What the demo prints: for a terminal of 80 columns, in colours only where there is one.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the one place where the demo speaks to a person"
)]

use std::io::IsTerminal as _;
use std::time::Duration;

/// Columns that a line may have.
pub(super) const WIDTH: usize = 80;

/// The terminal, or the file that stands for it.
pub(super) struct Terminal {
    colours: bool,
}

/// How a piece of text looks.
#[derive(Clone, Copy)]
pub(super) enum Style {
    Plain,
    Bold,
    Faint,
    Good,
    Bad,
    Blue,
}

impl Terminal {
    /// Colours are for people who see them and have not asked for none.
    pub(super) fn of_process() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colours: wanted && std::io::stdout().is_terminal() }
    }

    pub(super) fn line(&self, text: &str) {
        println!("{text}");
    }

    pub(super) fn gap(&self) {
        println!();
    }

    pub(super) fn title(&self, text: &str) {
        self.gap();
        println!("{}", self.paint(text, Style::Bold));
    }

    /// Begins a part of the story.
    pub(super) fn chapter(&self, number: usize, text: &str) {
        let rule = "─".repeat(WIDTH.saturating_sub(text.chars().count() + 5));
        self.gap();
        println!(
            "{} {} {}",
            self.paint(&format!("{number} ·"), Style::Blue),
            self.paint(text, Style::Bold),
            self.paint(&rule, Style::Faint)
        );
    }

    /// Prints sentences, broken at the width.
    pub(super) fn prose(&self, text: &str) {
        for line in wrapped(text, WIDTH - 4) {
            println!("    {}", self.paint(&line, Style::Faint));
        }
    }

    /// Prints something that has happened, and how long it took.
    pub(super) fn done(&self, what: &str, detail: &str, took: Duration) {
        let time = words(took);
        let room = WIDTH.saturating_sub(4 + what.chars().count() + 1 + time.chars().count() + 1);
        let detail = cut(detail, room);
        let space = " ".repeat(room.saturating_sub(detail.chars().count()));
        let mark = self.paint("✓", Style::Good);
        println!(
            "  {mark} {what} {}{space} {}",
            self.paint(&detail, Style::Faint),
            self.paint(&time, Style::Bold)
        );
    }

    /// Prints a fact below what has happened.
    pub(super) fn fact(&self, name: &str, value: &str) {
        let mut lines = wrapped(value, WIDTH - 20).into_iter();
        let first = lines.next().unwrap_or_default();
        println!("    {} {first}", self.paint(&format!("{name:<15}"), Style::Faint));
        for line in lines {
            println!("    {:<15} {line}", "");
        }
    }

    /// Prints a command that a person may type.
    pub(super) fn command(&self, text: &str) {
        println!("    {}", self.paint(text, Style::Blue));
    }

    pub(super) fn failure(&self, error: &anyhow::Error) {
        let mark = if self.colours { "\x1b[31m✗\x1b[0m" } else { "✗" };
        eprintln!("\n  {mark} {error:#}");
    }

    pub(super) fn paint(&self, text: &str, style: Style) -> String {
        let code = match style {
            Style::Plain => return text.to_owned(),
            Style::Bold => "1",
            Style::Faint => "2",
            Style::Good => "32",
            Style::Bad => "31",
            Style::Blue => "36",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Says a duration with three digits or so: `4.2 ms`, `380 ms`, `1.31 s`, `3 min 02 s`.
pub(super) fn words(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1_000.0;
    match time.as_secs() {
        _ if milliseconds < 10.0 => format!("{milliseconds:.1} ms"),
        0 => format!("{milliseconds:.0} ms"),
        1..60 => format!("{:.2} s", time.as_secs_f64()),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// Returns at most so many characters.
pub(super) fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some(_) => text.chars().take(limit.saturating_sub(1)).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is a first line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_the_unit_that_fits() {
        let said = [0.0042, 0.38, 1.314, 182.0].map(|seconds| words(Duration::from_secs_f64(seconds)));

        assert_eq!(said, ["4.2 ms", "380 ms", "1.31 s", "3 min 02 s"]);
    }

    #[test]
    fn prose_is_broken_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    }
}
