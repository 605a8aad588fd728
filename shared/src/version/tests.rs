//! The answers of Masterminds/semver, written by `e2e/vectors/versions`, and what is ours alone.

use serde::Deserialize;

use super::{Range, Version, newest};

const GOLDEN: &str = include_str!("tests/golden.json");

#[derive(Deserialize)]
struct Golden {
    versions: Vec<String>,
    ranges: Vec<RangeCase>,
    tags: Vec<TagCase>,
    /// From the oldest to the newest.
    ranked: Vec<String>,
}

#[derive(Deserialize)]
struct RangeCase {
    range: String,
    error: Option<String>,
    #[serde(default)]
    admits: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TagCase {
    tag: String,
    is_version: bool,
}

fn golden() -> Golden {
    serde_json::from_str(GOLDEN).unwrap()
}

fn range(text: &str) -> Range {
    text.parse().unwrap()
}

fn version(text: &str) -> Version {
    Version::of_tag(text).unwrap()
}

#[test]
fn every_golden_range_admits_what_it_admits_elsewhere() {
    let golden = golden();
    let (mut pairs, mut invalid, mut wrong) = (0, 0, Vec::new());
    for case in &golden.ranges {
        let read = case.range.parse::<Range>();
        match (&read, &case.error) {
            (Err(_), Some(_)) => invalid += 1,
            (Ok(range), None) => {
                pairs += golden.versions.len();
                let admitted = golden.versions.iter().filter(|text| range.admits(&version(text)));
                if !admitted.eq(case.admits.iter()) {
                    wrong.push(format!("{:?} admits others", case.range));
                }
            }
            (Ok(_), Some(error)) => wrong.push(format!("{:?} was read: {error}", case.range)),
            (Err(error), None) => wrong.push(error.to_string()),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(pairs >= 7_000 && invalid >= 80, "{pairs} pairs, {invalid} invalid ranges");
}

#[test]
fn every_golden_tag_is_a_version_where_it_is_one_elsewhere() {
    for case in golden().tags {
        assert_eq!(Version::of_tag(&case.tag).is_some(), case.is_version, "{:?}", case.tag);
    }
}

#[test]
fn golden_prereleases_rank_as_elsewhere() {
    let ranked = golden().ranked;
    for pair in ranked.windows(2) {
        assert!(version(&pair[0]).precedence(&version(&pair[1])).is_lt(), "{pair:?}");
        assert!(version(&pair[1]).precedence(&version(&pair[0])).is_gt(), "{pair:?}");
    }
}

#[test]
fn newest_version_in_the_range_is_chosen_whatever_the_order() {
    let mut tags = ["v1.2.0", "v1.10.0", "latest", "v1.9.9", "v2.0.0-rc.1", "v2", "1.3.0", "nightly/1.99.0"];
    for _ in 0..tags.len() {
        tags.rotate_left(1);
        assert_eq!(newest(&range("1.x"), tags), Some("v1.10.0"));
        assert_eq!(newest(&range(">=1.2 <1.10"), tags), Some("v1.9.9"));
        assert_eq!(newest(&range("*"), tags), Some("v1.10.0"), "a prerelease is none that was asked for");
        assert_eq!(newest(&range(">=1-0"), tags), Some("v2.0.0-rc.1"));
        assert_eq!(newest(&range("^3"), tags), None);
    }
}

#[test]
fn equally_new_versions_have_one_winner() {
    for tags in [["1.2.3+b.9", "1.2.3+b.10"], ["1.2.3+b.10", "1.2.3+b.9"]] {
        assert_eq!(newest(&range("*"), tags), Some("1.2.3+b.10"));
    }
    for tags in [["1.2.3", "v1.2.3"], ["v1.2.3", "1.2.3"]] {
        assert_eq!(newest(&range("*"), tags), Some("v1.2.3"));
    }
}

#[test]
fn hyphen_range_that_others_misread_is_refused() {
    let error = |text: &str| text.parse::<Range>().unwrap_err().to_string();
    insta::assert_snapshot!(error("1||2 - 3"), @r#""1||2 - 3" is no range of versions: a hyphen range needs a space after ||; write it as in ">=1.2 <2", "~1.4" or "1.x || 2.1 - 2.4""#);
    assert!(range("1|| 2 - 3").admits(&version("2.5.0")));
    insta::assert_snapshot!(error(">0 1 - 2"), @r#"">0 1 - 2" is no range of versions: a hyphen range needs a comma before it; write it as in ">=1.2 <2", "~1.4" or "1.x || 2.1 - 2.4""#);
}

#[test]
fn errors_name_what_cannot_be_read() {
    let error = |text: &str| text.parse::<Range>().unwrap_err().to_string();
    insta::assert_snapshot!(error(">=1.2 <two"), @r#"">=1.2 <two" is no range of versions: nothing can be made of "two"; write it as in ">=1.2 <2", "~1.4" or "1.x || 2.1 - 2.4""#);
    insta::assert_snapshot!(error("1 ||"), @r#""1 ||" is no range of versions: nothing stands between two ||; write it as in ">=1.2 <2", "~1.4" or "1.x || 2.1 - 2.4""#);
    assert!(error(&"1 ".repeat(300)).contains("more than 512 bytes"));
}
