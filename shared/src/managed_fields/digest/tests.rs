use proptest::prelude::*;

use super::super::set::tests::{Tree, tree};
use super::super::{Entry, FieldSet, Fields};
use super::{Owned, PathHash, mix};

fn fields(list: &str) -> Fields {
    serde_json::from_str(list).expect("the test's list is valid")
}

fn owned(set: &str) -> Owned {
    let entry = format!(r#"[{{"manager":"skiff","operation":"Apply","fieldsV1":{set}}}]"#);
    fields(&entry).ours.expect("the entry is ours")
}

/// The digest is stored in clusters: these values were computed by another program and must never change.
#[test]
fn digest_is_the_one_that_is_stored_in_clusters() {
    let bare = "a"
        .bytes()
        .fold(PathHash::default().0, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PathHash::PRIME));
    assert_eq!(bare, 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964, "FNV-1a");
    assert_eq!(mix(1), 0xb456_bcfc_34c2_cb2c, "MurmurHash3's mix");
    assert_eq!(owned(r#"{"f:spec":{}}"#).digest, 0x59d1_2a4c_bdc3_4d0c_7f0c_d5df_62d4_a50d);
    let set = r#"{"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":
        {"k:{\"name\":\"web\"}":{".":{},"f:image":{}}}}}},"f:metadata":{"f:finalizers":{"v:\"example.com/x\"":{}}}}"#;
    assert_eq!(owned(set).digest, 0x1639_db21_671b_b5eb_f9aa_a387_3fc8_ae75);
}

#[test]
fn digest_survives_storing_as_text() {
    let recorded = Owned { digest: u128::MAX - 1, time: 1_763_883_717 };
    let stored = serde_json::to_string(&recorded).expect("plain values are valid JSON");
    insta::assert_snapshot!(stored, @r#"{"digest":"fffffffffffffffffffffffffffffffe","time":1763883717}"#);
    assert_eq!(serde_json::from_str::<Owned>(&stored).expect("readable"), recorded);
}

#[test]
fn swapped_names_of_two_parents_give_another_digest() {
    let one = owned(r#"{"f:spec":{"f:a":{"f:x":{}},"f:b":{"f:y":{}}}}"#);
    let other = owned(r#"{"f:spec":{"f:a":{"f:y":{}},"f:b":{"f:x":{}}}}"#);
    assert_ne!(one.digest, other.digest);
}

#[test]
fn list_item_with_and_without_itself_differ() {
    let with = owned(r#"{"f:args":{"k:{\"name\":\"a\"}":{".":{},"f:x":{}}}}"#);
    let without = owned(r#"{"f:args":{"k:{\"name\":\"a\"}":{"f:x":{}}}}"#);
    assert_ne!(with.digest, without.digest);
}

#[test]
fn elements_of_unknown_kinds_are_skipped_as_the_server_skips_them() {
    assert_eq!(owned(r#"{"f:a":{"z:new":{"f:b":{}}}}"#), owned(r#"{"f:a":{}}"#));
}

#[test]
fn entry_names_may_come_after_the_field_set() {
    let before = fields(
        r#"[{"manager":"skiff","operation":"Apply","time":"2026-11-23T07:41:57Z","fieldsV1":{"f:a":{}}}]"#,
    );
    let after = fields(
        r#"[{"fieldsV1":{"f:a":{}},"time":"2026-11-23T07:41:57Z","operation":"Apply","manager":"skiff"}]"#,
    );
    assert_eq!(before, after);
    assert_eq!(before.ours.map(|ours| ours.time), Some(1_795_419_717));
}

#[test]
fn only_the_apply_entry_without_subresource_is_ours() {
    for foreign in [
        r#"[{"manager":"skiff","operation":"Update","fieldsV1":{"f:a":{}}}]"#,
        r#"[{"manager":"skiff","operation":"Apply","fieldsV1":{"f:a":{}},"subresource":"scale"}]"#,
        r#"[{"manager":"skiff-2","operation":"Apply","fieldsV1":{"f:a":{}}}]"#,
    ] {
        assert_eq!(fields(foreign).ours, None, "{foreign}");
        assert_ne!(fields(foreign).others, 0, "{foreign}");
    }
    let status =
        fields(r#"[{"manager":"skiff","operation":"Apply","fieldsV1":{"f:a":{}},"subresource":"status"}]"#);
    assert_eq!((status.ours, status.others), (None, 0));
    assert_ne!(status.status, 0);
}

#[test]
fn every_part_of_a_foreign_entry_counts() {
    let entries = [
        r#"{"manager":"a","operation":"Update","time":"2026-11-23T07:41:57Z","fieldsV1":{"f:a":{}}}"#,
        r#"{"manager":"b","operation":"Update","time":"2026-11-23T07:41:57Z","fieldsV1":{"f:a":{}}}"#,
        r#"{"manager":"a","operation":"Apply","time":"2026-11-23T07:41:57Z","fieldsV1":{"f:a":{}}}"#,
        r#"{"manager":"a","operation":"Update","time":"2026-11-23T07:41:58Z","fieldsV1":{"f:a":{}}}"#,
        r#"{"manager":"a","operation":"Update","fieldsV1":{"f:a":{}}}"#,
        r#"{"manager":"a","operation":"Update","time":"2026-11-23T07:41:57Z","fieldsV1":{"f:b":{}}}"#,
        r#"{"manager":"a","operation":"Update","time":"2026-11-23T07:41:57Z","fieldsV1":{"f:a":{}},"subresource":"scale"}"#,
    ];
    let mut digests: Vec<u64> = entries.iter().map(|entry| fields(&format!("[{entry}]")).others).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), entries.len());
}

#[test]
fn missing_and_empty_lists_are_nothing() {
    assert_eq!(fields("null"), Fields::default());
    assert_eq!(fields("[]"), Fields::default());
}

#[test]
fn damaged_list_is_an_error_that_says_what_was_expected() {
    let error = |list: &str| serde_json::from_str::<Fields>(list).expect_err("damaged").to_string();
    insta::assert_snapshot!(error(r#"[{"time":"yesterday"}]"#), @r#"invalid value: string "yesterday", expected a time such as 2026-11-23T07:41:57Z at line 1 column 20"#);
    insta::assert_snapshot!(error(r#"[{"fieldsV1":7}]"#), @"invalid type: integer `7`, expected a level of fieldsV1 at line 1 column 14");
    insta::assert_snapshot!(error(r#"{}"#), @"invalid type: map, expected a list of managedFields entries at line 1 column 2");
}

fn entries() -> impl Strategy<Value = Vec<(String, Tree)>> {
    let manager = prop_oneof![Just("skiff"), Just("kubectl"), Just("kube-controller-manager")];
    let operation = prop_oneof![Just("Apply"), Just("Update")];
    let subresource = prop_oneof![Just(""), Just("status"), Just("scale")];
    let time = prop_oneof![Just(""), Just("2026-11-23T07:41:57Z"), Just("2026-11-23T07:42:03Z")];
    let names =
        (manager, operation, subresource, time).prop_map(|(manager, operation, subresource, time)| {
            let time = if time.is_empty() { String::new() } else { format!(r#""time":"{time}","#) };
            format!(r#""manager":"{manager}",{time}"operation":"{operation}","subresource":"{subresource}""#)
        });
    prop::collection::vec((names, tree()), 0..5)
}

/// Writes the entries; odd seeds put the field set before the names.
fn list(entries: &[(String, Tree)], seed: u64) -> String {
    let entry = |(names, tree): &(String, Tree)| {
        let set = format!(r#""fieldsV1":{}"#, tree.json(seed));
        if seed % 2 == 1 { format!("{{{set},{names}}}") } else { format!("{{{names},{set}}}") }
    };
    format!("[{}]", entries.iter().map(entry).collect::<Vec<_>>().join(","))
}

proptest! {
    #[test]
    fn streamed_digest_is_that_of_the_parsed_set(tree in tree(), seed: u64) {
        let parsed = FieldSet::from_v1(&tree.json(0)).expect("valid");
        prop_assert_eq!(owned(&tree.json(seed)).digest, parsed.digest());
    }

    #[test]
    fn different_sets_have_different_digests(one in tree(), other in tree()) {
        let (one, other) = (one.set(), other.set());
        prop_assert_eq!(one == other, one.digest() == other.digest());
    }

    #[test]
    fn streamed_fields_are_those_of_whole_entries(entries in entries(), seed: u64) {
        let whole: Vec<Entry> = serde_json::from_str(&list(&entries, 0)).expect("valid");
        prop_assert_eq!(fields(&list(&entries, seed)), Fields::of(&whole).expect("valid"));
    }

    #[test]
    fn values_are_reduced_as_text_is(entries in entries(), seed: u64) {
        let text = list(&entries, seed);
        let value: serde_json::Value = serde_json::from_str(&text).expect("valid");
        prop_assert_eq!(serde_json::from_value::<Fields>(value).expect("valid"), fields(&text));
    }

    #[test]
    fn order_of_foreign_entries_does_not_matter(mut entries in entries()) {
        let ordered = fields(&list(&entries, 0));
        entries.reverse();
        let reversed = fields(&list(&entries, 0));
        prop_assert_eq!((ordered.others, ordered.status), (reversed.others, reversed.status));
    }
}
