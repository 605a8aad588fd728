//! Who has which object: decided over all apps at once, once per revision.
//!
//! Beside plan, which asks only what concerns its own app. Two apps that want one object: the one that
//! has it keeps it, the other is told. An object that one app lets go and another wants is handed over:
//! the old owner forgets it without deleting it, the new one writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::object::ObjectId;
use crate::plan::Claims;

/// What one app wants, and what its inventory lists.
#[derive(Clone, Debug)]
pub struct AppObjects<'a> {
    pub app: Arc<str>,
    pub wanted: Vec<&'a ObjectId>,
    pub owned: Vec<&'a ObjectId>,
}

/// Decides for every app what it must leave to others. The order of `apps` decides between apps that
/// want an object which none of them has.
pub fn assign(apps: &[AppObjects<'_>]) -> BTreeMap<Arc<str>, Claims> {
    let mut claims: BTreeMap<Arc<str>, Claims> =
        apps.iter().map(|app| (app.app.clone(), Claims::default())).collect();
    let owned: Vec<BTreeSet<&ObjectId>> =
        apps.iter().map(|app| app.owned.iter().copied().collect()).collect();
    let mut wanting: BTreeMap<&ObjectId, Vec<usize>> = BTreeMap::new();
    for (at, app) in apps.iter().enumerate() {
        for id in &app.wanted {
            wanting.entry(id).or_default().push(at);
        }
    }
    for (id, wanting) in &wanting {
        let has = |at: &&usize| owned[**at].contains(id);
        let holder = *wanting.iter().find(has).unwrap_or(&wanting[0]);
        let name = &apps[holder].app;
        for other in wanting.iter().filter(|at| **at != holder) {
            note(&mut claims, &apps[*other].app, |claims| {
                claims.conflicts.insert((*id).clone(), name.clone());
            });
        }
        for (at, app) in apps.iter().enumerate() {
            if !wanting.contains(&at) && owned[at].contains(id) {
                note(&mut claims, &app.app, |claims| {
                    claims.handed_over.insert((*id).clone(), name.clone());
                });
            }
        }
    }
    claims
}

fn note(claims: &mut BTreeMap<Arc<str>, Claims>, app: &Arc<str>, add: impl FnOnce(&mut Claims)) {
    add(claims.entry(app.clone()).or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Interner;

    /// Reads `app: wanted… | owned…` per line and prints what each app must leave.
    fn decided(text: &str) -> String {
        let mut interner = Interner::default();
        let mut id = |name: &str| interner.object("", "ConfigMap", Some("shop"), name);
        let parsed: Vec<(Arc<str>, Vec<ObjectId>, Vec<ObjectId>)> = text
            .lines()
            .map(|line| {
                let (app, rest) = line.trim().split_once(':').expect("an app");
                let (wanted, owned) = rest.split_once('|').expect("two lists");
                let mut list = |part: &str| part.split_whitespace().map(&mut id).collect();
                (app.into(), list(wanted), list(owned))
            })
            .collect();
        let apps: Vec<AppObjects<'_>> = parsed
            .iter()
            .map(|(app, wanted, owned)| AppObjects {
                app: app.clone(),
                wanted: wanted.iter().collect(),
                owned: owned.iter().collect(),
            })
            .collect();
        let lines = assign(&apps).into_iter().flat_map(|(app, claims)| {
            let conflicts: Vec<String> =
                claims.conflicts.iter().map(|(id, other)| format!("{app}: {id} is of {other}")).collect();
            let handed = claims.handed_over.iter().map(|(id, other)| format!("{app}: {id} goes to {other}"));
            conflicts.into_iter().chain(handed).collect::<Vec<_>>()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn who_has_an_object_keeps_it() {
        insta::assert_snapshot!(decided("a: x | \nb: x | x"), @"a: ConfigMap/shop/x is of b");
    }

    #[test]
    fn of_two_new_claims_the_first_wins() {
        insta::assert_snapshot!(decided("a: x | \nb: x | "), @"b: ConfigMap/shop/x is of a");
    }

    #[test]
    fn what_one_lets_go_and_another_wants_is_handed_over() {
        insta::assert_snapshot!(decided("a: | x y\nb: x | "), @"a: ConfigMap/shop/x goes to b");
    }
}
