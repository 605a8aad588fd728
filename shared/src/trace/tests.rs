//! The vectors were computed with `printf … | sha256sum`.

use proptest::prelude::{ProptestConfig, proptest};

use super::*;

const COMMIT: &str = "4f2c9a7d3be1a90c5d6e7f8091a2b3c4d5e6f708";
const PLACE: Place<'_> = Place { cluster: "eu-1", app: "web" };

fn revision(url: &str, traceparent: Option<&str>) -> Revision {
    Revision {
        url: url.to_owned(),
        commit: format!("sha1:{COMMIT}"),
        traceparent: traceparent.map(str::to_owned),
        ..Revision::default()
    }
}

fn instant() -> Timestamp {
    Timestamp::from_second(1_795_000_000).unwrap()
}

#[test]
fn release_is_the_hash_of_scheme_repository_and_commit() {
    let release = Release::of(&revision("https://git.example/shop", None));
    insta::assert_snapshot!(release.trace, @"365938300c1b14589f00bda8bcb09193");
    assert_eq!((release.parent, release.ignored), (None, None));
}

#[test]
fn ids_below_a_release_follow_from_it() {
    let release = Release::of(&revision("https://git.example/shop", None));
    let root = release.root(PLACE);
    insta::assert_snapshot!(root, @"88879d06e26ff1d4");
    insta::assert_snapshot!(root.child("apply"), @"c1fa8054e8e0c825");
    insta::assert_snapshot!(release.resync(PLACE, instant()), @"52d82ab708c4b1493d0c05fdb25a196e");
    insta::assert_snapshot!(
        release.heal(PLACE, "Deployment/shop/web", instant()),
        @"4079f6fa20231657347a557f5fbf0a56"
    );
}

#[test]
fn every_cluster_app_and_stage_has_its_own_span() {
    let release = Release::of(&revision("https://git.example/shop", None));
    let root = release.root(PLACE);
    let mut ids = vec![
        root,
        release.root(Place { cluster: "eu-2", ..PLACE }),
        release.root(Place { app: "api", ..PLACE }),
        release.root(Place { cluster: "eu-1/web", app: "" }),
        root.child("apply"),
        root.child("prune"),
    ];
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[test]
fn spelling_of_the_url_does_not_change_the_trace() {
    let spellings = [
        "https://git.example/shop",
        "https://git.example/shop.git",
        "https://git.example/shop/",
        "https://git.example/shop.git/",
        "HTTPS://Git.Example:443/shop",
        "https://x-token:secret@git.example/shop.git",
        "http://git.example:80/shop",
        "ssh://git@git.example/shop.git",
        "ssh://git@git.example:22/shop",
        "git@git.example:shop.git",
        "git@git.example:/shop.git",
        "git.example:shop",
        " https://git.example/shop\n",
    ];
    for url in spellings {
        assert_eq!(canonical_repository(url), "git.example/shop", "{url}");
    }
}

#[test]
fn what_tells_repositories_apart_stays() {
    let cases = [
        ("https://git.example:8443/a/Shop", "git.example:8443/a/Shop"),
        ("ssh://git@git.example:2222/shop", "git.example:2222/shop"),
        ("https://git.example/shop.github.io", "git.example/shop.github.io"),
        ("/srv/git/shop.git", "/srv/git/shop"),
        ("file:///srv/git/shop.git", "/srv/git/shop"),
        ("https://git.example", "git.example"),
        ("", ""),
    ];
    for (url, canonical) in cases {
        assert_eq!(canonical_repository(url), canonical, "{url}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_form_is_stable(url in "(https://|ssh://git@|http://u:p@)[a-zA-Z][a-zA-Z0-9.-]{0,12}(:[0-9]{2,4})?(/[a-zA-Z0-9._:@~-]{1,8}){1,3}(\\.git)?/?") {
        let once = canonical_repository(&url);
        assert_eq!(canonical_repository(&once), once);
    }
}

#[test]
fn valid_trailer_names_trace_and_parent() {
    let trailer = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let release = Release::of(&revision("https://git.example/shop", Some(trailer)));
    insta::assert_snapshot!(release.trace, @"0af7651916cd43dd8448eb211c80319c");
    let parent = release.parent.expect("the trailer is valid");
    insta::assert_snapshot!(parent.span, @"b7ad6b7169203331");
    assert!(parent.is_sampled());
    assert_ne!(release.root(PLACE), parent.span);
}

#[test]
fn trailer_of_a_later_version_may_say_more() {
    let parent: Traceparent =
        " 01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-ever ".parse().unwrap();
    assert!(!parent.is_sampled());
}

#[test]
fn invalid_trailer_is_ignored_with_a_reason() {
    let release = Release::of(&revision("https://git.example/shop", Some("00-abc-def-01")));
    insta::assert_snapshot!(release.trace, @"365938300c1b14589f00bda8bcb09193");
    insta::assert_snapshot!(
        release.ignored.expect("the trailer is invalid"),
        @r#"traceparent "00-abc-def-01" is not of the form version-traceid-parentid-flags (2, 32, 16 and 2 lower-case hex digits)"#
    );
}

#[test]
fn only_what_the_specification_allows_is_a_traceparent() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let invalid = [
        String::new(),
        trace.to_owned(),
        format!("00-{trace}-b7ad6b7169203331"),
        format!("00-{trace}-b7ad6b7169203331-01-more"),
        format!("00-{trace}-b7ad6b7169203331-1"),
        format!("0-{trace}-b7ad6b7169203331-01"),
        format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()),
        format!("00-{trace}-b7ad6b716920333g-01"),
        format!("00-{trace}-é7ad6b716920333-01"),
        format!("ff-{trace}-b7ad6b7169203331-01"),
        format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
        format!("00-{trace}-0000000000000000-01"),
    ];
    for text in invalid {
        assert!(text.parse::<Traceparent>().is_err(), "{text}");
    }
}
