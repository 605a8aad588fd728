//! Who has which object: decided over all apps of an agent at once.
//!
//! Between render and plan, once per revision of the environment and again whenever that is convenient:
//! the same inputs give the same answer. What it decides reaches each machine as [`Claims`], before or in
//! one batch with the wanted set that it was decided for.
//!
//! # Who has an object
//!
//! Of the apps that want an object it belongs to the one that has it on record, then to the one that was
//! told to want it before and may be writing it, then to the first by order. So nobody loses an object
//! by what somebody else writes into Git, and nothing flaps. If nobody wants it, the first app that has
//! it on record prunes it, alone.
//!
//! # Hand-over
//!
//! An object moves from app A to app B in one commit:
//! 1. A no longer wants it, B does and is its only claimant: B may write it at once (no conflict). A gets
//!    `handed_over`: it neither prunes nor heals it, and keeps it on record, so that the object is in an
//!    inventory whatever happens to B. If the object goes back to A, A still has it.
//! 2. Once B has written it, and so has it on a stored record, A gets `conflicts`: A drops its record, and the server is asked nothing.
//!
//! Two writes of the object can meet only where one of A's was open when A took the new set over; B's
//! watch then shows B's fields changed, and B heals them. Nothing is pruned in between: A's plan holds
//! the object from the moment in which it does not want it.
//!
//! # Undecided
//!
//! While an app of the environment is not rendered at the newest revision, what leaves the other apps may
//! be going to it: they prune nothing until it is known.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::object::ObjectId;
use crate::plan::Claims;

/// What one app has to do with objects.
#[derive(Clone, Debug, Default)]
pub struct AppObjects<'a> {
    pub app: Arc<str>,
    pub environment: Arc<str>,
    /// Whether what it wants at the newest revision is known.
    pub known: Known,
    /// What its newest good render holds.
    pub wanted: Vec<&'a ObjectId>,
    /// What its inventory lists.
    pub owned: Vec<(&'a ObjectId, OnRecord)>,
    /// What the set before held, unless it was in conflict: the app may have claimed it since `owned`
    /// was read, and must not prune it unasked. Empty after a start.
    pub before: Vec<&'a ObjectId>,
}

/// Whether the newest revision of an app has been rendered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Known {
    #[default]
    Yes,
    /// Not yet, or it cannot be: the app may want any object that leaves another one.
    No,
}

/// How an inventory lists an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OnRecord {
    /// To be written; the claim itself may still be on its way to the cluster.
    Claimed,
    /// Written: its claim was stored before.
    Settled,
}

/// How firmly an app holds an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Hold {
    None,
    /// It may have claimed it by now.
    Perhaps,
    Recorded(OnRecord),
}

/// One app's part in an object.
#[derive(Clone, Copy, Debug)]
struct Stake {
    app: usize,
    wants: bool,
    hold: Hold,
}

/// Decides who has which object; every app gets an entry. The order of `apps` decides where nothing else
/// does, so it must not change from call to call.
pub fn assign(apps: &[AppObjects<'_>]) -> BTreeMap<Arc<str>, Claims> {
    let mut claims: BTreeMap<Arc<str>, Claims> =
        apps.iter().map(|app| (app.app.clone(), Claims::default())).collect();
    for (id, stakes) in shared_objects(apps) {
        let Some(owner) = owner(&stakes) else { continue };
        for stake in stakes.iter().filter(|stake| stake.app != owner.app) {
            let Some(claims) = claims.get_mut(&apps[stake.app].app) else { continue };
            let (id, app) = (id.clone(), apps[owner.app].app.clone());
            // A record is given up only when the other is certainly stored.
            if stake.wants || owner.hold == Hold::Recorded(OnRecord::Settled) {
                claims.conflicts.insert(id, app);
            } else {
                claims.handed_over.insert(id, app);
            }
        }
    }
    for app in apps {
        if let Some(claims) = claims.get_mut(&app.app) {
            claims.undecided = undecided(apps, app);
        }
    }
    claims
}

/// Returns the other apps of the environment of which nobody knows what they want.
fn undecided(apps: &[AppObjects<'_>], app: &AppObjects<'_>) -> BTreeSet<Arc<str>> {
    let others = apps.iter().filter(|other| other.environment == app.environment && other.app != app.app);
    others.filter(|other| other.known == Known::No).map(|other| other.app.clone()).collect()
}

/// Returns the objects in which more than one app has a part.
fn shared_objects<'a>(apps: &[AppObjects<'a>]) -> HashMap<&'a ObjectId, Vec<Stake>> {
    let mut stakes: HashMap<&ObjectId, Vec<Stake>> = HashMap::new();
    for (app, objects) in apps.iter().enumerate() {
        let recorded: BTreeMap<&ObjectId, OnRecord> = objects.owned.iter().copied().collect();
        let perhaps: BTreeSet<&ObjectId> = objects.before.iter().copied().collect();
        let wanted: BTreeSet<&ObjectId> = objects.wanted.iter().copied().collect();
        let all: BTreeSet<&ObjectId> = recorded.keys().chain(&perhaps).chain(&wanted).copied().collect();
        for id in all {
            let hold = if let Some(on_record) = recorded.get(id) {
                Hold::Recorded(*on_record)
            } else if perhaps.contains(id) {
                Hold::Perhaps
            } else {
                Hold::None
            };
            stakes.entry(id).or_default().push(Stake { app, wants: wanted.contains(id), hold });
        }
    }
    stakes.retain(|_, stakes| stakes.len() > 1);
    stakes
}

/// Returns the stake of the app that the object belongs to: who wants it goes before who does not, then
/// the firmer hold, then the order of apps.
fn owner(stakes: &[Stake]) -> Option<Stake> {
    let rank = |stake: &&Stake| (stake.wants, stake.hold, std::cmp::Reverse(stake.app));
    stakes.iter().max_by_key(rank).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Interner;

    fn objects() -> Vec<ObjectId> {
        let mut interner = Interner::default();
        ["a", "b", "c"].map(|name| interner.object("", "ConfigMap", Some("shop"), name)).into()
    }

    fn app<'a>(name: &str, wanted: &[&'a ObjectId], owned: &[&'a ObjectId]) -> AppObjects<'a> {
        AppObjects {
            app: name.into(),
            environment: "prod".into(),
            known: Known::Yes,
            wanted: wanted.into(),
            owned: owned.iter().map(|id| (*id, OnRecord::Settled)).collect(),
            before: Vec::new(),
        }
    }

    /// Prints who is told what, in the order of apps.
    fn told(apps: &[AppObjects<'_>]) -> String {
        let mut lines = Vec::new();
        for (app, claims) in assign(apps) {
            lines.extend(claims.conflicts.iter().map(|(id, other)| format!("{app}: {other} has {id}")));
            let handed = claims.handed_over.iter();
            lines.extend(handed.map(|(id, other)| format!("{app}: {id} is handed to {other}")));
            lines.extend(claims.undecided.iter().map(|other| format!("{app}: {other} may want anything")));
        }
        lines.join("\n")
    }

    #[test]
    fn an_object_wanted_by_two_belongs_to_the_one_that_has_it() {
        let ids = objects();
        let apps = [app("blog", &[&ids[0]], &[]), app("shop", &[&ids[0]], &[&ids[0]])];
        insta::assert_snapshot!(told(&apps), @"blog: shop has ConfigMap/shop/a");
    }

    #[test]
    fn an_object_that_nobody_has_belongs_to_the_first_that_wants_it() {
        let ids = objects();
        let apps = [app("blog", &[&ids[0]], &[]), app("shop", &[&ids[0]], &[])];
        insta::assert_snapshot!(told(&apps), @"shop: blog has ConfigMap/shop/a");
    }

    #[test]
    fn an_object_that_moves_is_handed_over_and_its_new_app_may_write() {
        let ids = objects();
        let apps = [app("blog", &[], &[&ids[0]]), app("shop", &[&ids[0]], &[])];
        insta::assert_snapshot!(told(&apps), @"blog: ConfigMap/shop/a is handed to shop");
    }

    #[test]
    fn the_old_app_keeps_its_record_while_the_claim_of_the_new_one_is_on_its_way() {
        let ids = objects();
        let mut shop = app("shop", &[&ids[0]], &[&ids[0]]);
        shop.owned[0].1 = OnRecord::Claimed;
        insta::assert_snapshot!(
            told(&[app("blog", &[], &[&ids[0]]), shop]),
            @"blog: ConfigMap/shop/a is handed to shop"
        );
    }

    #[test]
    fn the_old_app_drops_its_record_when_the_new_one_has_one() {
        let ids = objects();
        let apps = [app("blog", &[], &[&ids[0]]), app("shop", &[&ids[0]], &[&ids[0]])];
        insta::assert_snapshot!(told(&apps), @"blog: shop has ConfigMap/shop/a");
    }

    #[test]
    fn an_object_that_may_have_been_claimed_meanwhile_is_handed_over_too() {
        let ids = objects();
        let blog = AppObjects { before: vec![&ids[0]], ..app("blog", &[], &[]) };
        insta::assert_snapshot!(
            told(&[blog, app("shop", &[&ids[0]], &[])]),
            @"blog: ConfigMap/shop/a is handed to shop"
        );
    }

    #[test]
    fn an_object_that_two_have_and_nobody_wants_is_pruned_by_one() {
        let ids = objects();
        let apps = [app("blog", &[], &[&ids[0]]), app("shop", &[], &[&ids[0]])];
        insta::assert_snapshot!(told(&apps), @"shop: blog has ConfigMap/shop/a");
    }

    #[test]
    fn an_app_that_is_not_rendered_may_want_what_leaves_the_others_of_its_environment() {
        let ids = objects();
        let blog = AppObjects { known: Known::No, ..app("blog", &[&ids[0]], &[&ids[0]]) };
        let other = AppObjects { environment: "dev".into(), ..app("toys", &[], &[&ids[2]]) };
        insta::assert_snapshot!(
            told(&[blog, app("shop", &[], &[&ids[1]]), other]),
            @"shop: blog may want anything"
        );
    }

    #[test]
    fn what_one_app_alone_has_to_do_with_is_nobody_elses_business() {
        let ids = objects();
        let apps = [app("blog", &[&ids[0]], &[&ids[1]]), app("shop", &[&ids[2]], &[])];
        assert_eq!(told(&apps), "");
    }
}
