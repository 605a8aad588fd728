//! Proxies, and client certificates: what stands between the agent and the server.

use std::process::Command;

use skiff::git::{FetchError, Proxy, Retry, Source};
use skiff_harness::certs::Authority;
use skiff_harness::git_server::{Fault, GitServer, Options};
use skiff_harness::http_proxy::HttpProxy;

use super::{World, chain, told};

fn through(proxy: &HttpProxy) -> Option<Proxy> {
    Some(Proxy { url: proxy.url(), username: None, password: None, secret: None })
}

/// A server with TLS and one commit, and a source that trusts it.
fn secure(authority: &Authority, clients: Option<&Authority>) -> (World, Source) {
    let options = Options { authority: Some(authority), clients, ..Options::default() };
    let mut world = World::with(GitServer::start_with(options).unwrap());
    world.shop.write("a", "1").commit("First").unwrap();
    let mut source = world.source("main");
    source.credentials.ca = world.file("ca.pem", authority.certificate_pem());
    (world, source)
}

#[test]
fn plain_http_goes_through_the_proxy() {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    let proxy = HttpProxy::start().unwrap();
    let source = Source { proxy: through(&proxy), ..world.source("main") };
    world.cache().update(&source, None).unwrap();
    let first = &proxy.asked()[0];
    assert_eq!(*first, format!("GET {}/info/refs?service=git-upload-pack", world.shop.url()));
}

#[test]
fn tls_is_tunnelled_and_the_proxy_never_sees_the_credentials() {
    let authority = Authority::new("git").unwrap();
    let (world, mut source) = secure(&authority, None);
    let proxy = HttpProxy::start().unwrap();
    source.proxy = through(&proxy);
    source.credentials.token = world.file("token", "t0ken");
    world.cache().update(&source, None).unwrap();
    let server = world.server.base().trim_start_matches("https://");
    assert!(proxy.asked().iter().all(|asked| *asked == format!("CONNECT {server}")), "{:?}", proxy.asked());
    assert!(!proxy.asked().is_empty());
    assert!(world.server.requests().iter().all(|request| request.authorization.is_some()));
}

#[test]
fn proxy_gets_its_own_credentials() {
    let authority = Authority::new("git").unwrap();
    let (world, mut source) = secure(&authority, None);
    let proxy = HttpProxy::start().unwrap();
    proxy.demand("ada", "s3cret");
    source.proxy = through(&proxy);
    let error = world.cache().update(&source, None).unwrap_err();
    assert_eq!((error.reason(), error.retry()), ("ProxyFailed", Retry::Backoff));
    let said = told(&world, &error).replace(&proxy.url(), "http://proxy.example");
    insta::assert_snapshot!(said, @"failed to fetch http://git.example/shop: proxy http://proxy.example cannot be reached or does not let it pass; check the proxy and its credentials: error sending request: client error (Connect): tunnel error: proxy authorization required");

    source.proxy = Some(Proxy {
        url: proxy.url(),
        username: world.file("proxy-user", "ada"),
        password: world.file("proxy-password", "s3cret\n"),
        secret: None,
    });
    world.cache().update(&source, None).unwrap();
}

#[test]
fn credentials_of_the_proxy_in_a_secret_are_read_anew_for_every_poll() {
    let authority = Authority::new("git").unwrap();
    let (mut world, mut source) = secure(&authority, None);
    let proxy = HttpProxy::start().unwrap();
    proxy.demand("ada", "s3cret");
    source.proxy =
        Some(Proxy { url: proxy.url(), username: None, password: None, secret: Some("proxy".to_owned()) });
    let say = |world: &World, source: &Source| {
        let error = world.cache().update(source, None).unwrap_err();
        let said = told(world, &error).replace(&proxy.url(), "http://proxy.example");
        assert!(!said.contains("s3cret"), "{said}");
        format!("{} {:?}: {said}", error.reason(), error.retry())
    };
    insta::assert_snapshot!(say(&world, &source), @"SecretUnreadable AtInterval: failed to fetch http://git.example/shop: a Secret that it needs cannot be used: Secret skiff/proxy not found; create it, or correct secretRef");
    world.shelf.put("proxy", &[("username", "ada")]);
    insta::assert_snapshot!(say(&world, &source), @"CredentialsInvalid AtInterval: failed to fetch http://git.example/shop: a Secret that it needs cannot be used: Secret skiff/proxy lacks password; it has username");
    world.shelf.put("proxy", &[("username", "ada"), ("password", "s3cret\n")]);
    world.cache().update(&source, None).unwrap();

    proxy.demand("ada", "s3cret-2");
    world.shop.write("a", "2").commit("Second").unwrap();
    assert!(say(&world, &source).starts_with("ProxyFailed Backoff"));
    world.shelf.put("proxy", &[("username", "ada"), ("password", "s3cret-2")]);
    world.cache().update(&source, None).unwrap();

    // What a file holds goes before what the Secret holds.
    proxy.demand("bob", "s3cret-2");
    source.proxy.as_mut().unwrap().username = world.file("proxy-user", "bob\n");
    world.shop.write("a", "3").commit("Third").unwrap();
    world.cache().update(&source, None).unwrap();
}

#[test]
fn proxy_that_is_not_there_is_named() {
    let world = World::new();
    let gone = HttpProxy::start().unwrap().url();
    let proxy = Some(Proxy { url: gone, username: None, password: None, secret: None });
    let source = Source { proxy, ..world.source("main") };
    let error = world.cache().update(&source, None).unwrap_err();
    assert!(matches!(error, FetchError::ProxyFailed { .. }), "{error:?}");
    assert!(chain(&error).contains("cannot be reached or does not let it pass"), "{}", chain(&error));
}

const CHILD: &str = "SKIFF_TEST_CHILD";

/// Runs itself as a child with the variables that people set.
#[test]
fn variables_name_the_proxy_and_whom_it_is_not_for() {
    if let Ok(url) = std::env::var(CHILD) {
        let world = World::new();
        let source = Source { url: url.parse().unwrap(), ..world.source("main") };
        world.cache().update(&source, None).unwrap();
        return;
    }
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    let proxy = HttpProxy::start().unwrap();
    let fetch = |no_proxy: &str| {
        let name = "git::proxy::variables_name_the_proxy_and_whom_it_is_not_for";
        let ended = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact"])
            .env(CHILD, world.shop.url())
            .env("HTTP_PROXY", proxy.url())
            .env("NO_PROXY", no_proxy)
            .env_remove("http_proxy")
            .env_remove("no_proxy")
            .output()
            .unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        proxy.asked().len()
    };
    let asked = fetch("elsewhere.example");
    assert!(asked > 0);
    assert_eq!(fetch("127.79.0.1"), asked, "it was not for this host");
}

#[test]
fn client_shows_its_certificate() {
    let (authority, clients) = (Authority::new("git").unwrap(), Authority::new("clients").unwrap());
    let (world, mut source) = secure(&authority, Some(&clients));
    let refused = |source: &Source| {
        let error = world.cache().update(source, None).unwrap_err();
        assert_eq!((error.reason(), error.retry()), ("AccessDenied", Retry::AtInterval), "{error:?}");
        told(&world, &error)
    };
    insta::assert_snapshot!(refused(&source), @"failed to fetch http://git.example/shop: the server does not accept the client's certificate, or wants one; name it in certificateFile and keyFile: received fatal alert: CertificateRequired");

    let stranger = Authority::new("others").unwrap().client("skiff", None).unwrap();
    source.credentials.certificate = world.file("tls.crt", &stranger.certificate_pem);
    source.credentials.certificate_key = world.file("tls.key", &stranger.key_pem);
    insta::assert_snapshot!(refused(&source), @"failed to fetch http://git.example/shop: the server does not accept the client's certificate, or wants one; name it in certificateFile and keyFile: received fatal alert: UnknownCA");

    let leaf = clients.client("skiff", None).unwrap();
    world.file("tls.crt", &leaf.certificate_pem);
    world.file("tls.key", &leaf.key_pem);
    world.cache().update(&source, None).unwrap();
}

#[test]
fn certificate_and_key_that_do_not_fit_are_named() {
    let authority = Authority::new("git").unwrap();
    let (world, mut source) = secure(&authority, Some(&authority));
    let place = world.folder.path().display().to_string();
    let say = |source: &Source| {
        let error = world.cache().update(source, None).unwrap_err();
        assert_eq!((error.reason(), error.retry()), ("CredentialsInvalid", Retry::AtInterval), "{error:?}");
        told(&world, &error).replace(&place, "/secrets")
    };
    let leaf = authority.client("skiff", None).unwrap();
    source.credentials.certificate = world.file("tls.crt", &leaf.certificate_pem);
    insta::assert_snapshot!(say(&source), @"failed to fetch http://git.example/shop: beside /secrets/tls.crt the other half is missing; a client certificate needs its private key");
    source.credentials.certificate_key = world.file("tls.key", "no key");
    insta::assert_snapshot!(say(&source), @"failed to fetch http://git.example/shop: /secrets/tls.crt and /secrets/tls.key hold no PEM certificate with its private key");
}

#[test]
fn other_hosts_are_not_shown_the_certificate() {
    let authority = Authority::new("git").unwrap();
    let (world, mut source) = secure(&authority, Some(&authority));
    let front = GitServer::start_with(Options { authority: Some(&authority), ..Options::default() }).unwrap();
    front.behave(Fault::Redirect { to: world.server.base().to_owned() });
    let leaf = authority.client("skiff", None).unwrap();
    source.credentials.certificate = world.file("tls.crt", &leaf.certificate_pem);
    source.credentials.certificate_key = world.file("tls.key", &leaf.key_pem);
    world.cache().update(&source, None).unwrap();
    source.url = front.url("shop").parse().unwrap();
    let error = world.cache().update(&source, None).unwrap_err();
    assert!(matches!(error, FetchError::IdentityRefused { .. }), "{error:?}");
}
