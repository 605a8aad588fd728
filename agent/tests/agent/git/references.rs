//! What references stand for, and what it costs to ask.

use std::time::Instant;

use skiff::git::{FetchError, Reference, Retry, Source, Update};
use skiff_harness::git_server::{GitServer, ObjectFormat, Protocol, Repository, RequestKind};

use super::{World, id, moved, told};

#[test]
fn moved_reference_is_fetched_once_and_unmoved_one_never() {
    let mut world = World::new();
    let first = world.shop.write("a", "1").commit("First").unwrap();
    let revision = world.moved();
    assert_eq!(revision.commit, id(&first));
    assert_eq!(world.packs_sent(), 1);

    for _ in 0..3 {
        assert_eq!(world.update(Some(&revision)).unwrap(), Update::Unchanged);
        assert_eq!(world.cache().poll(&world.source("main")).unwrap(), id(&first));
    }
    assert_eq!(world.packs_sent(), 1, "an unmoved reference transfers no pack");
    assert_eq!(world.server.count(RequestKind::Listing).requests, 7, "each question is one listing");

    let second = world.shop.write("a", "2").commit("Second").unwrap();
    let revision = moved(world.update(Some(&revision)).unwrap()).unwrap();
    assert_eq!(revision.commit, id(&second));
    assert_eq!(world.packs_sent(), 2);
}

#[test]
fn only_the_asked_reference_is_listed() {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    world.moved();
    let alone = world.server.count(RequestKind::Listing).sent;
    for number in 0..100 {
        world.shop.tag(&format!("v{number}")).unwrap();
    }
    world.moved();
    assert_eq!(world.server.count(RequestKind::Listing).sent, 2 * alone);
}

#[test]
fn second_fetch_brings_only_what_is_new() {
    let mut world = World::new();
    let big: String = (0..200_000).map(|number| format!("{}\n", number * 7919 % 100_003)).collect();
    world.shop.write("big", &big).commit("First").unwrap();
    world.moved();
    let first = world.server.count(RequestKind::Fetch).sent;
    world.shop.write("small", "1").commit("Second").unwrap();
    world.moved();
    let second = world.server.count(RequestKind::Fetch).sent - first;
    assert!(second * 100 < first, "{second} bytes after {first}");
}

#[test]
fn every_kind_of_reference_leads_to_its_commit() {
    let mut world = World::new();
    let first = world.shop.write("a", "1").commit("First").unwrap();
    world.shop.tag("light").unwrap();
    let tag = world.shop.annotated_tag("heavy", "With a message").unwrap();
    assert_ne!(tag, first);
    world.shop.branch("next").unwrap();
    let second = world.shop.write("a", "2").commit("Second").unwrap();
    world.shop.git(&["symbolic-ref", "HEAD", "refs/heads/next"]).unwrap();

    for (reference, expected) in [
        ("refs/heads/main", &first),
        ("main", &first),
        ("refs/tags/light", &first),
        ("heavy", &first),
        ("refs/tags/heavy", &first),
        (first.as_str(), &first),
        (second.as_str(), &second),
        ("next", &second),
        ("HEAD", &second),
    ] {
        let source = world.source(reference);
        let revision = moved(world.cache().update(&source, None).unwrap()).unwrap();
        assert_eq!(revision.commit, id(expected), "{reference}");
    }
}

fn versions(world: &World, range: &str) -> Source {
    Source { reference: Reference::Versions(range.parse().unwrap()), ..world.source("main") }
}

#[test]
fn newest_version_in_a_range_is_followed() {
    let mut world = World::new();
    let mut follow = |tag: &str| {
        let commit = world.shop.write("a", tag).commit(tag).unwrap();
        world.shop.annotated_tag(tag, "A release").unwrap();
        let revision = moved(world.cache().update(&versions(&world, "^1.2"), None).unwrap()).unwrap();
        (revision.to_string(), commit)
    };
    let (told, commit) = follow("v1.2.9");
    assert_eq!(told, format!("v1.2.9@sha1:{}", &commit[..12]));
    let (told, newest) = follow("v1.10.0");
    assert_eq!(told, format!("v1.10.0@sha1:{}", &newest[..12]));
    for tag in ["v1.11.0-rc.1", "v2.0.0", "latest", "v1.99", "1.9.0"] {
        assert_eq!(follow(tag).0, told, "{tag} is none of them, or older");
    }

    let source = versions(&world, "^1.2");
    let known = moved(world.cache().update(&source, None).unwrap()).unwrap();
    let packs = world.packs_sent();
    assert_eq!(world.cache().update(&source, Some(&known)).unwrap(), Update::Unchanged);
    world.shop.git(&["tag", "v1.10.1", &newest]).unwrap();
    let renamed = moved(world.cache().update(&source, Some(&known)).unwrap()).unwrap();
    assert_eq!((renamed.reference, renamed.commit), (Reference::Tag("v1.10.1".to_owned()), id(&newest)));
    assert_eq!(world.packs_sent(), packs, "a second name brings no second pack");
}

#[test]
fn only_tags_are_listed_for_a_range() {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    world.shop.tag("v1.0.0").unwrap();
    world.cache().update(&versions(&world, "1.x"), None).unwrap();
    let listing = world.server.count(RequestKind::Listing).sent;
    for number in 0..100 {
        world.shop.branch(&format!("release/{number}")).unwrap();
    }
    world.cache().update(&versions(&world, "1.x"), None).unwrap();
    assert_eq!(world.server.count(RequestKind::Listing).sent, 2 * listing);
}

#[test]
fn references_that_are_read_together_share_what_was_listed() {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    world.shop.tag("v1.0.0").unwrap();
    world.shop.branch("next").unwrap();
    let second = world.shop.write("a", "2").commit("Second").unwrap();
    let sources = [world.source("main"), world.source("next"), versions(&world, "1.x")];
    let start = Instant::now();
    let poll = |world: &World, source: &Source| {
        moved(world.cache().update_since(source, None, start).unwrap()).unwrap().commit
    };
    for _ in 0..3 {
        for source in &sources {
            poll(&world, source);
        }
    }
    assert_eq!(world.server.count(RequestKind::Listing).requests, 3, "each that is new is asked for once");
    let third = world.shop.write("a", "3").commit("Third").unwrap();
    assert_eq!(poll(&world, &sources[1]), id(&second), "it was asked for a moment ago");
    world.cache().update(&sources[1], None).unwrap();
    assert_eq!(poll(&world, &sources[1]), id(&third));
}

#[test]
fn range_without_a_version_in_it_says_what_there_is() {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    let say = |world: &World| {
        let error = world.cache().update(&versions(world, "~1.2"), None).unwrap_err();
        assert_eq!((error.reason(), error.retry()), ("ReferenceNotFound", Retry::AtInterval));
        told(world, &error)
    };
    insta::assert_snapshot!(say(&world), @"failed to fetch http://git.example/shop: no tag is a version in ~1.2, there are no tags");
    world.shop.tag("latest").unwrap();
    insta::assert_snapshot!(say(&world), @"failed to fetch http://git.example/shop: no tag is a version in ~1.2, nor a version at all, of 1");
    world.shop.tag("v1.3.0-rc.1").unwrap();
    insta::assert_snapshot!(say(&world), @r#"failed to fetch http://git.example/shop: no tag is a version in ~1.2, the newest version is "v1.3.0-rc.1""#);
}

#[test]
fn named_commit_that_is_here_needs_no_server() {
    let mut world = World::new();
    let first = world.shop.write("a", "1").commit("First").unwrap();
    world.shop.write("a", "2").commit("Second").unwrap();
    let source = world.source(&first);
    let revision = moved(world.cache().update(&source, None).unwrap()).unwrap();
    let asked = world.server.requests().len();
    assert_eq!(world.cache().update(&source, Some(&revision)).unwrap(), Update::Unchanged);
    assert_eq!(world.server.requests().len(), asked);
}

#[test]
fn rewritten_branch_is_followed() {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    world.shop.write("a", "2").commit("Second").unwrap();
    let second = world.moved();
    let rewritten = world.shop.write("a", "3").rewrite("Second, again").unwrap();
    let revision = moved(world.update(Some(&second)).unwrap()).unwrap();
    assert_eq!(revision.commit, id(&rewritten));
    assert_eq!(world.snapshot().read("a").unwrap(), b"3");

    let unrelated = world.shop.git(&["commit-tree", "-m", "Else", "HEAD^{tree}"]).unwrap();
    world.shop.git(&["update-ref", "refs/heads/main", &unrelated]).unwrap();
    assert_eq!(world.moved().commit, id(&unrelated));
}

#[test]
fn revision_says_who_when_and_what() {
    let mut world = World::new();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let message = format!("Scale the shop\n\nMore visitors.\n\nReviewed-by: Grace\ntraceparent: {parent}\n");
    let commit = world.shop.write("a", "1").commit(&message).unwrap();
    let revision = world.moved();
    assert_eq!(revision.to_string(), format!("main@sha1:{}", &commit[..12]));
    assert_eq!(revision.trailer("reviewed-by"), Some("Grace"));
    assert_eq!(
        revision.tree.to_string().trim_start_matches("sha1:"),
        world.shop.git(&["rev-parse", "main^{tree}"]).unwrap()
    );
    let seconds: i64 = world.shop.git(&["log", "-1", "--format=%ct", "main"]).unwrap().parse().unwrap();
    let record = revision.record();
    assert_eq!(record.url, world.shop.url());
    assert_eq!(record.commit, format!("sha1:{commit}"));
    assert_eq!(record.author, "Ada Lovelace <ada@skiff.example>");
    assert_eq!(record.subject, "Scale the shop");
    assert_eq!(record.committed_at.unwrap().as_second(), seconds);
    assert_eq!(record.traceparent.as_deref(), Some(parent));
}

#[test]
fn repository_with_sha256_is_followed() {
    let server = GitServer::start().unwrap();
    let shop = Repository::create_with(&server, "shop", ObjectFormat::Sha256).unwrap();
    let mut world = World::around(server, shop);
    for round in 0..3 {
        let commit = world.shop.write("a", round.to_string()).commit("Next").unwrap();
        assert_eq!(world.moved().commit.to_string(), format!("sha256:{commit}"));
        assert_eq!(world.snapshot().read("a").unwrap(), round.to_string().as_bytes());
    }
}

#[test]
fn server_with_the_old_protocol_is_followed() {
    let mut world = World::new();
    world.server.speak(Protocol::Old);
    for round in 0..3 {
        let commit = world.shop.write("a", round.to_string()).commit("Next").unwrap();
        world.shop.annotated_tag("newest", "With a message").unwrap();
        assert_eq!(world.moved().commit, id(&commit));
        assert_eq!(world.cache().poll(&world.source("newest")).unwrap(), id(&commit));
        assert_eq!(world.snapshot().read("a").unwrap(), round.to_string().as_bytes());
    }
    assert_eq!(world.packs_sent(), 3);
    world.shop.annotated_tag("v1.2.0", "A release").unwrap();
    let revision = moved(world.cache().update(&versions(&world, "1.x"), None).unwrap()).unwrap();
    assert_eq!(revision.reference, Reference::Tag("v1.2.0".to_owned()));
}

#[test]
fn what_is_not_there_is_named() {
    let mut world = World::new();
    let fail =
        |world: &World, reference: &str| world.cache().update(&world.source(reference), None).unwrap_err();
    let error = fail(&world, "HEAD");
    insta::assert_snapshot!(told(&world, &error), @r#"failed to fetch http://git.example/shop: reference "HEAD" not found"#);

    let commit = world.shop.write("a", "1").commit("First").unwrap();
    let error = fail(&world, "mian");
    insta::assert_snapshot!(told(&world, &error), @r#"failed to fetch http://git.example/shop: reference "mian" not found"#);
    assert_eq!((error.reason(), error.retry()), ("ReferenceNotFound", Retry::AtInterval));
    let error = fail(&world, "refs/tags/v1");
    insta::assert_snapshot!(told(&world, &error), @r#"failed to fetch http://git.example/shop: reference "v1" not found"#);

    world.shop.tag("main").unwrap();
    let error = fail(&world, "main");
    insta::assert_snapshot!(told(&world, &error), @r#"failed to fetch http://git.example/shop: "main" is a branch and a tag; write refs/heads/main or refs/tags/main"#);

    let error = fail(&world, &"5".repeat(40));
    insta::assert_snapshot!(told(&world, &error), @"failed to fetch http://git.example/shop: sha1:5555555555555555555555555555555555555555 not found");
    assert_eq!(error.reason(), "CommitNotFound");

    let tree = world.shop.git(&["rev-parse", &format!("{commit}^{{tree}}")]).unwrap();
    world.shop.git(&["tag", "tree", &tree]).unwrap();
    let error = fail(&world, "tree");
    assert!(matches!(error, FetchError::NotACommit { .. }), "{error:?}");
    assert!(matches!(world.source("main").reference, Reference::Name(_)));
}
