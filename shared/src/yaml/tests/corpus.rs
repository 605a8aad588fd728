//! Every text of `corpus/` is read as `kubectl` reads it, or differs for a reason that has a name.
//!
//! `corpus/README.md` describes the files. Their lines `kubectl` are written by the program in `e2e/vectors`.

#![expect(clippy::disallowed_methods, reason = "a test reads its files and what it is asked for")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::canonical;
use crate::yaml::{DuplicateKeys, KeepLines, Options, YamlError, YamlErrorKind, decode, documents};

/// The page that explains each named difference.
const PAGE: &str = include_str!("../../../../docs/yaml.md");

/// One text, with what is recorded about it.
pub(super) struct Entry {
    /// `scalars.txt:12`.
    place: String,
    pub(super) input: Vec<u8>,
    kubectl: String,
    skiff: Option<String>,
    because: Option<String>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/yaml/tests/corpus")
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

/// Returns all entries of all files.
pub(super) fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for file in files() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for (index, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            let place = format!("{name}:{}", index + 1);
            match line.split_once(' ') {
                Some(("in", input)) => entries.push(Entry {
                    place,
                    input: unpack(input),
                    kubectl: String::new(),
                    skiff: None,
                    because: None,
                }),
                Some(("kubectl", read)) => read.clone_into(&mut entries.last_mut().unwrap().kubectl),
                Some(("skiff", read)) => entries.last_mut().unwrap().skiff = Some(read.to_owned()),
                Some(("because", name)) => entries.last_mut().unwrap().because = Some(name.to_owned()),
                _ => assert!(line.is_empty() || line.starts_with('#'), "{place}: what is {line:?}?"),
            }
        }
    }
    entries
}

/// Makes the bytes of an input: a JSON string, or a list of strings, of numbers that repeat the string before them,
/// and of `{"hex": "…"}`.
fn unpack(input: &str) -> Vec<u8> {
    let parts = match serde_json::from_str(input).unwrap() {
        Value::Array(parts) => parts,
        text => vec![text],
    };
    let mut all = Vec::new();
    let mut last = Vec::new();
    for part in parts {
        let times = match part {
            Value::Number(times) => usize::try_from(times.as_u64().unwrap()).unwrap() - 1,
            Value::String(text) => {
                last = text.into_bytes();
                1
            }
            bytes => {
                last = hex::decode(bytes["hex"].as_str().unwrap()).unwrap();
                1
            }
        };
        all.extend(last.repeat(times));
    }
    all
}

/// What a text is read as, in the words of the corpus.
#[derive(Default)]
struct Reading {
    /// The documents before the first error.
    before: Vec<String>,
    /// The documents after it.
    after: Vec<String>,
    errors: Vec<YamlError>,
}

impl Reading {
    fn of(input: &[u8], duplicate_keys: DuplicateKeys) -> Self {
        let mut reading = Self::default();
        let text = match decode(input) {
            Ok(text) => text,
            Err(error) => return Self { errors: vec![error], ..reading },
        };
        let options = Options { duplicate_keys, lines: KeepLines::No, ..Options::default() };
        for document in documents(&text, options) {
            match document {
                Ok(document) if reading.errors.is_empty() => reading.before.push(ascii(&document.value)),
                Ok(document) => reading.after.push(ascii(&document.value)),
                Err(error) => reading.errors.push(error),
            }
        }
        reading
    }

    /// Says whether `kubectl` reads the same, as far as it reads: it stops at the first error.
    fn agrees(&self, kubectl: &str) -> bool {
        match kubectl.split_once(" error ") {
            Some((documents, _)) => documents == listed(&self.before) && !self.errors.is_empty(),
            None => kubectl == listed(&self.before) && self.errors.is_empty(),
        }
    }

    /// What the line `skiff` says: nothing where there is no error and `kubectl` agrees.
    fn noted(&self, kubectl: &str) -> Option<String> {
        (!self.agrees(kubectl) || !self.errors.is_empty()).then(|| self.shown())
    }

    fn shown(&self) -> String {
        let mut shown = listed(&[self.before.as_slice(), self.after.as_slice()].concat());
        for error in &self.errors {
            write!(shown, " error {:?}", error.to_string()).unwrap();
        }
        shown
    }
}

pub(super) fn ascii(value: &Value) -> String {
    let mut text = String::new();
    for character in canonical(value).chars() {
        if character < '\u{7f}' {
            text.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(text, "\\u{unit:04x}").unwrap();
        }
    }
    text
}

fn listed(documents: &[String]) -> String {
    let list = format!("[{}]", documents.join(","));
    if list.len() <= 1000 {
        return list;
    }
    format!("sha256 {} of {} bytes", hex::encode(Sha256::digest(&list)), list.len())
}

#[test]
fn every_text_is_read_as_kubectl_reads_it_or_differs_for_a_named_reason() {
    if std::env::var_os("UPDATE").is_some() {
        files().iter().for_each(|file| update(file));
    }
    let mut wrong = String::new();
    for Entry { place, input, kubectl, skiff, because } in entries() {
        let reading = Reading::of(&input, DuplicateKeys::LastWins);
        let agrees = reading.agrees(&kubectl);
        match because {
            None if !agrees => {
                writeln!(wrong, "{place}: kubectl {kubectl}\n    here {}", reading.shown()).unwrap();
            }
            Some(name) if agrees => {
                writeln!(wrong, "{place}: nothing differs any more by {name}").unwrap();
            }
            Some(name) if !PAGE.contains(&format!("| `{name}` |")) => {
                writeln!(wrong, "{place}: docs/yaml.md explains no {name}").unwrap();
            }
            _ => {}
        }
        if skiff != reading.noted(&kubectl) {
            writeln!(wrong, "{place}: UPDATE=1 would write the line `skiff` as {}", reading.shown()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Writes the lines `skiff` of a file anew, each behind its line `kubectl`.
fn update(file: &Path) {
    let old = std::fs::read_to_string(file).unwrap();
    let mut fresh = String::new();
    let mut input = Vec::new();
    for line in old.lines().filter(|line| !line.starts_with("skiff ")) {
        writeln!(fresh, "{line}").unwrap();
        match line.split_once(' ') {
            Some(("in", text)) => input = unpack(text),
            Some(("kubectl", kubectl)) => {
                if let Some(noted) = Reading::of(&input, DuplicateKeys::LastWins).noted(kubectl) {
                    writeln!(fresh, "skiff {noted}").unwrap();
                }
            }
            _ => {}
        }
    }
    std::fs::write(file, fresh).unwrap();
}

#[test]
fn refusing_duplicate_keys_changes_nothing_else() {
    for Entry { place, input, .. } in entries() {
        let taken = Reading::of(&input, DuplicateKeys::LastWins);
        let refused = Reading::of(&input, DuplicateKeys::Refuse);
        let is_duplicate = |error: &YamlError| matches!(error.kind, YamlErrorKind::DuplicateKey { .. });
        if refused.errors.iter().any(is_duplicate) {
            assert!(refused.errors.len() > taken.errors.len(), "{place}");
        } else {
            assert_eq!(refused.shown(), taken.shown(), "{place}");
        }
    }
}

#[test]
fn every_difference_that_the_page_explains_is_in_the_corpus() {
    let named: BTreeSet<String> = entries().into_iter().filter_map(|entry| entry.because).collect();
    let (_, differences) = PAGE.split_once("## Where it differs from kubectl").unwrap();
    let explained = differences.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let missing: Vec<&str> = explained.map(|(name, _)| name).filter(|name| !named.contains(*name)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_error_names_a_place_in_the_text() {
    for Entry { place, input, .. } in entries() {
        let Ok(text) = decode(&input) else { continue };
        let lines: Vec<&str> = text.split('\n').flat_map(|line| line.split('\r')).collect();
        for error in Reading::of(&input, DuplicateKeys::Refuse).errors {
            let line = lines.get(usize::try_from(error.line).unwrap() - 1);
            // What is missing at the end of the text is named there, behind the last line.
            let end = usize::try_from(error.line).unwrap() == lines.len() + 1;
            let fits =
                line.is_some_and(|line| usize::try_from(error.column).unwrap() <= line.chars().count() + 1);
            assert!(end || fits, "{place}: {error}");
            assert!(error.document.is_some_and(|document| document > 0), "{place}: {error}");
        }
    }
}
