//! Tools that apply an app's objects, too.

use skiff_shared::managed_fields::Tool;
use skiff_shared::report::SyncStatus;
use skiff_tests::notation::object;
use skiff_tests::sim::{End, Sim};

/// Returns what the condition `CoManaged` says, if it is there.
fn told(sim: &Sim) -> Option<String> {
    let conditions = sim.report().conditions;
    conditions.into_iter().find(|condition| condition.kind == "CoManaged").map(|condition| condition.message)
}

#[test]
fn a_tool_that_comes_back_is_named_until_it_is_gone_and_nothing_is_written() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/shop/b"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(told(&sim), None);
    sim.reset();
    for (tool, words) in [(Tool::of("helm"), Some("ConfigMap/shop/a co-managed by \"helm\"")), (None, None)] {
        sim.world.touch(&object("ConfigMap/shop/a"), |live, _| {
            live.tool = tool;
            live.fields.others += 1;
        });
        sim.flow();
        assert_eq!(sim.settle().expect("sound"), End::Idle);
        assert_eq!(told(&sim).as_deref(), words);
        assert_eq!(sim.report().sync, SyncStatus::Synced);
    }
    assert_eq!(sim.counts().writes(), 0);
}
