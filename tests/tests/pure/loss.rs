//! An inventory that was lost: what carries the app's marks is found again, and nothing of it is pruned unasked.

use skiff_shared::sync::event::{Ask, Event};
use skiff_tests::notation;
use skiff_tests::sim::{End, Sim};
use skiff_tests::world::Meddling;

fn exists(sim: &Sim, object: &str) -> bool {
    sim.world.objects.contains_key(&notation::object(object))
}

/// An app that has lost its inventory, of whose objects `old` has left Git meanwhile.
fn lost() -> Sim {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b", "ConfigMap/shop/old"]);
    sim.settle().expect("sound");
    sim.world.stores.get_mut("shop").expect("stored").shards.clear();
    sim.world.forgotten = true;
    sim.restart(0);
    sim.replicas[0].words.retain(|words| !matches!(words.first(), Some(Event::Desired(_))));
    sim.commit("c2", ["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    sim.reset();
    sim
}

#[test]
fn a_lost_inventory_is_found_again_and_nothing_is_pruned_until_a_person_says_so() {
    let mut sim = lost();
    let before: Vec<u64> = sim.world.objects.values().map(|live| live.rv).collect();
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(exists(&sim, "ConfigMap/shop/old"));
    assert_eq!(sim.counts().deletes, 0);
    // From here on the rules ask for everything in the inventory again.
    sim.world.forgotten = false;
    let after: Vec<u64> = sim.world.objects.values().map(|live| live.rv).collect();
    assert_eq!(before, after, "what is applied once more does not change");
    let report = sim.report();
    let told = report.conditions.iter().find(|condition| condition.kind == "Recorded").expect("told");
    insta::assert_snapshot!(format!("{} {}: {}", told.status, told.reason, told.message), @"false InventoryLost: the inventory was lost and is rebuilt from labels; 1 objects that are not known to be in Git are kept until `skiff sync`: ConfigMap/shop/old");
    let row = report.rows.iter().find(|row| row.name == "old").expect("shown");
    assert!(row.message.contains("skiff sync"), "{}", row.message);

    sim.restart(0);
    sim.settle().expect("sound");
    assert!(exists(&sim, "ConfigMap/shop/old"), "it is on record that nobody has said so");
    sim.ask(Ask { sync: Some("now".into()), ..Ask::default() });
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(!exists(&sim, "ConfigMap/shop/old"));
    assert!(sim.report().conditions.iter().all(|condition| condition.kind != "Recorded"));
}

#[test]
fn an_app_that_was_never_synced_has_lost_nothing() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a"]);
    sim.settle().expect("sound");
    assert!(sim.report().conditions.iter().all(|condition| condition.kind != "Recorded"));
}

#[test]
fn what_cannot_be_recorded_is_not_written_and_the_status_says_why() {
    let mut sim = Sim::shop();
    sim.world.weather.state_full = true;
    sim.commit("c1", ["ConfigMap/shop/a"]);
    assert_eq!(sim.settle().expect("sound"), End::Waiting);
    assert_eq!(sim.counts().writes(), 0);
    let report = sim.report();
    let told = report.conditions.iter().find(|condition| condition.kind == "Stored").expect("told");
    insta::assert_snapshot!(format!("{} {}: {}", told.status, told.reason, told.message), @"false QuotaExceeded: the rendered objects of the app cannot be stored in the agent's namespace; it is tried again: the server says QuotaExceeded");

    sim.world.weather.state_full = false;
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(exists(&sim, "ConfigMap/shop/a"));
    assert!(sim.report().conditions.iter().all(|condition| condition.kind != "Stored"));
}

#[test]
fn drift_is_healed_while_a_newer_commit_cannot_be_recorded() {
    let mut sim = Sim::shop();
    let desired = sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    sim.world.weather.state_full = true;
    sim.commit("c2", ["ConfigMap/shop/a", "ConfigMap/shop/c"]);
    assert_eq!(sim.settle().expect("sound"), End::Waiting);
    assert!(sim.report().conditions.iter().any(|condition| condition.kind == "Stored"));
    assert!(
        exists(&sim, "ConfigMap/shop/b") && !exists(&sim, "ConfigMap/shop/c"),
        "neither written nor pruned"
    );
    sim.meddle("ConfigMap/shop/a", Meddling::TakeField);
    assert_eq!(sim.settle().expect("sound"), End::Waiting);
    assert!(sim.world.is_as(&desired.rows[0].id, desired.rows[0].body), "healed all the same");
}
