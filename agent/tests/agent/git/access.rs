//! Credentials: whom they reach, whom they do not, and where they are never seen.

use skiff::git::{Credentials, FetchError, Retry, Source};
use skiff_harness::certs::Authority;
use skiff_harness::git_server::{Access, Fault, GitServer, Options};

use super::{World, chain, id, told};

fn basic() -> Access {
    Access::Basic { username: "ada".into(), password: "s3cret".into() }
}

fn fail(world: &World, source: &Source) -> FetchError {
    let error = world.cache().update(source, None).unwrap_err();
    for text in [chain(&error), format!("{error:?}")] {
        for secret in ["s3cret", "t0ken", "YWRhOnMzY3JldA"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    error
}

#[test]
fn password_is_read_at_each_use() {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    world.server.demand(basic());
    let mut source = world.source("main");
    source.credentials.username = world.file("username", "ada\n");
    source.credentials.password = world.file("password", "wrong-s3cret\n");
    let error = fail(&world, &source);
    insta::assert_snapshot!(told(&world, &error), @"failed to fetch http://git.example/shop: the server does not accept the credentials (401); check them where they are kept");
    assert_eq!((error.reason(), error.retry()), ("AccessDenied", Retry::AtInterval));

    world.file("password", "s3cret\n");
    world.cache().update(&source, None).unwrap();
    assert!(world.server.requests().iter().all(|request| request.authorization.is_some()), "sent at once");

    source.credentials.username = None;
    source.url = world.shop.url().replace("http://", "http://ada@").parse().unwrap();
    world.cache().update(&source, None).unwrap();
}

#[test]
fn what_was_fetched_with_credentials_is_not_for_those_without_them() {
    let mut world = World::new();
    let commit = world.shop.write("a", "1").commit("First").unwrap();
    world.server.demand(basic());
    let without = world.source(&commit);
    let mut source = without.clone();
    source.credentials.username = world.file("username", "ada");
    source.credentials.password = world.file("password", "s3cret");
    let mut other = source.clone();
    other.credentials.password = world.file("other", "wrong-s3cret");
    world.cache().update(&source, None).unwrap();
    for _ in 0..2 {
        for refused in [&without, &other] {
            assert_eq!(fail(&world, refused).reason(), "AccessDenied");
            assert!(world.cache().snapshot(refused, id(&commit)).is_err());
        }
        world.restart();
        let asked = world.server.requests().len();
        world.cache().update(&source, None).unwrap();
        assert_eq!(world.server.requests().len(), asked, "who has got it needs no server");
    }
}

#[test]
fn token_is_read_at_each_use() {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    world.server.demand(Access::Bearer { token: "t0ken".into() });
    let mut source = world.source("main");
    let error = fail(&world, &source);
    insta::assert_snapshot!(told(&world, &error), @"failed to fetch http://git.example/shop: the server wants credentials (401); name files or a Secret with a password or a token");

    source.credentials.token = world.file("token", "t0ken");
    world.cache().update(&source, None).unwrap();
    world.server.demand(Access::Bearer { token: "t0ken-2".into() });
    fail(&world, &source);
    world.file("token", "t0ken-2");
    world.cache().update(&source, None).unwrap();
}

#[test]
fn files_that_are_no_credentials_are_named() {
    let world = World::new();
    let mut source = world.source("main");
    let place = world.folder.path().display().to_string();
    let say = |world: &World, source: &Source| told(world, &fail(world, source)).replace(&place, "/secrets");

    source.credentials.password = Some(world.folder.path().join("missing"));
    insta::assert_snapshot!(say(&world, &source), @"failed to fetch http://git.example/shop: its credentials cannot be read: failed to read the secret in /secrets/missing: No such file or directory (os error 2)");
    source.credentials.password = world.file("password", "\n");
    insta::assert_snapshot!(say(&world, &source), @"failed to fetch http://git.example/shop: its credentials cannot be read: the secret in /secrets/password is empty");
    source.credentials.password = None;
    source.credentials.token = world.file("token", "t0ken\nsecond line");
    insta::assert_snapshot!(say(&world, &source), @"failed to fetch http://git.example/shop: the credentials hold characters that no header can carry");
    source.credentials.password = world.file("password", "s3cret");
    insta::assert_snapshot!(say(&world, &source), @"failed to fetch http://git.example/shop: of a password, a token and a GitHub App more than one is given; leave one");
    source.credentials = Credentials { ca: world.file("ca", "no certificate"), ..Credentials::default() };
    insta::assert_snapshot!(say(&world, &source), @"failed to fetch http://git.example/shop: /secrets/ca holds no PEM certificate");
    assert!(world.server.requests().is_empty());
}

#[test]
fn credentials_are_not_sent_in_the_clear() {
    let world = World::new();
    let mut source = world.source("main");
    source.url = "http://git.example/shop".parse().unwrap();
    source.credentials.token = world.file("token", "t0ken");
    let error = fail(&world, &source);
    insta::assert_snapshot!(chain(&error), @"failed to fetch http://git.example/shop: credentials are not sent over plain HTTP; use https");
    assert_eq!(error.retry(), Retry::OnChange);
}

#[test]
fn private_authority_is_trusted_when_it_is_named() {
    let authority = Authority::new("git").unwrap();
    let options = Options { authority: Some(&authority), ..Options::default() };
    let mut world = World::with(GitServer::start_with(options).unwrap());
    world.shop.write("a", "1").commit("First").unwrap();
    let mut source = world.source("main");
    let error = fail(&world, &source);
    assert!(matches!(error, FetchError::CertificateRefused { .. }), "{error:?}");
    assert_eq!((error.reason(), error.retry()), ("CertificateRefused", Retry::AtInterval));

    source.credentials.ca = world.file("ca.pem", Authority::new("other").unwrap().certificate_pem());
    let error = fail(&world, &source);
    insta::assert_snapshot!(told(&world, &error), @"failed to fetch http://git.example/shop: the server's certificate is not accepted; if a private authority has signed it, name that in caFile: invalid peer certificate: UnknownIssuer");

    source.credentials.ca = world.file("ca.pem", authority.certificate_pem());
    world.server.demand(basic());
    source.credentials.username = world.file("username", "ada");
    source.credentials.password = world.file("password", "s3cret");
    world.cache().update(&source, None).unwrap();
}

#[test]
fn redirect_is_followed_without_the_credentials() {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    let front = GitServer::start().unwrap();
    front.behave(Fault::Redirect { to: world.server.base().to_owned() });
    let mut source = world.source("main");
    source.url = front.url("shop").parse().unwrap();
    source.credentials.token = world.file("token", "t0ken");
    world.cache().update(&source, None).unwrap();
    assert_eq!(front.requests().len(), 1, "what follows goes where the first request was sent");
    assert!(front.requests()[0].authorization.is_some());
    assert!(world.server.requests().iter().all(|request| request.authorization.is_none()));
}

#[test]
fn redirect_that_may_not_be_followed_is_named() {
    let world = World::new();
    let refused = |world: &World, source: &Source, to: &str| {
        world.server.behave(Fault::Redirect { to: to.to_owned() });
        told(world, &fail(world, source))
    };
    let source = world.source("main");
    insta::assert_snapshot!(refused(&world, &source, "https://ada:s3cret@git.example"), @"failed to fetch http://git.example/shop: redirect to https://git.example/shop/info/refs refused: it carries credentials");
    insta::assert_snapshot!(refused(&world, &source, "https://git.example/login?to="), @"failed to fetch http://git.example/shop: redirect to https://git.example/login refused: it does not lead to a repository");
    insta::assert_snapshot!(refused(&world, &source, "file://"), @"failed to fetch http://git.example/shop: redirect to file:///shop/info/refs refused: it leads away from HTTP");
    insta::assert_snapshot!(refused(&world, &source, world.server.base()), @"failed to fetch http://git.example/shop: redirect to http://127.79.0.1/shop/info/refs refused: too many of them");

    let authority = Authority::new("git").unwrap();
    let options = Options { authority: Some(&authority), ..Options::default() };
    let secure = World::with(GitServer::start_with(options).unwrap());
    let mut source = secure.source("main");
    source.credentials.ca = secure.file("ca.pem", authority.certificate_pem());
    let error = refused(&secure, &source, world.server.base());
    assert!(error.ends_with("refused: it leads from HTTPS to plain HTTP"), "{error}");
}

#[test]
fn server_that_repeats_the_credentials_is_not_quoted_with_them() {
    let world = World::new();
    let mut source = world.source("main");
    source.credentials.token = world.file("token", "t0ken");
    world.server.behave(Fault::Redirect { to: "ftp://git.example/t0ken".to_owned() });
    let error = fail(&world, &source);
    insta::assert_snapshot!(told(&world, &error), @"failed to fetch http://git.example/shop: redirect to ftp://git.example/***/shop/info/refs refused: it leads away from HTTP");
}
