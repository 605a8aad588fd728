//! Pruning objects whose version, or whose whole kind, the API server no longer serves.

use skiff_shared::health::Health;
use skiff_shared::object::{GroupKind, ServedKind};
use skiff_shared::policy::{Policy, Prune};
use skiff_shared::report::SyncStatus;
use skiff_shared::sync::effect::Effect;
use skiff_tests::notation::object;
use skiff_tests::sim::{End, Sim};
use skiff_tests::world::Meddling;

fn exists(sim: &Sim, name: &str) -> bool {
    sim.world.objects.contains_key(&object(name))
}

/// Returns the versions by which an object was looked at, in order.
fn looked_at(sim: &Sim, name: &str) -> Vec<String> {
    let effects = sim.writes.iter().flatten();
    let targets = effects.filter_map(|effect| match effect {
        Effect::Get(_, target) => Some(target),
        _ => None,
    });
    targets.filter(|target| target.id == object(name)).map(|target| target.version.to_string()).collect()
}

/// Says what is served of Jobs from now on: nothing without versions.
fn serve_jobs(sim: &mut Sim, versions: &[&str], incomplete: &[&str]) {
    let kind = GroupKind::new("batch", "Job");
    sim.world.apis.kinds.remove(&kind);
    if !versions.is_empty() {
        let versions = versions.iter().map(|version| (*version).into()).collect();
        sim.world.apis.kinds.insert(kind, ServedKind { plural: "jobs".into(), namespaced: true, versions });
    }
    sim.world.apis.incomplete = incomplete.iter().map(|group| (*group).into()).collect();
    sim.tell_apis();
}

#[test]
fn an_object_is_pruned_by_another_version_when_its_own_is_no_longer_served() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "Job/shop/b"]);
    sim.settle().expect("sound");
    serve_jobs(&mut sim, &["v2"], &[]);
    sim.writes = Some(Vec::new());
    sim.commit("c2", ["ConfigMap/shop/a"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(!exists(&sim, "Job/shop/b"));
    assert_eq!(looked_at(&sim, "Job/shop/b"), ["v1", "v2"]);
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn objects_of_a_kind_that_is_gone_are_gone_with_it() {
    let prune = Prune { sensitive_kinds: true, ..Policy::default().prune };
    let mut sim = Sim::with_policy(Policy { self_heal: false, prune, ..Policy::default() });
    sim.commit(
        "c1",
        ["ConfigMap/shop/a", "CustomResourceDefinition/widgets provides=Widget", "Widget/shop/w wave=1"],
    );
    sim.settle().expect("sound");
    sim.meddle("CustomResourceDefinition/widgets", Meddling::Delete);
    sim.tell_apis();
    sim.settle().expect("sound");
    sim.writes = Some(Vec::new());
    sim.commit("c2", ["ConfigMap/shop/a"]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!((looked_at(&sim, "Widget/shop/w"), sim.counts().deletes), (vec!["v1".to_owned()], 0));
    let owned: Vec<String> =
        sim.report().rows.iter().map(|row| format!("{}: {}", row.name, row.message)).collect();
    assert_eq!((sim.report().objects.total, sim.report().sync), (1, SyncStatus::Synced), "{owned:?}");
}

#[test]
fn an_object_is_not_taken_for_gone_while_its_group_cannot_be_discovered() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["Deployment/shop/web", "Job/shop/b"]);
    sim.settle().expect("sound");
    sim.commit("c2", ["Deployment/shop/web v2 ready=never"]);
    sim.run_now().expect("sound");
    // The plan has the prune already; discovery breaks before its time has come.
    serve_jobs(&mut sim, &[], &["batch"]);
    sim.run_now().expect("sound");
    sim.writes = Some(Vec::new());
    sim.world.touch(&object("Deployment/shop/web"), |live, _| live.health = Health::Healthy);
    sim.flow();
    assert_eq!(sim.settle().expect("sound"), End::Waiting);
    assert!(exists(&sim, "Job/shop/b") && looked_at(&sim, "Job/shop/b").len() > 1);
    assert_eq!((sim.report().objects.total, sim.counts().deletes), (2, 0));
    serve_jobs(&mut sim, &["v1"], &[]);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert!(!exists(&sim, "Job/shop/b"));
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}
