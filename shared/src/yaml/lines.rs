//! The line of every value of a document, by JSON pointer.

use std::collections::HashMap;

/// Appends one segment to a JSON pointer, escaped as RFC 6901 asks.
pub fn push_segment(pointer: &mut String, segment: &str) {
    pointer.push('/');
    for character in segment.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// Knows on which line of the file each value of a document was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    by_pointer: HashMap<String, u32>,
}

impl Lines {
    pub(super) fn record(&mut self, pointer: &str, line: u32) {
        self.by_pointer.insert(pointer.to_owned(), line);
    }

    /// Returns the line where the value, with its key, is written.
    ///
    /// A value that has no line of its own (it came by an alias, or is not there at all) has that of the
    /// nearest value around it. `None` when no lines were kept.
    pub fn line_of(&self, pointer: &str) -> Option<u32> {
        let mut around = pointer;
        loop {
            if let Some(line) = self.by_pointer.get(around) {
                return Some(*line);
            }
            let (parent, _) = around.rsplit_once('/')?;
            around = parent;
        }
    }
}
