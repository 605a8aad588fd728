//! Any JSON as `metadata.managedFields`: read while it streams as when it is kept whole, and written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skiff_shared::managed_fields::{Entry, FieldSet, Fields, Path, field_set_of, release};

fuzz_target!(|text: &str| {
    let _pointer = Path::from_pointer(text);
    if let Ok(set) = FieldSet::from_v1(text) {
        let again = FieldSet::from_v1(set.to_fields_v1().get()).expect("a written set can be read");
        assert_eq!(set.digest(), again.digest());
        assert_eq!(set.difference(&again).len(), 0);
        assert_eq!(set.union(&again).digest(), set.digest());
        let paths: Vec<Path> = set.paths().take(3).cloned().collect();
        let rest = set.subtract(&paths);
        assert!(paths.iter().all(|path| !rest.contains(path)));
    }
    // No API server writes a key twice, which would be counted twice while it streams.
    let Ok(once) = serde_json::from_str::<serde_json::Value>(text).map(|value| value.to_string()) else { return };
    let streamed = serde_json::from_str::<Fields>(&once);
    let Ok(entries) = serde_json::from_str::<Vec<Entry>>(&once) else { return };
    // Nor a time that is none, which is an error while it streams and no time when it is kept.
    if let (Ok(whole), Ok(streamed)) = (Fields::of(&entries), streamed) {
        assert_eq!(streamed, whole);
    }
    if let Ok(ours) = field_set_of(&entries) {
        let paths: Vec<Path> = ours.paths().take(2).cloned().collect();
        let _released = release(&entries, &paths);
    }
});
