//! Apps that are deleted by a person, or that leave the app list.

use std::sync::Arc;

use skiff_shared::desired::{Desired, Listing, Propagation, Unrendered};
use skiff_shared::policy::{Mode, Policy};
use skiff_shared::sync::effect::Effect;
use skiff_shared::sync::event::{Approval, Ask, Deletion, Event};
use skiff_tests::notation;
use skiff_tests::sim::{End, Sim};
use skiff_tests::world::Meddling;

const OBJECTS: [&str; 3] = ["Deployment/shop/web wave=1", "ConfigMap/shop/a", "ConfigMap/shop/b"];

fn delete(cascade: Propagation) -> Ask {
    Ask { delete: Some(Deletion { cascade, sensitive_kinds: false }), ..Ask::default() }
}

fn exists(sim: &Sim, object: &str) -> bool {
    sim.world.objects.contains_key(&notation::object(object))
}

/// An app that is synced.
fn synced<'a>(objects: impl IntoIterator<Item = &'a str>) -> Sim {
    let mut sim = Sim::shop();
    sim.commit("c1", objects);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    sim
}

/// Lets the app leave the app list.
fn unlist(sim: &mut Sim, listing: Listing) {
    let empty = notation::desired(&mut sim.world, "shop", "c2", []);
    sim.say(0, Event::Desired(Arc::new(Desired { listing, ..Desired::clone(&empty) })));
}

fn ready(sim: &Sim) -> String {
    let ready = &sim.report().conditions[0];
    format!("{} {}: {}", ready.status, ready.reason, ready.message)
}

/// What the driver has been told in this order, as far as hooks and prunes are concerned.
fn told(sim: &Sim) -> Vec<String> {
    use skiff_shared::sync::effect::Notice;
    let line = |notice: &Notice| match notice {
        Notice::HookEnded { id, phase, .. } => Some(format!("{phase} {}", id.name())),
        Notice::Pruned { id } => Some(format!("pruned {}", id.name())),
        _ => None,
    };
    sim.replicas[0].notices.iter().filter_map(line).collect()
}

#[test]
fn an_app_that_left_the_list_goes_in_mirrored_order_and_its_app_last() {
    let mut sim = synced(OBJECTS);
    sim.reset();
    unlist(&mut sim, Listing::Unlisted);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(told(&sim), ["pruned web", "pruned a", "pruned b"]);
    assert!(sim.replicas[0].machine.has_ended());
    assert!(!sim.world.apps.contains_key("shop") && !sim.world.stores.contains_key("shop"));

    // Listed again it is a new app.
    sim.commit("c3", OBJECTS);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(exists(&sim, "Deployment/shop/web") && sim.world.stores.contains_key("shop"));
}

#[test]
fn hooks_of_the_deletion_run_around_it_also_where_git_has_them_no_more() {
    let hooks = [
        "Job/shop/drain hook=PreDelete",
        "Job/shop/farewell hook=PostDelete delete=succeeded",
        "Job/shop/migrate hook=PreSync",
    ];
    let mut sim = synced(OBJECTS.into_iter().chain(hooks));
    assert!(!exists(&sim, "Job/shop/drain"), "they are no part of a sync");
    sim.reset();
    unlist(&mut sim, Listing::Unlisted);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    let told = told(&sim);
    assert_eq!(told, ["PreDelete drain", "pruned web", "pruned a", "pruned b", "PostDelete farewell"]);
    assert!(sim.replicas[0].machine.has_ended());
    for hook in ["drain", "farewell", "migrate"] {
        assert!(!exists(&sim, &format!("Job/shop/{hook}")), "{hook} would be nobody's");
    }
}

#[test]
fn a_removal_goes_on_where_a_crash_has_ended_it() {
    let hooks = ["Job/shop/drain hook=PreDelete", "Job/shop/farewell hook=PostDelete"];
    let mut ended = 0;
    for steps in 0..60 {
        let mut sim = synced(OBJECTS.into_iter().chain(hooks));
        sim.reset();
        unlist(&mut sim, Listing::Unlisted);
        ended += u32::from(!sim.advance(2 * steps).expect("sound"));
        sim.restart(0);
        // An agent that starts knows an app by its App.
        if sim.world.apps.contains_key("shop") {
            unlist(&mut sim, Listing::Unlisted);
            assert_eq!(sim.settle().expect("sound"), End::Idle);
            assert!(sim.replicas[0].machine.has_ended(), "after {steps} steps: {}", ready(&sim));
        }
        let left: Vec<_> = sim.world.objects.keys().filter(|id| id.namespace().is_some()).collect();
        assert!(left.is_empty(), "after {steps} steps: {left:?}");
    }
    assert!(ended > 0, "the last crashes come when all is over");
}

#[test]
fn a_failed_hook_stops_the_deletion_until_a_person_asks_again() {
    let mut sim = synced(OBJECTS.into_iter().chain(["Job/shop/drain hook=PreDelete fails"]));
    sim.ask(delete(Propagation::Background));
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(exists(&sim, "Deployment/shop/web"));
    assert!(ready(&sim).starts_with("false HookFailed"), "{}", ready(&sim));
    sim.ask(Ask::default());
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(ready(&sim).starts_with("true Synced"), "{}", ready(&sim));
}

#[test]
fn an_app_that_git_has_stays_away_until_it_is_resumed() {
    let mut sim = synced(OBJECTS);
    sim.ask(delete(Propagation::Foreground));
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(!exists(&sim, "ConfigMap/shop/a"));
    insta::assert_snapshot!(ready(&sim), @"false Deleted: its objects are deleted, as a person asked; `skiff resume` brings them back");
    assert!(sim.world.apps.contains_key("shop"), "the word stands in it");
    sim.commit("c2", OBJECTS);
    sim.restart(0);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(!exists(&sim, "ConfigMap/shop/a"));
    sim.ask(Ask::default());
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(exists(&sim, "ConfigMap/shop/a") && exists(&sim, "Deployment/shop/web"));
}

#[test]
fn an_app_goes_as_a_whole_or_not_at_all() {
    let mut sim = synced(["ConfigMap/shop/a", "StatefulSet/shop/db", "Job/shop/drain hook=PreDelete"]);
    sim.reset();
    unlist(&mut sim, Listing::Unlisted);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.counts().writes(), 0, "neither hooks nor prunes");
    insta::assert_snapshot!(ready(&sim), @"false Held: 2 objects are held back: ConfigMap/shop/a: an app goes as a whole or not at all, and StatefulSet/shop/db is held; StatefulSet/shop/db: it is no longer in Git, and is deleted only by a person's word: skiff approve APP --prune OBJECT");
    let word = Deletion { sensitive_kinds: true, ..Deletion::default() };
    sim.ask(Ask { delete: Some(word), ..Ask::default() });
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(sim.replicas[0].machine.has_ended() && !exists(&sim, "StatefulSet/shop/db"));
}

#[test]
fn the_last_app_and_a_large_one_wait_for_a_persons_word() {
    let many: Vec<String> = (0..12).map(|number| format!("ConfigMap/shop/{number}")).collect();
    for (objects, listing, reason) in [
        (vec!["ConfigMap/shop/a"], Listing::LastUnlisted, "the app list is empty"),
        (many.iter().map(String::as_str).collect(), Listing::Unlisted, "refusing to prune 12 of 12"),
    ] {
        let mut sim = synced(objects.iter().copied());
        sim.reset();
        unlist(&mut sim, listing);
        assert_eq!(sim.settle().expect("sound"), End::Idle);
        assert_eq!(sim.counts().writes(), 0);
        assert!(ready(&sim).contains(reason), "{}", ready(&sim));
        sim.ask(delete(Propagation::Background));
        assert_eq!(sim.settle().expect("sound"), End::Idle);
        assert!(sim.replicas[0].machine.has_ended());
        assert!(!exists(&sim, objects[0]));
    }
}

#[test]
fn orphaned_objects_stay_and_what_asks_to_be_kept_does_too() {
    let mut sim = synced(OBJECTS.into_iter().chain(["Job/shop/drain hook=PreDelete"]));
    sim.reset();
    unlist(&mut sim, Listing::LastUnlisted);
    sim.ask(delete(Propagation::Orphan));
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.counts().writes(), 0);
    assert!(sim.replicas[0].machine.has_ended() && exists(&sim, "ConfigMap/shop/a"));

    let mut sim = synced(["ConfigMap/shop/a", "ConfigMap/shop/b keep"]);
    unlist(&mut sim, Listing::Unlisted);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(sim.replicas[0].machine.has_ended());
    assert!(!exists(&sim, "ConfigMap/shop/a") && exists(&sim, "ConfigMap/shop/b"));
}

#[test]
fn where_plans_are_approved_a_deletion_is_one_too() {
    let mut sim = Sim::with_policy(Policy { mode: Mode::Manual, ..Policy::default() });
    let mut ask = Ask::default();
    sim.commit("c1", OBJECTS);
    sim.approve(&mut ask);
    sim.reset();
    unlist(&mut sim, Listing::Unlisted);
    sim.settle().expect("sound");
    assert_eq!(sim.counts().writes(), 0);
    sim.approve(&mut ask);
    assert!(sim.replicas[0].machine.has_ended() && !exists(&sim, "ConfigMap/shop/a"));
}

#[test]
fn an_app_that_is_listed_again_and_cannot_be_rendered_stays() {
    let mut sim = synced(["ConfigMap/shop/a", "StatefulSet/shop/db"]);
    unlist(&mut sim, Listing::Unlisted);
    let revision = sim.report().revision.expect("seen");
    sim.say(
        0,
        Event::RenderFailed {
            revision,
            why: Unrendered { reason: "InvalidYaml", problems: Vec::new() },
            tried: None,
        },
    );
    sim.settle().expect("sound");
    assert!(exists(&sim, "ConfigMap/shop/a"));
}

#[test]
fn an_app_of_nothing_but_hooks_of_its_deletion_runs_them_when_it_goes() {
    let mut sim = synced(["Job/shop/drain hook=PreDelete", "Job/shop/farewell hook=PostDelete"]);
    assert!(!exists(&sim, "Job/shop/drain"));
    sim.restart(0);
    sim.settle().expect("sound");
    sim.reset();
    unlist(&mut sim, Listing::Unlisted);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(told(&sim), ["PreDelete drain", "PostDelete farewell"]);
    assert!(sim.replicas[0].machine.has_ended());
}

/// Whether the newest stored renders hold a hook of the deletion as a line has it.
fn is_stored(sim: &Sim, hook: &str) -> bool {
    let wanted = notation::wanted("shop", hook).row;
    let store = &sim.world.stores["shop"];
    let on_record =
        store.row(&wanted.id).and_then(|row| row.parting).is_some_and(|it| it.body == wanted.body);
    let named = store.shards.values().flat_map(|(_, shard)| shard.renders.iter().flatten());
    on_record && named.filter_map(|name| store.renders.get(name)).flatten().any(|body| *body == wanted.body)
}

#[test]
fn hooks_of_the_deletion_are_stored_as_git_has_them_last_though_nothing_is_written() {
    let (first, second) = ("Job/shop/drain hook=PreDelete", "Job/shop/drain hook=PreDelete v2");
    for beside in [vec!["ConfigMap/shop/a"], Vec::new()] {
        let mut sim = synced(beside.iter().copied().chain([first]));
        assert!(is_stored(&sim, first));
        sim.commit("c2", beside.iter().copied().chain([second]));
        assert_eq!(sim.settle().expect("sound"), End::Idle);
        assert!(is_stored(&sim, second), "an app that left Git has it from there alone");
        assert!(ready(&sim).starts_with("true Synced"), "{}", ready(&sim));
        assert!(!exists(&sim, "Job/shop/drain"));

        // Stored once: neither a restart nor the same set again stores anything.
        sim.writes = Some(Vec::new());
        sim.restart(0);
        assert_eq!(sim.settle().expect("sound"), End::Idle);
        let kept = sim.writes.iter().flatten().filter(|effect| matches!(effect, Effect::Keep(..)));
        assert_eq!(kept.count(), 0);
    }
}

#[test]
fn orphaning_an_app_that_git_has_changes_nothing() {
    let mut sim = synced(OBJECTS);
    sim.reset();
    sim.ask(delete(Propagation::Orphan));
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(ready(&sim).starts_with("true Synced"), "{}", ready(&sim));
    sim.meddle("ConfigMap/shop/a", Meddling::Delete);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(exists(&sim, "ConfigMap/shop/a"), "it is healed as before");
}

#[test]
fn what_a_hook_has_left_stays_where_the_deletion_stands_still() {
    // Who looks for the reason finds the Job that failed.
    let mut sim = synced(OBJECTS.into_iter().chain(["Job/shop/drain hook=PreDelete fails"]));
    unlist(&mut sim, Listing::Unlisted);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(ready(&sim).starts_with("false HookFailed"), "{}", ready(&sim));
    assert!(exists(&sim, "Job/shop/drain") && exists(&sim, "ConfigMap/shop/a"));

    // Everything has gone, and the last hook has failed and left nothing: the app still says so.
    let farewell = "Job/shop/farewell hook=PostDelete fails delete=failed";
    let mut sim = synced(OBJECTS.into_iter().chain([farewell]));
    unlist(&mut sim, Listing::Unlisted);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(ready(&sim).starts_with("false HookFailed"), "{}", ready(&sim));
    assert!(!exists(&sim, "ConfigMap/shop/a") && !sim.replicas[0].machine.has_ended());
}

#[test]
fn a_word_for_the_deletion_is_void_when_the_app_is_listed_again() {
    let mut sim = Sim::with_policy(Policy { mode: Mode::Manual, ..Policy::default() });
    let mut ask = Ask::default();
    sim.commit("c1", OBJECTS);
    sim.approve(&mut ask);
    unlist(&mut sim, Listing::Unlisted);
    sim.settle().expect("sound");
    let digest = sim.report().plan.expect("the deletion waits for a word").digest;
    let revision = sim.report().revision.expect("seen");
    let why = Unrendered { reason: "InvalidYaml", problems: Vec::new() };
    sim.say(0, Event::RenderFailed { revision, why, tried: None });
    sim.settle().expect("sound");
    sim.reset();
    ask.approval = Some(Approval { digest, by: "ops".into() });
    sim.ask(ask);
    sim.settle().expect("sound");
    assert_eq!(sim.counts().deletes, 0, "{}", ready(&sim));
}
