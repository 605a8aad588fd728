//! Conditions as nearly every status lists them.

use std::borrow::Cow;

use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Condition<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// `True`, `False` or `Unknown`.
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    #[serde(borrow)]
    pub message: Cow<'a, str>,
    /// The generation that the condition speaks of; most controllers leave it out.
    pub observed_generation: Option<i64>,
}

impl Condition<'_> {
    pub(super) fn is(&self, kind: &str, status: &str) -> bool {
        self.kind == kind && self.status == status
    }

    /// Returns the message, or the reason where there is none.
    pub(super) fn words(&self) -> &str {
        if self.message.is_empty() { &self.reason } else { &self.message }
    }
}

/// A status of which only the conditions count.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Conditions<'a> {
    #[serde(borrow)]
    pub conditions: Vec<Condition<'a>>,
}

pub(super) fn find<'a, 'b>(conditions: &'b [Condition<'a>], kind: &str) -> Option<&'b Condition<'a>> {
    conditions.iter().find(|condition| condition.kind == kind)
}
