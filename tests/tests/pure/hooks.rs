//! Lives of single hooks, where a scenario's one sync is not enough.

use jiff::SignedDuration;
use skiff_shared::hook::{Ended, SyncPhase};
use skiff_shared::report::Outcome;
use skiff_shared::sync::effect::{Effect, Notice};
use skiff_shared::sync::event::{Ask, Event};
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

#[test]
fn a_clean_up_runs_once_wherever_the_agent_was_killed() {
    let (migrate, clean) = ("Job/shop/migrate hook=PreSync fails", "Job/shop/clean hook=SyncFail ready=3");
    let id = object("Job/shop/clean");
    let mut ended = 0;
    for steps in 0..80 {
        let mut sim = Sim::shop();
        sim.writes = Some(Vec::new());
        let desired = sim.commit("c1", ["ConfigMap/shop/a", migrate, clean]);
        ended += u32::from(!sim.advance(steps).expect("sound"));
        let before = sim.world.objects.get(&id).map(|live| live.uid.clone());
        sim.restart(0);
        sim.say(0, Event::Desired(desired));
        assert_eq!(sim.settle().expect("sound"), End::Idle, "after {steps} steps");
        let after = sim.world.objects.get(&id).map(|live| live.uid.clone());
        assert!(after.is_some() && before.is_none_or(|uid| Some(uid) == after), "after {steps} steps");
        let writes = sim.writes.iter().flatten();
        let deletes =
            writes.filter(|effect| matches!(effect, Effect::Delete(_, target, ..) if target.id == id));
        assert_eq!(deletes.count(), 0, "after {steps} steps");
        let row = sim.world.stores["shop"].row(&id).expect("its run is on record");
        let run = row.hook_run.as_ref().expect("its run is on record");
        assert_eq!((run.phase, &run.ended), (Some(SyncPhase::SyncFail), &Some(Ended::Succeeded)));
        assert_eq!(ready(&sim), "HookFailed", "after {steps} steps");
    }
    assert!(ended > 0, "the last crashes come when all is over");
}
