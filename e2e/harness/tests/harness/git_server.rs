//! The Git server, asked by the `git` executable as a person would.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use skiff_harness::certs::Authority;
use skiff_harness::git_server::{Access, Fault, GitServer, ObjectFormat, Options, Repository, RequestKind};
use tempfile::TempDir;

fn shop(server: &GitServer) -> Repository {
    let mut shop = Repository::create(server, "shop").unwrap();
    shop.write("web.yaml", "kind: Deployment\n").commit("Add the shop").unwrap();
    shop
}

fn git(directory: &Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=Grace", "-c", "user.email=grace@skiff.example"])
        .args(arguments)
        .env_remove("GIT_SSL_CAINFO")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap()
}

fn succeed(directory: &Path, arguments: &[&str]) -> String {
    let output = git(directory, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn fail(directory: &Path, arguments: &[&str]) -> String {
    let output = git(directory, arguments);
    assert!(!output.status.success(), "git {arguments:?} succeeded");
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[test]
fn clone_and_push_pass_through_protocol_2() {
    let server = GitServer::start().unwrap();
    let mut shop = shop(&server);
    let folder = TempDir::new().unwrap();
    succeed(folder.path(), &["clone", "--quiet", shop.url(), "copy"]);
    let copy = folder.path().join("copy");
    assert_eq!(std::fs::read_to_string(copy.join("web.yaml")).unwrap(), "kind: Deployment\n");
    assert_eq!(server.count(RequestKind::Listing).requests, 1);
    assert_eq!(server.requests()[0].protocol.as_deref(), Some("version=2"));

    std::fs::write(copy.join("api.yaml"), "kind: Service\n".repeat(2000)).unwrap();
    succeed(&copy, &["add", "."]);
    succeed(&copy, &["commit", "--quiet", "--message", "Add the api"]);
    succeed(&copy, &["push", "--quiet", "origin", "main"]);
    assert_eq!(shop.head().unwrap(), succeed(&copy, &["rev-parse", "HEAD"]));

    shop.write("web.yaml", "kind: StatefulSet\n").commit("Change the shop").unwrap();
    succeed(&copy, &["pull", "--quiet"]);
    assert!(copy.join("api.yaml").exists(), "a commit keeps what others pushed");
    assert_eq!(std::fs::read_to_string(copy.join("web.yaml")).unwrap(), "kind: StatefulSet\n");
}

#[test]
fn chunked_and_compressed_requests_are_read() {
    let server = GitServer::start().unwrap();
    let mut shop = shop(&server);
    let folder = TempDir::new().unwrap();
    succeed(folder.path(), &["clone", "--quiet", shop.url(), "copy"]);
    let copy = folder.path().join("copy");
    for round in 0..40 {
        std::fs::write(copy.join("file"), format!("{round}\n")).unwrap();
        succeed(&copy, &["add", "."]);
        succeed(&copy, &["commit", "--quiet", "--message", "More"]);
    }
    // A small buffer makes Git send the pack in chunks, many unknown commits make it compress what it has.
    succeed(&copy, &["-c", "http.postBuffer=65536", "push", "--quiet", "origin", "HEAD:refs/heads/other"]);
    succeed(&copy, &["commit", "--quiet", "--allow-empty", "--message", "Mine"]);
    shop.write("web.yaml", "changed\n").commit("Theirs").unwrap();
    succeed(&copy, &["fetch", "--quiet", "origin", "main"]);
    assert_eq!(succeed(&copy, &["rev-parse", "FETCH_HEAD"]), shop.head().unwrap());
}

#[test]
fn builder_makes_every_kind_of_entry_and_reference() {
    let server = GitServer::start().unwrap();
    let mut shop = Repository::create_with(&server, "shop", ObjectFormat::Sha256).unwrap();
    let first = shop.write("a/one", "1").write("b", "2").commit("First\n\nBody").unwrap();
    assert_eq!(first.len(), 64);
    shop.tag("v1").unwrap();
    let tag = shop.annotated_tag("v2", "Second").unwrap();
    assert_ne!(tag, first);
    shop.branch("next").unwrap();
    let submodule = "1".repeat(64);
    shop.write_executable("run", "#!/bin/sh\n")
        .symlink("link", "a/one")
        .submodule("sub", &submodule)
        .remove("b");
    let second = shop.commit("Second").unwrap();
    let rewritten = shop.write("c", "3").rewrite("Second, again").unwrap();
    assert_ne!(second, rewritten);
    assert_eq!(shop.git(&["rev-parse", "next^"]).unwrap(), first);
    assert_eq!(shop.git(&["rev-parse", "main"]).unwrap(), first);
    insta::assert_snapshot!(
        shop.git(&["ls-tree", "-r", "--format=%(objectmode) %(path)", "next"]).unwrap(),
        @r"
    100644 a/one
    100644 c
    120000 link
    100755 run
    160000 sub
    "
    );
}

#[test]
fn only_the_right_credentials_are_let_in() {
    let server = GitServer::start().unwrap();
    let shop = shop(&server);
    let folder = TempDir::new().unwrap();
    server.demand(Access::Basic { username: "ada".into(), password: "secret".into() });
    fail(folder.path(), &["ls-remote", shop.url()]);
    let with = shop.url().replace("http://", "http://ada:secret@");
    succeed(folder.path(), &["ls-remote", &with]);

    server.demand(Access::Bearer { token: "t0ken".into() });
    fail(folder.path(), &["ls-remote", &with]);
    let header = "http.extraHeader=Authorization: Bearer t0ken";
    succeed(folder.path(), &["-c", header, "ls-remote", shop.url()]);
}

#[test]
fn tls_is_spoken_under_the_authority_of_the_test() {
    let authority = Authority::new("git").unwrap();
    let server =
        GitServer::start_with(Options { authority: Some(&authority), ..Options::default() }).unwrap();
    let shop = shop(&server);
    assert!(shop.url().starts_with("https://127.79.0.1:"));
    let folder = TempDir::new().unwrap();
    fail(folder.path(), &["ls-remote", shop.url()]);
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.certificate_pem()).unwrap();
    let trusted = format!("http.sslCAInfo={}", file.display());
    succeed(folder.path(), &["-c", &trusted, "ls-remote", shop.url()]);
}

#[test]
fn faults_reach_the_client_and_end_when_told() {
    let server = GitServer::start().unwrap();
    let mut shop = shop(&server);
    shop.write("blob", (0..20_000).map(|n| format!("{n}\n")).collect::<String>())
        .commit("Add a blob")
        .unwrap();
    let folder = TempDir::new().unwrap();
    let clone = |name: &str| git(folder.path(), &["clone", "--quiet", shop.url(), name]);

    for fault in [Fault::status(503), Fault::rate_limited(Duration::from_secs(7)), Fault::status(404)] {
        server.behave(fault);
        assert!(!clone("refused").status.success());
    }
    for fault in [Fault::Cut { after: 1000 }, Fault::Truncate { after: 1000 }] {
        server.behave(Fault::None);
        server.behave_on(RequestKind::Fetch, fault);
        let before = server.count(RequestKind::Fetch).sent;
        assert!(!clone("broken").status.success());
        assert_eq!(server.count(RequestKind::Fetch).sent - before, 1000);
    }
    for fault in [Fault::Hang, Fault::Stall { after: 10 }, Fault::Drip { every: Duration::from_millis(50) }] {
        server.behave(fault.clone());
        let slow = ["-c", "http.lowSpeedLimit=10000", "-c", "http.lowSpeedTime=1", "ls-remote", shop.url()];
        assert!(!git(folder.path(), &slow).status.success(), "{fault:?}");
    }
    server.behave(Fault::Delay(Duration::from_millis(1)));
    assert!(clone("late").status.success());
}

#[test]
fn redirect_leads_to_the_same_path_elsewhere() {
    let from = GitServer::start().unwrap();
    let to = GitServer::start().unwrap();
    let shop = shop(&to);
    from.behave(Fault::Redirect { to: to.base().to_owned() });
    let folder = TempDir::new().unwrap();
    let listed = succeed(folder.path(), &["ls-remote", &from.url("shop"), "refs/heads/main"]);
    assert!(listed.starts_with(&shop.head().unwrap()));
    assert_eq!(from.requests()[0].status, 307);
}
