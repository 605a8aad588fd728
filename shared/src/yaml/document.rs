//! Walks the documents of a file, one at a time: nothing holds more than the document at hand.

use granit_parser::{Event, Parser, StrInput};
use serde_json::Value;

use super::error::Site;
use super::load::{Loaded, Loader};
use super::split::{Piece, Pieces};
use super::{Duplicate, KeepLines, Lines, Options, YamlError, YamlErrorKind};

/// One document of a file, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it says.
    pub value: Value,
    /// The line of the file where its content starts, counted from 1.
    pub line: u32,
    /// The column of that line, counted from 1.
    pub column: u32,
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
    Documents { pieces: Pieces::new(text), current: None, number: 1, options }
}

/// Reads a file that must hold exactly one document, refusing duplicate keys and keeping all lines.
pub fn load(text: &str) -> Result<Document, YamlError> {
    let mut all = documents(text, Options { lines: KeepLines::Yes, ..Options::default() });
    let nothing = YamlError { document: None, line: 1, column: 1, kind: YamlErrorKind::NoDocument };
    let first = all.next().unwrap_or(Err(nothing))?;
    match all.next() {
        None => Ok(first),
        Some(Ok(Document { line, column, .. })) => {
            Err(YamlError { document: Some(2), line, column, kind: YamlErrorKind::SecondDocument })
        }
        Some(Err(error)) => Err(error),
    }
}

/// The documents of a file. See [`documents`].
pub struct Documents<'a> {
    pieces: Pieces<'a>,
    current: Option<Current<'a>>,
    /// The number of the document that comes next.
    number: u32,
    options: Options,
}

/// The piece that is read now. More than one document is in it where `...` ends them.
struct Current<'a> {
    piece: Piece<'a>,
    parser: Parser<'a, StrInput<'a>>,
}

impl Iterator for Documents<'_> {
    type Item = Result<Document, YamlError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (options, number) = (self.options, self.number);
            if self.current.is_none() {
                self.current = Some(Current::new(self.pieces.next()?, options));
            }
            let current = self.current.as_mut()?;
            let mut outcome = match current.read(options, number) {
                Ok(Step::Document(document)) => Ok(document),
                Ok(Step::Empty) => continue,
                Ok(Step::End) => {
                    self.current = None;
                    continue;
                }
                Err(error) => {
                    if !current.parser.proceed_next_document().unwrap_or(false) {
                        self.current = None;
                    }
                    Err(error)
                }
            };
            if let Err(YamlError { document, kind: YamlErrorKind::Trailing, .. }) = &mut outcome
                && number > 1
            {
                // It stands behind the document that was counted last.
                *document = Some(number - 1);
                return Some(outcome);
            }
            self.number = self.number.saturating_add(1);
            return Some(outcome);
        }
    }
}

enum Step {
    Document(Document),
    Empty,
    End,
}

impl<'a> Current<'a> {
    fn new(piece: Piece<'a>, options: Options) -> Self {
        let depth = options.limits.depth;
        let parser_options = granit_parser::options! {
            // Another crate of the build may turn the parser's feature `comments` on, and with it comment events.
            emit_comments: false,
            flow_nesting_limit: depth,
            block_nesting_limit: depth,
        };
        Self { piece, parser: Parser::new_from_str_with_options(piece.text, parser_options) }
    }

    fn read(&mut self, options: Options, number: u32) -> Result<Step, YamlError> {
        let site = Site { origin: self.piece.origin, document: number, depth: options.limits.depth };
        loop {
            match self.parser.next_event() {
                None | Some(Ok((Event::StreamEnd, _))) => return Ok(Step::End),
                Some(Ok((Event::DocumentStart(..), _))) => return self.read_content(options, site),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(site.syntax_error(&error)),
            }
        }
    }

    fn read_content(&mut self, options: Options, site: Site) -> Result<Step, YamlError> {
        let Loaded { value, start, duplicates, lines } =
            Loader::new(&mut self.parser, self.piece.text, options, site).document()?;
        let (line, column) = (site.line(start), site.column(start));
        Ok(match value {
            Value::Null => Step::Empty,
            value => Step::Document(Document { value, line, column, duplicates, lines }),
        })
    }
}
