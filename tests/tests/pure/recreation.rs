//! Objects that cannot be changed: recreated where they ask for it and are right in themselves.

use skiff_shared::plan::Action;
use skiff_shared::policy::{Mode, Policy};
use skiff_shared::report::SyncStatus;
use skiff_shared::sync::effect::{Effect, Notice};
use skiff_shared::sync::event::Ask;
use skiff_tests::notation::object;
use skiff_tests::sim::{End, Fate, Sim};
use skiff_tests::world::Meddling;

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
    assert_eq!(
        sim.report().conditions[0].reason,
        "PreflightFailed",
        "nothing else of the plan is written either"
    );
}

#[test]
fn what_guards_a_prune_guards_a_recreation() {
    let guarded = [
        "PersistentVolumeClaim/shop/data",
        "StatefulSet/shop/db",
        "Namespace/fresh",
        "ConfigMap/shop/kept keep",
        "ConfigMap/shop/asking confirm",
    ];
    let mut told = Vec::new();
    for line in guarded {
        let mut sim = Sim::shop();
        sim.commit("c1", [line]);
        sim.settle().expect("sound");
        sim.reset();
        sim.commit("c2", [format!("{line} v2 fixed=1 force").as_str()]);
        sim.settle().expect("sound");
        assert_eq!(sim.counts().deletes, 0, "{line}");
        let report = sim.report();
        assert_eq!(report.conditions[0].reason, "PreflightFailed");
        told.extend(report.rows.iter().map(|row| format!("{}: {}", row.name, row.message)));
    }
    insta::assert_snapshot!(told.join("\n"), @r"
    data: NotRecreated: it cannot be changed, and is not deleted to be created anew: objects of its kind are deleted only with prune.sensitiveKinds; take the change back, or delete it by hand (the server says Invalid)
    db: NotRecreated: it cannot be changed, and is not deleted to be created anew: objects of its kind are deleted only with prune.sensitiveKinds; take the change back, or delete it by hand (the server says Invalid)
    fresh: NotRecreated: it cannot be changed, and is not deleted to be created anew: everything in it would go with it; take the change back, or delete it by hand (the server says Invalid)
    kept: NotRecreated: it cannot be changed, and is not deleted to be created anew: it asks to be kept; take the change back, or delete it by hand (the server says Invalid)
    asking: NotRecreated: it cannot be changed, and is not deleted to be created anew: it asks to be deleted by a person only; take the change back, or delete it by hand (the server says Invalid)
    ");

    let mut policy = Policy::default();
    policy.prune.sensitive_kinds = true;
    let mut sim = Sim::with_policy(policy);
    sim.commit("c1", ["StatefulSet/shop/db", "Namespace/fresh"]);
    sim.settle().expect("sound");
    sim.commit("c2", ["StatefulSet/shop/db v2 fixed=1 force", "Namespace/fresh"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.counts().deletes, 1);
    sim.commit("c3", ["StatefulSet/shop/db v2 fixed=1 force", "Namespace/fresh v2 fixed=1 force"]);
    sim.settle().expect("sound");
    assert_eq!(sim.counts().deletes, 1, "what holds others goes by no setting");
}

#[test]
fn an_object_that_was_created_anew_is_not_deleted_again_when_the_answer_is_lost() {
    let (mut sim, before) = changed(Policy::default(), "Job/shop/migrate v2 fixed=1 force");
    let create = sim.run_until(|effect| matches!(effect, Effect::Create(..))).expect("sound");
    sim.perform(0, create, Fate::LostOnReturn).expect("sound");
    let created = uid(&sim);
    assert_ne!(created, before);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(uid(&sim), created);
    assert_eq!(sim.counts().deletes, 1);
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn an_object_that_came_since_the_refusal_is_not_deleted_unasked() {
    let (mut sim, _) = changed(Policy::default(), "Job/shop/migrate v2 fixed=1 force");
    let delete = sim.run_until(|effect| matches!(effect, Effect::Delete(..))).expect("sound");
    sim.meddle(JOB, Meddling::Replace);
    let theirs = uid(&sim);
    sim.perform(0, delete, Fate::Fine).expect("sound");
    sim.settle().expect("sound");
    assert_eq!(uid(&sim), theirs);
}

#[test]
fn what_cannot_be_created_any_more_is_not_deleted() {
    let policy = Policy { mode: Mode::Manual, ..Policy::default() };
    let mut sim = Sim::with_policy(policy);
    sim.commit("c1", [JOB]);
    approve(&mut sim);
    let before = uid(&sim);
    sim.reset();
    sim.commit("c2", ["Job/shop/migrate v2 fixed=1 force"]);
    sim.settle().expect("sound");
    sim.world.weather.creates_denied = true;
    sim.say_yes(&mut Ask::default());
    sim.settle().expect("sound");
    assert_eq!(uid(&sim), before);
    assert_eq!(sim.counts().deletes, 0);
    assert_eq!(sim.report().conditions[0].reason, "ApplyFailed");

    sim.world.weather.creates_denied = false;
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_ne!(uid(&sim), before, "what was approved is done when it can be");
}

#[test]
fn an_approved_recreation_that_was_begun_is_finished_by_whoever_comes_after() {
    let policy = Policy { mode: Mode::Manual, self_heal: false, ..Policy::default() };
    for newer in [false, true] {
        let mut sim = Sim::with_policy(policy.clone());
        sim.commit("c1", [JOB]);
        approve(&mut sim);
        let desired = sim.commit("c2", ["Job/shop/migrate v2 fixed=1 force"]);
        sim.settle().expect("sound");
        sim.say_yes(&mut Ask::default());
        let delete = sim.run_until(|effect| matches!(effect, Effect::Delete(..))).expect("sound");
        sim.perform(0, delete, Fate::Fine).expect("sound");
        if newer {
            sim.commit("c3", ["Job/shop/migrate v3 fixed=2 force"]);
        } else {
            sim.restart(0);
        }
        sim.settle().expect("sound");
        let row = &desired.rows[0];
        assert!(sim.world.is_as(&row.id, row.body), "newer: {newer}: {:?}", sim.world.objects.get(&row.id));
        assert_eq!(sim.counts().deletes, u32::from(newer));
    }
}

#[test]
fn what_cannot_be_changed_and_is_left_to_others_recreates_nothing() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["StatefulSet/shop/db fixed=1 yields=/spec/fixed"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    sim.commit("c2", ["StatefulSet/shop/db v2 fixed=2 yields=/spec/fixed force"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.report().sync, SyncStatus::Synced);

    // It is left to others from the commit on that changes it.
    sim.commit("c3", ["StatefulSet/shop/other fixed=1"]);
    sim.settle().expect("sound");
    sim.commit("c4", ["StatefulSet/shop/other v2 fixed=2 yields=/spec/fixed force"]);
    sim.settle().expect("sound");
    assert_eq!(sim.counts().deletes, 0);
    let other = &sim.world.objects[&object("StatefulSet/shop/other")];
    assert_eq!(other.fixed, 1);
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
    sim.say_yes(&mut Ask::default());
    assert_eq!(sim.settle().expect("sound"), End::Idle);
}

#[test]
fn an_object_that_got_an_owner_before_its_recreation_is_not_deleted() {
    let (mut sim, before) = changed(Policy::default(), "Job/shop/migrate v2 fixed=1 force");
    sim.run_until(|effect| matches!(effect, Effect::Get(..))).expect("it is looked at right before");
    sim.meddle(JOB, Meddling::Own);
    sim.settle().expect("sound");
    assert_eq!((sim.counts().deletes, uid(&sim)), (0, before));
}
