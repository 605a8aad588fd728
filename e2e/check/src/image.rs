//! The agent's image: built from the Containerfile without a daemon, taken apart again, and run.
//!
//! Everything is below `target/image`: the image as an OCI layout in `oci`, its list of contents in `skiff.cdx.json`.
//! Built from the same files it is the same image, digest for digest: no time of the day is in it.

mod sbom;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{is_static, lab, printed, run};
use crate::tools;

/// The programs in the image, in `/usr/local/bin`.
const PROGRAMS: [&str; 3] = ["skiff", "helm", "kustomize"];

/// Debian's list of certificate authorities.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Every file and empty folder of the image, with its mode.
const CONTENT: [&str; 6] = [
    "etc/ssl/certs/ca-certificates.crt 444",
    "tmp 755",
    "usr/local/bin/helm 555",
    "usr/local/bin/kustomize 555",
    "usr/local/bin/skiff 555",
    "var/lib/skiff 755",
];

/// The user that the image runs as, who is nobody on any system.
const USER: &str = "65532";

/// Gives a root filesystem what every container runtime gives it, and runs the rest of the line in it as [`USER`].
const CONTAIN: &str = r#"root=$1; shift
mkdir -p "$root/proc" "$root/dev" && touch "$root/dev/null" || exit
mount --bind /dev/null "$root/dev/null" && mount -t proc proc "$root/proc" || exit
exec unshare --user --map-user=65532 --map-group=65532 --root="$root" --wd=/ "$@""#;

/// Builds the image and tries it.
pub fn image() -> Result<(), String> {
    tools::debian(&[("buildah", "buildah"), ("skopeo", "skopeo"), ("umoci", "umoci")])?;
    if !Path::new(AUTHORITIES).exists() {
        run(Command::new("apt-get").args(["install", "--yes", "--quiet", "ca-certificates"]))?;
    }
    let home = tools::target().join("image");
    let context = stage(&home)?;
    sbom::write(&context, &home.join("skiff.cdx.json"))?;
    build(&home, &context)?;
    check_settings(&home)?;
    let root = unpack(&home)?;
    check_content(&root)?;
    start(&root)
}

/// Lays the files of the image into one folder.
fn stage(home: &Path) -> Result<PathBuf, String> {
    let skiff = tools::static_skiff()?;
    lab()?;
    let context = home.join("context");
    emptied(&context)?;
    made(&context.join("empty"))?;
    let lab = tools::lab_programs();
    let sources = [skiff, lab.join("helm"), lab.join("kustomize")];
    for (source, name) in sources.iter().zip(PROGRAMS) {
        is_static(source)?;
        copied(source, &context.join(name))?;
    }
    copied(Path::new(AUTHORITIES), &context.join("ca-certificates.crt"))?;
    Ok(context)
}

/// Builds the image as an OCI layout. Nothing runs in it meanwhile.
fn build(home: &Path, context: &Path) -> Result<(), String> {
    let (storage, layout) = (home.join("storage"), home.join("oci"));
    emptied(&storage)?;
    emptied(&layout)?;
    let version = env!("CARGO_PKG_VERSION");
    let mut buildah = Command::new("buildah");
    buildah.args(["--storage-driver", "vfs", "--root"]).arg(storage.join("root"));
    buildah.arg("--runroot").arg(storage.join("run"));
    buildah.args(["build", "--isolation", "chroot", "--timestamp", "0", "--format", "oci"]);
    for label in [
        "org.opencontainers.image.title=skiff".to_owned(),
        format!("org.opencontainers.image.version={version}"),
        "org.opencontainers.image.licenses=Apache-2.0".to_owned(),
    ] {
        buildah.args(["--label", &label]);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Containerfile");
    buildah.arg("--tag").arg(format!("oci:{}:{version}", layout.display()));
    buildah.arg("--file").arg(file).arg(context);
    let built = printed(&mut buildah);
    emptied(&storage)?;
    built.map(drop)
}

/// Returns the image as skopeo and umoci name it.
fn reference(home: &Path) -> String {
    format!("{}:{}", home.join("oci").display(), env!("CARGO_PKG_VERSION"))
}

/// Checks what a runtime is told of the image.
fn check_settings(home: &Path) -> Result<(), String> {
    let wanted = format!("{USER}:{USER} [/usr/local/bin/skiff] [agent] linux");
    let format = "{{.Config.User}} {{.Config.Entrypoint}} {{.Config.Cmd}} {{.OS}}";
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["inspect", "--config", "--format", format]).arg(format!("oci:{}", reference(home)));
    let said = printed(&mut skopeo)?;
    if said.trim() != wanted {
        return Err(format!("the image says {:?} of itself instead of {wanted:?}", said.trim()));
    }
    Ok(())
}

/// Takes the image apart and returns its root filesystem.
fn unpack(home: &Path) -> Result<PathBuf, String> {
    let root = home.join("root");
    emptied(&root)?;
    fs::remove_dir(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    let mut umoci = Command::new("umoci");
    umoci.args(["raw", "unpack", "--rootless", "--image", &reference(home)]).arg(&root);
    printed(&mut umoci)?;
    Ok(root)
}

/// Checks that the image holds what it should and nothing else.
fn check_content(root: &Path) -> Result<(), String> {
    let mut found = Vec::new();
    collect(root, root, &mut found)?;
    found.sort();
    if found != CONTENT {
        return Err(format!("the image holds {found:#?} instead of {CONTENT:#?}"));
    }
    Ok(())
}

/// Collects files and empty folders with their modes.
fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) -> Result<(), String> {
    let unread = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries: Vec<fs::DirEntry> = fs::read_dir(folder).and_then(Iterator::collect).map_err(unread)?;
    for entry in &entries {
        let path = entry.path();
        let metadata = entry.metadata().map_err(unread)?;
        let is_folder = metadata.is_dir();
        if is_folder {
            collect(root, &path, found)?;
        }
        if !is_folder || fs::read_dir(&path).map_err(unread)?.next().is_none() {
            let below = path.strip_prefix(root).unwrap_or(&path).display();
            found.push(format!("{below} {:o}", metadata.permissions().mode() & 0o7777));
        }
    }
    Ok(())
}

/// Runs the programs in the image's root filesystem: the agent checks a file, and renders by both tools.
fn start(root: &Path) -> Result<(), String> {
    let work = root.join("work");
    written(&work.join("config.yaml"), CONFIG)?;
    written(&work.join("chart/Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 0.1.0\n")?;
    written(&work.join("chart/templates/settings.yaml"), &settings("{{ .Chart.Name }}"))?;
    written(&work.join("overlay/kustomization.yaml"), "namePrefix: eu-\nresources: [settings.yaml]\n")?;
    written(&work.join("overlay/settings.yaml"), &settings("shop"))?;
    let trials: [(&[&str], &str); 6] = [
        (&["skiff", "version"], env!("CARGO_PKG_VERSION")),
        (&["helm", "version", "--short"], "v4."),
        (&["kustomize", "version"], "v5."),
        (&["skiff", "agent", "--config", "/work/config.yaml", "--check"], ""),
        (&["skiff", "render", "/work/chart", "--offline"], "name: shop"),
        (&["skiff", "render", "/work/overlay", "--offline"], "name: eu-shop"),
    ];
    for (line, wanted) in trials {
        let said = contained(root, line)?;
        if !said.contains(wanted) {
            return Err(format!("{} in the image said {said:?} instead of {wanted:?}", line.join(" ")));
        }
    }
    Ok(())
}

/// Runs a program of the image in namespaces of its own.
fn contained(root: &Path, line: &[&str]) -> Result<String, String> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]);
    unshare.args(["sh", "-c", CONTAIN, "sh"]).arg(root);
    unshare.arg(format!("/usr/local/bin/{}", line[0])).args(&line[1..]).env_clear();
    // What the image says, and what `unshare` finds the shell by.
    unshare.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/tmp");
    printed(&mut unshare)
}

const CONFIG: &str = "cluster: {name: image}
environments:
  - name: staging
    source: {url: https://git.example/shop, ref: {branch: main}}
";

fn settings(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: \"{name}\", namespace: shop}}\n")
}

fn emptied(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    made(folder)
}

fn made(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

fn copied(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(drop).map_err(|error| format!("{}: {error}", from.display()))
}

fn written(path: &Path, content: &str) -> Result<(), String> {
    path.parent().map_or(Ok(()), made)?;
    fs::write(path, content).map_err(|error| format!("{}: {error}", path.display()))
}
