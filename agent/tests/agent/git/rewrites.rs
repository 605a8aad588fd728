//! Branches that are forced elsewhere: refused if the source wants that, told apart from all that builds on the old
//! state, and accepted by a person's word.

use skiff::git::{FetchError, Retry, Rewrites, Source};

use super::{World, id, told};

fn world() -> (World, Source) {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    world.shop.write("a", "2").commit("Second").unwrap();
    let mut source = world.source("refs/heads/main");
    source.rewrites = Rewrites::Refuse { accepted: None };
    world.cache().update(&source, None).unwrap();
    (world, source)
}

fn fail(world: &World, source: &Source) -> FetchError {
    world.cache().update(source, None).unwrap_err()
}

/// What servers do by themselves: they forget what no reference reaches any more.
fn forget(world: &World) {
    world.shop.git(&["reflog", "expire", "--expire=now", "--all"]).unwrap();
    world.shop.git(&["gc", "--quiet", "--prune=now"]).unwrap();
}

#[test]
fn rewritten_branch_is_refused_until_it_is_accepted() {
    let (mut world, mut source) = world();
    let rewritten = world.shop.write("a", "3").rewrite("Second, once more").unwrap();
    let error = fail(&world, &source);
    assert_eq!((error.reason(), error.retry()), ("BranchRewritten", Retry::AtInterval));
    let said = told(&world, &error).replace(&rewritten, "NEW");
    let said: Vec<&str> = said
        .split(' ')
        .map(|word| if word.len() > 44 && word.starts_with("sha1:") { "OLD" } else { word })
        .collect();
    insta::assert_snapshot!(said.join(" "), @r#"refusing a rewritten branch of http://git.example/shop: "main" stood at OLD and sha1:NEW does not build on that; if it is meant, set acceptedRewrite beside refuseRewrites to this commit"#);
    let packs = world.packs_sent();
    assert_eq!(fail(&world, &source).reason(), "BranchRewritten");
    assert_eq!(world.packs_sent(), packs, "the same is not asked again");
    let snapshot = world.cache().snapshot(&source, id(&rewritten));
    assert!(snapshot.is_err(), "nothing of it was fetched");

    source.rewrites = Rewrites::Refuse { accepted: Some(id(&rewritten)) };
    world.cache().update(&source, None).unwrap();
    world.shop.write("a", "4").commit("On top of it").unwrap();
    world.cache().update(&source, None).unwrap();
    world.shop.write("a", "5").rewrite("Not this one").unwrap();
    world.cache().update(&source, None).expect("it builds on what was accepted");
    world.shop.git(&["update-ref", "refs/heads/main", "main^^"]).unwrap();
    assert_eq!(fail(&world, &source).reason(), "BranchRewritten", "back to before what was accepted");
}

#[test]
fn whatever_builds_on_the_old_state_is_followed() {
    for filter in ["false", "true"] {
        let (mut world, source) = world();
        world.shop.git(&["config", "uploadpack.allowFilter", filter]).unwrap();
        for number in 0..5 {
            world.shop.write("a", format!("{number}")).commit("One of several").unwrap();
        }
        world.cache().update(&source, None).unwrap();
        // A merge of what was begun long before.
        let old = world.shop.git(&["rev-parse", "main~4"]).unwrap();
        world.shop.git(&["update-ref", "refs/heads/feature", &old]).unwrap();
        world.shop.switch("feature").write("b", "1").commit("Feature").unwrap();
        let tree = world.shop.git(&["rev-parse", "main^{tree}"]).unwrap();
        let merge = ["commit-tree", "-p", "feature", "-p", "main", "-m", "Merge", &tree];
        let merge = world.shop.git(&merge).unwrap();
        world.shop.git(&["update-ref", "refs/heads/main", &merge]).unwrap();
        world.cache().update(&source, None).unwrap();
        assert!(world.cache().snapshot(&source, id(&merge)).is_ok());
    }
}

#[test]
fn old_state_that_the_server_has_forgotten_is_told_as_rewritten() {
    for filter in ["false", "true"] {
        let (mut world, source) = world();
        world.shop.git(&["config", "uploadpack.allowFilter", filter]).unwrap();
        world.shop.rewrite("Second, once more").unwrap();
        forget(&world);
        assert_eq!(fail(&world, &source).reason(), "BranchRewritten", "filter: {filter}");
    }
}

#[test]
fn where_a_branch_stood_is_known_after_a_restart() {
    let (mut world, source) = world();
    let second = world.shop.head().unwrap();
    world.restart();
    world.shop.rewrite("Second, once more").unwrap();
    world.cache().remember(&source, id(&second)).unwrap();
    assert_eq!(fail(&world, &source).reason(), "BranchRewritten");
    world.shop.git(&["update-ref", "refs/heads/main", &second]).unwrap();
    world.cache().update(&source, None).unwrap();

    // Also where nothing of it is on disk any more.
    std::fs::remove_dir_all(world.root()).unwrap();
    world.restart();
    world.cache().remember(&source, id(&second)).unwrap();
    world.shop.write("a", "3").commit("Third").unwrap();
    world.cache().update(&source, None).unwrap();
}

#[test]
fn branch_is_followed_wherever_it_goes_if_nobody_minds() {
    let (mut world, mut source) = world();
    source.rewrites = Rewrites::Follow;
    world.shop.rewrite("Second, once more").unwrap();
    world.cache().update(&source, None).unwrap();
}
