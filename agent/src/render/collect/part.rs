//! What the documents of one file, or of one tool, became.

use std::sync::Arc;

use skiff_shared::desired::DesiredRow;
use skiff_shared::desired::scope::Scope;
use skiff_shared::object::GroupKind;

use super::KEPT;
use crate::git::TreeId;

/// A file that is to be rendered.
#[derive(Clone, Debug)]
pub(in crate::render) struct Listed {
    pub(in crate::render) path: String,
    /// Names its content, where that is known without reading it.
    pub(in crate::render) content: Option<TreeId>,
}

/// What documents became.
#[derive(Debug, Default)]
pub(in crate::render) struct Part {
    /// The file, and its content if that has an id.
    path: Box<str>,
    content: Option<TreeId>,
    rows: Vec<Numbered>,
    /// Numbers given to objects, those that are not applied included.
    documents: u32,
    /// What was believed of each kind in it.
    kinds: Vec<(Arc<GroupKind>, Told)>,
    /// The kinds that its definitions bring.
    provided: Vec<(GroupKind, Scope)>,
    warnings: Vec<String>,
    more_warnings: usize,
    /// Objects whose rows are still to come.
    waiting: u32,
    state: State,
}

/// How far a part has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Open,
    Whole,
    /// Something is wrong with it: it is read again.
    Faulty,
    /// It is of an earlier render.
    Reused,
}

/// A row with its object's number in the part, which decides between duplicates.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) number: u32,
    pub(super) row: DesiredRow,
}

/// Who said whether a kind is namespaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// The cluster, or Kubernetes itself.
    AtOnce(Scope),
    /// The definitions of the render, or nobody.
    InTheEnd(Option<Scope>),
}

impl Part {
    pub(super) fn of(file: &Listed) -> Self {
        Self { path: file.path.as_str().into(), content: file.content, ..Self::default() }
    }

    /// Names the content that it came from.
    pub(in crate::render) fn content(&self) -> Option<TreeId> {
        self.content
    }

    /// Returns the file's path if the part may stand for the file in a later render.
    pub(in crate::render) fn reusable_path(&self) -> Option<Box<str>> {
        let is_whole = matches!(self.state, State::Whole | State::Reused) && self.waiting == 0;
        (is_whole && self.content.is_some()).then(|| self.path.clone())
    }

    pub(super) fn file(&self) -> Option<Listed> {
        let content = Some(self.content?);
        Some(Listed { path: self.path.to_string(), content })
    }

    pub(super) fn is_reused(&self) -> bool {
        self.state == State::Reused
    }

    pub(super) fn documents(&self) -> usize {
        usize::try_from(self.documents).expect("32 bits fit")
    }

    pub(super) fn rows(&self) -> &[Numbered] {
        &self.rows
    }

    pub(super) fn kinds(&self) -> &[(Arc<GroupKind>, Told)] {
        &self.kinds
    }

    pub(super) fn provided(&self) -> &[(GroupKind, Scope)] {
        &self.provided
    }

    /// Returns the warnings and how many more there are.
    pub(super) fn warnings(&self) -> (&[String], usize) {
        (&self.warnings, self.more_warnings)
    }

    pub(super) fn next_number(&mut self) -> u32 {
        self.documents += 1;
        self.documents
    }

    pub(super) fn add(&mut self, numbered: Numbered) {
        self.rows.push(numbered);
    }

    pub(super) fn tell(&mut self, kind: &Arc<GroupKind>, told: Told) {
        if !self.kinds.iter().any(|(known, _)| known == kind) {
            self.kinds.push((kind.clone(), told));
        }
    }

    pub(super) fn provide(&mut self, provided: Option<(GroupKind, Scope)>) {
        self.provided.extend(provided);
    }

    pub(super) fn warn(&mut self, warning: String) {
        if self.warnings.len() < KEPT {
            self.warnings.push(warning);
        } else {
            self.more_warnings += 1;
        }
    }

    pub(super) fn waits(&mut self) {
        self.waiting += 1;
    }

    pub(super) fn waited(&mut self) {
        self.waiting -= 1;
    }

    /// Notes that something is wrong with it.
    pub(super) fn is_faulty(&mut self) {
        self.state = State::Faulty;
    }

    /// Notes that all of its documents were taken.
    pub(super) fn end(&mut self) {
        if self.state == State::Open {
            self.state = State::Whole;
        }
        self.rows.shrink_to_fit();
        self.kinds.shrink_to_fit();
        self.warnings.shrink_to_fit();
    }

    /// Notes that it is used by a later render than the one that it was made for.
    pub(super) fn is_used_again(&mut self) {
        self.state = State::Reused;
    }

    /// Forgets what the file became, but not which file it is.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { path: std::mem::take(&mut self.path), content: self.content, ..Self::default() };
    }
}
