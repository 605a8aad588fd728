//! Builds one document's value from the parser's events: aliases, merge keys, duplicate keys and limits.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};
use serde_json::{Map, Value};

use super::anchors::{Anchored, Budget, Cost, Meaning};
use super::error::Site;
use super::lines::Recorder;
use super::scalar::{Scalar, Tag, resolve};
use super::{Duplicate, DuplicateKeys, KeepLines, Lines, Options, YamlError, YamlErrorKind};

const YAML_TAGS: &str = "tag:yaml.org,2002:";

/// The line ends of YAML 1.1 that YAML 1.2 takes for text.
const OLD_LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// What a document says, and where.
pub(super) struct Loaded {
    pub(super) value: Value,
    pub(super) start: Marker,
    pub(super) duplicates: Vec<Duplicate>,
    pub(super) lines: Option<Lines>,
}

/// Reads the events of one document.
pub(super) struct Loader<'parser, 'text> {
    parser: &'parser mut Parser<'text, StrInput<'text>>,
    /// What the parser reads.
    text: &'text str,
    options: Options,
    site: Site,
    anchors: HashMap<usize, Anchored<'text>>,
    budget: Budget,
    /// How many lists and mappings in brackets are open.
    brackets: usize,
    lines: Option<Recorder>,
    duplicates: Vec<Duplicate>,
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
    start: Marker,
    value: Value,
    merged: bool,
}

type Sourced<'text> = (Event<'text>, Span);

impl<'parser, 'text> Loader<'parser, 'text> {
    pub(super) fn new(
        parser: &'parser mut Parser<'text, StrInput<'text>>,
        text: &'text str,
        options: Options,
        site: Site,
    ) -> Self {
        Self {
            parser,
            text,
            options,
            site,
            anchors: HashMap::new(),
            budget: Budget::new(options.limits),
            brackets: 0,
            lines: None,
            duplicates: Vec::new(),
        }
    }

    /// Reads what follows a document's start, its end included.
    pub(super) fn document(mut self) -> Result<Loaded, YamlError> {
        let first = self.event()?;
        let start = first.1.start;
        if self.options.lines == KeepLines::Yes {
            self.lines = Some(Recorder::new(self.site.line(start)));
        }
        let node = self.node(first, 0)?;
        self.event()?;
        let lines = self.lines.map(Recorder::into_lines);
        Ok(Loaded { value: node.value, start, duplicates: self.duplicates, lines })
    }

    fn event(&mut self) -> Result<Sourced<'text>, YamlError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.site.syntax_error(&error)),
            // The parser closes what it opened or fails, so the stream cannot end within a document.
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, (event, span): Sourced<'text>, depth: usize) -> Result<Node, YamlError> {
        let before = self.budget.spent();
        let anchor = event.anchor_id();
        let node = match event {
            Event::Scalar(..) => {
                let scalar = self.scalar(event, span).map_err(|kind| self.site.error(span.start, kind))?;
                if let Some(id) = anchor {
                    let cost = self.budget.since(before);
                    self.remember(id, Meaning::Scalar(scalar.clone()), cost, 0, span.start)?;
                }
                let value = scalar.into_value().map_err(|kind| self.site.error(span.start, kind))?;
                return Ok(Node::leaf(value));
            }
            Event::SequenceStart(..) => self.collection(Self::sequence, span.start, depth)?,
            Event::MappingStart(..) => self.collection(Self::mapping, span.start, depth)?,
            Event::Alias(id) => self.alias(id, span.start, depth)?,
            _ => Node::leaf(Value::Null),
        };
        if let Some(id) = anchor {
            let cost = self.budget.since(before);
            self.remember(id, Meaning::Collection(node.value.clone()), cost, node.levels, span.start)?;
        }
        Ok(node)
    }

    fn collection(
        &mut self,
        read: fn(&mut Self, usize) -> Result<Node, YamlError>,
        start: Marker,
        depth: usize,
    ) -> Result<Node, YamlError> {
        self.budget.spend(Cost::of_collection()).map_err(|kind| self.site.error(start, kind))?;
        self.check_depth(depth + 1, start)?;
        let bracket = usize::from(self.text_at(start).starts_with(['[', '{']));
        self.brackets += bracket;
        let node = read(self, depth)?;
        self.brackets -= bracket;
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Node, YamlError> {
        let mut items = Vec::new();
        let mut levels = 0;
        loop {
            let (event, span) = self.event()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(Node { value: Value::Array(items), levels: levels + 1, written: Written::Here });
            }
            self.enter(span.start);
            let node = self.node((event, span), depth + 1)?;
            if let Some(lines) = &mut self.lines {
                lines.leave(&items.len().to_string());
            }
            levels = levels.max(node.levels);
            items.push(node.value);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Node, YamlError> {
        let mut entries = Vec::new();
        let mut levels = 0;
        loop {
            let (event, span) = self.event()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                let value = Value::Object(self.close_mapping(entries)?);
                return Ok(Node { value, levels: levels + 1, written: Written::Here });
            }
            let start = span.start;
            if is_merge_key(&event) {
                let value = self.event()?;
                let marker = value.1.start;
                self.enter(start);
                let node = self.node(value, depth + 1)?;
                self.leave("<<");
                levels = levels.max(node.levels);
                self.merge(node, start, &mut entries).map_err(|kind| self.site.error(marker, kind))?;
                continue;
            }
            let key = self.key((event, span))?;
            self.enter(start);
            let value = self.event()?;
            let node = self.node(value, depth + 1)?;
            self.leave(&key);
            levels = levels.max(node.levels);
            entries.push(Entry { key, start, value: node.value, merged: false });
        }
    }

    fn key(&mut self, (event, span): Sourced<'text>) -> Result<String, YamlError> {
        let before = self.budget.spent();
        let wrong = |found| Err(YamlErrorKind::KeyKind { found });
        let anchor = event.anchor_id();
        let scalar = match event {
            Event::Scalar(..) => self.check_colon(&event, span).and_then(|()| self.scalar(event, span)),
            Event::Alias(id) => self.aliased_key(id),
            Event::SequenceStart(..) => wrong("a list"),
            _ => wrong("a mapping"),
        };
        let scalar = scalar.map_err(|kind| self.site.error(span.start, kind))?;
        if let Some(id) = anchor {
            let cost = self.budget.since(before);
            self.remember(id, Meaning::Scalar(scalar.clone()), cost, 0, span.start)?;
        }
        scalar.into_key().map_err(|kind| self.site.error(span.start, kind))
    }

    fn aliased_key(&mut self, id: usize) -> Result<Scalar<'text>, YamlErrorKind> {
        match self.anchors.get(&id) {
            Some(Anchored { meaning: Meaning::Scalar(scalar), cost, .. }) => {
                self.budget.repeat(*cost)?;
                Ok(scalar.clone())
            }
            _ => Err(YamlErrorKind::KeyKind { found: "an alias of a list or a mapping" }),
        }
    }

    fn scalar(&mut self, event: Event<'text>, span: Span) -> Result<Scalar<'text>, YamlErrorKind> {
        let Event::Scalar(text, style, _, tag) = event else { return Ok(Scalar::Null) };
        self.budget.spend(Cost::of_scalar(&text))?;
        if self.brackets > 0 && style == ScalarStyle::Plain && text.len() > 1 && text.starts_with('?') {
            return Err(YamlErrorKind::Ambiguous { mark: '?' });
        }
        self.check_line_ends(&text, style, span)?;
        resolve(scalar_tag(style, tag.as_deref()), text)
    }

    /// Refuses what Kubernetes would read as several lines. Between double quotes both kinds of YAML keep the character,
    /// but for one.
    fn check_line_ends(&self, text: &str, style: ScalarStyle, span: Span) -> Result<(), YamlErrorKind> {
        let Some(character) = text.chars().find(|character| OLD_LINE_ENDS.contains(character)) else {
            return Ok(());
        };
        let written = || span.slice(self.text).is_some_and(|source| source.contains('\u{85}'));
        match style {
            ScalarStyle::DoubleQuoted if !written() => Ok(()),
            ScalarStyle::DoubleQuoted => Err(YamlErrorKind::LineEnd { character: '\u{85}' }),
            _ => Err(YamlErrorKind::LineEnd { character }),
        }
    }

    /// Refuses `{key:}`: the colon belongs to the text in YAML 1.1 and ends it in YAML 1.2.
    fn check_colon(&self, key: &Event<'_>, span: Span) -> Result<(), YamlErrorKind> {
        let plain = matches!(key.scalar(), Some((text, ScalarStyle::Plain)) if !text.is_empty());
        if self.brackets == 0 || !plain {
            return Ok(());
        }
        let after = self.text_at(span.end).trim_start_matches(' ').strip_prefix(':');
        match after {
            Some(after) if after.starts_with([',', '[', ']', '{', '}']) => {
                Err(YamlErrorKind::Ambiguous { mark: ':' })
            }
            _ => Ok(()),
        }
    }

    fn alias(&mut self, id: usize, marker: Marker, depth: usize) -> Result<Node, YamlError> {
        let site = self.site;
        let wrong = |kind| site.error(marker, kind);
        let Some(Anchored { cost, levels, .. }) = self.anchors.get(&id) else {
            return Err(wrong(YamlErrorKind::SelfReference));
        };
        let (cost, levels) = (*cost, *levels);
        self.check_depth(depth + levels, marker)?;
        self.budget.repeat(cost).map_err(wrong)?;
        let value = match self.anchors.get(&id).map(|anchored| &anchored.meaning) {
            Some(Meaning::Scalar(scalar)) => scalar.clone().into_value().map_err(wrong)?,
            Some(Meaning::Collection(value)) => value.clone(),
            None => Value::Null,
        };
        Ok(Node { value, levels, written: Written::ByAlias })
    }

    /// Keeps an anchored value for its aliases.
    fn remember(
        &mut self,
        id: usize,
        meaning: Meaning<'text>,
        cost: Cost,
        levels: usize,
        marker: Marker,
    ) -> Result<(), YamlError> {
        self.budget.keep(cost).map_err(|kind| self.site.error(marker, kind))?;
        self.anchors.insert(id, Anchored { meaning, cost, levels });
        Ok(())
    }

    /// Adds what `<<` brings. As in go-yaml v2 the order in the text decides: a merge overrides the keys above it.
    fn merge(&mut self, node: Node, start: Marker, entries: &mut Vec<Entry>) -> Result<(), YamlErrorKind> {
        let mappings = match (node.value, node.written) {
            (Value::Object(map), _) => vec![map],
            // The earlier of a list's mappings takes precedence, so it is added last.
            (Value::Array(items), Written::Here) => {
                items.into_iter().rev().map(into_mapping).collect::<Result<_, _>>()?
            }
            _ => return Err(YamlErrorKind::Merge),
        };
        for (key, value) in mappings.into_iter().flatten() {
            self.enter(start);
            self.leave(&key);
            entries.push(Entry { key, start, value, merged: true });
        }
        Ok(())
    }

    fn close_mapping(&mut self, mut entries: Vec<Entry>) -> Result<Map<String, Value>, YamlError> {
        // A stable sort keeps equal keys in the order of the text, so the last one is the one that counts.
        entries.sort_by(|left, right| left.key.cmp(&right.key));
        let mut refused: Option<(Marker, Duplicate)> = None;
        for equal in entries.chunk_by(|left, right| left.key == right.key).filter(|equal| equal.len() > 1) {
            let mut written = equal.iter().filter(|entry| !entry.merged);
            let (Some(first), Some(last)) = (written.next(), written.next_back()) else { continue };
            let (first_line, line) = (self.site.line(first.start), self.site.line(last.start));
            let duplicate = Duplicate { key: last.key.clone(), first_line, line };
            match self.options.duplicate_keys {
                DuplicateKeys::LastWins => self.duplicates.push(duplicate),
                DuplicateKeys::Refuse
                    if refused.as_ref().is_none_or(|(known, _)| last.start.index() < known.index()) =>
                {
                    refused = Some((last.start, duplicate));
                }
                DuplicateKeys::Refuse => {}
            }
        }
        match refused {
            Some((start, Duplicate { key, first_line, .. })) => {
                Err(self.site.error(start, YamlErrorKind::DuplicateKey { key, first_line }))
            }
            None => Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect()),
        }
    }

    fn enter(&mut self, start: Marker) {
        if let Some(lines) = &mut self.lines {
            lines.enter(self.site.line(start));
        }
    }

    fn leave(&mut self, key: &str) {
        if let Some(lines) = &mut self.lines {
            lines.leave(key);
        }
    }

    fn text_at(&self, marker: Marker) -> &'text str {
        marker.byte_offset().and_then(|offset| self.text.get(offset..)).unwrap_or_default()
    }

    fn check_depth(&self, depth: usize, marker: Marker) -> Result<(), YamlError> {
        let limit = self.options.limits.depth;
        if depth > limit { Err(self.site.error(marker, YamlErrorKind::TooDeep { limit })) } else { Ok(()) }
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
