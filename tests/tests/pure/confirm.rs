//! Objects that left Git and go only by a person's word: on one of them, and on that very object.

use skiff_shared::desired::Propagation;
use skiff_shared::inventory::Uid;
use skiff_shared::policy::{Mode, Policy};
use skiff_shared::report::ObjectReport;
use skiff_shared::sync::event::{Approval, Ask, Deletion};
use skiff_tests::notation;
use skiff_tests::sim::Sim;

const KEPT: &str = "ConfigMap/shop/a";
const ASKS: &str = "ConfigMap/shop/b confirm";

fn exists(sim: &Sim, object: &str) -> bool {
    sim.world.objects.contains_key(&notation::object(object))
}

/// Returns what is told of an object.
fn row(sim: &Sim, name: &str) -> ObjectReport {
    let rows = sim.report().rows;
    rows.into_iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name} is not told of"))
}

fn prunable(sim: &Sim, name: &str) -> Uid {
    row(sim, name).prunable.expect("a person can let it go")
}

fn confirm(uids: impl IntoIterator<Item = Uid>) -> Ask {
    Ask { prune: uids.into_iter().collect(), ..Ask::default() }
}

fn commit<'a>(sim: &mut Sim, name: &str, lines: impl IntoIterator<Item = &'a str>) {
    sim.commit(name, lines);
    sim.settle().expect("sound");
}

#[test]
fn one_object_goes_by_its_name_and_another_of_that_name_does_not() {
    let mut sim = Sim::shop();
    commit(&mut sim, "c1", [KEPT, ASKS]);
    assert_eq!(row(&sim, "b").prunable, None, "Git has it");
    commit(&mut sim, "c2", [KEPT]);
    assert!(exists(&sim, "ConfigMap/shop/b"));
    assert_eq!(
        row(&sim, "b").message,
        "it is no longer in Git, and is deleted only by a person's word: skiff approve APP --prune OBJECT"
    );
    let uid = prunable(&sim, "b");
    sim.ask(confirm([uid]));
    sim.settle().expect("sound");
    assert!(!exists(&sim, "ConfigMap/shop/b"));

    // The word is still there, and is not about what comes after.
    commit(&mut sim, "c3", [KEPT, ASKS]);
    commit(&mut sim, "c4", [KEPT]);
    assert!(exists(&sim, "ConfigMap/shop/b"));
    assert!(row(&sim, "b").prunable.is_some());
}

#[test]
fn single_objects_go_beside_those_that_the_budget_holds() {
    let mut sim = Sim::shop();
    let names: Vec<String> = (10..22).map(|number| format!("ConfigMap/shop/m{number}")).collect();
    commit(&mut sim, "c1", names.iter().map(String::as_str));
    commit(&mut sim, "c2", [KEPT]);
    let uids = ["m10", "m11"].map(|name| prunable(&sim, name));
    sim.ask(confirm(uids));
    sim.settle().expect("sound");
    let left = names.iter().filter(|name| exists(&sim, name)).count();
    assert_eq!(left, 10);
    assert!(
        !exists(&sim, "ConfigMap/shop/m10")
            && row(&sim, "m12").message.starts_with("refusing to prune 10 of")
    );
}

#[test]
fn a_confirmed_prune_is_part_of_a_plan_that_waits() {
    let mut sim = Sim::with_policy(Policy { mode: Mode::Manual, ..Policy::default() });
    let say_yes = |sim: &mut Sim, ask: Ask| {
        let digest = sim.report().plan.expect("a plan waits").digest;
        sim.ask(Ask { approval: Some(Approval { digest, by: "ops".into() }), ..ask });
        sim.settle().expect("sound");
    };
    commit(&mut sim, "c1", [KEPT, ASKS]);
    say_yes(&mut sim, Ask::default());
    commit(&mut sim, "c2", [KEPT]);
    let word = confirm([prunable(&sim, "b")]);
    sim.ask(word.clone());
    sim.settle().expect("sound");
    assert!(exists(&sim, "ConfigMap/shop/b"), "it waits for its approval");
    say_yes(&mut sim, word);
    assert!(!exists(&sim, "ConfigMap/shop/b"));
}

fn delete(sensitive_kinds: bool, prune: impl IntoIterator<Item = Uid>) -> Ask {
    let delete = Some(Deletion { cascade: Propagation::Background, sensitive_kinds });
    Ask { delete, ..confirm(prune) }
}

#[test]
fn what_asks_before_its_app_is_deleted_holds_the_app_until_it_may_go() {
    let mut sim = Sim::shop();
    let asks = "ConfigMap/shop/c confirm-delete";
    commit(&mut sim, "c1", [KEPT, asks, "ConfigMap/shop/d confirm-delete"]);
    commit(&mut sim, "c2", [KEPT, asks]);
    assert!(!exists(&sim, "ConfigMap/shop/d"), "a prune is no deletion of the app");
    sim.ask(delete(false, []));
    sim.settle().expect("sound");
    assert!(exists(&sim, KEPT) && exists(&sim, "ConfigMap/shop/c"));
    let uid = prunable(&sim, "c");
    sim.ask(delete(false, [uid]));
    sim.settle().expect("sound");
    assert!(!exists(&sim, KEPT) && !exists(&sim, "ConfigMap/shop/c"));
}

#[test]
fn what_outlives_its_app_is_pruned_and_stays_when_the_app_is_deleted() {
    let mut sim = Sim::shop();
    let stays = "ConfigMap/shop/c outlives";
    commit(&mut sim, "c1", [KEPT, stays, "ConfigMap/shop/d outlives"]);
    commit(&mut sim, "c2", [KEPT, stays]);
    assert!(!exists(&sim, "ConfigMap/shop/d"), "a prune is no deletion of the app");
    sim.ask(delete(true, []));
    sim.settle().expect("sound");
    assert!(!exists(&sim, KEPT) && exists(&sim, "ConfigMap/shop/c"));
}
