//! Who is told what, and nothing twice.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};

use super::{News, Reason, Trigger};
use crate::glob;

/// How long it is remembered what was told.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// News that are remembered at most; above that the oldest are forgotten.
const MAX_REMEMBERED: usize = 4_096;

/// What one receiver wants, and what it has been told.
#[derive(Clone, Debug)]
pub struct Subscription {
    on: BTreeSet<Trigger>,
    /// Patterns of the apps' names; all where it is empty.
    apps: Vec<String>,
    told: HashMap<Key, Timestamp>,
}

/// What makes two news the same.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    app: String,
    revision: String,
    reason: Reason,
    /// The plan, the objects or the cause, for reasons whose revision does not say it all.
    what: String,
}

impl Subscription {
    pub fn new(on: impl IntoIterator<Item = Trigger>, apps: Vec<String>) -> Self {
        Self { on: on.into_iter().collect(), apps, told: HashMap::new() }
    }

    /// Says whether news of this reason about this app are wanted at all.
    pub fn covers(&self, app: &str, reason: Reason) -> bool {
        let is_named = self.apps.is_empty() || self.apps.iter().any(|pattern| glob::matches(pattern, app));
        is_named && self.on.contains(&reason.trigger())
    }

    /// Says whether the receiver is to be told, and remembers that it was.
    pub fn takes(&mut self, app: &str, news: &News, now: Timestamp) -> bool {
        if !self.covers(app, news.reason) {
            return false;
        }
        self.told.retain(|_, told| now.duration_since(*told) < REMEMBERED);
        if self.told.len() >= MAX_REMEMBERED
            && let Some(oldest) = self.told.iter().min_by_key(|(_, told)| **told).map(|(key, _)| key.clone())
        {
            self.told.remove(&oldest);
        }
        let what = if is_told_by_revision(news.reason) { String::new() } else { news.text.clone() };
        let key =
            Key { app: app.to_owned(), revision: news.revision.name.clone(), reason: news.reason, what };
        match self.told.entry(key) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(now);
                true
            }
        }
    }
}

/// Whether app, revision and reason say all that matters: the text of such news changes by itself.
fn is_told_by_revision(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Created
            | Reason::Deleted
            | Reason::SyncStarted
            | Reason::SyncApplied
            | Reason::Synced
            | Reason::RolledBack
            | Reason::SyncFailed
            | Reason::SyncUnknown
            | Reason::Degraded
            | Reason::Recovered
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::Revision;

    fn news(reason: Reason, revision: &str, text: &str) -> News {
        let revision = Revision { name: revision.to_owned(), ..Revision::default() };
        News { reason, revision, text: text.to_owned() }
    }

    #[test]
    fn the_same_app_revision_and_reason_is_told_once() {
        let mut subscription =
            Subscription::new([Trigger::OnHealthDegraded, Trigger::OnApprovalWaiting], vec![]);
        let mut takes = |app: &str, it: &News, hours| {
            let now = Timestamp::UNIX_EPOCH.saturating_add(SignedDuration::from_hours(hours)).unwrap();
            subscription.takes(app, it, now)
        };
        let degraded = news(Reason::Degraded, "one", "7 of 8");
        assert!(takes("web", &degraded, 0));
        assert!(!takes("web", &news(Reason::Degraded, "one", "6 of 8"), 1), "the same trouble");
        assert!(takes("db", &degraded, 1) && takes("web", &news(Reason::Degraded, "two", ""), 1));
        assert!(!takes("web", &news(Reason::Synced, "one", ""), 1), "nobody asked for it");
        assert!(takes("web", &news(Reason::WaitingForApproval, "one", "plan 01"), 1));
        assert!(!takes("web", &news(Reason::WaitingForApproval, "one", "plan 01"), 2));
        assert!(takes("web", &news(Reason::WaitingForApproval, "one", "plan 02"), 2), "another plan");
        assert!(takes("web", &degraded, 24), "a day later it is news again");
    }

    #[test]
    fn apps_are_chosen_by_patterns() {
        let subscription = Subscription::new(Trigger::ALL, vec!["shop-*".to_owned(), "db".to_owned()]);
        let covers = |app| subscription.covers(app, Reason::Synced);
        assert!(covers("shop-web") && covers("db") && !covers("db-2"));
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut subscription = Subscription::new(Trigger::ALL, vec![]);
        for number in 0..2 * MAX_REMEMBERED {
            let now = Timestamp::from_second(i64::try_from(number / 100).unwrap()).unwrap();
            assert!(subscription.takes(&number.to_string(), &news(Reason::Synced, "one", ""), now));
        }
        assert_eq!(subscription.told.len(), MAX_REMEMBERED);
    }
}
