//! What a plan that waits for a person would lead to is stored and told, so that it can be shown field by field.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use skiff_shared::desired::BodyDigest;
use skiff_shared::policy::{Mode, Policy};
use skiff_shared::report::{StoredSet, SyncStatus};
use skiff_shared::sync::event::{Approval, Ask};
use skiff_tests::sim::Sim;

const MAP: &str = "ConfigMap/shop/a";

fn manual() -> Sim {
    Sim::with_policy(Policy { mode: Mode::Manual, ..Policy::default() })
}

/// Returns the set of the plan that waits, as it is told.
fn told(sim: &mut Sim) -> Option<StoredSet> {
    sim.settle().expect("sound");
    let report = sim.report();
    assert_eq!(report.phase, "Waiting", "{report:?}");
    report.plan.expect("a plan waits").set
}

fn stored(sim: &Sim) -> BTreeSet<String> {
    sim.world.stores["shop"].renders.keys().cloned().collect()
}

fn bodies(sim: &Sim, set: &StoredSet) -> BTreeSet<BodyDigest> {
    set.stored.iter().flat_map(|name| sim.world.stores["shop"].renders[name].clone()).collect()
}

fn approve(sim: &mut Sim) {
    let plan = sim.report().plan.expect("a plan waits");
    sim.ask(Ask { approval: Some(Approval { digest: plan.digest, by: "ops".into() }), ..Ask::default() });
    sim.settle().expect("sound");
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn what_a_waiting_plan_leads_to_is_stored_and_told_until_the_plan_is_gone() {
    let mut sim = manual();
    let first = sim.commit("c1", [MAP, "ConfigMap/shop/b"]);
    let set = told(&mut sim).expect("it is stored");
    assert_eq!(set.render, first.render);
    assert_eq!(bodies(&sim, &set), first.rows.iter().map(|row| row.body).collect());

    let second = sim.commit("c2", ["ConfigMap/shop/a v2", "ConfigMap/shop/b"]);
    let set = told(&mut sim).expect("it is stored");
    assert_eq!(set.render, second.render);
    assert_eq!(stored(&sim), set.stored.iter().cloned().collect(), "what no plan leads to any more is gone");
    approve(&mut sim);
    assert!(sim.report().plan.is_none());
    assert_eq!(stored(&sim), set.stored.into_iter().collect(), "the sync has found it there");

    // A plan that prunes has what stays in its set, and what is applied stays stored beside it.
    let third = sim.commit("c3", ["ConfigMap/shop/a v3"]);
    let set = told(&mut sim).expect("it is stored");
    assert_eq!(bodies(&sim, &set), third.rows.iter().map(|row| row.body).collect());
    let kept: BTreeSet<BodyDigest> = sim.world.stores["shop"].renders.values().flatten().copied().collect();
    assert!(second.rows.iter().all(|row| kept.contains(&row.body)));
    // Back to what is applied: nothing waits, and nothing is left of it.
    sim.commit("c4", ["ConfigMap/shop/a v2", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    assert_eq!(sim.report().sync, SyncStatus::Synced);
    assert!(stored(&sim).is_disjoint(&set.stored.into_iter().collect()));
}

#[test]
fn a_plan_waits_also_where_its_set_cannot_be_stored_and_it_is_tried_again() {
    let mut sim = manual();
    sim.world.weather.state_full = true;
    sim.commit("c1", [MAP]);
    assert_eq!(told(&mut sim), None);
    sim.world.weather.state_full = false;
    sim.wait(SignedDuration::from_mins(10)).expect("sound");
    assert!(told(&mut sim).is_some());
    approve(&mut sim);
}

#[test]
fn nothing_is_stored_beforehand_for_a_plan_that_waits_for_something_else() {
    let mut sim = manual();
    sim.ask(Ask { paused: Some("lunch".into()), ..Ask::default() });
    sim.commit("c1", [MAP]);
    assert_eq!(told(&mut sim), None);
    assert_eq!(stored(&sim), BTreeSet::new());
    sim.ask(Ask::default());
    assert!(told(&mut sim).is_some());
}
