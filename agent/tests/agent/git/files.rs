//! Files of a revision: listed, read, exported, and refused where they are not what they seem.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use skiff::git::{EntryKind, Exported, ReadError, Retry, Snapshot};

use super::{World, chain};

fn listing(snapshot: &Snapshot, path: &str) -> String {
    let mut text = String::new();
    for entry in snapshot.list(path).unwrap() {
        writeln!(text, "{:?} {} {} ({})", entry.kind, entry.size, entry.path, entry.name).unwrap();
    }
    text
}

/// Returns what is on disk, as `find` would print it.
fn found(folder: &Path, root: &Path, text: &mut String) {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let kind = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display();
        if kind.is_symlink() {
            writeln!(text, "{name} -> {}", fs::read_link(&path).unwrap().display()).unwrap();
        } else if kind.is_dir() {
            found(&path, root, text);
        } else {
            writeln!(text, "{name} {:o}", kind.permissions().mode() & 0o777).unwrap();
        }
    }
}

#[test]
fn folders_are_listed_with_everything_below_them() {
    let mut world = World::new();
    world
        .shop
        .write("apps/shop/web.yaml", "web")
        .write("apps/shop/deep/er/api.yaml", "api")
        .write("other", "x");
    world.shop.write_executable("apps/shop/run", "#!").symlink("apps/shop/link", "web.yaml");
    world.shop.submodule("apps/shop/sub", &"1".repeat(40)).commit("First").unwrap();
    let snapshot = world.snapshot();
    insta::assert_snapshot!(listing(&snapshot, "apps/shop"), @r"
    File 3 apps/shop/deep/er/api.yaml (deep/er/api.yaml)
    Symlink 8 apps/shop/link (link)
    Executable 2 apps/shop/run (run)
    Submodule 0 apps/shop/sub (sub)
    File 3 apps/shop/web.yaml (web.yaml)
    ");
    assert_eq!(listing(&snapshot, "apps//shop/./"), listing(&snapshot, "apps/shop"));
}

#[test]
fn only_the_folders_right_in_a_folder_are_named() {
    let mut world = World::new();
    world.shop.write("apps/web/deep/a.yaml", "a").write("apps/db/a.yaml", "a").write("apps/file.yaml", "a");
    world.shop.symlink("apps/link", "web").commit("First").unwrap();
    let snapshot = world.snapshot();
    assert_eq!(snapshot.folders("apps").unwrap(), ["db", "web"]);
    assert_eq!(snapshot.folders("").unwrap(), ["apps"]);
    assert_eq!(snapshot.folders("apps/file.yaml").unwrap(), Vec::<String>::new());
    assert_eq!(snapshot.folders("nowhere").unwrap(), Vec::<String>::new());
    assert!(snapshot.is_folder("apps/web/deep").unwrap() && !snapshot.is_folder("apps/web/a").unwrap());
    assert!(!snapshot.is_folder("apps/file.yaml").unwrap());
}

#[test]
fn path_that_did_not_change_keeps_its_id() {
    let mut world = World::new();
    world.shop.write("apps/shop/web.yaml", "web").write("apps/bank/web.yaml", "web").commit("First").unwrap();
    let before = world.snapshot();
    world.shop.write("apps/bank/web.yaml", "changed").commit("Second").unwrap();
    let after = world.snapshot();
    for (path, same) in [("apps/shop", true), ("apps/shop/web.yaml", true), ("apps/bank", false), ("", false)]
    {
        let ids = (before.tree_id(path).unwrap(), after.tree_id(path).unwrap());
        assert!(ids.0.is_some());
        assert_eq!(ids.0 == ids.1, same, "{path}");
    }
    assert_eq!(after.tree_id("apps/none").unwrap(), None);
    assert_eq!(after.tree_id("apps/shop/web.yaml/none").unwrap(), None);
}

#[test]
fn what_cannot_be_read_is_named() {
    let mut world = World::new();
    world.shop.write("a/file", "1").submodule("sub", &"1".repeat(40)).write("large", "x".repeat(2000));
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n";
    let commit = world.shop.write("pointer", pointer).commit("First").unwrap();
    let mut source = world.source("main");
    source.limits.file = 1_000_000;
    let commit_id = world.moved().commit;
    source.limits.file = 1000;
    let snapshot = world.cache().snapshot(&source, commit_id).unwrap();
    let mut said = Vec::new();
    for path in ["a", "a/none", "../a", "/etc/passwd", "sub", "pointer", "large"] {
        let error = snapshot.read(path).unwrap_err();
        assert_eq!(error.retry(), Retry::OnChange);
        said.push(format!("{}: {}", error.reason(), chain(&error)));
    }
    let error = snapshot.list("a/file").unwrap_err();
    said.push(format!("{}: {error}", error.reason()));
    let error = snapshot.list("none").unwrap_err();
    said.push(format!("{}: {error}", error.reason()));
    let said = said.join("\n").replace(world.server.base(), "http://git.example").replace(&commit, "…");
    insta::assert_snapshot!(said, @r#"
    PathNotFound: a is not a file
    PathNotFound: path "a/none" not found in sha1:… of http://git.example/shop
    PathInvalid: ../a is not a path inside the repository
    PathInvalid: /etc/passwd is not a path inside the repository
    SubmoduleRefused: sub is a submodule; submodules are not supported, commit its files instead
    LargeFilePointerRefused: pointer is a pointer to Git LFS; LFS is not supported, commit the file itself
    TooLarge: large has 2000 bytes, more than 1000; raise fetch.limits.file to allow it
    PathNotFound: a/file is not a folder
    PathNotFound: path "none" not found in sha1:… of http://git.example/shop
    "#);
}

#[test]
fn export_holds_exactly_the_files() {
    let mut world = World::new();
    world
        .shop
        .write("chart/Chart.yaml", "name: shop")
        .write("chart/templates/web.yaml", "web")
        .write("other", "x");
    world.shop.write_executable("chart/run", "#!").symlink("chart/values.yaml", "files/../Chart.yaml");
    world
        .shop
        .write("chart/files/a", "a")
        .symlink("chart/folder", "templates")
        .symlink("chart/nothing", "none");
    world.shop.commit("First").unwrap();
    let target = world.folder.path().join("export");
    let exported = world.snapshot().export("chart", &target).unwrap();
    assert_eq!(exported, Exported { files: 4, bytes: 16 });
    let mut text = String::new();
    found(&target, &target, &mut text);
    insta::assert_snapshot!(text, @r"
    Chart.yaml 644
    files/a 644
    folder -> templates
    run 755
    templates/web.yaml 644
    values.yaml -> files/../Chart.yaml
    ");
    assert_eq!(fs::read_to_string(target.join("values.yaml")).unwrap(), "name: shop");
    assert_eq!(fs::read_to_string(target.join("folder/web.yaml")).unwrap(), "web");
}

#[test]
fn symlinks_are_followed_inside_what_is_read_and_not_out_of_it() {
    let mut world = World::new();
    world.shop.write("app/file", "inside").write("app/deep/file", "deep").write("outside", "outside");
    world
        .shop
        .symlink("app/good", "deep/../file")
        .symlink("app/folder", "deep")
        .symlink("through", "app/folder/file");
    world.shop.commit("First").unwrap();
    let snapshot = world.snapshot();
    assert_eq!(snapshot.read("app/good").unwrap(), b"inside");
    assert_eq!(snapshot.read("through").unwrap(), b"deep");
    let entries = snapshot.list("app").unwrap();
    let links: Vec<_> = entries.iter().filter(|entry| entry.kind == EntryKind::Symlink).collect();
    assert!(snapshot.leads_to_folder(links[0]).unwrap(), "{}", links[0].path);
    assert_eq!(snapshot.read_entry(links[1]).unwrap(), b"inside");

    for (target, way) in [
        ("/etc/passwd", "absolute"),
        ("../outside", "up"),
        ("../app/file", "out and in again"),
        ("deep/../../outside", "up after down"),
        ("loop/file", "in a circle"),
        // By its text it stays inside; `here` is where it stands, so that two steps up are one too many.
        ("here/deep/../../outside", "by a detour"),
    ] {
        world.shop.symlink("app/loop", "loop").symlink("app/here", ".");
        world.shop.symlink("app/bad", target).commit(way).unwrap();
        let snapshot = world.snapshot();
        let entries = snapshot.list("app").unwrap();
        let bad = entries.iter().find(|entry| entry.name == "bad").unwrap();
        let error = snapshot.read_entry(bad).unwrap_err();
        if !matches!(error, ReadError::SymlinkCircle { .. }) {
            assert!(error.to_string().starts_with("symlink app/bad points to"), "{way}: {error}");
        }
        assert_eq!(error.reason(), "SymlinkRefused", "{way}: {error}");
        let target = world.folder.path().join(way);
        let error = snapshot.export("app", &target).unwrap_err();
        assert_eq!(error.reason(), "SymlinkRefused", "{way}: {error}");
    }
}

#[test]
fn submodules_and_pointers_are_refused_by_name() {
    let mut world = World::new();
    world.shop.write("a/file", "1").submodule("a/sub", &"1".repeat(40)).commit("First").unwrap();
    let target = world.folder.path().join("one");
    let error = world.snapshot().export("", &target).unwrap_err();
    insta::assert_snapshot!(error, @"a/sub is a submodule; submodules are not supported, commit its files instead");

    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n";
    world.shop.remove("a/sub").write("a/large.bin", pointer).commit("Second").unwrap();
    let target = world.folder.path().join("two");
    let error = world.snapshot().export("", &target).unwrap_err();
    insta::assert_snapshot!(error, @"a/large.bin is a pointer to Git LFS; LFS is not supported, commit the file itself");
}

/// Commits a tree that Git itself would not write.
fn commit_tree(world: &World, entries: &[(&str, &str, &str)]) {
    let mut tree = Vec::new();
    for (mode, name, id) in entries {
        tree.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        let bytes = (0..40).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap());
        tree.extend(bytes);
    }
    let command = ["hash-object", "-t", "tree", "-w", "--literally", "--stdin"];
    let tree = world.shop.git_with_input(&command, &tree).unwrap();
    let commit = world.shop.git(&["commit-tree", "-m", "Crafted", &tree]).unwrap();
    world.shop.git(&["update-ref", "refs/heads/main", &commit]).unwrap();
}

#[test]
fn tree_made_to_lead_elsewhere_is_refused() {
    let world = World::new();
    let blob = world.shop.git_with_input(&["hash-object", "-w", "--stdin"], b"content").unwrap();
    let link = world.shop.git_with_input(&["hash-object", "-w", "--stdin"], b"sub").unwrap();
    let inner = format!("100644 blob {blob}\tfile\n");
    let inner = world.shop.git_with_input(&["mktree"], inner.as_bytes()).unwrap();
    for name in ["..", ".", ".git", ".GIT", "a/b"] {
        commit_tree(&world, &[("100644", name, &blob)]);
        let target = world.folder.path().join("export");
        let error = world.snapshot().export("", &target).unwrap_err();
        assert!(matches!(error, ReadError::NameInvalid { .. }), "{name}: {error:?}");
    }
    commit_tree(&world, &[("120000", "twice", &link), ("40000", "sub", &inner), ("40000", "twice", &inner)]);
    let target = world.folder.path().join("twice");
    let error = world.snapshot().export("", &target).unwrap_err();
    assert!(matches!(error, ReadError::Write { .. }), "{error:?}");
}

#[test]
fn tree_that_is_nested_without_end_is_refused() {
    let mut world = World::new();
    world.shop.git(&["config", "core.maxTreeDepth", "10000"]).unwrap();
    world.shop.write(&format!("app/{}file", "deep/".repeat(5_000)), "1").commit("Deep").unwrap();
    let error = world.snapshot().list("app").unwrap_err();
    assert_eq!((error.reason(), error.retry()), ("TooLarge", Retry::OnChange));
    insta::assert_snapshot!(error, @"app/deep/deep/deep/… is nested more than 256 folders deep; move its files up");

    world.shop.remove("app").write(&format!("app/{}file", "d/".repeat(255)), "1").commit("Less").unwrap();
    assert_eq!(world.snapshot().list("").unwrap().len(), 1);
}
