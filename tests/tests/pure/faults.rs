//! Faults that random lives have shown, each as the shortest story that shows it.

use jiff::SignedDuration;
use skiff_shared::managed_fields::ForeignOwner;
use skiff_shared::policy::{OnInvalid, Policy};
use skiff_shared::report::SyncStatus;
use skiff_shared::sync::event::{Ask, Event, Observation, Point};
use skiff_tests::notation::object;
use skiff_tests::sim::{End, Sim};
use skiff_tests::world::{Live, Meddling};

#[test]
fn a_label_that_is_taken_away_while_another_agent_has_the_lease_is_put_back() {
    let mut sim = Sim::shop();
    let desired = sim.commit("c1", ["ConfigMap/shop/a"]);
    sim.settle().expect("sound");
    let lost = sim.replicas[0].lose_lease();
    sim.say(0, lost);
    sim.run_now().expect("sound");
    sim.meddle("ConfigMap/shop/a", Meddling::Unlabel);
    sim.run_now().expect("sound");
    let lease = sim.replicas[0].lease(sim.world.now);
    sim.say(0, lease);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(sim.world.is_as(&desired.rows[0].id, desired.rows[0].body));
}

#[test]
fn an_object_that_is_refused_again_and_again_does_not_hurry_the_others() {
    let mut sim = Sim::with_policy(Policy { on_invalid: OnInvalid::Skip, ..Policy::default() });
    sim.commit("c1", ["ConfigMap/shop/a refused", "ConfigMap/shop/b forbidden", "ConfigMap/shop/c"]);
    sim.run_now().expect("sound");
    sim.wait(SignedDuration::from_hours(2)).expect("sound");
    // At most one a minute, and those of the first minute.
    let sent = sim.counts().applies;
    assert!(sent <= 130, "{sent} applies in two hours");
}

#[test]
fn objects_that_wait_for_a_refused_one_say_so() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b", "ConfigMap/shop/c"]);
    sim.settle().expect("sound");
    sim.commit("c2", ["ConfigMap/shop/a v2 refused", "ConfigMap/shop/b v2", "ConfigMap/shop/d"]);
    sim.settle().expect("sound");
    let told: Vec<String> =
        sim.report().rows.iter().map(|row| format!("{}: {}", row.name, row.message)).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    d: it is still to be written
    a: Invalid: the server says Invalid
    b: it is still to be written as in Git
    c: it is no longer in Git and still to be pruned
    ");
}

#[test]
fn an_object_on_its_way_to_its_end_is_not_taken_over_but_created_anew() {
    let mut sim = Sim::shop();
    let id = object("ConfigMap/shop/a");
    sim.world.plant(&id, None);
    sim.world.meddle(&id, Meddling::DeleteSlowly);
    let desired = sim.commit("c1", ["ConfigMap/shop/a"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(sim.world.is_as(&desired.rows[0].id, desired.rows[0].body));
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn what_no_entry_shows_is_found_by_its_content_where_nothing_is_healed() {
    let mut sim = Sim::with_policy(Policy { self_heal: false, ..Policy::default() });
    sim.commit("c1", ["ConfigMap/shop/a", "Deployment/shop/web"]);
    sim.run_now().expect("sound");
    for object in ["ConfigMap/shop/a", "Deployment/shop/web"] {
        sim.meddle(object, Meddling::SameSecond);
    }
    sim.settle().expect("sound");
    assert_eq!(sim.report().objects.drifted, 2, "{:#?}", sim.report());
    // What others write beside it does not hide it again.
    sim.meddle("ConfigMap/shop/a", Meddling::Annotate);
    sim.settle().expect("sound");
    assert_eq!(sim.report().objects.drifted, 2, "{:#?}", sim.report());
    assert_eq!(sim.counts().heals, 0);
}

#[test]
fn an_object_whose_turn_has_not_come_is_healed_while_others_are_waited_for() {
    let mut sim = Sim::shop();
    let before = sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b wave=1"]);
    sim.settle().expect("sound");
    sim.commit("c2", ["ConfigMap/shop/a v2 forbidden", "ConfigMap/shop/b v2 wave=1"]);
    sim.run_now().expect("sound");
    sim.meddle("ConfigMap/shop/b", Meddling::TakeField);
    sim.run_now().expect("sound");
    let b = &before.rows[1];
    assert!(sim.world.is_as(&b.id, b.body), "{:#?}", sim.world.objects.get(&b.id));
}

#[test]
fn an_object_that_its_owner_removes_is_created_without_another_word() {
    let mut sim = Sim::shop();
    let id = object("ConfigMap/shop/a");
    let argo = ForeignOwner::ArgoCd { application: "legacy".into() };
    sim.world.plant(&id, Some(argo));
    let desired = sim.commit("c1", ["ConfigMap/shop/a"]);
    sim.run_now().expect("sound");
    sim.wait(SignedDuration::from_hours(1)).expect("sound");
    assert_eq!(sim.report().objects.held, 1);
    // A look from time to time, ever more seldom.
    assert!(sim.counts().gets < 12, "{:?}", sim.counts());
    assert_eq!((sim.counts().dry_runs, sim.counts().publishes), (1, 1));
    sim.world.doom(&id);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(sim.world.is_as(&id, desired.rows[0].body));
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn an_object_that_is_being_deleted_is_not_called_synced() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a finalizer=stuck"]);
    sim.settle().expect("sound");
    sim.meddle("ConfigMap/shop/a", Meddling::Delete);
    sim.settle().expect("sound");
    let report = sim.report();
    assert_eq!(report.sync, SyncStatus::OutOfSync);
    assert_eq!(report.rows[0].message, "being deleted");
}

#[test]
fn an_object_that_dies_without_our_label_is_awaited_all_the_same() {
    let mut sim = Sim::shop();
    let desired = sim.commit("c1", ["ConfigMap/shop/a"]);
    sim.settle().expect("sound");
    for what in [Meddling::Replace, Meddling::DeleteSlowly] {
        sim.world.meddle(&object("ConfigMap/shop/a"), what);
    }
    sim.flow();
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(sim.world.is_as(&desired.rows[0].id, desired.rows[0].body));
}

#[test]
fn an_object_that_dies_without_our_label_is_not_waited_for_when_it_left_git() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    sim.world.meddle(&object("ConfigMap/shop/a"), Meddling::Replace);
    sim.world
        .touch(&object("ConfigMap/shop/a"), |live, _| (live.finalizer, live.deleting) = (u32::MAX, true));
    sim.flow();
    sim.commit("c2", ["ConfigMap/shop/b"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn a_word_to_keep_an_object_holds_although_it_was_never_written_so() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    sim.commit("c2", ["ConfigMap/shop/a keep v2", "ConfigMap/shop/b refused"]);
    sim.settle().expect("sound");
    sim.commit("c3", ["ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    sim.restart(0);
    sim.settle().expect("sound");
    assert!(sim.world.objects.contains_key(&object("ConfigMap/shop/a")));
}

#[test]
fn the_status_says_what_a_sync_waits_for_from_the_moment_it_does() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["APIService/v1.metrics ready=never wave=-1"]);
    sim.settle().expect("sound");
    sim.commit("c2", ["APIService/v1.metrics ready=never wave=-1", "ConfigMap/shop/a"]);
    sim.settle().expect("sound");
    assert_eq!(sim.replicas[0].published.as_ref(), Some(&sim.report()));
    insta::assert_snapshot!(sim.report().waiting_for.join("\n"), @r"
    APIService/v1.metrics to be healthy (now Progressing)
    ConfigMap/shop/a to be healthy (now Missing)
    ");
}

/// Plants objects of Argo CD and commits them; returns whether they still are as they were.
fn are_left_alone(sim: &mut Sim, objects: &[&str], lines: &[&str]) -> bool {
    for planted in objects {
        let argo = ForeignOwner::ArgoCd { application: "legacy".into() };
        sim.world.plant(&object(planted), Some(argo));
    }
    sim.commit("c1", lines.iter().copied());
    sim.run_now().expect("sound");
    sim.wait(SignedDuration::from_mins(1)).expect("sound");
    objects.iter().all(|planted| !sim.world.objects[&object(planted)].written)
}

#[test]
fn objects_in_a_namespace_that_the_record_does_not_know_are_not_taken_unasked() {
    let objects = ["Namespace/fresh", "ConfigMap/fresh/d"];
    let mut sim = Sim::shop();
    assert!(are_left_alone(&mut sim, &objects, &objects));
    assert_eq!(sim.report().objects.held, 2);
}

#[test]
fn an_object_that_asks_for_no_dry_run_is_not_taken_unasked() {
    let mut sim = Sim::shop();
    assert!(are_left_alone(&mut sim, &["ConfigMap/shop/a"], &["ConfigMap/shop/a unchecked"]));
}

#[test]
fn an_object_that_cannot_be_checked_is_not_taken_unasked() {
    let mut sim = Sim::shop();
    sim.world.weather.webhook_down = true;
    assert!(are_left_alone(&mut sim, &["ConfigMap/shop/a"], &["ConfigMap/shop/a"]));
    sim.world.weather.webhook_down = false;
    sim.wait(SignedDuration::from_mins(2)).expect("sound");
    assert_eq!(sim.report().objects.held, 1);
}

#[test]
fn what_was_not_checked_beside_a_refused_object_is_checked_before_the_rest_goes_on() {
    let mut sim = Sim::shop();
    let argo = ForeignOwner::ArgoCd { application: "legacy".into() };
    sim.world.plant(&object("ConfigMap/shop/b"), Some(argo));
    sim.commit("c1", ["ConfigMap/shop/a refused", "ConfigMap/shop/b"]);
    sim.run_now().expect("sound");
    sim.say(0, Event::Policy(Policy { on_invalid: OnInvalid::Skip, ..Policy::default() }));
    sim.wait(SignedDuration::from_mins(1)).expect("sound");
    assert!(!sim.world.objects[&object("ConfigMap/shop/b")].written);
}

#[test]
fn an_object_of_others_that_takes_the_place_of_one_still_to_be_written_is_not_taken_unasked() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a forbidden"]);
    sim.run_now().expect("sound");
    let argo = ForeignOwner::ArgoCd { application: "legacy".into() };
    sim.world.plant(&object("ConfigMap/shop/a"), Some(argo));
    // The list of a watch that broke does not show it, so it is looked up.
    let kind = object("ConfigMap/shop/a").kind().clone();
    sim.say(
        0,
        Event::Observed(object("ConfigMap/shop/a"), Observation::Absent(Point { watch: 9, rv: 9_999 })),
    );
    sim.say(0, Event::Relisted { kind, watch: 9 });
    sim.wait(SignedDuration::from_mins(1)).expect("sound");
    assert_eq!(sim.report().objects.held, 1, "{:#?}", sim.report());
}

#[test]
fn a_delete_names_the_object_that_was_looked_at_and_not_the_one_on_record() {
    let mut sim = Sim::with_policy(Policy { self_heal: false, ..Policy::default() });
    sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    sim.world.meddle(&object("ConfigMap/shop/a"), Meddling::Replace);
    sim.world.touch(&object("ConfigMap/shop/a"), |live, _| live.labelled = true);
    sim.flow();
    sim.commit("c2", ["ConfigMap/shop/b"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(!sim.world.objects.contains_key(&object("ConfigMap/shop/a")));
}

/// Commits two versions of an object one after the other and returns the first as a list of a later generation
/// shows it, and as it was stored.
fn overtaken(sim: &mut Sim) -> (Event, Live) {
    let id = object("ConfigMap/shop/a");
    sim.commit("c1", ["ConfigMap/shop/a v1"]);
    sim.settle().expect("sound");
    let old = sim.world.objects[&id].clone();
    let seen = sim.world.seen(&old, 2);
    sim.commit("c2", ["ConfigMap/shop/a v2"]);
    sim.settle().expect("sound");
    (Event::Observed(id, Observation::Present(Box::new(seen))), old)
}

#[test]
fn a_list_that_is_older_than_the_answer_is_no_drift() {
    let mut sim = Sim::shop();
    let (event, _) = overtaken(&mut sim);
    sim.say(0, event);
    sim.settle().expect("sound");
    assert_eq!((sim.counts().gets, sim.counts().heals), (1, 0));
}

#[test]
fn an_older_state_of_a_newer_list_counts_where_the_store_was_restored() {
    let mut sim = Sim::shop();
    let (event, old) = overtaken(&mut sim);
    sim.world.objects.insert(object("ConfigMap/shop/a"), old);
    sim.world.disturbed.insert(object("ConfigMap/shop/a"), u64::MAX);
    sim.say(0, event);
    sim.settle().expect("sound");
    let body = sim.replicas[0].desired.as_ref().expect("committed").rows[0].body;
    assert!(sim.world.is_as(&object("ConfigMap/shop/a"), body));
}

#[test]
fn an_object_on_its_way_out_is_not_forgotten_because_its_label_is_gone() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a finalizer=stuck", "ConfigMap/shop/b"]);
    sim.settle().expect("sound");
    sim.commit("c2", ["ConfigMap/shop/b"]);
    sim.run_now().expect("sound");
    sim.meddle("ConfigMap/shop/a", Meddling::Unlabel);
    sim.wait(SignedDuration::from_mins(1)).expect("sound");
    assert!(sim.world.stores["shop"].row(&object("ConfigMap/shop/a")).is_some());
}

#[test]
fn what_others_make_while_a_person_is_waited_for_is_not_written_over() {
    let mut sim = Sim::shop();
    let paused =
        |reason: Option<&str>| Event::Asked(Ask { paused: reason.map(str::to_owned), ..Ask::default() });
    sim.say(0, paused(Some("lunch")));
    sim.commit("c1", ["ConfigMap/shop/a"]);
    sim.run_now().expect("sound");
    let id = object("ConfigMap/shop/a");
    sim.world.plant(&id, Some(ForeignOwner::ArgoCd { application: "legacy".into() }));
    let theirs = sim.world.objects[&id].content;
    sim.say(0, paused(None));
    sim.settle().expect("sound");
    assert_eq!(sim.world.objects[&id].content, theirs);
    assert_eq!(sim.report().objects.held, 1, "{:#?}", sim.report());
}

#[test]
fn what_the_server_says_of_a_secret_is_not_repeated() {
    let mut sim = Sim::with_policy(Policy { on_invalid: OnInvalid::Skip, ..Policy::default() });
    sim.commit("c1", ["Secret/shop/a refused", "Secret/shop/b forbidden", "ConfigMap/shop/c refused"]);
    sim.settle().expect("sound");
    let report = format!("{:?} {:?} {:?}", sim.report(), sim.replicas[0].notices, sim.replicas[0].records);
    assert!(report.contains("ConfigMap/shop/c") && report.contains("the server says Invalid"), "{report}");
    for (at, _) in report.match_indices("Secret/shop/") {
        let near: String = report[at..].chars().take(90).collect();
        assert!(!near.contains("the server says"), "{near}");
    }
    assert!(report.contains("withheld"), "{report}");
}
