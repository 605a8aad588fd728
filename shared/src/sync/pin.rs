//! Pinning: which set an app follows, Git's newest or the release that a person pinned it to.
//!
//! A pin is a word in the App's `spec`, so it survives restarts. The set of a release is read back from what is stored in
//! the cluster, whether Git can be reached or not. While the answer is awaited nothing new is written; until it is there
//! the app stays as it is, and so it does where the release is not kept any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::backoff::{self, Pace};
use super::effect::{Effect, Release};
use super::event::{Answer, Failure, Token};
use super::state::{Machine, Open};
use crate::desired::{BodyDigest, Desired};
use crate::object::Digest;
use crate::report::{HistoryEntry, Outcome, PinReport};
use crate::retention::{Stored, StoredRelease};

/// Releases whose render stays stored, so that the app can go back to them.
const KEPT: usize = 3;

/// Which set the app follows.
#[derive(Clone, Default, Debug)]
pub(super) struct Course {
    /// The release that is followed; `None` for Git.
    release: Option<Digest>,
    /// Git's newest set, as far as it was told.
    git: Option<Arc<Desired>>,
    /// The set that was last taken over.
    followed: Option<Arc<Desired>>,
    /// Git's set was told and not taken over, as another one was asked for.
    passed_over: bool,
    asking: Option<Token>,
    attempts: u32,
    /// Not before: after a failed try.
    again_at: Option<Timestamp>,
    /// Why the release that is asked for is not followed.
    problem: Option<String>,
    /// Only another word of a person's changes that.
    refused: bool,
    /// Names of stored renders that no release needs any more.
    pub dropping: Vec<String>,
}

impl Course {
    /// When a try that failed is repeated.
    pub fn due(&self) -> Option<Timestamp> {
        self.again_at
    }

    /// Notes the set that is taken over.
    pub fn follow(&mut self, desired: Arc<Desired>) {
        self.followed = Some(desired);
    }

    /// Returns Git's newest set, as far as it was told.
    pub fn git(&self) -> Option<&Arc<Desired>> {
        self.git.as_ref()
    }

    /// Notes Git's newest set without following it.
    pub fn know(&mut self, git: Option<Arc<Desired>>) {
        self.git = git;
    }

    /// Whether what is followed is about to change.
    pub fn is_changing(&self) -> bool {
        self.asking.is_some()
    }

    pub fn is_pinned(&self) -> bool {
        self.release.is_some()
    }

    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

impl Machine {
    /// Returns the set that was last taken over, for tests and reports.
    pub fn followed(&self) -> Option<&Arc<Desired>> {
        self.course.followed.as_ref()
    }

    /// Takes Git's newest set; a pinned app only notes it.
    pub(super) fn told_by_git(&mut self, desired: Arc<Desired>) {
        self.course.git = Some(desired.clone());
        if self.follows_git() {
            self.next = Some(desired);
        } else {
            self.course.passed_over = true;
        }
    }

    /// Whether Git's newest set is what the app follows, as people ask and as it is.
    pub(super) fn follows_git(&self) -> bool {
        self.ask.pin.is_none() && self.course.release.is_none() && self.course.asking.is_none()
    }

    /// Takes another word about the pin.
    pub(super) fn pin_asked(&mut self) {
        (self.course.problem, self.course.refused) = (None, false);
        (self.course.attempts, self.course.again_at) = (0, None);
    }

    /// Asks for the set that people want to be followed, where it is another than the present one.
    pub(super) fn advance_pin(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let wanted = self.ask.pin.as_ref().map(|pin| pin.release);
        if self.draining || self.course.asking.is_some() {
            return;
        }
        if wanted == self.course.release {
            if wanted.is_none() && std::mem::take(&mut self.course.passed_over) {
                self.next = self.course.git.clone();
            }
            return;
        }
        // A set of Git's that came before the word was known is not taken over; the one that was is followed on.
        let followed = self.course.followed.clone();
        let is_news =
            |next: &mut Arc<Desired>| followed.as_ref().is_none_or(|followed| !Arc::ptr_eq(followed, next));
        self.course.passed_over |= self.next.take_if(is_news).is_some();
        if self.course.refused || self.course.again_at.is_some_and(|at| at > now) {
            return;
        }
        let release = match wanted.map(|render| self.good_release(render)) {
            Some(None) => {
                self.course.problem = Some(
                    "the history does not have the release any more: revert the commit in Git, or pin to one that `skiff history` lists"
                        .to_owned(),
                );
                self.course.refused = true;
                return self.changed(now);
            }
            Some(Some(release)) => Some(Box::new(release)),
            None => None,
        };
        let token = self.token(Open::Pin);
        self.course.asking = Some(token);
        out.push(Effect::Pin(token, release));
        self.changed(now);
    }

    /// Returns a release that ended well. Where its render is stored no more, it names none.
    fn good_release(&self, render: Digest) -> Option<Release> {
        let good = || self.history.iter().filter(|entry| entry.render == render && entry.is_good());
        let entry = good().find(|entry| entry.is_kept()).or_else(|| good().next())?;
        Some(Release {
            revision: entry.revision.clone(),
            assignment: entry.assignment.clone(),
            render,
            seen_at: entry.seen_at,
            stored: entry.stored.clone(),
            without: entry.without.clone(),
        })
    }

    /// Takes the answer: the set of the release, or that Git is followed again.
    pub(super) fn pinned(&mut self, token: Token, result: Result<Answer, Failure>, now: Timestamp) {
        if self.course.asking != Some(token) {
            return;
        }
        self.course.asking = None;
        match result {
            Ok(Answer::Pinned(set)) => {
                self.pin_asked();
                self.course.release = set.as_ref().map(|set| set.render);
                if set.is_some() && self.course.release == self.ask.pin.as_ref().map(|pin| pin.release) {
                    self.next = set;
                }
                self.course.passed_over |= self.course.release.is_none();
            }
            Ok(_) => {}
            Err(Failure::Rejected(cause) | Failure::NotFound(cause)) => {
                (self.course.problem, self.course.refused) = (Some(cause.message), true);
            }
            Err(failure) => {
                if let Failure::Unavailable(cause) = failure {
                    self.course.problem = Some(cause.message);
                }
                self.course.attempts += 1;
                self.course.again_at = Some(now + backoff::pause_of_app(self.course.attempts, Pace::Quick));
            }
        }
        self.changed(now);
    }

    /// Returns which stored renders hold what the app wants now, and the bodies in them that are not part of it.
    pub(super) fn stored_now(&self) -> (Vec<String>, Vec<BodyDigest>) {
        let mut stored = Vec::new();
        for shard in &self.shards {
            stored.extend(shard.renders.first().into_iter().flatten().cloned());
        }
        let wanted: BTreeSet<BodyDigest> = self.rows.iter().filter_map(|row| row.wanted).collect();
        let held = self.rows.iter().filter(|row| row.held.is_some());
        let held: BTreeSet<BodyDigest> = held.filter_map(|row| Some(row.record.applied()?.body)).collect();
        (stored, held.difference(&wanted).copied().collect())
    }

    /// Lets go of the renders of all releases but the newest ones.
    pub(super) fn keep_newest_releases(&mut self) {
        let mut kept: Vec<Digest> = Vec::new();
        let pinned = self.course.release;
        for entry in &mut self.history {
            let is_newest = entry.is_kept() && !kept.contains(&entry.render);
            if is_newest && (kept.len() < KEPT || pinned == Some(entry.render)) {
                kept.push(entry.render);
            } else {
                self.course.dropping.append(&mut entry.stored);
                entry.without.clear();
            }
        }
    }

    /// Lets go of the renders of some releases for want of room; the one that the app is pinned to stays.
    pub(super) fn make_room(&mut self, releases: &BTreeSet<Digest>, now: Timestamp) {
        let pinned = self.ask.pin.as_ref().map(|pin| pin.release);
        let going =
            |entry: &&mut HistoryEntry| releases.contains(&entry.render) && Some(entry.render) != pinned;
        let mut went = false;
        for entry in self.history.iter_mut().filter(going) {
            went |= !entry.stored.is_empty();
            self.course.dropping.append(&mut entry.stored);
            entry.without.clear();
        }
        if went {
            self.changed(now);
        }
    }

    /// Returns what the app needs of its stored renders, and what only releases of the past need.
    pub fn stored(&self) -> Stored {
        let of_shards = self.shards.iter().flat_map(|shard| shard.renders.iter().flatten().cloned());
        let of_plan = self.shown.iter().flat_map(|shown| shown.names().cloned());
        let mut stored = Stored { needed: of_shards.chain(of_plan).collect(), releases: Vec::new() };
        let pinned = self.ask.pin.as_ref().map(|pin| pin.release);
        for entry in self.history.iter().filter(|entry| entry.is_kept()) {
            if Some(entry.render) == pinned {
                stored.needed.extend(entry.stored.iter().cloned());
            } else {
                let at = entry.healthy_at.unwrap_or(entry.seen_at);
                stored.releases.push(StoredRelease {
                    render: entry.render,
                    at,
                    stored: entry.stored.clone(),
                });
            }
        }
        stored
    }

    /// Removes stored renders that neither a release nor a shard names.
    pub(super) fn forget_releases(&mut self, out: &mut Vec<Effect>) {
        let pinning = self.open.values().any(|open| matches!(open, Open::Pin));
        if self.is_storing_renders()
            || pinning
            || self.course.dropping.is_empty()
            || self.changed_at.is_some()
        {
            // What is being stored may be found to be there already, and the status must not name what is gone.
            return;
        }
        let mut dropped = std::mem::take(&mut self.course.dropping);
        dropped.sort_unstable();
        dropped.dedup();
        dropped.retain(|name| !self.is_stored_render_named(name));
        if !dropped.is_empty() {
            out.push(Effect::Forget(dropped));
        }
    }

    /// Whether a release or a shard needs a stored render.
    pub(super) fn is_stored_render_named(&self, name: &str) -> bool {
        let of_shards =
            self.shards.iter().flat_map(|shard| shard.renders.iter().flatten().chain(&shard.dropping));
        let of_releases = self.history.iter().flat_map(|entry| &entry.stored);
        let of_plan = self.shown.iter().flat_map(|shown| shown.names());
        of_shards.chain(of_releases).chain(of_plan).any(|named| named == name)
    }

    /// Returns what is told of the pin.
    pub(super) fn pin_report(&self) -> Option<PinReport> {
        let pin = self.ask.pin.as_ref()?;
        let entry = self.history.iter().find(|entry| entry.render == pin.release);
        Some(PinReport {
            release: pin.release,
            revision: entry.map(|entry| entry.revision.clone()),
            reason: pin.reason.clone(),
            differs: self.course.git.as_ref().is_some_and(|git| git.render != pin.release),
            problem: self.course.problem.clone(),
        })
    }

    /// Returns the number of the next entry of the history.
    pub(super) fn next_entry(&self) -> u64 {
        self.history.iter().map(|entry| entry.number).max().unwrap_or_default() + 1
    }
}

impl HistoryEntry {
    /// Whether the app can go back to it: from what is stored, or rendered again from Git.
    pub fn is_good(&self) -> bool {
        self.outcome == Outcome::Success
    }

    /// Whether the app can go back to it without Git.
    pub fn is_kept(&self) -> bool {
        self.is_good() && !self.stored.is_empty()
    }
}
