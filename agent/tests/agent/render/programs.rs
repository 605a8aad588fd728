//! The programs that render: found, missing, or of another version.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use skiff::render::{Found, programs};

use super::{World, world};

/// Puts a script beside the world's folders.
fn script(world: &World, name: &str, text: &str) -> PathBuf {
    let path = world.directory.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Returns what is said of the programs, without the folder that they are in.
async fn said(world: &World) -> String {
    let found = programs(&world.tools).await.map(|program| program.to_string());
    let left = fs::read_dir(world.directory.path().join("scratch")).unwrap().count();
    assert_eq!(left, 0, "nothing is left in the scratch folder");
    found.join("\n").replace(&world.directory.path().display().to_string(), "/programs")
}

#[tokio::test]
async fn pinned_programs_are_the_tested_ones() {
    let world = world(&[]).with_tools();
    for program in programs(&world.tools).await {
        assert_eq!(program.found(), &Found::AsTested, "{program}");
    }
}

#[tokio::test]
async fn programs_of_other_versions_are_named_with_what_to_install() {
    let mut world = world(&[]).with_tools();
    world.tools.helm = script(&world, "helm", "#!/bin/sh\necho v3.19.0\n");
    world.tools.kustomize = script(&world, "kustomize", "#!/bin/sh\necho '{Version:kustomize/v4.5.7}'\n");
    insta::assert_snapshot!(said(&world).await, @"
    /programs/helm is helm 3.19.0, and Skiff is tested with 4.3.1: charts may come out differently; install 4.3.1, and the same on every cluster
    /programs/kustomize is kustomize {Version:kustomize/v4.5.7}, and Skiff is tested with 5.8.1: kustomizations may come out differently; install 5.8.1, and the same on every cluster
    ");
}

#[tokio::test]
async fn programs_that_do_not_run_are_named_with_the_cause() {
    let mut world = world(&[]).with_tools();
    world.tools.helm = "/nowhere/helm".into();
    world.tools.kustomize = script(&world, "kustomize", "#!/bin/sh\necho it is broken >&2\nexit 3\n");
    insta::assert_snapshot!(said(&world).await, @r#"
    no charts can be rendered, as /nowhere/helm does not run: failed to start "/nowhere/helm": No such file or directory (os error 2); install helm 4.3.1, or name it as render.helm
    no kustomizations can be rendered, as /programs/kustomize does not run: it is broken; install kustomize 5.8.1, or name it as render.kustomize
    "#);
    world.tools.sandbox = None;
    let found = programs(&world.tools).await;
    assert_eq!(found[0].found(), &Found::Broken("No such file or directory (os error 2)".to_owned()));
}
