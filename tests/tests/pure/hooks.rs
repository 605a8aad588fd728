//! Lives of single hooks, where a scenario's one sync is not enough.

use jiff::SignedDuration;
use skiff_shared::hook::Ended;
use skiff_shared::report::Outcome;
use skiff_shared::sync::effect::Notice;
use skiff_shared::sync::event::Ask;
use skiff_tests::notation::object;
use skiff_tests::sim::{End, Sim};
use skiff_tests::world::Meddling;

const MIGRATE: &str = "Job/shop/migrate hook=PreSync ready=never";

/// What hooks came to, in order.
fn ended(sim: &Sim) -> Vec<String> {
    let told = sim.replicas[0].notices.iter().filter_map(|notice| match notice {
        Notice::HookEnded { id, ended: Ended::Succeeded, .. } => Some(format!("{} succeeded", id.name())),
        Notice::HookEnded { id, ended: Ended::Failed(why), .. } => {
            Some(format!("{} failed: {why}", id.name()))
        }
        _ => None,
    });
    told.collect()
}

fn ready(sim: &Sim) -> String {
    sim.report().conditions[0].reason.clone()
}

#[test]
fn a_persons_word_runs_the_hooks_of_an_unchanged_set_again() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "Job/shop/migrate hook=PreSync"]);
    sim.settle().expect("sound");
    let first = sim.world.objects[&object("Job/shop/migrate")].uid.clone();
    sim.ask(Ask { sync: Some("again".into()), ..Ask::default() });
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_ne!(sim.world.objects[&object("Job/shop/migrate")].uid, first);
    assert_eq!(ended(&sim), ["migrate succeeded", "migrate succeeded"]);
    sim.restart(0);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(ended(&sim), [""; 0], "a restart is no word");
}

#[test]
fn a_newer_commit_takes_over_while_a_hook_runs_and_runs_its_own() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", MIGRATE]);
    sim.run_now().expect("sound");
    let first = sim.world.objects[&object("Job/shop/migrate")].uid.clone();
    sim.commit("c2", ["ConfigMap/shop/a", "Job/shop/migrate hook=PreSync"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_ne!(sim.world.objects[&object("Job/shop/migrate")].uid, first);
    assert_eq!(ended(&sim), ["migrate succeeded"]);
    let outcomes: Vec<Outcome> = sim.report().history.iter().map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, [Outcome::Success, Outcome::Superseded]);
}

#[test]
fn a_hook_that_is_deleted_while_it_runs_has_failed() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", MIGRATE]);
    sim.run_now().expect("sound");
    sim.meddle("Job/shop/migrate", Meddling::Delete);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(ended(&sim), ["migrate failed: it was deleted before its result was seen"]);
    assert_eq!(ready(&sim), "HookFailed");
    // It is not tried again by itself, also not by another agent, but by a person's word.
    sim.restart(0);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(ready(&sim), "HookFailed");
    assert!(!sim.world.objects.contains_key(&object("Job/shop/migrate")));
    sim.ask(Ask { sync: Some("again".into()), ..Ask::default() });
    sim.run_now().expect("sound");
    assert!(sim.world.objects.contains_key(&object("Job/shop/migrate")));
}

#[test]
fn a_hook_that_has_ended_may_be_deleted() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["Deployment/shop/web ready=never", "Job/shop/migrate hook=PreSync"]);
    sim.run_now().expect("sound");
    assert_eq!(ended(&sim), ["migrate succeeded"]);
    sim.meddle("Job/shop/migrate", Meddling::Delete);
    sim.run_now().expect("sound");
    assert_eq!(ended(&sim), ["migrate succeeded"]);
    assert!(!sim.world.objects.contains_key(&object("Job/shop/migrate")), "nobody heals a hook");
}

#[test]
fn a_sync_that_stands_still_has_failed_and_goes_on_when_that_comes_right() {
    let mut sim = Sim::shop();
    let clean = "Job/shop/clean hook=SyncFail";
    sim.commit("c1", ["Deployment/shop/web ready=never", "ConfigMap/shop/late wave=1", clean]);
    sim.run_now().expect("sound");
    sim.wait(SignedDuration::from_mins(4)).expect("sound");
    assert_eq!(ready(&sim), "Syncing");
    sim.wait(SignedDuration::from_mins(2)).expect("sound");
    assert_eq!((ready(&sim).as_str(), ended(&sim)), ("SyncTimedOut", vec!["clean succeeded".to_owned()]));
    let message = sim.report().conditions[0].message.clone();
    assert!(message.contains("Deployment/shop/web to be healthy"), "{message}");
    // It comes right after all.
    sim.world.sicken(&object("Deployment/shop/web"));
    sim.flow();
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(ready(&sim), "Synced");
    let outcomes: Vec<Outcome> = sim.report().history.iter().map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, [Outcome::Success, Outcome::Failed]);
}

#[test]
fn time_in_which_nobody_may_write_is_no_delay_of_the_sync() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["Deployment/shop/web ready=never", "ConfigMap/shop/late wave=1"]);
    sim.run_now().expect("sound");
    sim.ask(Ask { paused: Some("lunch".into()), ..Ask::default() });
    sim.run_now().expect("sound");
    sim.wait(SignedDuration::from_hours(2)).expect("sound");
    sim.ask(Ask::default());
    sim.run_now().expect("sound");
    sim.wait(SignedDuration::from_mins(4)).expect("sound");
    assert_eq!(ready(&sim), "Syncing");
}
