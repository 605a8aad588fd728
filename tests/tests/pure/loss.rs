//! An inventory that was lost: what carries the app's marks is found again, and nothing of it is pruned unasked.

use skiff_shared::sync::event::{Ask, Event};
use skiff_tests::notation;
use skiff_tests::sim::{End, Sim};

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
