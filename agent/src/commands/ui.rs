//! The only module that prints.
//!
//! Results go to the standard output, or, where they are long and a person looks at them, to a pager; everything else
//! goes to the standard error. A reader that has gone (`skiff get | head`) ends the program without a word.

mod age;
mod pager;
mod paint;
mod table;

use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

use serde::Serialize;

use crate::args::{Color, Output, ScreenArgs};

pub use self::age::age;
pub use self::pager::page;
use self::paint::Shade;
pub use self::paint::{diff_line, tinted};
pub use self::table::{Table, columns, table, wide};

/// How the shell tells that a program has ended because nobody read on: 128 and the signal that is sent otherwise.
const NOBODY_READS: i32 = 141;

static SCREEN: OnceLock<Screen> = OnceLock::new();

/// How the person wants to be spoken to.
#[derive(Clone, Copy)]
struct Screen {
    colours: bool,
    pages: bool,
    quiet: bool,
}

/// Takes the person's wishes; the first call counts.
pub fn speak_as(wishes: ScreenArgs) {
    let ScreenArgs { color, no_pager, quiet } = wishes;
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let colours = match color {
        Color::Always => true,
        Color::Never => false,
        // https://no-color.org
        Color::Auto => {
            is_seen() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    };
    SCREEN.get_or_init(|| Screen { colours, pages: is_seen() && !no_pager, quiet });
}

fn screen() -> Screen {
    SCREEN.get().copied().unwrap_or(Screen { colours: false, pages: false, quiet: false })
}

/// Prints one line on the standard output.
pub fn line(text: &str) {
    out(&format!("{text}\n"));
}

/// Prints text as it is on the standard output.
pub fn text(text: &str) {
    out(text);
}

fn out(text: &str) {
    if pager::takes(text) {
        return;
    }
    let mut output = std::io::stdout().lock();
    if output.write_all(text.as_bytes()).and_then(|()| output.flush()).is_err() {
        std::process::exit(NOBODY_READS);
    }
}

/// Tells something beside the results, once what was printed before it has been read.
fn aside(text: &str) {
    pager::end();
    // Where errors cannot be told there is nobody to tell that.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints an error.
pub fn error(text: &str) {
    aside(&format!("{} {text}", paint::on_errors("error:", Shade::Bad)));
}

/// Prints a warning.
pub fn warning(text: &str) {
    if !screen().quiet {
        aside(&format!("{} {text}", paint::on_errors("warning:", Shade::Busy)));
    }
}

/// Tells on the standard error how far something has come.
pub fn progress(text: &str) {
    if !screen().quiet {
        aside(text);
    }
}

/// Shows everything that was printed, and waits until the person has read it.
pub fn finish() {
    pager::end();
}

/// Whether there is somebody to ask.
pub fn is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Whether a person sees what is printed.
pub fn is_seen() -> bool {
    std::io::stdout().is_terminal()
}

/// Asks a question on the terminal; everything but yes is no.
pub fn confirm(question: &str) -> std::io::Result<bool> {
    let mut errors = std::io::stderr().lock();
    write!(errors, "{question} [y/N] ")?;
    errors.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Prints a value for programs.
pub fn value(value: &impl Serialize, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Yaml => out(&serde_saphyr::to_string(value)?),
        _ => line(&serde_json::to_string_pretty(value)?),
    }
    Ok(())
}
