//! Approval tags: what Git has of them, heard again and again as a whole.
//!
//! What they are worth is the gate's business (`gate::approval`). Here it is noted which of them have had their time and
//! which were taken away or moved, so that each of these is told.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::effect::{Effect, Notice};
use super::state::{Machine, Phase};
use crate::gate::approval::{ApprovalTag, Words, Worthless};
use crate::object::Digest;
use crate::policy::Mode;

/// The tags of an app.
#[derive(Clone, Debug, Default)]
pub(super) struct Tags {
    /// `None` before the first answer.
    heard: Option<Vec<ApprovalTag>>,
    /// Names of those that were there before this process, or whose plan has begun: nobody is told that they approve
    /// another plan.
    known: BTreeSet<String>,
    /// A tag whose word was in force on this plan is gone.
    gone: Option<(String, Digest)>,
}

impl Machine {
    /// Takes all approval tags of the app, as Git has them now.
    pub(super) fn heard_of_tags(&mut self, tags: Vec<ApprovalTag>, now: Timestamp, out: &mut Vec<Effect>) {
        if self.tags.heard.as_ref() == Some(&tags) {
            return;
        }
        let waits = self.waiting_plan();
        match self.tags.heard.take() {
            None => {
                let old = tags.iter().filter(|tag| Some(tag.plan) != waits);
                self.tags.known.extend(old.map(|tag| tag.name.clone()));
            }
            Some(before) => self.compare_tags(&before, &tags, out),
        }
        self.tags.known.retain(|name| tags.iter().any(|tag| tag.name == *name));
        self.tags.heard = Some(tags);
        self.changed(now);
    }

    fn compare_tags(&mut self, before: &[ApprovalTag], tags: &[ApprovalTag], out: &mut Vec<Effect>) {
        for old in before {
            let new = tags.iter().find(|tag| tag.name == old.name);
            let (reason, message) = match new {
                Some(new) if new.object == old.object => continue,
                Some(_) => ("TagMoved", format!("tag {:?} was moved, and is judged anew", old.name)),
                None if old.is_good() => {
                    self.tags.gone = Some((old.name.clone(), old.plan));
                    ("TagDeleted", format!("tag {:?} was deleted; what began with it goes on", old.name))
                }
                None => continue,
            };
            out.push(Effect::Notice(Notice::Waiting { reason, message }));
        }
        if let Some((_, plan)) = &self.tags.gone
            && tags.iter().any(|tag| tag.plan == *plan && tag.is_good())
        {
            self.tags.gone = None;
        }
    }

    /// Notes that the plan of a tag begins.
    pub(super) fn spend_tags(&mut self, plan: Digest) {
        let spent = self.tags.heard.iter().flatten().filter(|tag| tag.plan == plan);
        self.tags.known.extend(spent.map(|tag| tag.name.clone()));
    }

    /// Returns what may approve a plan.
    pub(super) fn words(&self) -> Words<'_> {
        let tags = self.tags.heard.as_deref().filter(|_| self.policy.approval.by_tag).unwrap_or_default();
        let synced_at = self.history.iter().filter_map(|entry| entry.applied_at).max();
        Words { ask: &self.ask, tags, synced_at }
    }

    /// Says why no tag approves the plan that waits, where one might be thought to.
    pub(super) fn worthless_tag(&self, plan: Digest) -> Option<Worthless> {
        let why = self.words().worthless(plan, |name| self.tags.known.contains(name));
        let gone = self.tags.gone.as_ref().filter(|(_, of)| *of == plan && self.policy.approval.by_tag);
        why.or_else(|| {
            let (name, _) = gone?;
            let message = format!("tag {name:?}, which approved the plan, is gone: it waits again");
            Some(Worthless { reason: "TagDeleted", message })
        })
    }

    fn waiting_plan(&self) -> Option<Digest> {
        let waits = self.phase == Phase::Gated && self.policy.mode == Mode::Manual;
        self.run.as_ref().filter(|_| waits).map(|run| self.digest_of(run))
    }

    /// Returns the plans whose tags are to be read: the one that waits, and the one whose rest may go on.
    pub fn sought(&self) -> BTreeSet<Digest> {
        if !self.policy.approval.by_tag {
            return BTreeSet::new();
        }
        self.waiting_plan().into_iter().chain(self.granted_plan()).collect()
    }
}
