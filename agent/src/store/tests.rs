use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use skiff_shared::object::Digest;

use super::{Collection, Store};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn segments(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count() - 1
}

#[test]
fn body_comes_back_under_its_digest() {
    let directory = directory();
    let store = Store::open(directory.path()).unwrap();
    let digest = store.put(b"one").unwrap();
    assert_eq!(store.put(b"one").unwrap(), digest);
    store.put(b"two").unwrap();
    assert_eq!(store.get(digest).unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(store.get(Digest::of(b"three")).unwrap(), None);
    assert_eq!(store.len(), 2);
}

#[test]
fn reopened_store_has_its_bodies_and_takes_more() {
    let directory = directory();
    let store = Store::open(directory.path()).unwrap();
    let kept = store.put(b"kept").unwrap();
    assert_eq!(Store::open(directory.path()).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(store);
    let again = Store::open(directory.path()).unwrap();
    let more = again.put(b"more").unwrap();
    drop(again);
    let last = Store::open(directory.path()).unwrap();
    assert_eq!(last.get(kept).unwrap().as_deref(), Some(&b"kept"[..]));
    assert_eq!(last.get(more).unwrap().as_deref(), Some(&b"more"[..]));
}

#[test]
fn torn_body_is_missing_and_is_written_again() {
    let directory = directory();
    let store = Store::open(directory.path()).unwrap();
    let first = store.put(b"first").unwrap();
    let second = store.put(b"second").unwrap();
    drop(store);
    let file = directory.path().join("00000000.bodies");
    // The first body's bytes are lost in a crash, and the end of the second.
    let segment = OpenOptions::new().write(true).open(&file).unwrap();
    segment.write_all_at(b"\0\0\0\0\0", 20).unwrap();
    segment.set_len(50).unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.get(first).unwrap(), None);
    assert_eq!(store.get(second).unwrap(), None);
    store.put(b"first").unwrap();
    store.put(b"second").unwrap();
    assert_eq!(store.get(first).unwrap().as_deref(), Some(&b"first"[..]));
    assert_eq!(store.get(second).unwrap().as_deref(), Some(&b"second"[..]));
}

#[test]
fn collection_keeps_what_is_live_and_waits_for_holds() {
    let directory = directory();
    let store = Store::open(directory.path()).unwrap();
    let live = store.put(b"live").unwrap();
    let dead = store.put(&[b'x'; 1000]).unwrap();
    let hold = store.clone().hold();
    assert_eq!(store.retain(|| HashSet::from([live])).unwrap(), Collection::Busy);
    drop(hold);
    let done = Collection::Done { removed: 1, kept: 1 };
    assert_eq!(store.retain(|| HashSet::from([live])).unwrap(), done);
    assert_eq!(store.get(live).unwrap().as_deref(), Some(&b"live"[..]));
    assert_eq!(store.get(dead).unwrap(), None);
    let size: u64 =
        fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(size, 20 + 4, "the dead body's space is given back");
    store.retain(HashSet::new).unwrap();
    assert!(store.is_empty());
    assert_eq!(segments(directory.path()), 0);
}

#[test]
fn leavings_of_many_restarts_are_joined() {
    let directory = directory();
    let mut live = HashSet::new();
    for restart in 0..5_u8 {
        live.insert(Store::open(directory.path()).unwrap().put(&[restart]).unwrap());
    }
    assert_eq!(segments(directory.path()), 5);
    let store = Store::open(directory.path()).unwrap();
    store.retain(|| live.clone()).unwrap();
    assert_eq!(segments(directory.path()), 1);
    store.retain(|| live.clone()).unwrap();
    drop(store);
    let again = Store::open(directory.path()).unwrap();
    assert!(live.iter().all(|digest| again.get(*digest).unwrap().is_some()));
    again.retain(|| live).unwrap();
    assert_eq!(segments(directory.path()), 1);
}

#[test]
fn full_segment_is_followed_by_another() {
    let directory = directory();
    let store = Store::open(directory.path()).unwrap();
    let large: Vec<Digest> = (0..3_u8).map(|fill| store.put(&vec![fill; 12 << 20]).unwrap()).collect();
    assert_eq!(segments(directory.path()), 2);
    assert!(large.iter().all(|digest| store.get(*digest).unwrap().is_some()));
}
