//! The cache on disk: bounded, mended when it breaks, kept over a restart.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use skiff::git::{Cache, CacheError, ReadError, Retry, Snapshot, Update};
use skiff_harness::git_server::Repository;

use super::{World, id, moved, size};

/// Returns the folder of the only repository's only generation.
fn generation(world: &World) -> PathBuf {
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let repositories = folders(&world.root());
    assert_eq!(repositories.len(), 1, "{repositories:?}");
    let generations = folders(&repositories[0]);
    assert_eq!(generations.len(), 1, "{generations:?}");
    generations[0].clone()
}

fn packs(world: &World) -> Vec<PathBuf> {
    let files = fs::read_dir(generation(world).join("objects/pack")).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "pack")).collect()
}

#[test]
fn cache_is_for_all_threads_and_a_snapshot_for_one_at_a_time() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Cache>();
    sent::<Snapshot>();
}

#[test]
fn forty_pushes_neither_break_nor_fill_the_cache() {
    let mut world = World::new();
    let big: String = (0..20_000).map(|number| format!("{}\n", number * 7919 % 100_003)).collect();
    world.shop.write("big", &big).commit("First").unwrap();
    world.moved();
    let first = size(&world.root());
    let mut most = 0;
    for round in 0..40 {
        let commit = world.shop.write("small", round.to_string()).commit("Next").unwrap();
        let snapshot = world.snapshot();
        assert_eq!(snapshot.read("small").unwrap(), round.to_string().as_bytes());
        assert_eq!(snapshot.read("big").unwrap(), big.as_bytes());
        world.cache().snapshot(&world.source("main"), id(&commit)).unwrap();
        drop(snapshot);
        most = most.max(packs(&world).len());
    }
    assert_eq!(world.packs_sent(), 41);
    assert_eq!(most, 24);
    assert!(size(&world.root()) < first + 100_000, "{} after {first}", size(&world.root()));
}

#[test]
fn five_hundred_fetches_leave_no_more_than_one_generation_has_room_for() {
    let world = World::new();
    let mut stream = String::new();
    for number in 0..500 {
        write!(
            stream,
            "commit refs/heads/many\ncommitter Ada <ada@skiff.example> {number} +0000\ndata 1\nx\n\
             M 100644 inline a\ndata {}\n{number}\n",
            number.to_string().len()
        )
        .unwrap();
    }
    world.shop.git_with_input(&["fast-import", "--quiet"], stream.as_bytes()).unwrap();
    let commits = world.shop.git(&["rev-list", "--reverse", "many"]).unwrap();
    let (mut most, mut largest) = (0, 0);
    for commit in commits.lines() {
        world.cache().update(&world.source(commit), None).unwrap();
        most = most.max(packs(&world).len());
        largest = largest.max(size(&world.root()));
    }
    assert_eq!(world.packs_sent(), 500);
    assert_eq!(most, 24);
    assert!(largest < 200_000, "{largest} bytes at the most");
}

#[test]
fn snapshot_outlives_the_generation_that_it_reads() {
    let mut world = World::new();
    world.shop.write("a", "first").commit("First").unwrap();
    let snapshot = world.snapshot();
    for round in 0..25 {
        world.shop.write("a", round.to_string()).commit("Next").unwrap();
        world.moved();
    }
    assert_eq!(snapshot.read("a").unwrap(), b"first");
    drop(snapshot);
    generation(&world);
}

#[test]
fn references_of_one_repository_share_its_cache() {
    let mut world = World::new();
    let tagged = world.shop.write("a", "1").commit("First").unwrap();
    world.shop.tag("v1").unwrap();
    let source = world.source("v1");
    let known = moved(world.cache().update(&source, None).unwrap()).unwrap();
    for round in 0..25 {
        world.shop.write("a", format!("later {round}")).commit("Next").unwrap();
        world.moved();
    }
    let error = world.cache().snapshot(&source, id(&tagged)).err().unwrap();
    assert!(matches!(error, ReadError::CommitMissing { .. }), "{error:?}");
    assert_eq!(error.retry(), Retry::Backoff);
    assert_eq!(world.cache().update(&source, Some(&known)).unwrap(), Update::Unchanged);
    assert_eq!(world.cache().snapshot(&source, id(&tagged)).unwrap().read("a").unwrap(), b"1");
    let mut spelled = source.clone();
    spelled.url = format!("{}.git/", world.shop.url()).parse().unwrap();
    world.cache().snapshot(&spelled, id(&tagged)).unwrap();
}

#[test]
fn restart_fetches_nothing_and_sweeps_up() {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    let known = world.moved();
    let generation = generation(&world);
    fs::write(generation.join("shallow.lock"), "").unwrap();
    fs::write(generation.join("objects/pack/tmp_pack_x"), "half").unwrap();
    let building = generation.parent().unwrap().join("building");
    fs::create_dir(&building).unwrap();
    fs::write(building.join("HEAD"), "half").unwrap();

    world.restart();
    assert_eq!(world.update(Some(&known)).unwrap(), Update::Unchanged);
    assert_eq!(world.packs_sent(), 1);
    assert!(!building.exists());
    assert!(!generation.join("objects/pack/tmp_pack_x").exists());
    world.shop.write("a", "2").commit("Second").unwrap();
    world.moved();
}

#[test]
fn second_process_is_refused() {
    let world = World::new();
    let (runtime, cancel) = (world.runtime.handle().clone(), world.cancel.clone());
    let opened = Cache::open(&world.root(), runtime, cancel, world.shelf.clone());
    assert!(matches!(opened, Err(CacheError::InUse { .. })));
}

#[test]
fn repositories_that_nobody_reads_any_more_are_removed() {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    world.moved();
    let mut other = Repository::create(&world.server, "other").unwrap();
    other.write("a", "1").commit("First").unwrap();
    let mut source = world.source("main");
    source.url = other.url().parse().unwrap();
    world.cache().update(&source, None).unwrap();
    world.cache().retain(&[world.source("main")]).unwrap();
    generation(&world);
    world.moved();
    assert_eq!(world.packs_sent(), 2);
    world.cache().update(&source, None).unwrap();
}

/// Breaks something, and expects that following the branch mends it.
fn mended(damage: impl Fn(&World)) {
    let mut world = World::new();
    let text: String = (0..5000).map(|number| format!("{}\n", number * 7919 % 100_003)).collect();
    world.shop.write("a", &text).write("folder/b", "1").commit("First").unwrap();
    let known = world.moved();
    let commit = known.commit;
    damage(&world);
    let source = world.source("main");
    // Reading may be what finds the damage; fetching again is what mends it.
    if let Ok(snapshot) = world.cache().snapshot(&source, commit)
        && let Err(error) = snapshot.read("a").and_then(|_| snapshot.read("folder/b"))
    {
        assert_eq!((error.reason(), error.retry()), ("CacheFailed", Retry::Backoff), "{error:?}");
    }
    assert_eq!(world.cache().update(&source, Some(&known)).unwrap(), Update::Unchanged);
    let snapshot = world.cache().snapshot(&source, commit).unwrap();
    assert_eq!(snapshot.read("a").unwrap(), text.as_bytes());
    assert_eq!(snapshot.read("folder/b").unwrap(), b"1");
    drop(snapshot);
    generation(&world);
}

#[test]
fn pack_with_wrong_bytes_is_replaced() {
    mended(|world| {
        let pack = &packs(world)[0];
        let mut bytes = fs::read(pack).unwrap();
        for byte in bytes.iter_mut().skip(12) {
            *byte ^= 0x55;
        }
        overwrite(pack, &bytes);
    });
}

#[test]
fn pack_that_lost_its_end_is_replaced() {
    mended(|world| {
        let pack = &packs(world)[0];
        let bytes = fs::read(pack).unwrap();
        overwrite(pack, &bytes[..bytes.len() / 2]);
    });
}

#[test]
fn lost_pack_is_replaced() {
    mended(|world| {
        for pack in packs(world) {
            fs::remove_file(pack.with_extension("idx")).unwrap();
            fs::remove_file(pack).unwrap();
        }
    });
}

#[test]
fn folder_that_is_no_repository_any_more_is_replaced() {
    mended(|world| {
        fs::remove_file(generation(world).join("HEAD")).unwrap();
        fs::remove_dir_all(generation(world).join("refs")).unwrap();
    });
}

#[test]
fn fetch_onto_a_damaged_base_starts_anew_at_the_second_attempt() {
    let mut world = World::new();
    let text: String = (0..5000).map(|number| format!("{}\n", number * 7919 % 100_003)).collect();
    world.shop.write("a", &text).commit("First").unwrap();
    world.moved();
    let pack = packs(&world)[0].clone();
    let mut bytes = fs::read(&pack).unwrap();
    for byte in bytes.iter_mut().skip(400) {
        *byte ^= 0x55;
    }
    overwrite(&pack, &bytes);
    let changed = text.replacen("7919", "changed", 1);
    let commit = world.shop.write("a", &changed).commit("Second").unwrap();
    let source = world.source("main");
    let revision = (0..2).find_map(|_| match world.cache().update(&source, None) {
        Ok(update) => moved(update),
        Err(error) => {
            assert_eq!((error.reason(), error.retry()), ("TransferDamaged", Retry::Backoff), "{error:?}");
            None
        }
    });
    assert_eq!(revision.unwrap().commit, id(&commit));
    assert_eq!(world.snapshot().read("a").unwrap(), changed.as_bytes());
}

/// Packs are read-only files.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}
