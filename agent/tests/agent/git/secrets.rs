//! Credentials in a Secret that the source names: in whatever spelling, as they are now, told precisely when they are not.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use skiff::git::{FetchError, NamedSecret, NamedSecretError, NamedSecrets, Retry, Source};
use skiff_harness::git_server::Access;
use skiff_harness::github::{APP, Github, INSTALLATION};
use skiff_harness::ssh_server::{KeyPair, SshServer};

use super::{World, chain, told};

/// Secrets of the namespace `skiff`, without an API server.
#[derive(Default)]
pub struct Shelf {
    secrets: Mutex<BTreeMap<String, BTreeMap<String, Vec<u8>>>>,
    silent: Mutex<bool>,
}

impl Shelf {
    pub fn put(&self, name: &str, entries: &[(&str, &str)]) {
        let data = entries.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        self.secrets.lock().unwrap().insert(name.to_owned(), data.collect());
    }
}

impl NamedSecrets for Shelf {
    fn read<'a>(&'a self, bare: &'a str) -> BoxFuture<'a, Result<NamedSecret, NamedSecretError>> {
        let name = format!("skiff/{bare}");
        let found = match (*self.silent.lock().unwrap(), self.secrets.lock().unwrap().get(bare)) {
            (true, _) => {
                Err(NamedSecretError::Unanswered { name, problem: "no answer within 10 s".to_owned() })
            }
            (false, Some(data)) => Ok(NamedSecret { name, data: data.clone() }),
            (false, None) => Err(NamedSecretError::NotFound { name }),
        };
        std::future::ready(found).boxed()
    }
}

fn world() -> (World, Source) {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    world.server.demand(Access::Basic { username: "ada".into(), password: "s3cret".into() });
    let mut source = world.source("main");
    source.credentials.secret = Some("shop-git".to_owned());
    (world, source)
}

/// Fails, and says how; nothing secret is in it.
fn say(world: &World, source: &Source) -> String {
    let error: FetchError = world.cache().update(source, None).unwrap_err();
    for text in [chain(&error), format!("{error:?}")] {
        assert!(!text.contains("s3cret") && !text.contains("PRIVATE KEY"), "{text}");
    }
    format!("{} {:?}: {}", error.reason(), error.retry(), told(world, &error))
}

#[test]
fn password_in_a_secret_is_read_at_each_use() {
    let (world, source) = world();
    world.shelf.put("shop-git", &[("username", "ada"), ("password", "s3cret\n")]);
    world.cache().update(&source, None).unwrap();

    world.server.demand(Access::Basic { username: "ada".into(), password: "s3cret-2".into() });
    insta::assert_snapshot!(say(&world, &source), @"AccessDenied AtInterval: failed to fetch http://git.example/shop: the server does not accept the credentials (401); check them where they are kept");
    world.shelf.put("shop-git", &[("username", "ada"), ("password", "s3cret-2")]);
    world.cache().update(&source, None).unwrap();

    world.server.demand(Access::Bearer { token: "t0ken".into() });
    world.shelf.put("shop-git", &[("bearerToken", "t0ken")]);
    world.cache().update(&source, None).unwrap();
}

#[test]
fn what_a_file_holds_goes_before_the_secret() {
    let (world, mut source) = world();
    world.shelf.put("shop-git", &[("username", "ada"), ("password", "of-old")]);
    source.credentials.password = world.file("password", "s3cret");
    world.cache().update(&source, None).unwrap();
}

#[test]
fn secrets_that_are_no_credentials_are_named() {
    let (world, source) = world();
    insta::assert_snapshot!(say(&world, &source), @"SecretUnreadable AtInterval: failed to fetch http://git.example/shop: a Secret that it needs cannot be used: Secret skiff/shop-git not found; create it, or correct secretRef");
    world.shelf.put("shop-git", &[("pasword", "s3cret"), ("username ", "ada")]);
    insta::assert_snapshot!(say(&world, &source), @"CredentialsInvalid AtInterval: failed to fetch http://git.example/shop: a Secret that it needs cannot be used: Secret skiff/shop-git lacks all of username, password, bearerToken, ca.crt, tls.crt, tls.key, githubAppID, githubAppInstallationID, githubAppPrivateKey; it has pasword, username ");
    world.shelf.put("shop-git", &[("username", "ada")]);
    insta::assert_snapshot!(say(&world, &source), @"CredentialsInvalid AtInterval: failed to fetch http://git.example/shop: beside key username of Secret skiff/shop-git there is no password");
    world.shelf.put("shop-git", &[("password", "s3cret"), ("bearerToken", "s3cret")]);
    insta::assert_snapshot!(say(&world, &source), @"CredentialsInvalid AtInterval: failed to fetch http://git.example/shop: of a password, a token and a GitHub App more than one is given; leave one");
    world.shelf.put("shop-git", &[("ca.crt", "s3cret")]);
    insta::assert_snapshot!(say(&world, &source), @"CredentialsInvalid AtInterval: failed to fetch http://git.example/shop: key ca.crt of Secret skiff/shop-git holds no PEM certificate");
    world.shelf.put("shop-git", &[("tls.crt", "s3cret")]);
    insta::assert_snapshot!(say(&world, &source), @"CredentialsInvalid AtInterval: failed to fetch http://git.example/shop: beside key tls.crt of Secret skiff/shop-git the other half is missing; a client certificate needs its private key");
    world.shelf.put("shop-git", &[("githubAppID", "4711"), ("githubAppInstallationID", "815")]);
    insta::assert_snapshot!(say(&world, &source), @"CredentialsInvalid AtInterval: failed to fetch http://git.example/shop: a Secret that it needs cannot be used: Secret skiff/shop-git lacks githubAppPrivateKey; it has githubAppID, githubAppInstallationID");
    *world.shelf.silent.lock().unwrap() = true;
    insta::assert_snapshot!(say(&world, &source), @"SecretUnreadable Backoff: failed to fetch http://git.example/shop: a Secret that it needs cannot be used: Secret skiff/shop-git cannot be read: no answer within 10 s");
    assert!(world.server.requests().is_empty(), "nobody is asked without credentials");
}

#[test]
fn key_and_known_hosts_in_a_secret_open_a_repository_over_ssh() {
    let (world, mut source) = world();
    let server = SshServer::start(world.server.root()).unwrap();
    let ada = KeyPair::of("ada");
    server.allow(&ada);
    source.url = server.url("shop").parse().unwrap();
    let (key, known) = (ada.private().unwrap(), server.known_as(&KeyPair::of("host")).unwrap());
    for spelling in ["identity", "sshPrivateKey", "ssh-privatekey"] {
        world.shelf.put("shop-git", &[(spelling, &key), ("known_hosts", &known)]);
        world.cache().update(&source, None).unwrap();
    }
    world.shelf.put("shop-git", &[("sshPrivateKey", &key)]);
    let said = say(&world, &source).replace(&source.url.to_string(), "ssh://git.example/shop");
    insta::assert_snapshot!(said, @"CredentialsInvalid AtInterval: failed to fetch ssh://git.example/shop: SSH needs known hosts; name a file with it under credentials, or a Secret that has known_hosts");
    // What Argo CD keeps elsewhere may stand in a file.
    source.credentials.known_hosts = world.file("known_hosts", &known);
    world.cache().update(&source, None).unwrap();
}

#[test]
fn github_app_in_a_secret_gives_out_tokens() {
    let (world, mut source) = world();
    let github = Github::start().unwrap();
    let token = format!("ghs_{:036}", 0);
    world.server.demand(Access::Basic { username: "x-access-token".to_owned(), password: token });
    world.shelf.put(
        "shop-git",
        &[
            ("githubAppID", APP),
            ("githubAppInstallationID", INSTALLATION),
            ("githubAppPrivateKey", github.private_key()),
            ("githubAppEnterpriseBaseUrl", &github.api()),
        ],
    );
    world.cache().update(&source, None).unwrap();
    // The ids in the config, the key alone in the Secret: the same token.
    world.shelf.put("shop-git", &[("githubAppPrivateKey", github.private_key())]);
    let (app, installation) = (APP.to_owned(), INSTALLATION.to_owned());
    let app = skiff::git::GithubApp { app, installation, private_key: None, api: github.api() };
    source.credentials.github_app = Some(app);
    world.cache().update(&source, None).unwrap();
    assert_eq!(github.given().len(), 1);
    world.shelf.put("shop-git", &[("githubAppID", APP)]);
    insta::assert_snapshot!(say(&world, &source), @"CredentialsInvalid AtInterval: failed to fetch http://git.example/shop: a Secret that it needs cannot be used: Secret skiff/shop-git lacks githubAppPrivateKey; it has githubAppID");
    assert_eq!(world.cache().update(&source, None).unwrap_err().retry(), Retry::AtInterval);
}
