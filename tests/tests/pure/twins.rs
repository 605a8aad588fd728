//! One object in two API groups, of which Git changes from one to the other.

use skiff_shared::object::{GroupKind, ServedKind};
use skiff_shared::report::SyncStatus;
use skiff_tests::notation::object;
use skiff_tests::sim::{End, Sim};

const OLD: &str = "Job/shop/a";
const NEW: &str = "Job.jobs.example/shop/a";

/// An app that has the object in its old group and another one.
fn synced() -> Sim {
    let mut sim = Sim::shop();
    sim.commit("c1", [OLD, "ConfigMap/shop/b"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    sim.reset();
    sim
}

fn serve_new_group(sim: &mut Sim) {
    let served = ServedKind { plural: "jobs".into(), namespaced: true, versions: vec!["v1".into()] };
    sim.world.apis.kinds.insert(GroupKind::new("jobs.example", "Job"), served);
    sim.tell_apis();
}

#[test]
fn the_same_object_in_another_group_is_not_deleted_and_has_one_record() {
    let mut sim = synced();
    serve_new_group(&mut sim);
    let live = sim.world.objects[&object(OLD)].clone();
    sim.world.objects.insert(object(NEW), live);
    sim.commit("c2", [NEW, "ConfigMap/shop/b"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!((sim.counts().deletes, sim.report().sync), (0, SyncStatus::Synced));
    assert_eq!(sim.report().objects.total, 2);
    assert!(sim.world.stores["shop"].row(&object(OLD)).is_none(), "its record is that of the new group");
    assert!(sim.world.stores["shop"].row(&object(NEW)).is_some());
}

#[test]
fn another_object_of_the_same_name_in_another_group_does_not_save_one_that_left_git() {
    let mut sim = synced();
    serve_new_group(&mut sim);
    sim.commit("c2", [NEW, "ConfigMap/shop/b"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(!sim.world.objects.contains_key(&object(OLD)) && sim.world.objects.contains_key(&object(NEW)));
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn nothing_is_deleted_while_nobody_knows_whether_it_is_the_same() {
    let mut sim = synced();
    sim.commit("c2", [NEW, "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    assert_eq!(sim.counts().deletes, 0);
    let report = sim.report();
    let held = report.rows.iter().filter(|row| !row.message.is_empty());
    let held: Vec<String> = held.map(|row| format!("{}: {}", row.group, row.message)).collect();
    insta::assert_snapshot!(held.join("\n"), @r"
    jobs.example: the cluster does not serve Job.jobs.example in version v1: it is written when a CustomResourceDefinition brings it
    batch: it is in Git as Job.jobs.example, which is not written yet and may be the same object: it is pruned when it turns out to be another one
    ");
    sim.restart(0);
    sim.settle().expect("sound");
    assert_eq!(sim.counts().deletes, 0, "a restart knows no more");

    serve_new_group(&mut sim);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(!sim.world.objects.contains_key(&object(OLD)), "now it is known that it is another one");
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}
