//! The app lists of all environments: which revision each was last read at.
//!
//! An app that leaves one list may be in another one of the same commit, whose environment is not so far yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skiff_shared::desired::Revision;

/// The configured environments with the revision of their lists; `None` before the first.
#[derive(Default)]
pub struct Lists(Mutex<BTreeMap<Arc<str>, Option<Revision>>>);

impl Lists {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Option<Revision>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an environment of which nothing is known yet.
    pub fn expect(&self, environment: &Arc<str>) {
        self.lock().insert(environment.clone(), None);
    }

    /// Notes the revision that an environment's list was read at without a mistake.
    pub fn read(&self, environment: &Arc<str>, revision: &Revision) {
        self.lock().insert(environment.clone(), Some(revision.clone()));
    }

    /// Forgets an environment that is not configured any more.
    pub fn forget(&self, environment: &str) {
        self.lock().remove(environment);
    }

    /// Returns the other environments whose lists may have what left the one of `environment`: those that were not read
    /// yet, and those of the same repository and reference that stand at another commit.
    pub fn unread(&self, environment: &str) -> BTreeSet<Arc<str>> {
        let lists = self.lock();
        let own = lists.get(environment).and_then(Option::as_ref);
        let may_have = |other: &Option<Revision>| match (own, other) {
            (Some(own), Some(other)) => {
                (&own.url, &own.reference) == (&other.url, &other.reference) && own.commit != other.commit
            }
            _ => true,
        };
        let others = lists.iter().filter(|(name, other)| &***name != environment && may_have(other));
        others.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_that_is_not_so_far_may_have_what_left_another() {
        let lists = Lists::default();
        let [first, second, third]: [Arc<str>; 3] = ["first", "second", "third"].map(Arc::from);
        let at = |url: &str, commit: &str| Revision {
            url: url.to_owned(),
            commit: commit.to_owned(),
            ..Revision::default()
        };
        for environment in [&first, &second, &third] {
            lists.expect(environment);
        }
        lists.read(&first, &at("shop", "two"));
        assert_eq!(lists.unread("first"), [second.clone(), third.clone()].into());
        lists.read(&second, &at("shop", "one"));
        lists.read(&third, &at("other", "nine"));
        assert_eq!(lists.unread("first"), [second.clone()].into());
        lists.read(&second, &at("shop", "two"));
        assert!(lists.unread("first").is_empty());
        lists.expect(&third);
        lists.forget("third");
        assert!(lists.unread("first").is_empty());
    }
}
