//! Any text as a range of versions over any names: what is chosen is in the range, and nothing newer is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skiff_shared::version::{Range, Version, newest};

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let Ok(range) = lines.next().unwrap_or_default().parse::<Range>() else { return };
    let again: Range = range.to_string().parse().expect("a range is printed as it is written");
    let names: Vec<&str> = lines.collect();
    let chosen = newest(&range, names.iter().copied());
    assert_eq!(chosen, newest(&again, names.iter().copied()));
    assert_eq!(chosen, newest(&range, names.iter().rev().copied()), "the order of the names does not matter");
    let admitted = names.iter().filter_map(|name| Version::of_tag(name)).filter(|version| range.admits(version));
    match chosen {
        None => assert_eq!(admitted.count(), 0),
        Some(name) => {
            let chosen = Version::of_tag(name).expect("only versions are chosen");
            assert!(range.admits(&chosen));
            assert!(admitted.map(|version| version.precedence(&chosen)).all(std::cmp::Ordering::is_le));
        }
    }
});
