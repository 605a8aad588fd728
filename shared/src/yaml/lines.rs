//! The line of every value of a document, by JSON pointer.

use std::collections::BTreeMap;

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
///
/// It is a tree like the document itself: one text per value with the whole way to it would grow with the square of the
/// file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    root: Option<Place>,
}

/// A value's line, and those of the values in it by their keys or numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    line: u32,
    inside: BTreeMap<Box<str>, Place>,
}

impl Lines {
    /// Returns the line where the value, with its key, is written.
    ///
    /// A value that has no line of its own (it came by an alias, or is not there at all) has that of the
    /// nearest value around it. `None` when no lines were kept.
    pub fn line_of(&self, pointer: &str) -> Option<u32> {
        let mut place = self.root.as_ref()?;
        for segment in pointer.split('/').skip(1) {
            let key = segment.replace("~1", "/").replace("~0", "~");
            let Some(inner) = place.inside.get(key.as_str()) else { break };
            place = inner;
        }
        Some(place.line)
    }
}

/// Writes down lines while a document is read from its start to its end.
#[derive(Debug)]
pub(super) struct Recorder {
    /// The values around the one that is read, the outermost first.
    around: Vec<Place>,
}

impl Recorder {
    pub(super) fn new(line: u32) -> Self {
        Self { around: vec![Place::new(line)] }
    }

    pub(super) fn enter(&mut self, line: u32) {
        self.around.push(Place::new(line));
    }

    /// Leaves the value that was entered last, which has this key or number.
    pub(super) fn leave(&mut self, key: &str) {
        let left = self.around.pop();
        if let (Some(place), Some(parent)) = (left, self.around.last_mut()) {
            parent.inside.insert(key.into(), place);
        }
    }

    pub(super) fn into_lines(mut self) -> Lines {
        self.around.truncate(1);
        Lines { root: self.around.pop() }
    }
}

impl Place {
    fn new(line: u32) -> Self {
        Self { line, inside: BTreeMap::new() }
    }
}
