//! Faults that random lives have shown, each as the shortest story that shows it.

use jiff::SignedDuration;
use skiff_shared::managed_fields::ForeignOwner;
use skiff_shared::policy::{OnInvalid, Policy};
use skiff_shared::report::SyncStatus;
use skiff_tests::notation::object;
use skiff_tests::sim::{End, Sim};
use skiff_tests::world::Meddling;

#[test]
fn a_label_that_is_taken_away_while_another_agent_has_the_lease_is_put_back() {
    let mut sim = Sim::shop();
    let desired = sim.commit("c1", ["ConfigMap/shop/a"]);
    sim.settle().expect("sound");
    let lost = sim.replicas[0].lose_lease();
    sim.say(0, lost);
    sim.run_now().expect("sound");
    sim.meddle("ConfigMap/shop/a", Meddling::Unlabel);
    sim.run_now().expect("sound");
    let lease = sim.replicas[0].lease(sim.world.now);
    sim.say(0, lease);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(sim.world.is_as(&desired.rows[0].id, desired.rows[0].body));
}

#[test]
fn an_object_that_is_refused_again_and_again_does_not_hurry_the_others() {
    let mut sim = Sim::with_policy(Policy { on_invalid: OnInvalid::Skip, ..Policy::default() });
    sim.commit("c1", ["ConfigMap/shop/a refused", "ConfigMap/shop/b forbidden", "ConfigMap/shop/c"]);
    sim.run_now().expect("sound");
    sim.wait(SignedDuration::from_hours(2)).expect("sound");
    // At most one a minute, and those of the first minute.
    let sent = sim.counts().applies;
    assert!(sent <= 130, "{sent} applies in two hours");
}

#[test]
fn objects_that_wait_for_a_refused_one_say_so() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b", "ConfigMap/shop/c"]);
    sim.settle().expect("sound");
    sim.commit("c2", ["ConfigMap/shop/a v2 refused", "ConfigMap/shop/b v2", "ConfigMap/shop/d"]);
    sim.settle().expect("sound");
    let told: Vec<String> =
        sim.report().rows.iter().map(|row| format!("{}: {}", row.name, row.message)).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    d: it is still to be written
    a: Invalid: the server says Invalid
    b: it is still to be written as in Git
    c: it is no longer in Git and still to be pruned
    ");
}

#[test]
fn an_object_on_its_way_to_its_end_is_not_taken_over_but_created_anew() {
    let mut sim = Sim::shop();
    let id = object("ConfigMap/shop/a");
    sim.world.plant(&id, None);
    sim.world.meddle(&id, Meddling::DeleteSlowly);
    let desired = sim.commit("c1", ["ConfigMap/shop/a"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(sim.world.is_as(&desired.rows[0].id, desired.rows[0].body));
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn what_no_entry_shows_is_found_by_its_content_where_nothing_is_healed() {
    let mut sim = Sim::with_policy(Policy { self_heal: false, ..Policy::default() });
    sim.commit("c1", ["ConfigMap/shop/a", "Deployment/shop/web"]);
    sim.run_now().expect("sound");
    for object in ["ConfigMap/shop/a", "Deployment/shop/web"] {
        sim.meddle(object, Meddling::SameSecond);
    }
    sim.settle().expect("sound");
    assert_eq!(sim.report().objects.drifted, 2, "{:#?}", sim.report());
    // What others write beside it does not hide it again.
    sim.meddle("ConfigMap/shop/a", Meddling::Annotate);
    sim.settle().expect("sound");
    assert_eq!(sim.report().objects.drifted, 2, "{:#?}", sim.report());
    assert_eq!(sim.counts().heals, 0);
}

#[test]
fn an_object_whose_turn_has_not_come_is_healed_while_others_are_waited_for() {
    let mut sim = Sim::shop();
    let before = sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b wave=1"]);
    sim.settle().expect("sound");
    sim.commit("c2", ["ConfigMap/shop/a v2 forbidden", "ConfigMap/shop/b v2 wave=1"]);
    sim.run_now().expect("sound");
    sim.meddle("ConfigMap/shop/b", Meddling::TakeField);
    sim.run_now().expect("sound");
    let b = &before.rows[1];
    assert!(sim.world.is_as(&b.id, b.body), "{:#?}", sim.world.objects.get(&b.id));
}

#[test]
fn an_object_that_its_owner_removes_is_created_without_another_word() {
    let mut sim = Sim::shop();
    let id = object("ConfigMap/shop/a");
    let argo = ForeignOwner::ArgoCd { application: "legacy".into() };
    sim.world.plant(&id, Some(argo));
    let desired = sim.commit("c1", ["ConfigMap/shop/a"]);
    sim.run_now().expect("sound");
    sim.wait(SignedDuration::from_hours(1)).expect("sound");
    assert_eq!(sim.report().objects.held, 1);
    // A look from time to time, ever more seldom.
    assert!(sim.counts().gets < 12, "{:?}", sim.counts());
    assert_eq!((sim.counts().dry_runs, sim.counts().publishes), (1, 1));
    sim.world.doom(&id);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(sim.world.is_as(&id, desired.rows[0].body));
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn an_object_that_is_being_deleted_is_not_called_synced() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a finalizer=stuck"]);
    sim.settle().expect("sound");
    sim.meddle("ConfigMap/shop/a", Meddling::Delete);
    sim.settle().expect("sound");
    let report = sim.report();
    assert_eq!(report.sync, SyncStatus::OutOfSync);
    assert_eq!(report.rows[0].message, "being deleted");
}
