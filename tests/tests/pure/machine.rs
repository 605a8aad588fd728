//! Single lives of a machine in the simulated world, each in its natural order.

use std::sync::Arc;

use skiff_shared::desired::{Problem, Revision, Unrendered};
use skiff_shared::plan::Claims;
use skiff_shared::report::{Outcome, SyncStatus};
use skiff_shared::sync::event::{Ask, Event};
use skiff_tests::notation;
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
    insta::assert_compact_debug_snapshot!(sim.counts(), @"Counts { dry_runs: 1, gets: 0, applies: 1, heals: 0, adopts: 0, releases: 0, deletes: 0, keeps: 1, saves: 1, publishes: 1, forgets: 0 }");
}

#[test]
fn a_restart_with_nothing_changed_writes_nothing() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "Deployment/shop/web ready=2"]);
    sim.settle().expect("sound");
    sim.restart(0);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    insta::assert_compact_debug_snapshot!(sim.counts(), @"Counts { dry_runs: 0, gets: 0, applies: 0, heals: 0, adopts: 0, releases: 0, deletes: 0, keeps: 0, saves: 0, publishes: 1, forgets: 0 }");
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

/// Commits a set that another path of the repository is the origin of.
fn commit_from(sim: &mut Sim, path: &str, commit: &str, lines: &[&str]) {
    let app = sim.replicas[0].app.clone();
    let mut desired = notation::desired(&mut sim.world, &app, commit, lines.iter().copied());
    Arc::make_mut(&mut desired).assignment.path = path.to_owned();
    sim.say(0, Event::Desired(desired));
}

fn exists(sim: &Sim, object: &str) -> bool {
    sim.world.objects.contains_key(&notation::object(object))
}

#[test]
fn a_changed_assignment_prunes_nothing_until_a_person_asks() {
    let mut sim = Sim::shop();
    commit_from(&mut sim, "clusters/old", "c1", &["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    // A typing error in the configuration: the path is another one.
    commit_from(&mut sim, "clusters/new", "c1", &["ConfigMap/shop/a", "ConfigMap/shop/c"]);
    sim.settle().expect("sound");
    assert!(exists(&sim, "ConfigMap/shop/b") && exists(&sim, "ConfigMap/shop/c"));
    assert_eq!(sim.report().sync, SyncStatus::OutOfSync);
    insta::assert_snapshot!(sim.report().rows[0].message, @"it comes from path clusters/old of  (environment ), and a changed configuration never prunes: ask for a sync (skiff sync) to prune it");
    // Also the next agent knows, and a newer commit changes nothing about it.
    sim.restart(0);
    commit_from(&mut sim, "clusters/new", "c2", &["ConfigMap/shop/a"]);
    sim.settle().expect("sound");
    assert!(exists(&sim, "ConfigMap/shop/b") && exists(&sim, "ConfigMap/shop/c"));
    sim.ask(Ask { sync: Some("now".into()), ..Ask::default() });
    sim.settle().expect("sound");
    assert!(!exists(&sim, "ConfigMap/shop/b") && !exists(&sim, "ConfigMap/shop/c"));
    // From now on the new path prunes like any other.
    commit_from(&mut sim, "clusters/new", "c3", &["ConfigMap/shop/d"]);
    sim.settle().expect("sound");
    assert!(!exists(&sim, "ConfigMap/shop/a"));
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn a_path_that_was_taken_back_prunes_nothing_of_its_own() {
    let mut sim = Sim::shop();
    commit_from(&mut sim, "clusters/old", "c1", &["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    commit_from(&mut sim, "clusters/new", "c1", &["ConfigMap/shop/c"]);
    sim.settle().expect("sound");
    commit_from(&mut sim, "clusters/old", "c1", &["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    // What the wrong path brought goes: the assignment is the recorded one again.
    assert!(exists(&sim, "ConfigMap/shop/a") && exists(&sim, "ConfigMap/shop/b"));
    assert!(!exists(&sim, "ConfigMap/shop/c"));
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn nothing_is_pruned_while_another_app_may_want_it() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    let blog = Claims { undecided: ["blog".into()].into(), ..Claims::default() };
    sim.say(0, Event::Claims(blog));
    sim.commit("c2", ["ConfigMap/shop/a"]);
    sim.settle().expect("sound");
    assert!(exists(&sim, "ConfigMap/shop/b"));
    insta::assert_snapshot!(sim.report().rows[0].message, @r#"it is no longer in this app, but app "blog" cannot be rendered and may want it: it is pruned when that one renders without it"#);
    sim.say(0, Event::Claims(Claims::default()));
    sim.settle().expect("sound");
    assert!(!exists(&sim, "ConfigMap/shop/b"));
}

#[test]
fn a_paused_app_is_not_touched_by_an_agent_that_has_just_started() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a v1"]);
    sim.settle().expect("sound");
    sim.ask(Ask { paused: Some("incident".into()), ..Ask::default() });
    sim.settle().expect("sound");
    sim.restart(0);
    // The watch of App objects is slow: the recorded state itself tells of the pause.
    sim.commit("c2", ["ConfigMap/shop/a v2"]);
    sim.settle().expect("sound");
    assert_eq!(sim.counts().writes(), 0);
    assert_eq!(sim.report().conditions[0].reason, "Paused");
}

#[test]
fn a_configuration_that_is_refused_is_said_on_the_app_until_it_is_good_again() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a"]);
    sim.settle().expect("sound");
    sim.say(0, Event::ConfigRefused(Some("config.yaml:4: unknown key \"nmae\"".into())));
    sim.settle().expect("sound");
    let told = &sim.replicas[0].published.as_ref().expect("it was published").conditions;
    let told = told.iter().find(|condition| condition.kind == "Configured").expect("it is said");
    assert_eq!((told.status, told.reason.as_str()), (false, "ConfigRefused"));
    insta::assert_snapshot!(told.message, @r#"the agent's changed file is refused, the one before it stays in force: config.yaml:4: unknown key "nmae""#);
    sim.say(0, Event::ConfigRefused(None));
    sim.settle().expect("sound");
    let told = &sim.replicas[0].published.as_ref().expect("it was published").conditions;
    assert!(told.iter().all(|condition| condition.kind != "Configured"));
}

#[test]
fn a_revision_that_cannot_be_rendered_is_a_failed_sync_once() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a"]);
    sim.settle().expect("sound");
    sim.replicas[0].records.clear();
    let revision = Revision { commit: "sha1:c2".into(), ..Revision::default() };
    let problems = vec![Problem { place: "web.yaml:3".into(), message: "a mapping is not closed".into() }];
    for _ in 0..2 {
        let why = Unrendered { reason: "InvalidYaml", problems: problems.clone() };
        sim.say(0, Event::RenderFailed { revision: revision.clone(), why, tried: None });
        sim.settle().expect("sound");
    }
    let [record] = &sim.replicas[0].records[..] else { panic!("{:?}", sim.replicas[0].records) };
    assert_eq!((record.outcome, record.revision.id()), (Outcome::Blocked, "c2"));
    insta::assert_debug_snapshot!(record.failures, @r#"
    [
        (
            "web.yaml:3",
            "InvalidYaml",
            "a mapping is not closed",
        ),
    ]
    "#);
}

#[test]
fn a_commit_that_touches_nothing_stays_the_applied_one_when_the_plan_is_made_anew() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a"]);
    sim.settle().expect("sound");
    sim.say(0, Event::Unmoved(Revision { commit: "sha1:c2".into(), ..Revision::default() }));
    sim.settle().expect("sound");
    sim.ask(Ask { sync: Some("now".into()), ..Ask::default() });
    sim.settle().expect("sound");
    assert_eq!(sim.report().applied.as_ref().map(Revision::id), Some("c2"));
}

#[test]
fn a_commit_that_touches_nothing_is_applied_when_the_sync_before_it_ends() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["Deployment/shop/web ready=3"]);
    sim.say(0, Event::Unmoved(Revision { commit: "sha1:c2".into(), ..Revision::default() }));
    sim.settle().expect("sound");
    assert_eq!(sim.report().applied.as_ref().map(Revision::id), Some("c2"));
}

#[test]
fn a_refused_plan_is_tried_again_when_the_object_it_was_refused_for_is_gone() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    let desired = sim.commit("c2", ["ConfigMap/shop/a v2 refused", "ConfigMap/shop/b v2"]);
    sim.settle().expect("sound");
    assert_eq!(sim.report().conditions[0].reason, "PreflightFailed");
    // What refuses a change of an immutable field takes a new object of the same name.
    let body =
        desired.rows.iter().find(|row| row.id == notation::object("ConfigMap/shop/a")).expect("wanted").body;
    sim.world.bodies.get_mut(&body).expect("the body is known").refused = None;
    let healed = sim.counts().heals;
    sim.meddle("ConfigMap/shop/a", Meddling::Delete);
    sim.settle().expect("sound");
    assert_eq!(sim.counts().heals, healed, "the old object is not put back");
    assert!(sim.world.is_as(&notation::object("ConfigMap/shop/a"), body));
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn changed_facts_of_the_cluster_prune_nothing_until_a_person_asks() {
    let mut sim = Sim::shop();
    let commit = |sim: &mut Sim, facts: &str, lines: &[&str]| {
        let app = sim.replicas[0].app.clone();
        let mut desired = notation::desired(&mut sim.world, &app, "c1", lines.iter().copied());
        Arc::make_mut(&mut desired).assignment.facts = facts.to_owned();
        sim.say(0, Event::Desired(desired));
        sim.settle().expect("sound");
    };
    commit(&mut sim, "region=eu", &["ConfigMap/shop/eu"]);
    commit(&mut sim, "region=us", &["ConfigMap/shop/us"]);
    assert!(exists(&sim, "ConfigMap/shop/eu") && exists(&sim, "ConfigMap/shop/us"));
    insta::assert_snapshot!(sim.report().rows[0].message, @"it was wanted with another name, label or variable of the cluster, and a changed configuration never prunes: ask for a sync (skiff sync) to prune it");
    sim.ask(Ask { sync: Some("now".into()), ..Ask::default() });
    sim.settle().expect("sound");
    assert!(!exists(&sim, "ConfigMap/shop/eu"));
    // Facts that change nothing hold nothing back later.
    commit(&mut sim, "region=us,tier=gold", &["ConfigMap/shop/us"]);
    commit(&mut sim, "region=us,tier=gold", &["ConfigMap/shop/more"]);
    assert!(!exists(&sim, "ConfigMap/shop/us"));
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}
