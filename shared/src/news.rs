//! News: what of all that happens to an app a person would want to be told.
//!
//! Last in the pipeline, after [`crate::report`]. What is news follows from two statuses, the one before and the one
//! after: an agent that starts anew reads the former from the `App`, so it tells nothing twice. Only what no status shows
//! (a sync begins, drift was healed) comes from notices. Values only: who is told, and how, is the business of adapters.

mod allowance;
mod compare;
mod heals;
mod subscription;
mod trigger;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::api::v1alpha1::{AppStatus, Revision};
use crate::sync::effect::Notice;
pub use allowance::Allowance;
use heals::Heals;
pub use subscription::Subscription;
pub use trigger::Trigger;

/// Events of one app at once, and how long it takes until it may have one more: what the recorders of Kubernetes'
/// own controllers allow for one object.
const EVENTS: u32 = 25;
const EVENT_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// What kind of news it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// The app has got its `App`.
    Created,
    /// The app and everything stored of it is gone.
    Deleted,
    SyncStarted,
    /// Everything is written; it may not be healthy yet.
    SyncApplied,
    /// Everything is written and healthy.
    Synced,
    /// The same, to an earlier release that a person asked for.
    RolledBack,
    SyncFailed,
    RenderFailed,
    /// The source cannot be read.
    SourceFailed,
    /// Nobody knows whether the cluster is as Git says.
    SyncUnknown,
    WaitingForApproval,
    Approved,
    /// Objects are left alone, among them those that a guard keeps from being pruned.
    Held,
    /// Somebody changed something, and it stays so.
    Drifted,
    Healed,
    Contested,
    Degraded,
    Recovered,
    /// The agent lacks rights.
    RightsMissing,
    InventoryLost,
    /// The app's own state cannot be written down.
    StateUnstored,
}

impl Reason {
    /// Returns the word, which is the reason of the Kubernetes Event.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Deleted => "Deleted",
            Self::SyncStarted => "SyncStarted",
            Self::SyncApplied => "SyncApplied",
            Self::Synced => "Synced",
            Self::RolledBack => "RolledBack",
            Self::SyncFailed => "SyncFailed",
            Self::RenderFailed => "RenderFailed",
            Self::SourceFailed => "SourceFailed",
            Self::SyncUnknown => "SyncUnknown",
            Self::WaitingForApproval => "WaitingForApproval",
            Self::Approved => "Approved",
            Self::Held => "Held",
            Self::Drifted => "Drifted",
            Self::Healed => "Healed",
            Self::Contested => "Contested",
            Self::Degraded => "Degraded",
            Self::Recovered => "Recovered",
            Self::RightsMissing => "RightsMissing",
            Self::InventoryLost => "InventoryLost",
            Self::StateUnstored => "StateUnstored",
        }
    }

    /// Whether somebody may have to do something.
    pub fn is_warning(self) -> bool {
        matches!(
            self,
            Self::SyncFailed
                | Self::RenderFailed
                | Self::SourceFailed
                | Self::SyncUnknown
                | Self::Held
                | Self::Drifted
                | Self::Contested
                | Self::Degraded
                | Self::RightsMissing
                | Self::InventoryLost
                | Self::StateUnstored
        )
    }

    /// Whether it is the beginning of something that lasts until something else happens: one of [`Standing::troubles`].
    pub fn lasts(self) -> bool {
        matches!(
            self,
            Self::SyncFailed
                | Self::RenderFailed
                | Self::SourceFailed
                | Self::WaitingForApproval
                | Self::Held
                | Self::Drifted
                | Self::Contested
                | Self::Degraded
                | Self::RightsMissing
                | Self::InventoryLost
                | Self::StateUnstored
        )
    }

    /// Whether it becomes a Kubernetes Event. A sync has one, when it ends; what comes before it the status shows.
    pub fn is_event(self) -> bool {
        !matches!(self, Self::Created | Self::Deleted | Self::SyncStarted | Self::SyncApplied)
    }
}

/// Something that a person would want to be told of one app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct News {
    pub reason: Reason,
    /// What it is about; without a name where it is about none.
    pub revision: Revision,
    /// In one line, for people. Holds no more than the status does, which people read who may not read Secrets.
    pub text: String,
}

/// What is wrong with an app, as its status shows it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// The newest one.
    pub revision: Revision,
    /// With the words of now.
    pub troubles: BTreeMap<Reason, String>,
    /// What was wrong in the status before and is no longer.
    pub ended: Vec<Reason>,
}

impl Standing {
    /// Reads a status; `before` is the one that the `App` had until now.
    pub fn of(before: Option<&AppStatus>, after: &AppStatus) -> Self {
        let troubles = compare::troubles(after);
        let known = before.map(compare::troubles).unwrap_or_default();
        let ended = known.into_keys().filter(|reason| !troubles.contains_key(reason)).collect();
        Self { revision: after.revision.clone().unwrap_or_default(), troubles, ended }
    }

    /// Returns how an app stands that is no more.
    pub fn over(self) -> Self {
        let ended = self.troubles.into_keys().collect();
        Self { revision: self.revision, troubles: BTreeMap::new(), ended }
    }
}

/// Follows all apps and says what is news.
#[derive(Debug, Default)]
pub struct Newsroom {
    apps: BTreeMap<Arc<str>, Memory>,
}

/// What the present status alone does not tell.
#[derive(Debug, Default)]
struct Memory {
    /// It was degraded and has not been healthy since.
    ailing: bool,
    /// The revision of the sync that has begun and whose writes have not ended.
    started: Option<String>,
    heals: Heals,
    events: Option<Allowance>,
    /// Something has been told, or was wrong, that a good sync brings to its end.
    story: bool,
}

impl Newsroom {
    /// Takes up what happens, as far as no status shows it.
    pub fn noticed(&mut self, app: &Arc<str>, notice: &Notice, now: Timestamp) -> Option<News> {
        let memory = self.apps.entry(app.clone()).or_default();
        match notice {
            Notice::SyncStarted { revision, writes, prunes, held } => {
                let revision = Revision::of(revision);
                let name = &revision.name;
                let text =
                    format!("sync to {name} started: {writes} to write, {prunes} to prune, {held} held");
                memory.started = Some(name.clone());
                Some(News { reason: Reason::SyncStarted, revision, text })
            }
            Notice::Healed { drift, .. } => {
                memory.heals.add(drift, now);
                None
            }
            _ => None,
        }
    }

    /// Returns what is news in a status: `before` is the one that the `App` had until now.
    pub fn published(&mut self, app: &Arc<str>, before: Option<&AppStatus>, after: &AppStatus) -> Vec<News> {
        let memory = self.apps.entry(app.clone()).or_default();
        let is_first = before.is_none_or(|before| before.history.is_empty());
        memory.story |= is_first || before.is_some_and(|before| !compare::troubles(before).is_empty());
        compare::news(memory, before, after)
    }

    /// Forgets an app that is no more, and says so.
    pub fn gone(&mut self, app: &Arc<str>) -> News {
        self.apps.remove(app);
        let text = "the app is no more: nothing of it is recorded, and what asks to be kept stays".to_owned();
        News { reason: Reason::Deleted, revision: Revision::default(), text }
    }

    /// Says whether news become a Kubernetes Event: those that are one, as long as an app has not had too many of them.
    /// A good sync is one where it ends a story: the app's first, an approval, something that was wrong. Every other
    /// commit would cost a request more, for what history, trace and notifications say anyhow.
    pub fn may_record(&mut self, app: &Arc<str>, news: &News, now: Timestamp) -> bool {
        let memory = self.apps.entry(app.clone()).or_default();
        let allowance = || Allowance::new(EVENTS, EVENT_EVERY);
        let is_told = match news.reason {
            Reason::Synced => std::mem::take(&mut memory.story),
            Reason::Healed => true,
            reason => {
                memory.story |= reason.is_event();
                reason.is_event()
            }
        };
        is_told && memory.events.get_or_insert_with(allowance).take(now)
    }

    /// Returns when [`Self::gathered`] has something to say.
    pub fn due(&self) -> Option<Timestamp> {
        self.apps.values().filter_map(|memory| memory.heals.due()).min()
    }

    /// Returns the heals of each app that have been gathered for long enough.
    pub fn gathered(&mut self, now: Timestamp) -> Vec<(Arc<str>, News)> {
        let heals = self.apps.iter_mut().filter_map(|(app, memory)| {
            let text = memory.heals.take(now)?;
            Some((app.clone(), News { reason: Reason::Healed, revision: Revision::default(), text }))
        });
        heals.collect()
    }
}

#[cfg(test)]
mod tests;
