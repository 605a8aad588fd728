//! Builds one document's value from the parser's events: aliases, merge keys, duplicate keys and limits.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};
use serde_json::{Map, Value};

use super::document::{at, line_number, syntax_error};
use super::lines::push_segment;
use super::scalar::{Scalar, Tag, resolve};
use super::{Duplicate, DuplicateKeys, KeepLines, Lines, Options, YamlError, YamlErrorKind};

const YAML_TAGS: &str = "tag:yaml.org,2002:";

/// What a document says, and where.
pub(super) struct Loaded {
    pub(super) value: Value,
    pub(super) line: u32,
    pub(super) duplicates: Vec<Duplicate>,
    pub(super) lines: Option<Lines>,
}

/// Reads the events of one document.
pub(super) struct Loader<'parser, 'text> {
    parser: &'parser mut Parser<'text, StrInput<'text>>,
    options: Options,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    repeated: usize,
    pointer: String,
    lines: Option<Lines>,
    duplicates: Vec<Duplicate>,
}

/// A value that an anchor names, with what repeating it costs.
#[derive(Clone)]
struct Anchored {
    value: Value,
    nodes: usize,
    levels: usize,
}

/// A value, and how deep it is.
struct Node {
    value: Value,
    levels: usize,
    written: Written,
}

/// How a value stands in the text, which decides what `<<` takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Here,
    ByAlias,
}

struct Entry {
    key: String,
    line: u32,
    value: Value,
    merged: bool,
}

type Sourced<'text> = (Event<'text>, Span);

impl<'parser, 'text> Loader<'parser, 'text> {
    pub(super) fn new(parser: &'parser mut Parser<'text, StrInput<'text>>, options: Options) -> Self {
        Self {
            parser,
            options,
            anchors: HashMap::new(),
            nodes: 0,
            repeated: 0,
            pointer: String::new(),
            lines: match options.lines {
                KeepLines::Yes => Some(Lines::default()),
                KeepLines::No => None,
            },
            duplicates: Vec::new(),
        }
    }

    /// Reads what follows a document's start, its end included.
    pub(super) fn document(mut self) -> Result<Loaded, YamlError> {
        let first = self.event()?;
        let line = line_number(first.1.start);
        self.record(line);
        let node = self.node(first, 0)?;
        self.event()?;
        Ok(Loaded { value: node.value, line, duplicates: self.duplicates, lines: self.lines })
    }

    fn event(&mut self) -> Result<Sourced<'text>, YamlError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(syntax_error(&error)),
            // The parser closes what it opened or fails, so the stream cannot end within a document.
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, (event, span): Sourced<'text>, depth: usize) -> Result<Node, YamlError> {
        let before = self.nodes;
        self.count(1, span.start)?;
        let anchor = event.anchor_id();
        let node = match event {
            Event::Scalar(text, style, _, tag) => {
                let tag = scalar_tag(style, tag.as_deref());
                let value = resolve(tag, text).and_then(Scalar::into_value);
                Node::leaf(value.map_err(|kind| at(span.start, kind))?)
            }
            Event::SequenceStart(..) => self.sequence(span.start, depth)?,
            Event::MappingStart(..) => self.mapping(span.start, depth)?,
            Event::Alias(id) => self.alias(id, span.start, depth)?,
            _ => Node::leaf(Value::Null),
        };
        if let Some(id) = anchor {
            self.remember(id, &node, self.nodes - before, span.start)?;
        }
        Ok(node)
    }

    fn sequence(&mut self, start: Marker, depth: usize) -> Result<Node, YamlError> {
        self.check_depth(depth + 1, start)?;
        let mut items = Vec::new();
        let mut levels = 0;
        loop {
            let (event, span) = self.event()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(Node { value: Value::Array(items), levels: levels + 1, written: Written::Here });
            }
            let parent = self.enter(&items.len().to_string());
            self.record(line_number(span.start));
            let node = self.node((event, span), depth + 1)?;
            self.pointer.truncate(parent);
            levels = levels.max(node.levels);
            items.push(node.value);
        }
    }

    fn mapping(&mut self, start: Marker, depth: usize) -> Result<Node, YamlError> {
        self.check_depth(depth + 1, start)?;
        let mut entries = Vec::new();
        let mut levels = 0;
        loop {
            let (event, span) = self.event()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                let value = Value::Object(self.close_mapping(entries)?);
                return Ok(Node { value, levels: levels + 1, written: Written::Here });
            }
            let line = line_number(span.start);
            if is_merge_key(&event) {
                let value = self.event()?;
                let marker = value.1.start;
                let node = self.node(value, depth + 1)?;
                levels = levels.max(node.levels);
                self.merge(node, line, &mut entries).map_err(|kind| at(marker, kind))?;
                continue;
            }
            let key = self.key((event, span))?;
            let parent = self.enter(&key);
            self.record(line);
            let value = self.event()?;
            let node = self.node(value, depth + 1)?;
            self.pointer.truncate(parent);
            levels = levels.max(node.levels);
            entries.push(Entry { key, line, value: node.value, merged: false });
        }
    }

    fn key(&mut self, (event, span): Sourced<'text>) -> Result<String, YamlError> {
        self.count(1, span.start)?;
        let wrong = |found| YamlErrorKind::KeyKind { found };
        let anchor = event.anchor_id();
        let key = match event {
            Event::Scalar(text, style, _, tag) => {
                resolve(scalar_tag(style, tag.as_deref()), text).and_then(Scalar::into_key)
            }
            Event::Alias(id) => match self.anchors.get(&id).map(|anchored| &anchored.value) {
                Some(Value::String(text)) => Ok(text.clone()),
                Some(value @ (Value::Bool(_) | Value::Number(_))) => Ok(value.to_string()),
                _ => Err(wrong("an alias of a null, a list or a mapping")),
            },
            Event::SequenceStart(..) => Err(wrong("a list")),
            _ => Err(wrong("a mapping")),
        }
        .map_err(|kind| at(span.start, kind))?;
        if let Some(id) = anchor {
            self.remember(id, &Node::leaf(Value::String(key.clone())), 1, span.start)?;
        }
        Ok(key)
    }

    fn alias(&mut self, id: usize, marker: Marker, depth: usize) -> Result<Node, YamlError> {
        let Some(Anchored { nodes, levels, .. }) = self.anchors.get(&id) else {
            return Err(at(marker, YamlErrorKind::SelfReference));
        };
        let (nodes, levels) = (*nodes, *levels);
        self.check_depth(depth + levels, marker)?;
        self.count(nodes, marker)?;
        self.repeat(nodes, marker)?;
        let value = self.anchors.get(&id).map(|anchored| anchored.value.clone()).unwrap_or_default();
        Ok(Node { value, levels, written: Written::ByAlias })
    }

    /// Keeps an anchored value for its aliases. The copy counts as a repetition: nested anchors cost memory too.
    fn remember(&mut self, id: usize, node: &Node, nodes: usize, marker: Marker) -> Result<(), YamlError> {
        self.repeat(nodes, marker)?;
        self.anchors.insert(id, Anchored { value: node.value.clone(), nodes, levels: node.levels });
        Ok(())
    }

    /// Adds what `<<` brings. As in go-yaml v2 the order in the text decides: a merge overrides the keys above it.
    fn merge(&mut self, node: Node, line: u32, entries: &mut Vec<Entry>) -> Result<(), YamlErrorKind> {
        let mappings = match (node.value, node.written) {
            (Value::Object(map), _) => vec![map],
            // The earlier of a list's mappings takes precedence, so it is added last.
            (Value::Array(items), Written::Here) => {
                items.into_iter().rev().map(into_mapping).collect::<Result<_, _>>()?
            }
            _ => return Err(YamlErrorKind::Merge),
        };
        for (key, value) in mappings.into_iter().flatten() {
            let parent = self.enter(&key);
            self.record(line);
            self.pointer.truncate(parent);
            entries.push(Entry { key, line, value, merged: true });
        }
        Ok(())
    }

    fn close_mapping(&mut self, mut entries: Vec<Entry>) -> Result<Map<String, Value>, YamlError> {
        // A stable sort keeps equal keys in the order of the text, so the last one is the one that counts.
        entries.sort_by(|left, right| left.key.cmp(&right.key));
        let mut first_duplicate: Option<Duplicate> = None;
        for equal in entries.chunk_by(|left, right| left.key == right.key).filter(|equal| equal.len() > 1) {
            let mut written = equal.iter().filter(|entry| !entry.merged);
            let (Some(first), Some(last)) = (written.next(), written.next_back()) else { continue };
            let duplicate = Duplicate { key: last.key.clone(), first_line: first.line, line: last.line };
            match self.options.duplicate_keys {
                DuplicateKeys::LastWins => self.duplicates.push(duplicate),
                DuplicateKeys::Refuse
                    if first_duplicate.as_ref().is_none_or(|known| duplicate.line < known.line) =>
                {
                    first_duplicate = Some(duplicate);
                }
                DuplicateKeys::Refuse => {}
            }
        }
        match first_duplicate {
            Some(Duplicate { key, first_line, line }) => {
                Err(YamlError { line, column: 1, kind: YamlErrorKind::DuplicateKey { key, first_line } })
            }
            None => Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect()),
        }
    }

    fn enter(&mut self, segment: &str) -> usize {
        let parent = self.pointer.len();
        if self.lines.is_some() {
            push_segment(&mut self.pointer, segment);
        }
        parent
    }

    fn record(&mut self, line: u32) {
        if let Some(lines) = &mut self.lines {
            lines.record(&self.pointer, line);
        }
    }

    fn count(&mut self, nodes: usize, marker: Marker) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(nodes);
        let limit = self.options.limits.nodes;
        if self.nodes > limit { Err(at(marker, YamlErrorKind::TooManyNodes { limit })) } else { Ok(()) }
    }

    fn repeat(&mut self, nodes: usize, marker: Marker) -> Result<(), YamlError> {
        self.repeated = self.repeated.saturating_add(nodes);
        let limit = self.options.limits.repeated;
        if self.repeated > limit { Err(at(marker, YamlErrorKind::TooManyRepeated { limit })) } else { Ok(()) }
    }

    fn check_depth(&self, depth: usize, marker: Marker) -> Result<(), YamlError> {
        let limit = self.options.limits.depth;
        if depth > limit { Err(at(marker, YamlErrorKind::TooDeep { limit })) } else { Ok(()) }
    }
}

impl Node {
    fn leaf(value: Value) -> Self {
        Self { value, levels: 0, written: Written::Here }
    }
}

fn into_mapping(value: Value) -> Result<Map<String, Value>, YamlErrorKind> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(YamlErrorKind::Merge),
    }
}

fn is_merge_key(event: &Event<'_>) -> bool {
    let Some(("<<", style)) = event.scalar() else { return false };
    match event.tag() {
        None => style == ScalarStyle::Plain,
        Some(tag) => is_non_specific(tag) || core_type(tag).as_deref() == Some("merge"),
    }
}

fn scalar_tag(style: ScalarStyle, tag: Option<&granit_parser::Tag>) -> Tag {
    match tag {
        None if style == ScalarStyle::Plain => Tag::Plain,
        None => Tag::Text,
        Some(tag) => match core_type(tag).as_deref() {
            Some("bool") => Tag::Bool,
            Some("int") => Tag::Int,
            Some("float") => Tag::Float,
            Some("null") => Tag::Null,
            Some("timestamp") => Tag::Timestamp,
            Some("binary") => Tag::Binary,
            _ => Tag::Text,
        },
    }
}

fn core_type(tag: &granit_parser::Tag) -> Option<Cow<'_, str>> {
    tag.suffix_in_namespace(YAML_TAGS)
}

fn is_non_specific(tag: &granit_parser::Tag) -> bool {
    let (handle, suffix) = tag.parts();
    (handle.is_empty() && suffix == "!") || (handle == "!" && suffix.is_empty())
}
