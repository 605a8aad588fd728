//! A release's trace as a tree of bars.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use skiff_harness::otlp::Span;

use super::shop::APPS;
use super::ui::{Style, Terminal, cut, words};

/// Columns of a bar.
const BAR: usize = 34;

/// The first sync of every app to one commit.
pub(super) struct Tree {
    trace: String,
    revision: String,
    roots: Vec<Branch>,
}

/// The sync of one app and its stages, in their order.
struct Branch {
    root: Span,
    stages: Vec<Span>,
}

/// Tells whether all apps have told of their sync to a commit.
pub(super) fn is_complete(spans: &[Span], commit: &str) -> bool {
    of_release(spans, commit).is_some_and(|tree| tree.roots.len() == APPS.len())
}

/// Returns the trace of the release of a commit, as far as it has come.
pub(super) fn of_release(spans: &[Span], commit: &str) -> Option<Tree> {
    let is_of_commit = |span: &&Span| {
        let revision = span.attributes.get("vcs.ref.head.revision").and_then(Value::as_str);
        span.name.starts_with("SYNC ") && revision.is_some_and(|revision| revision.ends_with(commit))
    };
    let is_release =
        |span: &&Span| span.attributes.get("skiff.sync.cause").and_then(Value::as_str) == Some("release");
    let first = spans.iter().filter(is_of_commit).find(is_release)?;
    let mut roots: Vec<Branch> = Vec::new();
    for root in spans.iter().filter(is_of_commit).filter(|span| span.trace_id == first.trace_id) {
        let mut stages: Vec<Span> =
            spans.iter().filter(|span| span.parent_id.as_ref() == Some(&root.span_id)).cloned().collect();
        stages.sort_by_key(|span| (span.start, span.end));
        roots.push(Branch { root: root.clone(), stages });
    }
    roots.sort_by_key(|branch| branch.root.name.clone());
    let name = first.attributes.get("skiff.revision").and_then(Value::as_str).unwrap_or_default();
    Some(Tree { trace: first.trace_id.clone(), revision: name.to_owned(), roots })
}

impl Tree {
    pub(super) fn spans(&self) -> usize {
        self.roots.iter().map(|branch| 1 + branch.stages.len()).sum()
    }

    pub(super) fn print(&self, terminal: &Terminal) {
        terminal.line(&format!("    {} {}", terminal.paint("trace   ", Style::Faint), self.trace));
        terminal.line(&format!("    {} {}", terminal.paint("revision", Style::Faint), self.revision));
        let spans = || self.roots.iter().flat_map(|branch| branch.stages.iter().chain([&branch.root]));
        let Some(begin) = spans().map(|span| span.start).min() else { return };
        let end = spans().map(|span| span.end).max().unwrap_or(begin);
        let scale = Scale { begin, length: end.duration_since(begin).unsigned_abs() };
        for branch in &self.roots {
            scale.print(terminal, "  ", &branch.root, Style::Bold);
            for (index, stage) in branch.stages.iter().enumerate() {
                let is_last = index + 1 == branch.stages.len();
                scale.print(terminal, if is_last { "  └─ " } else { "  ├─ " }, stage, Style::Plain);
            }
        }
    }
}

/// From when to when the bars reach.
struct Scale {
    begin: Timestamp,
    length: Duration,
}

impl Scale {
    fn print(&self, terminal: &Terminal, branch: &str, span: &Span, style: Style) {
        let name = cut(&format!("{branch}{}", span.name), 26);
        let took = words(span.end.duration_since(span.start).unsigned_abs());
        let (from, to) = (self.column(span.start), self.column(span.end));
        let bar = format!("{}{}", " ".repeat(from.min(BAR - 1)), "━".repeat((to - from).max(1)));
        let bar = format!("{bar:<BAR$}");
        let name = terminal.paint(&format!("{name:<26}"), style);
        terminal.line(&format!("  {name} {} {took:>9}", terminal.paint(&bar, Style::Blue)));
    }

    fn column(&self, at: Timestamp) -> usize {
        let part = at.duration_since(self.begin).as_secs_f64() / self.length.as_secs_f64().max(1e-9);
        // The part lies between 0 and 1, so the product is a small positive number.
        let column = (part * BAR as f64).round();
        (0..=BAR).find(|candidate| *candidate as f64 >= column).unwrap_or(BAR)
    }
}
