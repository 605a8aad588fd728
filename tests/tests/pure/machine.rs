//! Single lives of a machine in the simulated world, each in its natural order.

use skiff_shared::report::SyncStatus;
use skiff_tests::sim::{End, Sim};
use skiff_tests::world::Meddling;

/// A thousand objects, and what one changed object costs.
fn thousand(changed: &str) -> Vec<String> {
    (0..1_000)
        .map(|number| {
            let variant = if number == 500 { changed } else { "v1" };
            format!("ConfigMap/shop/object-{number} {variant}")
        })
        .collect()
}

#[test]
fn a_first_sync_creates_everything_and_comes_to_rest() {
    let mut sim = Sim::shop();
    let lines = ["ConfigMap/shop/a", "Deployment/shop/web ready=2", "Namespace/fresh", "ConfigMap/fresh/b"];
    let desired = sim.commit("c1", lines);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.report().sync, SyncStatus::Synced);
    for row in &desired.rows {
        assert!(sim.world.is_as(&row.id, row.body), "{}", row.id);
    }
    sim.stays_idle().expect("idle");
}

#[test]
fn one_changed_object_of_a_thousand_costs_one_of_each() {
    let mut sim = Sim::shop();
    let lines = thousand("v1");
    sim.commit("c1", lines.iter().map(String::as_str));
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    sim.reset();
    let lines = thousand("v2");
    sim.commit("c2", lines.iter().map(String::as_str));
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    insta::assert_compact_debug_snapshot!(sim.counts(), @"Counts { dry_runs: 1, gets: 0, applies: 1, heals: 0, adopts: 0, deletes: 0, keeps: 1, saves: 1, publishes: 1, forgets: 0 }");
}

#[test]
fn a_restart_with_nothing_changed_writes_nothing() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "Deployment/shop/web ready=2"]);
    sim.settle().expect("sound");
    sim.restart(0);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    insta::assert_compact_debug_snapshot!(sim.counts(), @"Counts { dry_runs: 0, gets: 0, applies: 0, heals: 0, adopts: 0, deletes: 0, keeps: 0, saves: 0, publishes: 1, forgets: 0 }");
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn drift_is_healed() {
    for what in Meddling::ALL {
        let mut sim = Sim::shop();
        sim.trace = Some(Vec::new());
        let desired = sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b"]);
        sim.settle().expect("sound");
        sim.meddle("ConfigMap/shop/a", what);
        let end = sim.settle();
        let trace = sim.trace.clone().unwrap_or_default().join("\n");
        assert_eq!(end.expect("sound"), End::Idle, "{what:?}\n{trace}");
        assert!(sim.world.is_as(&desired.rows[0].id, desired.rows[0].body), "{what:?}\n{trace}");
        assert_eq!(sim.report().sync, SyncStatus::Synced, "{what:?}\n{trace}");
    }
}
