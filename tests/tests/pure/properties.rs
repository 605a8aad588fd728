//! Properties of random environments: whatever the sets are, and in whatever order things happen, it ends the same way.
//!
//! What must hold at every step, such as that nothing is deleted that the inventory does not list and that deletions
//! mirror the order of writes, the simulator's rules check in each of these runs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use skiff_shared::sync::effect::Effect;
use skiff_tests::random::Random;
use skiff_tests::sim::{End, Sim};

const OBJECTS: [&str; 10] = [
    "ConfigMap/shop/a",
    "ConfigMap/shop/b",
    "ConfigMap/other/c",
    "Secret/shop/s",
    "Deployment/shop/web",
    "Deployment/shop/api",
    "ClusterRole/reader",
    "Namespace/fresh",
    "ConfigMap/fresh/d",
    "ValidatingWebhookConfiguration/guard",
];

/// A set: some of the objects, each with a variant and a wave. `a` is always there, as nothing at all prunes nothing.
fn set() -> impl Strategy<Value = Vec<String>> {
    let object = (0_u8..4, 1_u8..4, -1_i32..3);
    proptest::collection::vec(object, OBJECTS.len()).prop_map(|choices| {
        let is_there = |at: usize, choice: u8| at == 0 || choice > 0;
        let there = choices.iter().enumerate().filter(|(at, (choice, ..))| is_there(*at, *choice));
        let mut lines: Vec<String> =
            there.map(|(at, (_, variant, wave))| format!("{} v{variant} wave={wave}", OBJECTS[at])).collect();
        if lines.iter().any(|line| line.contains("/fresh/"))
            && !lines.iter().any(|line| line.contains("e/fresh "))
        {
            lines.push("Namespace/fresh v1".to_owned());
        }
        lines
    })
}

/// Objects of the world by what they are, and what the inventory lists.
fn state(sim: &Sim) -> (BTreeMap<String, u64>, Vec<String>) {
    let written = sim.world.objects.iter().filter(|(_, live)| live.written && live.labelled);
    let objects = written.map(|(id, live)| (id.to_string(), live.content)).collect();
    let mut rows: Vec<String> = sim.world.stores["shop"].rows().map(|row| row.id.to_string()).collect();
    rows.sort();
    (objects, rows)
}

fn commit(sim: &mut Sim, name: &str, set: &[String]) {
    sim.commit(name, set.iter().map(String::as_str));
}

/// An app that has the first set and is told the second.
fn told(first: &[String], second: &[String]) -> Sim {
    let mut sim = Sim::shop();
    commit(&mut sim, "c1", first);
    sim.settle().expect("sound");
    commit(&mut sim, "c2", second);
    sim
}

fn settled(mut sim: Sim) -> Sim {
    assert_eq!(sim.settle().expect("sound"), End::Idle, "{:#?}", sim.report());
    sim
}

fn writes(sim: &Sim) -> Vec<String> {
    sim.writes.iter().flatten().map(|effect: &Effect| format!("{effect:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_events_ends_in_the_same_state(first in set(), second in set(), seed in any::<u64>()) {
        let expected = state(&settled(told(&first, &second)));
        let mut shuffled = told(&first, &second);
        shuffled.run(Some(&mut Random::new(seed))).expect("sound");
        prop_assert_eq!(state(&shuffled), expected);
    }

    #[test]
    fn the_same_sets_are_planned_and_written_the_same_way(first in set(), second in set()) {
        let run = || {
            let mut sim = told(&first, &second);
            sim.writes = Some(Vec::new());
            settled(sim)
        };
        let (one, other) = (run(), run());
        prop_assert_eq!(writes(&one), writes(&other));
        prop_assert_eq!(one.report().history[0].clone(), other.report().history[0].clone());
    }

    #[test]
    fn what_was_applied_is_not_written_again(first in set(), second in set()) {
        let mut sim = settled(told(&first, &second));
        sim.reset();
        commit(&mut sim, "c3", &second);
        sim = settled(sim);
        sim.restart(0);
        sim = settled(sim);
        prop_assert_eq!(sim.counts().writes() + sim.counts().dry_runs, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_process_that_is_killed_between_any_two_things_is_followed_by_one_that_ends_the_same(
        first in set(),
        second in set(),
    ) {
        let expected = state(&settled(told(&first, &second)));
        for moves in 0_u32.. {
            let mut sim = told(&first, &second);
            let went_on = sim.run_moves(moves).expect("sound");
            sim.restart(0);
            // The successor reads Git, where the second set is, whether the first process was told of it or not.
            commit(&mut sim, "c2", &second);
            prop_assert_eq!(&state(&settled(sim)), &expected, "killed after {} things", moves);
            if !went_on {
                break;
            }
        }
    }
}
