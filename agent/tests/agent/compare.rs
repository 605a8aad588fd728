//! `skiff diff OLD..NEW` in a work tree: what a pull request changes, without a cluster.

#![expect(
    clippy::unwrap_used,
    reason = "the exemption of tests does not reach helper functions of integration tests"
)]

use std::path::Path;
use std::process::Command;

use skiff_harness::git_server::{GitServer, Repository};

fn config_map(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: shop}}\ndata: {{value: {value}}}\n"
    )
}

fn secret(value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: key, namespace: shop}}\nstringData: {{key: {value}}}\n"
    )
}

/// Clones a repository as a person does.
fn clone(repository: &Repository) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("git");
    command.args(["clone", "--quiet", repository.url(), "."]).current_dir(folder.path());
    assert!(command.status().unwrap().success());
    folder
}

fn skiff(folder: &Path, arguments: &[&str]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skiff"));
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code().unwrap())
}

#[test]
fn a_pull_request_is_told_object_by_object() {
    let server = GitServer::start().unwrap();
    let mut shop = Repository::create(&server, "shop").unwrap();
    shop.write("web/settings.yaml", config_map("settings", "one")).write("web/key.yaml", secret("sesame"));
    shop.write("web/old.yaml", config_map("old", "same")).write("other/a.yaml", config_map("a", "same"));
    shop.commit("before").unwrap();
    shop.write("web/settings.yaml", config_map("settings", "two")).write("web/key.yaml", secret("open"));
    shop.write("web/new.yaml", config_map("new", "fresh")).remove("web/old.yaml");
    shop.commit("after").unwrap();
    let tree = clone(&shop);

    let (names, code) = skiff(tree.path(), &["diff", "HEAD~1..HEAD", "--path", "web", "-o", "name"]);
    assert_eq!(code, 3, "{names}");
    let names: Vec<&str> = names.lines().collect();
    let changed = ["Secret/shop/key", "ConfigMap/shop/new", "ConfigMap/shop/old", "ConfigMap/shop/settings"];
    assert!(names.len() == 4 && changed.iter().all(|name| names.contains(name)), "{names:?}");

    // From within the folder, and from where the two parted: here the same.
    let inside = tree.path().join("web");
    let (comment, code) = skiff(&inside, &["diff", "HEAD~1...", "--markdown"]);
    assert_eq!(code, 3, "{comment}");
    assert!(comment.starts_with("### `web` from `") && comment.contains("to `HEAD ("), "{comment}");
    assert!(comment.contains("#### `local`: 1 created, 2 configured, 1 pruned"), "{comment}");
    assert!(comment.contains("-  value: one\n+  value: two\n"), "{comment}");
    assert!(!comment.contains("sesame") && !comment.contains("open"), "{comment}");

    let (same, code) = skiff(tree.path(), &["diff", "HEAD~1..HEAD", "--path", "other"]);
    assert_eq!((same.as_str(), code), ("", 0));
    let (nothing, code) = skiff(tree.path(), &["diff", "HEAD~1..nowhere"]);
    assert!(code == 1 && nothing.contains("there is no commit \"nowhere\" here"), "{nothing}");
}

#[test]
fn a_commit_reads_no_file_of_the_machine_that_compares_it() {
    let server = GitServer::start().unwrap();
    let mut shop = Repository::create(&server, "shop").unwrap();
    shop.write("web/settings.yaml", config_map("settings", "one"));
    shop.commit("before").unwrap();
    shop.symlink("web/stolen.yaml", "/etc/passwd");
    shop.commit("after").unwrap();
    let tree = clone(&shop);
    let (refused, code) = skiff(tree.path(), &["diff", "HEAD~1..HEAD", "--path", "web", "--markdown"]);
    assert!(
        code == 1 && refused.contains("web/stolen.yaml") && refused.contains("leads out of"),
        "{refused}"
    );
    assert!(!refused.contains("root:"), "{refused}");
}
