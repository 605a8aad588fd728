//! Broken texts by the thousand: the corpus, changed at random, always in the same way.
//!
//! `SKIFF_MUTATIONS=5000000 cargo test -p skiff-shared mutated` takes as many as are asked for, and
//! `SKIFF_MUTATION_SEED=7` takes others.

#![expect(clippy::disallowed_methods, reason = "a test reads its files and what it is asked for")]

use granit_parser::Parser;
use serde_json::Value;

use super::corpus::{ascii, entries};
use crate::yaml::split::Pieces;
use crate::yaml::{DuplicateKeys, KeepLines, Limits, Options, YamlError, decode, documents};

const MUTATIONS: u64 = 50_000;
const LONGEST_SEED: usize = 2_000;

/// Small enough that the bounds are met often.
const LIMITS: Limits = Limits { nodes: 5_000, repeated: 500, depth: 127 };
const OPTIONS: Options =
    Options { duplicate_keys: DuplicateKeys::LastWins, lines: KeepLines::Yes, limits: LIMITS };

/// What YAML is made of.
const PARTS: [&str; 56] = [
    "\n",
    "\n\n",
    " ",
    "  ",
    "\t",
    "\r\n",
    "- ",
    "? ",
    ": ",
    ":",
    ",",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "!!int ",
    "!!str ",
    "!!binary ",
    "!",
    "|",
    ">",
    "|2-\n",
    ">+\n",
    "'",
    "\"",
    "\\",
    "\\x",
    "\\u0041",
    "\\ud834",
    "#",
    " #",
    "%YAML 1.1\n",
    "\n---\n",
    "---",
    "\n...\n",
    "<<: ",
    "<<: *a\n",
    "<<: [*a, *a]\n",
    "~",
    "0x",
    "1e",
    ".inf",
    "0777",
    "yes",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\0",
    "\u{7f}",
    "a: 1\n",
    "&a [",
    "*a, *a, *a",
    "{\"a\":1}",
    "é",
];

/// Numbers that look like chance and are the same every time (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(sides.max(1)).unwrap()).unwrap()
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(40) + 1)
    }
}

fn mutate(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut text = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(4) {
        match dice.below(6) {
            0 => drop(text.drain(dice.range(text.len()))),
            1 | 2 => {
                let at = dice.below(text.len() + 1);
                text.splice(at..at, PARTS[dice.below(PARTS.len())].bytes());
            }
            3 => {
                let copied = text[dice.range(text.len())].to_vec();
                let at = dice.below(text.len() + 1);
                let times = 1 + dice.below(4);
                text.splice(at..at, copied.repeat(times));
            }
            4 => {
                let other = &seeds[dice.below(seeds.len())];
                let part = other[dice.range(other.len())].to_vec();
                text.splice(dice.range(text.len()), part);
            }
            _ => {
                let at = dice.below(text.len());
                if let Some(byte) = text.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
    text
}

/// What a value takes: how many values it is, how many bytes of text, and its longest key.
#[derive(Default)]
struct Size {
    values: usize,
    text: usize,
    longest_key: usize,
}

impl Size {
    fn add(&mut self, value: &Value) {
        self.values += 1;
        match value {
            Value::String(text) => self.text += text.len(),
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(map) => {
                for (key, value) in map {
                    self.text += key.len();
                    self.longest_key = self.longest_key.max(key.len());
                    self.add(value);
                }
            }
            _ => {}
        }
    }
}

/// Counts the parser's work.
fn events(text: &str) -> usize {
    let pieces: Vec<_> = Pieces::new(text).collect();
    assert!(pieces.len() <= text.len() + 1);
    pieces.iter().map(|piece| Parser::new_from_str(piece.text).take_while(Result::is_ok).count() + 1).sum()
}

/// Checks what must hold for any text, and returns how many documents were read.
fn check(text: &str) -> usize {
    assert!(events(text) <= 8 * text.len() + 16, "more events than the text is worth");
    let mut read = 0;
    for (index, document) in documents(text, OPTIONS).enumerate() {
        assert!(index <= text.len() + 1, "more documents than the text has room for");
        let document = match document {
            Ok(document) => document,
            Err(error) => {
                check_place(&error, text);
                continue;
            }
        };
        read += 1;
        let mut size = Size::default();
        size.add(&document.value);
        assert!(size.values <= LIMITS.nodes, "{} values", size.values);
        // A byte that is no text under `!!binary` becomes three, and base64 has four characters for three bytes.
        let most = 3 * (text.len() + 128 * LIMITS.repeated);
        assert!(size.text <= most, "{} bytes of text", size.text);
        assert_eq!(document.line_of(""), Some(document.line));
        // YAML allows no longer keys, and the printed text is JSON without question marks.
        if size.longest_key < 160 {
            let printed = ascii(&document.value);
            let again = documents(&printed, OPTIONS).next().map(|again| again.map(|again| again.value));
            assert_eq!(again, Some(Ok(document.value)), "printed as {printed}");
        }
    }
    read
}

fn check_place(error: &YamlError, text: &str) {
    let lines = text.split('\n').flat_map(|line| line.split('\r')).count();
    assert!(error.line > 0 && error.column > 0, "{error}");
    assert!(usize::try_from(error.line).unwrap() <= lines + 1, "{error}");
    assert!(error.document.is_some(), "{error}");
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn mutated_texts_are_read_within_bounds_and_read_back_as_they_were() {
    let seeds: Vec<Vec<u8>> =
        entries().into_iter().map(|entry| entry.input).filter(|input| input.len() <= LONGEST_SEED).collect();
    let mut dice = Dice(number("SKIFF_MUTATION_SEED", 1));
    let mutations = number("SKIFF_MUTATIONS", MUTATIONS);
    let mut texts = 0;
    let mut read = 0;
    for _ in 0..mutations {
        let bytes = mutate(&mut dice, &seeds);
        let Ok(text) = decode(&bytes) else { continue };
        texts += 1;
        let outcome = std::panic::catch_unwind(|| check(&text));
        read += outcome.unwrap_or_else(|_| panic!("the text is {text:?}"));
    }
    println!("{mutations} mutations, {texts} of them text, {read} documents");
    assert!(texts > mutations / 2 && u64::try_from(read).unwrap() > mutations / 4, "the dice are loaded");
}
