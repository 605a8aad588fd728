//! Walks the documents of a file, one at a time: nothing holds more than the document at hand.

use granit_parser::{Event, Marker, Parser, ScanError, StrInput};
use serde_json::Value;

use super::load::{Loaded, Loader};
use super::{Duplicate, KeepLines, Lines, Options, YamlError, YamlErrorKind};

/// One document of a file, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it says.
    pub value: Value,
    /// The line of the file where its content starts, counted from 1.
    pub line: u32,
    /// Keys that were there twice, under [`super::DuplicateKeys::LastWins`].
    pub duplicates: Vec<Duplicate>,
    lines: Option<Lines>,
}

impl Document {
    /// Returns the line where the value at a JSON pointer, with its key, is written, or that of the nearest value
    /// around it. `None` when no lines were kept.
    pub fn line_of(&self, pointer: &str) -> Option<u32> {
        self.lines.as_ref().and_then(|lines| lines.line_of(pointer))
    }

    /// Takes the document apart into what it says and where each value is written.
    pub fn into_parts(self) -> (Value, Lines) {
        (self.value, self.lines.unwrap_or_default())
    }
}

/// Reads the documents of a file one after the other.
///
/// Empty documents are skipped, as `kubectl` does. After a broken document the reading resumes at the next one,
/// so that one mistake in a file does not hide the rest.
pub fn documents(text: &str, options: Options) -> Documents<'_> {
    let depth = options.limits.depth;
    let parser_options = granit_parser::options! {
        block_scalar_eof_without_line_feed: true,
        // Another crate of the build may turn the parser's feature `comments` on, and with it comment events.
        emit_comments: false,
        flow_nesting_limit: depth,
        block_nesting_limit: depth,
    };
    Documents { parser: Parser::new_from_str_with_options(text, parser_options), options, finished: false }
}

/// Reads a file that must hold exactly one document, refusing duplicate keys and keeping all lines.
pub fn load(text: &str) -> Result<Document, YamlError> {
    let mut all = documents(text, Options { lines: KeepLines::Yes, ..Options::default() });
    let first =
        all.next().unwrap_or(Err(YamlError { line: 1, column: 1, kind: YamlErrorKind::NoDocument }))?;
    match all.next() {
        None => Ok(first),
        Some(Ok(second)) => {
            Err(YamlError { line: second.line, column: 1, kind: YamlErrorKind::SecondDocument })
        }
        Some(Err(error)) => Err(error),
    }
}

/// The documents of a file. See [`documents`].
pub struct Documents<'a> {
    parser: Parser<'a, StrInput<'a>>,
    options: Options,
    finished: bool,
}

impl Iterator for Documents<'_> {
    type Item = Result<Document, YamlError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.finished {
            match self.read() {
                Ok(Step::Document(document)) => return Some(Ok(document)),
                Ok(Step::Empty) => {}
                Ok(Step::End) => self.finished = true,
                Err(error) => {
                    self.finished = !self.parser.proceed_next_document().unwrap_or(false);
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

enum Step {
    Document(Document),
    Empty,
    End,
}

impl Documents<'_> {
    fn read(&mut self) -> Result<Step, YamlError> {
        loop {
            match self.parser.next_event() {
                None | Some(Ok((Event::StreamEnd, _))) => return Ok(Step::End),
                Some(Ok((Event::DocumentStart(..), _))) => return self.read_content(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(syntax_error(&error)),
            }
        }
    }

    fn read_content(&mut self) -> Result<Step, YamlError> {
        let Loaded { value, line, duplicates, lines } =
            Loader::new(&mut self.parser, self.options).document()?;
        Ok(match value {
            Value::Null => Step::Empty,
            value => Step::Document(Document { value, line, duplicates, lines }),
        })
    }
}

pub(super) fn syntax_error(error: &ScanError) -> YamlError {
    at(*error.marker(), YamlErrorKind::Syntax(error.info()))
}

pub(super) fn at(marker: Marker, kind: YamlErrorKind) -> YamlError {
    let column = u32::try_from(marker.col()).unwrap_or(u32::MAX).saturating_add(1);
    YamlError { line: line_number(marker), column, kind }
}

pub(super) fn line_number(marker: Marker) -> u32 {
    u32::try_from(marker.line()).unwrap_or(u32::MAX)
}
