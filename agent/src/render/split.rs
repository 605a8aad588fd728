//! Cuts what a tool prints into documents while it prints, so that no more than one is in memory.
//!
//! A line that begins with `---` ends a document wherever it stands: YAML allows it in no scalar.

/// One document as a tool printed it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Chunk {
    pub(super) text: Vec<u8>,
    /// The template that Helm says it comes from.
    pub(super) source: Option<String>,
}

/// A document, or a line, that is larger than allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooLarge;

pub(super) struct Splitter {
    limit: usize,
    line: Vec<u8>,
    text: Vec<u8>,
    source: Option<String>,
    /// Whether the document holds more than comments and markers so far.
    has_content: bool,
}

impl Splitter {
    pub(super) fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { limit, line: Vec::new(), text: Vec::new(), source: None, has_content: false }
    }

    /// Takes what was printed and returns the documents that it ended.
    pub(super) fn feed(&mut self, mut printed: &[u8]) -> Result<Vec<Chunk>, TooLarge> {
        let mut ended = Vec::new();
        while let Some(end) = printed.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = printed.split_at(end + 1);
            printed = rest;
            self.line.extend_from_slice(line);
            ended.extend(self.end_line()?);
        }
        self.line.extend_from_slice(printed);
        self.check()?;
        Ok(ended)
    }

    /// Returns the last document.
    pub(super) fn finish(mut self) -> Result<Option<Chunk>, TooLarge> {
        if let Some(chunk) = self.end_line()? {
            // The last line was a marker without a line feed: nothing follows it.
            return Ok(Some(chunk));
        }
        Ok(self.take())
    }

    fn end_line(&mut self) -> Result<Option<Chunk>, TooLarge> {
        let line = std::mem::take(&mut self.line);
        let ended = if is_marker(&line) { self.take() } else { None };
        let content = line.strip_prefix(b"---").filter(|_| is_marker(&line)).unwrap_or(&line).trim_ascii();
        if !self.has_content
            && let Some(source) = content.strip_prefix(b"# Source: ")
        {
            self.source = Some(String::from_utf8_lossy(source).into_owned());
        }
        self.has_content |= !matches!(content.first(), None | Some(b'#' | b'%')) && content != b"...";
        self.text.extend_from_slice(&line);
        self.line = line;
        self.line.clear();
        self.check()?;
        Ok(ended)
    }

    /// Takes the document out. The source stays: Helm names it once for a file of several documents.
    fn take(&mut self) -> Option<Chunk> {
        if !self.has_content {
            return None;
        }
        self.has_content = false;
        Some(Chunk { text: std::mem::take(&mut self.text), source: self.source.clone() })
    }

    fn check(&self) -> Result<(), TooLarge> {
        if self.text.len() + self.line.len() > self.limit { Err(TooLarge) } else { Ok(()) }
    }
}

fn is_marker(line: &[u8]) -> bool {
    line.strip_prefix(b"---").is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, step: usize) -> Vec<(String, Option<String>)> {
        let mut splitter = Splitter::new(1 << 20);
        let mut chunks = Vec::new();
        for part in text.as_bytes().chunks(step) {
            chunks.extend(splitter.feed(part).unwrap());
        }
        chunks.extend(splitter.finish().unwrap());
        chunks.into_iter().map(|chunk| (String::from_utf8(chunk.text).unwrap(), chunk.source)).collect()
    }

    #[test]
    fn documents_are_cut_however_the_text_arrives() {
        let text = "---\n# Source: c/a.yaml\na: 1\n---\n# Source: c/b.yaml\n# nothing\n---\n# Source: c/crds.yaml\nb: |\n  --- no\n  x\n--- # two\nc: 1\n---";
        let source = |name: &str| Some(format!("c/{name}.yaml"));
        for step in [1, 2, 7, 1000] {
            assert_eq!(
                split(text, step),
                [
                    ("---\n# Source: c/a.yaml\na: 1\n".to_owned(), source("a")),
                    (
                        "---\n# Source: c/b.yaml\n# nothing\n---\n# Source: c/crds.yaml\nb: |\n  --- no\n  x\n"
                            .to_owned(),
                        source("crds")
                    ),
                    ("--- # two\nc: 1\n".to_owned(), source("crds")),
                ]
            );
        }
    }

    #[test]
    fn text_without_markers_is_one_document_and_nothing_is_none() {
        assert_eq!(split("a: 1\nb: 2", 3), [("a: 1\nb: 2".to_owned(), None)]);
        assert_eq!(split("--- {a: 1}\n", 3), [("--- {a: 1}\n".to_owned(), None)]);
        assert_eq!(split("---\n# only a comment\n...\n", 3), []);
        assert_eq!(split("----\n", 3).len(), 1);
    }

    #[test]
    fn document_that_is_too_large_is_refused_before_it_ends() {
        let mut splitter = Splitter::new(8);
        assert!(splitter.feed(b"a: 1\n---").is_ok());
        assert_eq!(splitter.feed(b"\nb: 12345").unwrap_err(), TooLarge);
    }
}
