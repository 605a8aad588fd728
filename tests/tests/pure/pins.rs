//! Going back to a release of the past, and staying there.

use skiff_shared::object::Digest;
use skiff_shared::policy::{Mode, Policy};
use skiff_shared::report::SyncStatus;
use skiff_shared::sync::event::{Ask, Event, Pin};
use skiff_tests::notation;
use skiff_tests::sim::{End, Sim};

const FIRST: [&str; 2] = ["ConfigMap/shop/a", "ConfigMap/shop/old"];
const SECOND: [&str; 2] = ["ConfigMap/shop/a v2", "ConfigMap/shop/new"];

fn pin(release: Digest) -> Ask {
    Ask { pin: Some(Pin { release, reason: "incident 7".into() }), ..Ask::default() }
}

fn exists(sim: &Sim, object: &str) -> bool {
    sim.world.objects.contains_key(&notation::object(object))
}

/// An app that was synced to two commits; returns the first one's release.
fn two_releases(sim: &mut Sim) -> Digest {
    let first = sim.commit("c1", FIRST);
    sim.settle().expect("sound");
    sim.commit("c2", SECOND);
    sim.settle().expect("sound");
    assert!(exists(sim, "ConfigMap/shop/new") && !exists(sim, "ConfigMap/shop/old"));
    first.render
}

#[test]
fn a_pinned_app_goes_back_prunes_and_stays_there() {
    let mut sim = Sim::shop();
    let first = two_releases(&mut sim);
    sim.ask(pin(first));
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(exists(&sim, "ConfigMap/shop/old") && !exists(&sim, "ConfigMap/shop/new"));
    let report = sim.report();
    assert_eq!(report.applied.expect("applied").commit, "sha1:c1");
    assert_eq!(report.sync, SyncStatus::OutOfSync);
    let ready = &report.conditions[0];
    insta::assert_snapshot!(format!("{} {}: {}", ready.status, ready.reason, ready.message), @"false Pinned: pinned to main@sha1:c1 (incident 7): newer commits are not applied until `skiff resume`");
    assert!(report.history[0].pinned);

    // A newer commit is noted, and nothing else happens.
    sim.reset();
    sim.commit("c3", ["ConfigMap/shop/third"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.counts().writes(), 0);
    assert_eq!(sim.report().revision.expect("seen").commit, "sha1:c3");

    sim.ask(Ask::default());
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(exists(&sim, "ConfigMap/shop/third") && !exists(&sim, "ConfigMap/shop/old"));
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn a_pin_survives_a_restart_and_needs_no_git() {
    let mut sim = Sim::shop();
    let first = two_releases(&mut sim);
    sim.ask(pin(first));
    sim.settle().expect("sound");
    sim.restart(0);
    // Git cannot be read: nobody tells of a set.
    sim.replicas[0].words.retain(|words| !matches!(words.first(), Some(Event::Desired(_))));
    sim.reset();
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.counts().writes(), 0);
    assert_eq!(sim.report().applied.expect("applied").commit, "sha1:c1");
    sim.meddle("ConfigMap/shop/old", skiff_tests::world::Meddling::ALL[0]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(exists(&sim, "ConfigMap/shop/old"));
}

#[test]
fn a_release_that_is_not_kept_is_refused_and_the_app_stays_as_it_is() {
    let mut sim = Sim::shop();
    two_releases(&mut sim);
    sim.reset();
    sim.ask(pin(Digest::of(b"long ago")));
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.counts().writes(), 0);
    let report = sim.report();
    let condition = report.conditions.iter().find(|condition| condition.kind == "Pinned").expect("told");
    assert_eq!((condition.status, condition.reason.as_str()), (false, "ReleaseMissing"));
    assert!(condition.message.contains("does not have the release any more"), "{}", condition.message);
    // It does not follow Git meanwhile either: that is what the person wanted to be rid of.
    sim.commit("c3", ["ConfigMap/shop/third"]);
    sim.settle().expect("sound");
    assert!(!exists(&sim, "ConfigMap/shop/third"));
    sim.ask(Ask::default());
    sim.settle().expect("sound");
    assert!(exists(&sim, "ConfigMap/shop/third"));
}

#[test]
fn the_last_three_releases_are_kept_and_their_renders_with_them() {
    let mut sim = Sim::shop();
    for number in 1..=6 {
        let commit = format!("c{number}");
        sim.commit(&commit, [format!("ConfigMap/shop/a v{number}").as_str(), "ConfigMap/shop/b"]);
        sim.settle().expect("sound");
    }
    let history = sim.report().history;
    let kept: Vec<&str> =
        history.iter().filter(|entry| entry.is_kept()).map(|entry| entry.revision.commit.as_str()).collect();
    assert_eq!(kept, ["sha1:c6", "sha1:c5", "sha1:c4"]);
    let numbers: Vec<u64> = history.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [6, 5, 4, 3, 2, 1]);
    // Each has a part of its own, and the part of `b` is theirs in common.
    let named: std::collections::BTreeSet<&String> = history.iter().flat_map(|entry| &entry.stored).collect();
    let stored = &sim.world.stores["shop"].renders;
    assert!(named.iter().all(|name| stored.contains_key(*name)), "{named:?} {stored:?}");
    assert!(stored.len() <= named.len() + 1, "what nobody needs is removed: {named:?} {stored:?}");
}

#[test]
fn a_release_that_is_not_stored_any_more_is_rendered_again_once_git_is_there() {
    let mut sim = Sim::shop();
    let first = two_releases(&mut sim);
    sim.say(0, Event::MakeRoom([first].into()));
    sim.settle().expect("sound");
    let kept = |sim: &Sim| sim.report().history.iter().filter(|entry| entry.is_kept()).count();
    assert_eq!(kept(&sim), 1, "it made room");
    sim.world.git_away = true;
    sim.ask(pin(first));
    sim.settle().expect("sound");
    let report = sim.report();
    let condition = report.conditions.iter().find(|condition| condition.kind == "Pinned").expect("told");
    assert_eq!((condition.status, condition.reason.as_str()), (false, "ReleaseMissing"));
    assert!(exists(&sim, "ConfigMap/shop/new"), "it stays as it is meanwhile");

    sim.world.git_away = false;
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(exists(&sim, "ConfigMap/shop/old") && !exists(&sim, "ConfigMap/shop/new"));
    assert_eq!(sim.report().pinned.and_then(|pinned| pinned.problem), None);
}

#[test]
fn a_release_that_makes_room_is_never_the_one_in_force() {
    let mut sim = Sim::shop();
    let first = two_releases(&mut sim);
    let second = sim.report().history[0].render;
    sim.say(0, Event::MakeRoom([first, second].into()));
    sim.settle().expect("sound");
    assert!(sim.report().history.iter().all(|entry| !entry.is_kept()));
    // What healing needs is a shard's, and stays: nothing is missing after a restart without Git.
    assert_eq!(sim.world.stores["shop"].missing_renders(), Vec::<&String>::new());
    sim.restart(0);
    sim.replicas[0].words.retain(|words| !matches!(words.first(), Some(Event::Desired(_))));
    sim.settle().expect("sound");
    assert!(!sim.world.stores["shop"].renders.is_empty());
}

#[test]
fn syncs_that_do_not_end_store_no_more_than_a_few_renders() {
    let mut sim = Sim::shop();
    sim.commit("c0", ["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    for number in 1..=9 {
        let [a, b] = ["a", "b"].map(|name| format!("ConfigMap/shop/{name} v{number}"));
        sim.commit(&format!("c{number}"), [a.as_str(), &format!("{b} denied")]);
        sim.settle().expect("sound");
    }
    let store = &sim.world.stores["shop"];
    let generations = store.shards.values().map(|(_, shard)| shard.renders.len()).max();
    assert!(generations <= Some(4), "{generations:?}");
    assert_eq!(store.missing_renders(), Vec::<&String>::new());
}

#[test]
fn where_plans_are_approved_a_rollback_is_one_too() {
    let mut sim = Sim::with_policy(Policy { mode: Mode::Manual, ..Policy::default() });
    let mut ask = Ask::default();
    let first = sim.commit("c1", FIRST);
    sim.approve(&mut ask);
    sim.commit("c2", SECOND);
    sim.approve(&mut ask);
    sim.reset();
    ask.pin = pin(first.render).pin;
    sim.ask(ask.clone());
    sim.settle().expect("sound");
    assert_eq!(sim.counts().writes(), 0, "nothing goes without a word on the very plan");
    sim.approve(&mut ask);
    assert!(exists(&sim, "ConfigMap/shop/old") && !exists(&sim, "ConfigMap/shop/new"));
    let newest = &sim.report().history[0];
    assert_eq!((newest.pinned, newest.approved_by.as_deref()), (true, Some("ops")));
}

#[test]
fn objects_that_were_held_are_no_part_of_a_release() {
    let mut sim = Sim::shop();
    let first = sim.commit("c1", ["ConfigMap/shop/a", "StatefulSet/shop/db"]);
    sim.settle().expect("sound");
    // The StatefulSet left Git and is held: its body stays stored, and belongs to no later release.
    let second = sim.commit("c2", ["ConfigMap/shop/a v2"]);
    sim.settle().expect("sound");
    assert!(exists(&sim, "StatefulSet/shop/db"));
    sim.commit("c3", ["ConfigMap/shop/a v3"]);
    sim.settle().expect("sound");
    for release in [second.render, first.render] {
        sim.ask(pin(release));
        sim.settle().expect("sound");
        let report = sim.report();
        let problem = report.pinned.and_then(|pinned| pinned.problem);
        assert_eq!(problem, None);
    }
    assert_eq!(sim.report().applied.expect("applied").commit, "sha1:c1");
}
