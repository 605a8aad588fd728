//! Fields that others decide: sent at the creation, then let go of, and neither reset nor healed.

use std::sync::Arc;

use skiff_shared::desired::autoscaler::Autoscaled;
use skiff_shared::policy::{Mode, Policy};
use skiff_shared::report::SyncStatus;
use skiff_shared::sync::effect::{Effect, Notice};
use skiff_shared::sync::event::{Ask, Event};
use skiff_tests::notation::object;
use skiff_tests::sim::{End, Fate, Sim};
use skiff_tests::world::{Meddling, Scaler};

const WEB: &str = "Deployment/shop/web";

fn settle(sim: &mut Sim) {
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

fn replicas(sim: &Sim) -> (u64, Scaler) {
    let live = &sim.world.objects[&object(WEB)];
    (live.replicas, live.scaled_by)
}

fn drifts(sim: &Sim) -> usize {
    sim.replicas[0].notices.iter().filter(|notice| matches!(notice, Notice::Drifted(_))).count()
}

#[test]
fn a_creation_sends_what_is_left_to_others_and_then_lets_go_of_it() {
    let mut sim = Sim::shop();
    let desired = sim.commit("c1", ["Deployment/shop/web replicas yields"]);
    settle(&mut sim);
    let (value, scaler) = replicas(&sim);
    assert_eq!(Some(value), sim.world.bodies[&desired.rows[0].body].replicas);
    assert_eq!(scaler, Scaler::Nobody);
    insta::assert_compact_debug_snapshot!(sim.counts(), @"Counts { dry_runs: 1, gets: 0, applies: 2, heals: 0, adopts: 0, releases: 1, deletes: 0, keeps: 1, saves: 3, publishes: 1, forgets: 0 }");
    let written = sim.replicas[0].notices.iter().filter(|notice| matches!(notice, Notice::Written { .. }));
    assert_eq!(written.count(), 1, "a creation is told once");
}

#[test]
fn what_others_set_stays_through_commits_restarts_and_heals() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["Deployment/shop/web replicas yields"]);
    settle(&mut sim);
    sim.meddle(WEB, Meddling::Scale);
    settle(&mut sim);
    let (scaled, _) = replicas(&sim);
    assert_eq!(drifts(&sim), 0);

    sim.commit("c2", ["Deployment/shop/web v2 replicas yields"]);
    settle(&mut sim);
    sim.restart(0);
    settle(&mut sim);
    sim.meddle(WEB, Meddling::TakeField);
    settle(&mut sim);
    assert_eq!(replicas(&sim), (scaled, Scaler::Autoscaler));
    assert_eq!(drifts(&sim), 1, "other fields are healed as ever");

    sim.commit("c3", ["Deployment/shop/web v2 replicas"]);
    settle(&mut sim);
    assert_eq!(replicas(&sim).1, Scaler::Us, "what is left to others no more is ours again");
    assert_ne!(replicas(&sim).0, scaled);
}

#[test]
fn an_object_that_was_deleted_is_created_with_what_is_left_to_others() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["Deployment/shop/web replicas yields"]);
    settle(&mut sim);
    let (first, _) = replicas(&sim);
    sim.meddle(WEB, Meddling::Scale);
    sim.meddle(WEB, Meddling::Delete);
    settle(&mut sim);
    assert_eq!(replicas(&sim), (first, Scaler::Nobody));
}

#[test]
fn a_heal_takes_nothing_back_that_nobody_approved() {
    let mut sim = Sim::with_policy(Policy { mode: Mode::Manual, ..Policy::default() });
    sim.commit("c1", ["Deployment/shop/web replicas yields"]);
    sim.approve(&mut Ask::default());
    sim.meddle(WEB, Meddling::Scale);
    sim.settle().expect("sound");
    let scaled = replicas(&sim);
    sim.commit("c2", ["Deployment/shop/web replicas"]);
    sim.settle().expect("sound");
    sim.reset();
    sim.meddle(WEB, Meddling::TakeField);
    sim.settle().expect("sound");
    assert_eq!(sim.counts().heals, 1);
    assert_eq!(replicas(&sim), scaled, "the plan that takes them back waits for its approval");
    sim.approve(&mut Ask::default());
    assert_eq!(replicas(&sim).1, Scaler::Us);
}

#[test]
fn what_is_left_to_others_is_part_of_what_was_approved() {
    let mut sim = Sim::with_policy(Policy { mode: Mode::Manual, ..Policy::default() });
    let lines = |yields: &str| {
        [format!("{WEB} replicas{yields} wave=1"), "Deployment/shop/api ready=never".to_owned()]
    };
    sim.commit("c1", lines(" yields").iter().map(String::as_str));
    sim.approve(&mut Ask::default());
    assert!(!sim.world.objects.contains_key(&object(WEB)), "its wave waits");
    sim.commit("c2", lines("").iter().map(String::as_str));
    sim.settle().expect("sound");
    let plan = sim.report().plan.expect("a plan");
    assert_eq!(plan.approved_by, None, "{plan:?}");
}

#[test]
fn a_write_that_was_begun_is_finished_when_a_hook_fails() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["Deployment/shop/web replicas yields", "Job/shop/hook-a hook=Sync fails ready=1"]);
    let release = sim.run_until(|effect| matches!(effect, Effect::Release(..))).expect("sound");
    // The answer is late: the hook fails before.
    let late = sim.replicas[0].sent.remove(release);
    sim.settle().expect("sound");
    assert_eq!(sim.report().conditions[0].reason, "HookFailed");
    sim.replicas[0].sent.push(late);
    let index = sim.replicas[0].sent.len() - 1;
    sim.perform(0, index, Fate::Fine).expect("sound");
    sim.settle().expect("sound");
    sim.reset();
    sim.meddle(WEB, Meddling::TakeField);
    sim.settle().expect("sound");
    assert_eq!(drifts(&sim), 1);
    assert_eq!(sim.counts().heals, 1, "everything that was applied goes on being healed");
    assert_eq!(replicas(&sim).1, Scaler::Nobody);
}

#[test]
fn a_position_is_let_go_of_anew_in_another_body() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["Deployment/shop/web yields=/spec/containers/0/resources"]);
    settle(&mut sim);
    sim.reset();
    sim.commit("c2", ["Deployment/shop/web v2 yields=/spec/containers/0/resources"]);
    settle(&mut sim);
    assert_eq!(sim.counts().releases, 1);
    sim.commit("c3", ["Deployment/shop/web v2 yields=/spec/named"]);
    settle(&mut sim);
    sim.reset();
    sim.commit("c4", ["Deployment/shop/web v3 yields=/spec/named"]);
    settle(&mut sim);
    assert_eq!(sim.counts().releases, 0, "what is named is the same in each body");
}

fn scaling_web() -> Arc<Autoscaled> {
    Arc::new(Autoscaled { targets: [object(WEB)].into(), ..Autoscaled::default() })
}

#[test]
fn replicas_are_not_reset_while_nobody_knows_the_autoscalers() {
    let dark = Autoscaled { dark: ["shop".into()].into(), ..Autoscaled::default() };
    for unknown in [None, Some(Arc::new(dark))] {
        let mut sim = Sim::shop();
        sim.world.plant(&object(WEB), None);
        sim.meddle(WEB, Meddling::Scale);
        let scaled = replicas(&sim);
        sim.say(0, Event::Autoscaled(unknown));
        sim.commit("c1", ["Deployment/shop/web replicas", "Deployment/shop/new replicas"]);
        settle(&mut sim);
        assert_eq!(replicas(&sim), scaled, "it is taken over");
        sim.say(0, Event::Autoscaled(Some(scaling_web())));
        settle(&mut sim);
        assert_eq!(replicas(&sim), scaled);
        assert_eq!(sim.world.objects[&object("Deployment/shop/new")].scaled_by, Scaler::Us);
    }
}

#[test]
fn replicas_that_a_live_autoscaler_decides_are_left_to_it_before_it_sets_them() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["Deployment/shop/web replicas"]);
    settle(&mut sim);
    let (first, _) = replicas(&sim);
    sim.autoscaled = scaling_web();
    sim.say(0, Event::Autoscaled(Some(sim.autoscaled.clone())));
    settle(&mut sim);
    assert_eq!(replicas(&sim), (first, Scaler::Nobody));
    sim.meddle(WEB, Meddling::Scale);
    settle(&mut sim);
    let (scaled, _) = replicas(&sim);
    assert_eq!(drifts(&sim), 0);

    // Nobody knows the autoscalers for a while: what was left to them still is.
    sim.say(0, Event::Autoscaled(None));
    sim.commit("c2", ["Deployment/shop/web v2 replicas"]);
    settle(&mut sim);
    assert_eq!(replicas(&sim), (scaled, Scaler::Autoscaler));
    sim.say(0, Event::Autoscaled(Some(Arc::default())));
    settle(&mut sim);
    assert_eq!(replicas(&sim).1, Scaler::Us);
}
