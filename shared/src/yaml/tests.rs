use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{DuplicateKeys, KeepLines, Limits, Options, decode, documents, load, to_canonical};

mod corpus;
mod mutation;

fn canonical(value: &Value) -> String {
    let mut bytes = Vec::new();
    to_canonical(value, &mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// One line for each document: its line and JSON, or the error.
fn read(text: &str, options: Options) -> String {
    let mut report = String::new();
    for document in documents(text, options) {
        match document {
            Ok(document) => {
                writeln!(report, "{}: {}", document.line, canonical(&document.value)).unwrap();
                for twice in document.duplicates {
                    writeln!(report, "   twice: {} at {} and {}", twice.key, twice.first_line, twice.line)
                        .unwrap();
                }
            }
            Err(error) => writeln!(report, "{error}").unwrap(),
        }
    }
    report
}

fn read_default(text: &str) -> String {
    read(text, Options::default())
}

fn error(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

#[test]
fn documents_come_with_their_lines_and_empty_ones_are_skipped() {
    insta::assert_snapshot!(read_default("# a comment\n---\n\na: 1\n---\n---\n# nothing\n---\nnull\n--- {b: 2}\n...\n---\n- c\n"), @r#"
    4: {"a":1}
    10: {"b":2}
    13: ["c"]
    "#);
}

#[test]
fn reading_resumes_after_a_broken_document() {
    insta::assert_snapshot!(read_default("a: 1\n---\nb: [1, 2\n---\nc: 3\n---\nd: 4\nd: 5\n---\n: : :\n- x\n---\ne: *nowhere\n---\nf: 6\n"), @r#"
    1: {"a":1}
    document 2, line 3, column 4: unclosed bracket '['
    5: {"c":3}
    document 4, line 8, column 1: duplicate key "d" (first at line 7)
    document 5, line 10, column 1: null cannot be a key
    document 6, line 13, column 4: the alias names no anchor that stands before it in this document
    15: {"f":6}
    "#);
}

#[test]
fn duplicate_keys_are_refused_with_both_lines() {
    assert_eq!(
        error("metadata:\n  name: a\n  labels: {}\n  name: b\n"),
        "document 1, line 4, column 3: duplicate key \"name\" (first at line 2)"
    );
    assert_eq!(
        error("1: a\n\"1\": b\n"),
        "document 1, line 2, column 1: duplicate key \"1\" (first at line 1)"
    );
}

#[test]
fn duplicate_keys_can_be_taken_with_a_note() {
    let options = Options { duplicate_keys: DuplicateKeys::LastWins, ..Options::default() };
    insta::assert_snapshot!(read("a: 1\nb:\n  c: 1\n  c: 2\n  c: 3\na: 2\n", options), @r#"
    1: {"a":2,"b":{"c":3}}
       twice: c at 3 and 5
       twice: a at 1 and 6
    "#);
}

#[test]
fn a_merged_key_is_no_duplicate() {
    let document = load("base: &base {a: 1, b: 2}\nhere:\n  <<: *base\n  a: 3\n").unwrap();
    assert_eq!(document.value["here"], json!({ "a": 3, "b": 2 }));
    assert_eq!(document.line_of("/here/b"), Some(3));
    assert_eq!(document.line_of("/here/a"), Some(4));
}

#[test]
fn every_value_knows_its_line() {
    let document = load("# top\na:\n  b/c:\n    - x\n    - ~d: 1\n      e: 2\n").unwrap();
    let line = |pointer| document.line_of(pointer);
    assert_eq!(line(""), Some(2));
    assert_eq!(line("/a"), Some(2));
    assert_eq!(line("/a/b~1c"), Some(3));
    assert_eq!(line("/a/b~1c/0"), Some(4));
    assert_eq!(line("/a/b~1c/1/~0d"), Some(5));
    assert_eq!(line("/a/b~1c/1/e"), Some(6));
    assert_eq!(line("/a/b~1c/1/missing/deeper"), Some(5));
}

#[test]
fn lines_can_be_left_out() {
    let options = Options { lines: KeepLines::No, ..Options::default() };
    let document = documents("a: 1\n", options).next().unwrap().unwrap();
    assert_eq!(document.line_of("/a"), None);
    assert_eq!(document.line, 1);
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let alias = format!("*a{}", level - 1);
        writeln!(bomb, "a{level}: &a{level} [{}]", vec![alias; 10].join(", ")).unwrap();
    }
    assert_eq!(
        error(&bomb),
        "document 1, line 5, column 25: the document's aliases repeat more than 50000 values"
    );
}

#[test]
fn deep_nesting_is_refused_and_what_is_allowed_can_be_read_back() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let deepest = canonical(&load(&nested(127)).unwrap().value);
    assert!(serde_json::from_str::<Value>(&deepest).is_ok());
    assert_eq!(
        error(&nested(128)),
        "document 1, line 1, column 128: the document is nested more than 127 levels deep"
    );
    assert!(load(&nested(50_000)).is_err());
    assert!(load(&"- ".repeat(50_000)).is_err());
}

#[test]
fn aliases_count_towards_the_depth() {
    let mut text = "a0: &a0 [1]\n".to_owned();
    for level in 1..200 {
        writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert_eq!(
        error(&text),
        "document 1, line 127, column 14: the document is nested more than 127 levels deep"
    );
}

#[test]
fn too_many_values_are_refused() {
    let options = Options { limits: Limits { nodes: 3, ..Limits::default() }, ..Options::default() };
    insta::assert_snapshot!(read("[1, 2]\n---\n[1,\n2, 3]\n---\na: 1\n", options), @r#"
    1: [1,2]
    document 2, line 4, column 4: the document has more than 3 values
    6: {"a":1}
    "#);
}

#[test]
fn byte_order_mark_line_ends_and_tabs_are_read() {
    let text = decode(b"\xEF\xBB\xBFa: b\r\nc:\td\r\ne: |\r\n  x\r\n  y\r\n").unwrap();
    assert_eq!(load(&text).unwrap().value, json!({ "a": "b", "c": "d", "e": "x\ny\n" }));
    assert_eq!(load("\u{feff}a: b").unwrap().value, json!({ "a": "b" }));
}

#[test]
fn utf_16_is_read_and_other_bytes_are_refused() {
    let little: Vec<u8> = "\u{feff}a: ü𝄞\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = "\u{feff}a: ü𝄞\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(decode(&little).unwrap(), "a: ü𝄞\n");
    assert_eq!(decode(&big).unwrap(), "a: ü𝄞\n");
    assert_eq!(
        decode(&little[..5]).unwrap_err().to_string(),
        "line 1, column 2: the file is not UTF-16 text"
    );
    let latin = decode(b"a: b\nc: \xFC\n").unwrap_err();
    assert_eq!(latin.to_string(), "line 2, column 4: the file is not UTF-8 text");
}

#[test]
fn json_is_read_as_the_yaml_it_is() {
    let text = "{\n\t\"a\": [1, 2.0, \"\\ud834\\udd1e\", \"\\/\"],\n\t\"b\": {\"c\": null, \"d\": true}\n}\n";
    let document = load(text).unwrap();
    assert_eq!(document.value, json!({ "a": [1, 2, "𝄞", "/"], "b": { "c": null, "d": true } }));
    assert_eq!(document.line_of("/b/d"), Some(3));
}

#[test]
fn one_document_is_exactly_one() {
    assert_eq!(error(""), "line 1, column 1: the file holds no document");
    assert_eq!(error("# nothing\n---\n"), "line 1, column 1: the file holds no document");
    assert_eq!(
        error("a: 1\n---\nb: 2\n"),
        "document 2, line 3, column 1: a second document begins here, where only one is allowed"
    );
    assert_eq!(load("---\na: 1\n---\n").unwrap().value, json!({ "a": 1 }));
}

#[test]
fn messages_name_no_values() {
    assert_eq!(
        error("a: !!int s3cret"),
        "document 1, line 1, column 10: the value is not of the type that its tag !!int names"
    );
    assert_eq!(
        error("a: .inf"),
        "document 1, line 1, column 4: an infinite number or .nan cannot be written as JSON"
    );
    assert_eq!(error("? [1]\n: 2"), "document 1, line 1, column 3: a list cannot be a key");
    assert_eq!(
        error("a: &x [*x]"),
        "document 1, line 1, column 8: the alias stands within the value that it stands for"
    );
}

#[test]
fn canonical_json_has_one_spelling() {
    let value = json!({ "b": 1.5, "a": [1e21, 1e-7, 0.1, -0.0, 1e20], "é": "x\"\n\u{1}", "A": {} });
    assert_eq!(
        canonical(&value),
        "{\"A\":{},\"a\":[1e+21,1e-7,0.1,0,100000000000000000000],\"b\":1.5,\"é\":\"x\\\"\\n\\u0001\"}"
    );
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Settings {
    name: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    prune: Switch,
    #[serde(default)]
    rest: Value,
}

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
struct Switch {
    enabled: Option<bool>,
    limit: Option<u8>,
}

fn settings(text: &str) -> (Option<Settings>, String) {
    let reading = super::read::<Settings>(&load(text).unwrap().value);
    let mismatches = reading.mismatches.into_iter().map(|it| format!("{} {}\n", it.pointer, it.message));
    (reading.value, mismatches.collect())
}

#[test]
fn reading_a_type_reports_every_mistake_and_keeps_the_rest() {
    let (value, mismatches) = settings("name: a\ntags: [x, 1, z, {}]\nprune: {limit: 300, enabeld: true}\n");
    insta::assert_snapshot!(mismatches, @r#"
    /prune/enabeld unknown key "enabeld": did you mean "enabled"?
    /prune/limit limit: expected a whole number from 0 to 255
    /tags/1 tags[1]: expected text (put it in quotes), found a number
    /tags/3 tags[3]: expected text, found a mapping
    "#);
    assert_eq!(value.unwrap().tags, ["x", "z"]);
    assert_eq!(settings("tags: []\n"), (None, " missing key \"name\"\n".to_owned()));
    assert_eq!(
        settings("name: 5\n"),
        (None, "/name name: expected text (put it in quotes), found a number\n".to_owned())
    );
}

#[test]
fn reading_a_type_takes_nothing_for_absent_and_a_boolean_for_a_switch() {
    let (value, mismatches) = settings("name: a\ntags:\nprune: yes\nrest: {a: null, b: 1}\n");
    let value = value.unwrap();
    assert_eq!(mismatches, "");
    assert_eq!((value.prune.enabled, value.prune.limit), (Some(true), None));
    assert_eq!(value.rest, json!({ "a": null, "b": 1 }));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\n\t]{0,200}") {
        let _ = documents(&text, Options::default()).count();
    }

    #[test]
    fn any_json_is_read_back(value in json_values()) {
        let text = canonical(&value);
        match documents(&text, Options::default()).next() {
            None => proptest::prop_assert_eq!(value, Value::Null),
            Some(document) => proptest::prop_assert_eq!(document.unwrap().value, value),
        }
    }
}

/// Characters that YAML allows; of the others JSON escapes most, but not all.
const TEXT: &str = "[ -~\n\t\u{a0}-\u{2fff}\u{1f300}-\u{1f6ff}]{0,12}";

fn json_values() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        TEXT.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(TEXT, inner, 0..5)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

#[test]
fn a_number_of_a_body_is_read_again_as_it_was() {
    // Readers that save time are wrong in the last of 17 digits.
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        let float = f64::from_bits(bits);
        let Some(number) = serde_json::Number::from_f64(float) else { continue };
        let body = canonical(&Value::Number(number));
        let again: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(canonical(&again), body, "{float:e}");
    }
}
