//! Objects that cannot be changed: recreated where they ask for it and are right in themselves.

use skiff_shared::plan::Action;
use skiff_shared::policy::{Mode, Policy};
use skiff_shared::report::SyncStatus;
use skiff_shared::sync::effect::Notice;
use skiff_shared::sync::event::{Approval, Ask};
use skiff_tests::notation::object;
use skiff_tests::sim::{End, Sim};

const JOB: &str = "Job/shop/migrate";

fn uid(sim: &Sim) -> String {
    sim.world.objects[&object(JOB)].uid.to_string()
}

/// Syncs a Job and then one that differs in what cannot be changed.
fn changed(policy: Policy, line: &str) -> (Sim, String) {
    let mut sim = Sim::with_policy(policy);
    sim.commit("c1", [JOB]);
    sim.settle().expect("sound");
    let before = uid(&sim);
    sim.reset();
    sim.commit("c2", [line]);
    (sim, before)
}

#[test]
fn an_object_that_asks_for_it_is_deleted_and_created_anew() {
    let (mut sim, before) = changed(Policy::default(), "Job/shop/migrate v2 fixed=1 force finalizer=2");
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.report().sync, SyncStatus::Synced);
    assert_ne!(uid(&sim), before);
    let notices = &sim.replicas[0].notices;
    let recreated = |notice: &Notice| matches!(notice, Notice::Written { action: Action::Recreated, .. });
    assert_eq!(notices.iter().filter(|notice| recreated(notice)).count(), 1);
    assert!(!notices.iter().any(|notice| matches!(notice, Notice::Drifted(_))), "{notices:?}");
}

#[test]
fn an_object_that_does_not_ask_for_it_stays_and_blocks_the_plan() {
    let (mut sim, before) = changed(Policy::default(), "Job/shop/migrate v2 fixed=1");
    sim.settle().expect("sound");
    assert_eq!(uid(&sim), before);
    assert_eq!(sim.counts().deletes, 0);
    assert_eq!(sim.report().conditions[0].reason, "PreflightFailed");
}

#[test]
fn an_object_that_is_wrong_in_itself_is_not_deleted() {
    let (mut sim, before) = changed(Policy::default(), "Job/shop/migrate v2 fixed=1 force refused");
    sim.settle().expect("sound");
    assert_eq!(uid(&sim), before);
    assert_eq!(sim.counts().deletes, 0);
}

#[test]
fn a_recreation_is_in_the_plan_that_is_approved() {
    let policy = Policy { mode: Mode::Manual, ..Policy::default() };
    let mut sim = Sim::with_policy(policy);
    sim.commit("c1", [JOB]);
    approve(&mut sim);
    let before = uid(&sim);
    sim.commit("c2", ["Job/shop/migrate v2 fixed=1 force"]);
    sim.settle().expect("sound");
    assert_eq!(uid(&sim), before, "nothing is deleted without a word");
    let plan = sim.report().plan.expect("a plan that waits");
    assert_eq!(plan.counts, [(Action::Recreated, 1)]);
    approve(&mut sim);
    assert_ne!(uid(&sim), before);
}

fn approve(sim: &mut Sim) {
    sim.settle().expect("sound");
    let digest = sim.report().plan.expect("a plan that waits").digest;
    sim.ask(Ask { approval: Some(Approval { digest, by: "ops".into() }), ..Ask::default() });
    assert_eq!(sim.settle().expect("sound"), End::Idle);
}
