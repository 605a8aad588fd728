//! Options of objects that decide whether an object is applied, healed and deleted, and how.

use jiff::SignedDuration;
use skiff_shared::desired::Propagation;
use skiff_shared::plan::Claims;
use skiff_shared::policy::Policy;
use skiff_shared::report::SyncStatus;
use skiff_shared::sync::effect::Effect;
use skiff_shared::sync::event::Event;
use skiff_tests::notation::object;
use skiff_tests::sim::{End, Sim};
use skiff_tests::world::Meddling;

const A: &str = "ConfigMap/shop/a";

fn settle(sim: &mut Sim) {
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

fn content(sim: &Sim) -> Option<u64> {
    sim.world.objects.get(&object(A)).map(|live| live.content)
}

#[test]
fn an_object_that_is_applied_once_is_created_and_then_left_alone() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a once"]);
    settle(&mut sim);
    let created = content(&sim);
    sim.commit("c2", ["ConfigMap/shop/a v2 once"]);
    settle(&mut sim);
    assert_eq!(content(&sim), created, "a new body changes nothing");
    sim.meddle(A, Meddling::TakeField);
    settle(&mut sim);
    assert_ne!(content(&sim), created, "nothing is healed");
    sim.meddle(A, Meddling::Delete);
    settle(&mut sim);
    assert!(content(&sim).is_some(), "what is not there is created");
}

#[test]
fn an_object_that_is_applied_once_and_exists_is_left_to_whom_it_is() {
    let mut sim = Sim::shop();
    sim.world.plant(&object(A), None);
    let before = content(&sim);
    sim.commit("c1", ["ConfigMap/shop/a once", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    assert_eq!(sim.report().sync, SyncStatus::Synced);
    assert_eq!(content(&sim), before);
    assert_eq!(sim.report().rows[0].message, "it exists, and asks to be created only where it is not there");
}

#[test]
fn an_object_that_is_never_applied_is_neither_written_healed_nor_pruned() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    settle(&mut sim);
    sim.commit("c2", ["ConfigMap/shop/a v2 never", "ConfigMap/shop/b"]);
    settle(&mut sim);
    sim.reset();
    sim.meddle(A, Meddling::TakeField);
    settle(&mut sim);
    assert_eq!(sim.counts().writes(), 0);
    assert_eq!(sim.report().rows[0].message, "it asks not to be applied");
}

#[test]
fn an_object_that_is_held_by_hand_is_healed_when_its_time_is_over() {
    let mut sim = Sim::shop();
    sim.commit("c1", [A, "ConfigMap/shop/b"]);
    settle(&mut sim);
    sim.reset();
    let until = sim.world.now + SignedDuration::from_mins(30);
    sim.world.touch(&object(A), |live, _| live.hold_until = Some(until));
    sim.meddle(A, Meddling::TakeField);
    sim.run_now().expect("sound");
    sim.wait(SignedDuration::from_mins(29)).expect("sound");
    assert_eq!(sim.counts().heals, 0);
    assert_eq!(sim.report().sync, SyncStatus::OutOfSync);
    let message = sim.report().conditions[0].message.clone();
    assert!(message.contains(&format!("is not healed until {until}")), "{message}");
    sim.wait(SignedDuration::from_mins(2)).expect("sound");
    settle(&mut sim);
    assert_eq!(sim.counts().heals, 1);
}

#[test]
fn deletes_carry_the_propagation_of_the_object_or_else_of_the_app() {
    let mut policy = Policy::default();
    policy.prune.propagation = Propagation::Foreground;
    let mut sim = Sim::with_policy(policy);
    sim.writes = Some(Vec::new());
    sim.commit("c1", [A, "ConfigMap/shop/b orphan", "ConfigMap/shop/c"]);
    settle(&mut sim);
    sim.commit("c2", ["ConfigMap/shop/c"]);
    settle(&mut sim);
    let deletes: Vec<_> = sim
        .writes
        .iter()
        .flatten()
        .filter_map(|effect| match effect {
            Effect::Delete(_, target, _, propagation) => Some((target.id.to_string(), *propagation)),
            _ => None,
        })
        .collect();
    let (a, b) = ("ConfigMap/shop/a".to_owned(), "ConfigMap/shop/b".to_owned());
    assert_eq!(deletes, [(a, Propagation::Foreground), (b, Propagation::Orphan)]);
}

#[test]
fn a_shared_object_blocks_the_plan_where_the_app_says_so() {
    let mut sim = Sim::with_policy(Policy { fail_on_shared: true, ..Policy::default() });
    let claims = Claims { conflicts: [(object(A), "other".into())].into(), ..Claims::default() };
    sim.say(0, Event::Claims(claims));
    sim.commit("c1", [A, "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    assert!(!sim.world.objects.contains_key(&object("ConfigMap/shop/b")), "nothing is written");
    insta::assert_snapshot!(sim.report().conditions[0].message, @"nothing was written, 1 objects are refused: ConfigMap/shop/a: app \"other\" has this object already: remove it from one of the two");
}
