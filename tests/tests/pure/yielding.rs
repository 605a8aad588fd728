//! Fields that others decide: sent at the creation, then let go of, and neither reset nor healed.

use std::collections::BTreeSet;
use std::sync::Arc;

use skiff_shared::report::SyncStatus;
use skiff_shared::sync::effect::Notice;
use skiff_shared::sync::event::Event;
use skiff_tests::notation::object;
use skiff_tests::sim::{End, Sim};
use skiff_tests::world::{Meddling, Scaler};

const WEB: &str = "Deployment/shop/web";

fn settle(sim: &mut Sim) {
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

fn replicas(sim: &Sim) -> (u64, Scaler) {
    let live = &sim.world.objects[&object(WEB)];
    (live.replicas, live.scaled_by)
}

fn drifts(sim: &Sim) -> usize {
    sim.replicas[0].notices.iter().filter(|notice| matches!(notice, Notice::Drifted(_))).count()
}

#[test]
fn a_creation_sends_what_is_left_to_others_and_then_lets_go_of_it() {
    let mut sim = Sim::shop();
    let desired = sim.commit("c1", ["Deployment/shop/web replicas yields"]);
    settle(&mut sim);
    let (value, scaler) = replicas(&sim);
    assert_eq!(Some(value), sim.world.bodies[&desired.rows[0].body].replicas);
    assert_eq!(scaler, Scaler::Nobody);
    insta::assert_compact_debug_snapshot!(sim.counts(), @"Counts { dry_runs: 1, gets: 0, applies: 2, heals: 0, adopts: 0, releases: 1, deletes: 0, keeps: 1, saves: 3, publishes: 1, forgets: 0 }");
    let written = sim.replicas[0].notices.iter().filter(|notice| matches!(notice, Notice::Written { .. }));
    assert_eq!(written.count(), 1, "a creation is told once");
}

#[test]
fn what_others_set_stays_through_commits_restarts_and_heals() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["Deployment/shop/web replicas yields"]);
    settle(&mut sim);
    sim.meddle(WEB, Meddling::Scale);
    settle(&mut sim);
    let (scaled, _) = replicas(&sim);
    assert_eq!(drifts(&sim), 0);

    sim.commit("c2", ["Deployment/shop/web v2 replicas yields"]);
    settle(&mut sim);
    sim.restart(0);
    settle(&mut sim);
    sim.meddle(WEB, Meddling::TakeField);
    settle(&mut sim);
    assert_eq!(replicas(&sim), (scaled, Scaler::Autoscaler));
    assert_eq!(drifts(&sim), 1, "other fields are healed as ever");

    sim.commit("c3", ["Deployment/shop/web v2 replicas"]);
    settle(&mut sim);
    assert_eq!(replicas(&sim).1, Scaler::Us, "what is left to others no more is ours again");
    assert_ne!(replicas(&sim).0, scaled);
}

#[test]
fn an_object_that_was_deleted_is_created_with_what_is_left_to_others() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["Deployment/shop/web replicas yields"]);
    settle(&mut sim);
    let (first, _) = replicas(&sim);
    sim.meddle(WEB, Meddling::Scale);
    sim.meddle(WEB, Meddling::Delete);
    settle(&mut sim);
    assert_eq!(replicas(&sim), (first, Scaler::Nobody));
}

#[test]
fn replicas_that_a_live_autoscaler_decides_are_left_to_it_before_it_sets_them() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["Deployment/shop/web replicas"]);
    settle(&mut sim);
    let (first, _) = replicas(&sim);
    sim.autoscaled = Arc::new(BTreeSet::from([object(WEB)]));
    sim.say(0, Event::Autoscaled(Some(sim.autoscaled.clone())));
    settle(&mut sim);
    assert_eq!(replicas(&sim), (first, Scaler::Nobody));
    sim.meddle(WEB, Meddling::Scale);
    settle(&mut sim);
    let (scaled, _) = replicas(&sim);
    assert_eq!(drifts(&sim), 0);

    // Nobody knows the autoscalers for a while: what was left to them still is.
    sim.say(0, Event::Autoscaled(None));
    sim.commit("c2", ["Deployment/shop/web v2 replicas"]);
    settle(&mut sim);
    assert_eq!(replicas(&sim), (scaled, Scaler::Autoscaler));
    sim.say(0, Event::Autoscaled(Some(Arc::default())));
    settle(&mut sim);
    assert_eq!(replicas(&sim).1, Scaler::Us);
}
