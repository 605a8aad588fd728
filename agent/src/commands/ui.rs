//! The only module that prints.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is where the program speaks to people")]

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use crate::args::Output;

/// Prints one line on the standard output.
pub fn line(text: &str) {
    println!("{text}");
}

/// Prints text as it is on the standard output.
pub fn text(text: &str) {
    print!("{text}");
}

/// Prints an error.
pub fn error(text: &str) {
    eprintln!("error: {text}");
}

/// Prints a warning.
pub fn warning(text: &str) {
    eprintln!("warning: {text}");
}

/// Tells on the standard error how far something has come.
pub fn progress(text: &str) {
    eprintln!("{text}");
}

/// Whether there is somebody to ask.
pub fn is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks a question on the terminal; everything but yes is no.
pub fn confirm(question: &str) -> std::io::Result<bool> {
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Prints a value for programs.
pub fn value(value: &impl Serialize, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Yaml => print!("{}", serde_saphyr::to_string(value)?),
        _ => println!("{}", serde_json::to_string_pretty(value)?),
    }
    Ok(())
}

/// Prints rows under a header, each column as wide as its widest cell.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let print = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", padded.collect::<Vec<_>>().join("   ").trim_end());
    };
    print(header.to_vec());
    for row in rows {
        print(row.iter().map(String::as_str).collect());
    }
}
