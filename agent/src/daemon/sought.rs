//! The plans whose approvals are looked for in Git.
//!
//! Between the drivers, whose plans wait, and the pollers, which look. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skiff_shared::object::Digest;
use tokio::sync::watch;

use crate::git;

/// What each app waits for.
#[derive(Default)]
pub struct Sought {
    plans: Mutex<BTreeMap<Arc<str>, BTreeSet<Digest>>>,
    /// Changes whenever a plan is waited for that was not before.
    more: watch::Sender<()>,
}

impl Sought {
    /// Notes the plans of one app.
    pub fn note(&self, app: &Arc<str>, plans: BTreeSet<Digest>) {
        let mut all = self.plans();
        let before = all.get(app);
        if plans.is_empty() {
            all.remove(app);
            return;
        }
        if before == Some(&plans) {
            return;
        }
        let is_more = before.is_none_or(|before| !plans.is_subset(before));
        all.insert(app.clone(), plans);
        drop(all);
        if is_more {
            self.more.send_replace(());
        }
    }

    /// Returns the plans of all apps.
    pub fn now(&self) -> git::Sought {
        let all = self.plans();
        all.iter().flat_map(|(app, plans)| plans.iter().map(|plan| (app.clone(), *plan))).collect()
    }

    /// Returns what changes whenever a plan is waited for that was not before.
    pub fn more(&self) -> watch::Receiver<()> {
        self.more.subscribe()
    }

    fn plans(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, BTreeSet<Digest>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plan_that_was_not_waited_for_is_news() {
        let sought = Sought::default();
        let mut more = sought.more();
        let app: Arc<str> = "shop".into();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        for (plans, is_news) in [
            ([one].into(), true),
            ([one].into(), false),
            ([one, two].into(), true),
            ([two].into(), false),
            (BTreeSet::new(), false),
            ([two].into(), true),
        ] {
            sought.note(&app, plans);
            assert_eq!(more.has_changed().expect("it is there"), is_news);
            more.borrow_and_update();
        }
        assert_eq!(sought.now(), [(app, two)].into());
    }
}
