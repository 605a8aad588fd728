//! What a plan waits for besides people: windows, and apps that come first.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use skiff_shared::gate::window::{Window, WindowKind, Zone};
use skiff_shared::policy::Policy;
use skiff_shared::sync::effect::Notice;
use skiff_shared::sync::event::{Ask, Event};
use skiff_tests::notation;
use skiff_tests::sim::Sim;
use skiff_tests::world::Meddling;

/// A policy under which plans go for one hour, two hours after `now`.
fn later(now: Timestamp, heal: bool, manual_sync: bool) -> Policy {
    let zone = Zone::utc();
    let opens = (now + SignedDuration::from_hours(2)).to_zoned(jiff::tz::TimeZone::UTC);
    let window = Window {
        kind: WindowKind::Allow,
        schedule: opens.strftime("%M %H * * *").to_string().parse().expect("a schedule"),
        duration: SignedDuration::from_hours(1),
        zone,
        heal,
        manual_sync,
    };
    Policy { windows: vec![window], ..Policy::default() }
}

/// Does what can be done now, and lets time pass.
fn pass(sim: &mut Sim, time: SignedDuration) {
    sim.run_now().expect("sound");
    sim.wait(time).expect("sound");
}

fn reason(sim: &Sim) -> String {
    let ready = sim.report().conditions.into_iter().find(|condition| condition.kind == "Ready");
    ready.expect("every report has it").reason
}

#[test]
fn a_plan_waits_for_its_window_and_goes_when_that_opens() {
    let mut sim = Sim::new();
    let policy = later(sim.world.now, false, false);
    sim.start("shop", policy);
    sim.commit("c1", ["ConfigMap/shop/a"]);
    pass(&mut sim, SignedDuration::from_mins(90));
    assert_eq!(reason(&sim), "WindowClosed");
    assert_eq!(sim.counts().writes(), 0);
    let told = |notice: &&Notice| matches!(notice, Notice::Waiting { reason: "WindowClosed", .. });
    assert_eq!(sim.replicas[0].notices.iter().filter(told).count(), 1, "it is told once");
    let window = sim.report().window.expect("there are windows");
    assert!(!window.open && window.until.is_some());
    pass(&mut sim, SignedDuration::from_mins(60));
    assert_eq!(reason(&sim), "Synced");
    // A commit that comes after the window waits for the next one.
    pass(&mut sim, SignedDuration::from_mins(60));
    sim.commit("c2", ["ConfigMap/shop/a v2"]);
    pass(&mut sim, SignedDuration::from_mins(5));
    assert_eq!((reason(&sim).as_str(), sim.counts().applies), ("WindowClosed", 1));
}

#[test]
fn what_is_closed_to_plans_may_be_open_to_healing_and_to_people() {
    for (heal, manual_sync) in [(false, false), (true, false), (false, true)] {
        let mut sim = Sim::shop();
        sim.commit("c1", ["ConfigMap/shop/a"]);
        pass(&mut sim, SignedDuration::from_mins(5));
        let policy = later(sim.world.now, heal, manual_sync);
        sim.say(0, Event::Policy(policy));
        pass(&mut sim, SignedDuration::from_mins(1));
        sim.reset();
        sim.meddle("ConfigMap/shop/a", Meddling::ALL[0]);
        pass(&mut sim, SignedDuration::from_mins(5));
        assert_eq!(sim.counts().heals > 0, heal, "healing is {heal}");
        sim.commit("c2", ["ConfigMap/shop/b"]);
        sim.ask(Ask { sync: Some("now".into()), ..Ask::default() });
        pass(&mut sim, SignedDuration::from_mins(5));
        let exists = sim.world.objects.contains_key(&notation::object("ConfigMap/shop/b"));
        assert_eq!(exists, manual_sync, "people's word is {manual_sync}");
        pass(&mut sim, SignedDuration::from_hours(3));
        assert_eq!(reason(&sim), "Synced");
    }
}

/// Tells the first app how the second one stands, as the agent does after each step.
fn tell(sim: &mut Sim) {
    let standing = sim.replicas[1].machine.standing();
    sim.say(0, Event::Standings([(Arc::from("db"), standing)].into()));
}

#[test]
fn a_dependent_goes_on_the_event_that_says_the_other_has_arrived() {
    let mut sim = Sim::shop();
    sim.start("db", Policy::default());
    tell(&mut sim);
    let told = |sim: &mut Sim, commit: &str, web: &str, db: &str| {
        sim.commit(commit, [web]);
        let set = notation::desired(&mut sim.world, "db", commit, [db]);
        sim.say(1, Event::Desired(set));
    };
    told(&mut sim, "c1", "ConfigMap/shop/web", "Deployment/shop/db");
    // The other one is left alone for a while: whatever happens, nothing is written here.
    for _ in 0..40 {
        let words = std::mem::take(&mut sim.replicas[1].words);
        sim.run_now().expect("sound");
        sim.replicas[1].words = words;
        pass(&mut sim, SignedDuration::from_secs(1));
        if reason(&sim) == "WaitingForDependencies" {
            break;
        }
    }
    let before = sim.world.now;
    sim.settle().expect("sound");
    assert!(sim.world.objects.contains_key(&notation::object("Deployment/shop/db")));
    assert!(!sim.world.objects.contains_key(&notation::object("ConfigMap/shop/web")));
    insta::assert_snapshot!(sim.report().waiting_for.join("; "), @r#"waiting for app "db" to be synced and healthy"#);
    tell(&mut sim);
    sim.run_now().expect("sound");
    assert!(sim.world.objects.contains_key(&notation::object("ConfigMap/shop/web")), "no time had to pass");
    assert!(sim.world.now >= before);

    // The next commit changes both: the dependent waits although the other one is synced, at the commit before.
    sim.settle().expect("sound");
    tell(&mut sim);
    sim.settle().expect("sound");
    told(&mut sim, "c2", "ConfigMap/shop/web v2", "Deployment/shop/db v2 ready=never");
    sim.settle().expect("sound");
    tell(&mut sim);
    sim.settle().expect("sound");
    assert_eq!(reason(&sim), "WaitingForDependencies");
}
