//! Tokens of a GitHub App: asked for once, used while they are good, asked for again.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use skiff::git::{FetchError, GithubApp, Retry, Source};
use skiff_harness::git_server::Access;
use skiff_harness::github::{APP, Github, INSTALLATION};

use super::{World, told};

fn world() -> (World, Github, Source) {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    let github = Github::start().unwrap();
    let mut source = world.source("main");
    source.credentials.github_app = Some(GithubApp {
        app: APP.to_owned(),
        installation: INSTALLATION.to_owned(),
        private_key: world.file("app.pem", github.private_key()),
        api: github.api(),
    });
    admit(&world, 0);
    (world, github, source)
}

/// Lets in whoever has the token of this number.
fn admit(world: &World, number: usize) {
    let password = format!("ghs_{number:036}");
    world.server.demand(Access::Basic { username: "x-access-token".to_owned(), password });
}

fn fail(world: &World, source: &Source) -> FetchError {
    let error = world.cache().update(source, None).unwrap_err();
    let text = format!("{error:?}");
    assert!(!text.contains("ghs_") && !text.contains("eyJ") && !text.contains("PRIVATE"), "{text}");
    error
}

#[test]
fn token_is_asked_for_once_and_again_before_it_ends() {
    let (mut world, github, source) = world();
    for _ in 0..3 {
        world.cache().update(&source, None).unwrap();
    }
    assert_eq!(github.given().len(), 1);
    assert_eq!(
        github.asked(),
        [json!({"repositories": ["shop"], "permissions": {"contents": "read"}})],
        "a token that can read this repository and nothing else"
    );

    // Less than what is spared at its end: good for this once.
    github.live(Duration::from_secs(200));
    world.restart();
    for number in 1..3 {
        admit(&world, number);
        world.cache().update(&source, None).unwrap();
        assert_eq!(github.given().len(), number + 1);
    }
}

#[test]
fn token_that_is_refused_is_not_used_again() {
    let (world, github, source) = world();
    world.cache().update(&source, None).unwrap();
    admit(&world, 1);
    assert_eq!(fail(&world, &source).reason(), "AccessDenied");
    world.cache().update(&source, None).unwrap();
    assert_eq!(github.given().len(), 2);
}

#[test]
fn key_is_read_in_both_of_its_forms() {
    let (mut world, github, source) = world();
    let body: String = github.private_key().lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body).unwrap();
    // What GitHub hands out is the key alone; PKCS #8 says before it, in 26 bytes, of what kind it is.
    let alone = STANDARD.encode(&der[26..]);
    world.file(
        "app.pem",
        &format!("-----BEGIN RSA PRIVATE KEY-----\n{alone}\n-----END RSA PRIVATE KEY-----\n"),
    );
    world.cache().update(&source, None).unwrap();
    world.restart();
    admit(&world, 1);
    world.file("app.pem", github.private_key());
    world.cache().update(&source, None).unwrap();
}

#[test]
fn apps_that_get_no_token_are_told_why() {
    let (mut world, github, mut source) = world();
    let say = |world: &World, source: &Source| {
        let error = fail(world, source);
        let text = format!("{} {:?}: {}", error.reason(), error.retry(), told(world, &error));
        text.replace(&github.api(), "https://api.example")
            .replace(&world.folder.path().display().to_string(), "/secrets")
    };
    let app = |source: &mut Source, change: &dyn Fn(&mut GithubApp)| {
        change(source.credentials.github_app.as_mut().unwrap());
    };
    app(&mut source, &|app| app.app = "13".to_owned());
    insta::assert_snapshot!(say(&world, &source), @"AccessDenied AtInterval: failed to fetch http://git.example/shop: https://api.example gives no token to app 13, installation 815 (401); check both ids and the key, and that it is installed for this repository");
    app(&mut source, &|app| (app.app, app.installation) = (APP.to_owned(), "13".to_owned()));
    insta::assert_snapshot!(say(&world, &source), @"AccessDenied AtInterval: failed to fetch http://git.example/shop: https://api.example gives no token to app 4711, installation 13 (404); check both ids and the key, and that it is installed for this repository");
    world.file("app.pem", "no key");
    insta::assert_snapshot!(say(&world, &source), @"CredentialsInvalid AtInterval: failed to fetch http://git.example/shop: /secrets/app.pem holds no RSA private key as PEM; it is the one that GitHub gave out for the app");
    world.file("app.pem", github.private_key());
    app(&mut source, &|app| app.installation = INSTALLATION.to_owned());
    github.refuse(Some((429, Some(Duration::from_secs(60)))));
    insta::assert_snapshot!(say(&world, &source), @"RateLimited After(60s): failed to fetch http://git.example/shop: https://api.example gives no token to app 4711, installation 815 (429); check both ids and the key, and that it is installed for this repository");
    github.refuse(Some((503, None)));
    insta::assert_snapshot!(say(&world, &source), @"ServerError Backoff: failed to fetch http://git.example/shop: https://api.example gives no token to app 4711, installation 815 (503); check both ids and the key, and that it is installed for this repository");
    github.refuse(Some((200, None)));
    insta::assert_snapshot!(say(&world, &source), @"ServerError AtInterval: failed to fetch http://git.example/shop: https://api.example does not answer as GitHub does; check the address");
    github.flood();
    insta::assert_snapshot!(say(&world, &source), @"ServerError AtInterval: failed to fetch http://git.example/shop: https://api.example does not answer as GitHub does; check the address");
    app(&mut source, &|app| app.api = "http://api.example".to_owned());
    insta::assert_snapshot!(say(&world, &source), @r#"CredentialsInvalid OnChange: failed to fetch http://git.example/shop: "http://api.example" is no https:// address of GitHub's interface"#);
    assert_eq!(fail(&world, &source).retry(), Retry::OnChange);
    assert!(world.server.requests().is_empty(), "nobody is asked for the repository without a token");

    github.refuse(None);
    app(&mut source, &|app| app.api = github.api());
    world.restart();
    world.cache().update(&source, None).unwrap();
}
