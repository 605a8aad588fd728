//! The recording of what `kubectl` reads is what its libraries read today.

use std::fs;

use skiff_e2e::vectors;

#[test]
fn recorded_readings_are_those_of_kubectl() {
    let copies = tempfile::tempdir().unwrap();
    let recorded = vectors::files(&vectors::corpus()).unwrap();
    assert!(!recorded.is_empty());
    for file in &recorded {
        fs::copy(file, copies.path().join(file.file_name().unwrap())).unwrap();
    }

    vectors::record(&vectors::files(copies.path()).unwrap()).unwrap();

    for file in recorded {
        let fresh = fs::read_to_string(copies.path().join(file.file_name().unwrap())).unwrap();
        let old = fs::read_to_string(&file).unwrap();
        let stale = old.lines().zip(fresh.lines()).position(|(old, fresh)| old != fresh);
        assert_eq!(stale.map(|line| line + 1), None, "{} is out of date: run record-vectors", file.display());
        assert_eq!(old, fresh, "{}", file.display());
    }
}
