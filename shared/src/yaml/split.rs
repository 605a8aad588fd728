//! Cuts a file into pieces as `kubectl` does, before anything is parsed: what is broken in one does not reach the next.

use serde::de::IgnoredAny;

/// A part of a file that is parsed on its own. It usually is one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    pub(super) origin: Origin,
}

/// Where a piece begins in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The lines before its first one.
    pub(super) lines: u32,
    /// The characters before it on that line.
    pub(super) columns: u32,
}

/// The pieces of a file: what stands between lines of `---`, and each object of a stream of JSON.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    rest: Option<&'a str>,
    origin: Origin,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: Some(text), origin: Origin::default() }
    }

    /// Ends the current piece after `taken` bytes, and skips `skipped` more.
    fn cut(&mut self, text: &'a str, taken: usize, skipped: usize) -> Piece<'a> {
        let piece = Piece { text: text.get(..taken).unwrap_or(text), origin: self.origin };
        let passed = text.get(..taken + skipped).unwrap_or(text);
        self.origin = self.origin.after(passed);
        self.rest = text.get(taken + skipped..);
        piece
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let text = self.rest?;
        if let Some(object) = json_object(text) {
            return Some(self.cut(text, object, 0));
        }
        let end = separator(text);
        let (taken, skipped) = end.unwrap_or((text.len(), 0));
        let piece = self.cut(text, taken, skipped);
        if end.is_none() {
            self.rest = None;
        }
        Some(piece)
    }
}

impl Origin {
    fn after(self, text: &str) -> Self {
        // As the parser counts: a line ends with \n, \r\n or \r.
        let lonely = text.matches('\r').count() - text.matches("\r\n").count();
        let ends = u32::try_from(text.matches('\n').count() + lonely).unwrap_or(u32::MAX);
        let last = text.rsplit(['\n', '\r']).next().unwrap_or_default();
        let columns = u32::try_from(last.chars().count()).unwrap_or(u32::MAX);
        let before = if ends == 0 { self.columns } else { 0 };
        Self { lines: self.lines.saturating_add(ends), columns: before.saturating_add(columns) }
    }
}

/// Finds the line of `---` that ends the piece at the start of a text: where the piece ends, and how long the line is.
///
/// A line with content after the marks begins the next piece, so nothing of it is skipped.
fn separator(text: &str) -> Option<(usize, usize)> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let at = start;
        start += line.len();
        let Some(after) = line.strip_prefix("---") else { continue };
        if !(after.is_empty() || after.starts_with([' ', '\t', '\r', '\n', '#'])) {
            continue;
        }
        let before = text.get(..at).unwrap_or_default();
        if is_prologue(before) {
            continue;
        }
        let content = after.trim_start();
        if content.is_empty() || content.starts_with('#') {
            return Some((at, line.len()));
        }
        if at > 0 {
            return Some((at, 0));
        }
    }
    None
}

/// Says whether a text ends with directives (`%YAML 1.1`), which belong to the document that follows.
fn is_prologue(text: &str) -> bool {
    let last = match text.rfind("\n...") {
        Some(end) => text.get(end + 1..).and_then(|end| end.split_once('\n')).map_or("", |(_, after)| after),
        None => text,
    };
    let mut lines = last.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).peekable();
    lines.peek().is_some() && lines.all(|line| line.starts_with('%'))
}

/// Finds the end of a JSON object that another one follows without `---`, as `kubectl` and `jq` allow.
fn json_object(text: &str) -> Option<usize> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    objects.next()?.ok()?;
    let end = objects.byte_offset();
    text.get(end..)?.trim_start().starts_with('{').then_some(end)
}
