//! What anchors name, and what a document has cost so far.

use serde_json::Value;

use super::scalar::Scalar;
use super::{Limits, YamlErrorKind};

/// Text of this many bytes costs as much as one more value, where it is copied.
const TEXT_PER_VALUE: usize = 128;

/// A value that an anchor names, with what repeating it costs.
#[derive(Clone, Debug)]
pub(super) struct Anchored<'text> {
    pub(super) meaning: Meaning<'text>,
    pub(super) cost: Cost,
    pub(super) levels: usize,
}

/// A scalar stays what it was resolved to: as a key it has another spelling than as a value.
#[derive(Clone, Debug)]
pub(super) enum Meaning<'text> {
    Scalar(Scalar<'text>),
    Collection(Value),
}

/// Values, and units of text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    nodes: usize,
    text: usize,
}

impl Cost {
    pub(super) fn of_scalar(text: &str) -> Self {
        Self { nodes: 1, text: text.len() / TEXT_PER_VALUE }
    }

    pub(super) fn of_collection() -> Self {
        Self { nodes: 1, text: 0 }
    }

    fn whole(self) -> usize {
        self.nodes.saturating_add(self.text)
    }
}

/// Counts values, those that are there twice among them.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    spent: Cost,
    kept: usize,
    repeated: usize,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, spent: Cost::default(), kept: 0, repeated: 0 }
    }

    pub(super) fn spent(&self) -> Cost {
        self.spent
    }

    /// Returns what was spent since.
    pub(super) fn since(&self, before: Cost) -> Cost {
        Cost { nodes: self.spent.nodes - before.nodes, text: self.spent.text - before.text }
    }

    /// Counts what is in the document.
    pub(super) fn spend(&mut self, cost: Cost) -> Result<(), YamlErrorKind> {
        self.spent.nodes = self.spent.nodes.saturating_add(cost.nodes);
        self.spent.text = self.spent.text.saturating_add(cost.text);
        let limit = self.limits.nodes;
        if self.spent.nodes > limit { Err(YamlErrorKind::TooManyNodes { limit }) } else { Ok(()) }
    }

    /// Counts the copy that an anchor keeps for its aliases: nested anchors cost memory, too.
    pub(super) fn keep(&mut self, cost: Cost) -> Result<(), YamlErrorKind> {
        self.kept = self.kept.saturating_add(cost.whole());
        let limit = self.limits.nodes;
        if self.kept > limit { Err(YamlErrorKind::TooManyNodes { limit }) } else { Ok(()) }
    }

    /// Counts what an alias repeats.
    pub(super) fn repeat(&mut self, cost: Cost) -> Result<(), YamlErrorKind> {
        self.spend(cost)?;
        self.repeated = self.repeated.saturating_add(cost.whole());
        let limit = self.limits.repeated;
        if self.repeated > limit { Err(YamlErrorKind::TooManyRepeated { limit }) } else { Ok(()) }
    }
}
