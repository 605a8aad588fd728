//! Dependencies between apps: one waits until those that it names have arrived.
//!
//! An app has arrived when it is synced and healthy at the newest revision that it has been told of. Apps of one
//! repository arrive together: a dependent waits until those before it have arrived at its own commit, so that a commit
//! that changes both is applied in their order.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::desired::Revision;

/// What an app tells those that depend on it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Repository and commit that it was last told of; `None` before the first.
    pub told: Option<(String, String)>,
    /// It is synced and healthy there.
    pub arrived: bool,
}

/// The standing of each app that another one depends on.
pub type Standings = BTreeMap<Arc<str>, Standing>;

impl Standing {
    pub fn of(revision: Option<&Revision>, arrived: bool) -> Self {
        Self { told: revision.map(|revision| (revision.url.clone(), revision.commit.clone())), arrived }
    }

    /// Whether a dependent at `revision` need not wait for the app. One with a source of its own is judged there.
    fn lets(&self, revision: &Revision) -> bool {
        let same = |(url, commit): &(String, String)| *url != revision.url || *commit == revision.commit;
        self.arrived && self.told.as_ref().is_some_and(same)
    }
}

/// Returns the apps that a plan of `revision` has to wait for.
pub fn waits_for(standings: &Standings, revision: &Revision) -> Vec<Arc<str>> {
    let waiting = standings.iter().filter(|(_, standing)| !standing.lets(revision));
    waiting.map(|(app, _)| app.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(url: &str, commit: &str) -> Revision {
        Revision { url: url.into(), commit: commit.into(), ..Revision::default() }
    }

    #[test]
    fn a_dependent_waits_for_arrival_at_its_own_commit() {
        let mine = revision("shop", "c2");
        let waits =
            |standing: Standing| !waits_for(&BTreeMap::from([("db".into(), standing)]), &mine).is_empty();
        assert!(waits(Standing::default()), "nothing is known of it");
        assert!(waits(Standing::of(Some(&revision("shop", "c1")), true)), "it has not been told yet");
        assert!(waits(Standing::of(Some(&revision("shop", "c2")), false)), "it is on its way");
        assert!(!waits(Standing::of(Some(&revision("shop", "c2")), true)));
        assert!(!waits(Standing::of(Some(&revision("charts", "1.2.3")), true)), "it has a source of its own");
        assert!(waits(Standing::of(Some(&revision("charts", "1.2.3")), false)));
    }

    #[test]
    fn who_is_waited_for_is_named() {
        let there = Standing::of(Some(&revision("shop", "c2")), true);
        let standings = BTreeMap::from([
            ("a".into(), Standing::default()),
            ("b".into(), there),
            ("c".into(), Standing::default()),
        ]);
        assert_eq!(waits_for(&standings, &revision("shop", "c2")), ["a".into(), Arc::<str>::from("c")]);
    }
}
