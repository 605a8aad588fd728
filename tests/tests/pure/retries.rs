//! What fails is tried again for as long as it takes, and holds up neither healing nor newer commits.

use jiff::SignedDuration;
use skiff_shared::report::SyncStatus;
use skiff_shared::sync::event::Ask;
use skiff_tests::notation::object;
use skiff_tests::sim::Sim;
use skiff_tests::world::Meddling;

const MAP: &str = "ConfigMap/shop/a";

/// An app of which a write is denied by a policy, whose last sync has failed.
fn denied() -> Sim {
    let mut sim = Sim::shop();
    sim.commit("c1", [MAP, "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    sim.commit("c2", [MAP, "ConfigMap/shop/b v2 denied"]);
    sim.run_now().expect("sound");
    assert_eq!(sim.report().sync, SyncStatus::OutOfSync);
    sim
}

#[test]
fn a_sync_that_fails_heals_what_it_owns() {
    let mut sim = denied();
    sim.reset();
    sim.meddle(MAP, Meddling::TakeField);
    sim.run_now().expect("sound");
    assert_eq!(sim.counts().heals, 1);
    let heals = sim.report().rows.into_iter().find(|row| row.name == "a");
    assert_eq!(heals.map(|row| row.message).unwrap_or_default(), "");
}

#[test]
fn a_sync_that_fails_does_not_block_a_newer_commit() {
    let mut sim = denied();
    let third = sim.commit("c3", ["ConfigMap/shop/a v3", "ConfigMap/shop/b"]);
    sim.run_now().expect("sound");
    assert_eq!(sim.report().sync, SyncStatus::Synced);
    assert!(sim.world.is_as(&object(MAP), third.rows[0].body));
}

#[test]
fn what_fails_is_never_given_up_and_begins_anew_at_a_word_or_a_commit() {
    let mut sim = denied();
    sim.wait(SignedDuration::from_hours(24)).expect("sound");
    sim.reset();
    sim.wait(SignedDuration::from_mins(20)).expect("sound");
    let slowly = sim.counts().applies;
    assert!((1..=3).contains(&slowly), "{slowly} in twenty minutes after a day");
    sim.reset();
    sim.ask(Ask { sync: Some("now".into()), ..Ask::default() });
    sim.run_now().expect("sound");
    assert_eq!(sim.counts().applies, 1, "a person's word is heard at once");
    sim.reset();
    sim.commit("c3", [MAP, "ConfigMap/shop/b v3 denied"]);
    sim.run_now().expect("sound");
    assert_eq!(sim.counts().applies, 1, "and so is a commit");
    sim.reset();
    sim.wait(SignedDuration::from_mins(3)).expect("sound");
    assert!(sim.counts().applies >= 2, "with short pauses again");
}
