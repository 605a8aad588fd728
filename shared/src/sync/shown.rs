//! The set of a plan that waits for a person's word, stored before anything of it is written: what `skiff diff` shows.
//!
//! It is stored in the parts in which the sync would store it (see `secure`), so that the sync finds them there. No shard
//! names them meanwhile, and they go when the plan does.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::backoff::{self, Pace};
use super::effect::{Effect, Notice, StatePart};
use super::event::{Answer, Failure, Token};
use super::secure::content_of;
use super::settle::cause_of;
use super::state::{Machine, Open, Phase, SecureState};
use crate::desired::BodyDigest;
use crate::gate::{Verdict, Wait};
use crate::object::Digest;

/// A set that is being stored, or is stored.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// The set's digest.
    render: Digest,
    /// One for each shard.
    parts: Vec<Part>,
    attempts: u32,
    /// Not before: after a part could not be stored.
    again_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum Part {
    Needed,
    Sent(Token),
    /// Names of the stored renders that hold it.
    Stored(Vec<String>),
}

impl Part {
    fn names(&self) -> &[String] {
        match self {
            Self::Stored(names) => names,
            Self::Needed | Self::Sent(_) => &[],
        }
    }
}

impl Shown {
    /// Returns the names of all that is stored of it.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.parts.iter().flat_map(Part::names)
    }

    /// Whether all of it is stored.
    fn is_whole(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Stored(_)))
    }

    fn needs_more(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Needed))
    }

    /// When storing it is tried again.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.again_at.filter(|_| self.needs_more())
    }
}

impl Machine {
    /// Stores the set of a plan that waits for its approval, and lets go of one whose plan is gone.
    pub(super) fn advance_shown(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let render = self.shown_render(now);
        let count = self.shards.len();
        let stays = |shown: &Shown| Some(shown.render) == render && shown.parts.len() == count;
        if !self.shown.as_deref().is_some_and(stays) {
            if let Some(gone) = self.shown.take() {
                self.course.dropping.extend(gone.names().cloned());
            }
            self.shown = render.map(|render| Box::new(self.to_show(render)));
        }
        let waits = |shown: &Shown| !shown.needs_more() || shown.again_at.is_some_and(|at| at > now);
        if self.shown.as_deref().is_none_or(waits) || !self.may_write(now) {
            return;
        }
        for index in 0..count {
            let Some(shown) = &self.shown else { return };
            if matches!(shown.parts[index], Part::Needed) && self.has_room() {
                let bodies = self.wanted_bodies_of(index);
                let token = self.token(Open::Show);
                if let Some(shown) = &mut self.shown {
                    shown.parts[index] = Part::Sent(token);
                }
                out.push(Effect::Keep(token, self.slot(index), bodies.into_iter().collect()));
            }
        }
    }

    /// Returns which set is to be stored: that of the plan that waits for its approval; what is stored stays until the
    /// sync has ended.
    fn shown_render(&self, now: Timestamp) -> Option<Digest> {
        let run = self.run.as_ref().filter(|_| self.removal().is_none())?;
        let render = run.desired.render;
        let is_shown = self.shown.as_ref().is_some_and(|shown| shown.render == render);
        let waits = || matches!(self.verdict(), Some(Verdict::Wait(Wait::Approval { .. })));
        (is_shown || self.phase == Phase::Gated && self.may_write(now) && waits()).then_some(render)
    }

    /// Looks what of the set is stored already, as nothing in it differs from what is applied.
    fn to_show(&self, render: Digest) -> Shown {
        let part = |index: usize| {
            let (shard, content) = (&self.shards[index], content_of(&self.wanted_bodies_of(index)));
            match shard.renders.first() {
                _ if content.is_none() => Part::Stored(Vec::new()),
                Some(names) if shard.kept == content && shard.keep == SecureState::Done => {
                    Part::Stored(names.clone())
                }
                _ => Part::Needed,
            }
        };
        let parts = (0..self.shards.len()).map(part).collect();
        Shown { render, parts, attempts: 0, again_at: None }
    }

    /// Returns the bodies that the rows of a shard are wanted to have.
    fn wanted_bodies_of(&self, index: usize) -> BTreeSet<BodyDigest> {
        let slot = self.slot(index);
        let rows = self.rows.iter().filter(|row| row.shard_hash % slot.count == slot.index);
        rows.filter_map(|row| row.wanted).collect()
    }

    /// Takes the answer to the storing of a part.
    pub(super) fn part_stored(
        &mut self,
        token: Token,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let is_it = |part: &&mut Part| matches!(part, Part::Sent(sent) if *sent == token);
        let part = self.shown.as_mut().and_then(|shown| shown.parts.iter_mut().find(is_it));
        match (result, part) {
            (Ok(Answer::Kept(names)), Some(part)) => {
                *part = Part::Stored(names);
                self.changed(now);
            }
            // Its plan is gone.
            (Ok(Answer::Kept(names)), None) => self.course.dropping.extend(names),
            (Ok(_), _) | (Err(_), None) => {}
            (Err(Failure::Fenced), _) => self.fenced(now, out),
            (Err(failure), Some(part)) => {
                *part = Part::Needed;
                let Some(shown) = &mut self.shown else { return };
                shown.attempts += 1;
                shown.again_at = Some(now + backoff::pause_of_app(shown.attempts, Pace::Quick));
                if let Some(cause) = cause_of(StatePart::Render, &failure) {
                    let (what, attempt) = (StatePart::Render, shown.attempts);
                    out.push(Effect::Notice(Notice::StateNotStored { what, cause, attempt }));
                }
            }
        }
    }

    /// Whether stored renders are being made, or may be at any moment: what looks unneeded may be found to be there.
    pub(super) fn is_storing_renders(&self) -> bool {
        let soon = |shown: &Shown| shown.needs_more() && shown.again_at.is_none();
        self.open.values().any(|open| matches!(open, Open::Keep(_) | Open::Show))
            || self.shown.as_deref().is_some_and(soon)
    }

    /// Returns the set of the plan under way as it is stored, if it is.
    pub(super) fn shown_set(&self) -> Option<(Digest, Vec<String>)> {
        let shown = self.shown.as_ref().filter(|shown| shown.is_whole())?;
        Some((shown.render, shown.names().cloned().collect()))
    }
}
