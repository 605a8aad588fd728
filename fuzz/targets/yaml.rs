//! Any bytes as a manifest: they are refused with a place in the file, or what is read can be printed, and read again.
#![no_main]

use std::fmt::Write as _;

use libfuzzer_sys::fuzz_target;
use skiff_shared::desired::manifest::{Manifest, explode};
use skiff_shared::yaml::{self, DuplicateKeys, KeepLines, Limits, Options};

const OPTIONS: Options = Options {
    duplicate_keys: DuplicateKeys::LastWins,
    lines: KeepLines::Yes,
    limits: Limits { nodes: 20_000, repeated: 2_000, depth: 127 },
};

/// YAML allows no longer keys without a question mark, and JSON has none.
const LONGEST_KEY: usize = 160;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = yaml::decode(bytes) else { return };
    let lines = text.split('\n').flat_map(|line| line.split('\r')).count();
    for document in yaml::documents(&text, OPTIONS) {
        let document = match document {
            Ok(document) => document,
            Err(error) => {
                let line = usize::try_from(error.line).unwrap_or(usize::MAX);
                assert!(line > 0 && error.column > 0 && line <= lines + 1, "{error}");
                continue;
            }
        };
        let mut canonical = Vec::new();
        yaml::to_canonical(&document.value, &mut canonical);
        let again: serde_json::Value = serde_json::from_slice(&canonical).expect("canonical JSON is JSON");
        let mut twice = Vec::new();
        yaml::to_canonical(&again, &mut twice);
        assert_eq!(canonical, twice, "a body is read again as it was");
        if longest_key(&again) < LONGEST_KEY {
            let printed = ascii(std::str::from_utf8(&canonical).expect("JSON is text"));
            let read = yaml::documents(&printed, OPTIONS).next();
            assert_eq!(read.map(|read| read.map(|read| read.value)), Some(Ok(document.value.clone())), "{printed}");
        }
        for value in explode(document.value) {
            let _unread = Manifest::read(value);
        }
    }
});

fn longest_key(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => items.iter().map(longest_key).max().unwrap_or_default(),
        serde_json::Value::Object(map) => {
            map.iter().map(|(key, value)| key.len().max(longest_key(value))).max().unwrap_or_default()
        }
        _ => 0,
    }
}

/// Escapes what JSON takes as it is and YAML does not.
fn ascii(text: &str) -> String {
    let mut ascii = String::new();
    for character in text.chars() {
        if character < '\u{7f}' {
            ascii.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(ascii, "\\u{unit:04x}").expect("memory does not fail");
        }
    }
    ascii
}
