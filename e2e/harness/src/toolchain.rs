//! The programs of the lab (control plane, kubectl, helm, kustomize, promtool), built from source by Go and kept until
//! their source changes.
//!
//! They live in `e2e/.lab/bin` of the checkout, or in `$SKIFF_LAB_DIR/bin` where several checkouts share them. A stamp
//! beside them says what they were built from; nothing is built while it is right. Progress goes to stderr.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::process::die_with_parent;

/// Where the built programs are.
#[derive(Clone, Debug)]
pub struct Lab {
    /// kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and etcd in one; the first argument says which.
    pub controlplane: PathBuf,
    /// Helm.
    pub helm: PathBuf,
    /// Kustomize.
    pub kustomize: PathBuf,
    /// The control plane's binary under the name by which it is kubectl.
    pub kubectl: PathBuf,
}

/// Returns the lab's programs, building what is missing or out of date.
///
/// Blocks for minutes the first time. Several processes may call it at once: one builds, the others wait.
pub fn ensure() -> anyhow::Result<Lab> {
    let (source, home) = places()?;
    ensure_in(&source, &home)
}

/// Returns the program that reads YAML as kubectl does, building it if it is missing or out of date.
///
/// It is small: this takes seconds where the whole lab takes minutes.
pub fn vectors() -> anyhow::Result<PathBuf> {
    let (source, home) = places()?;
    Ok(build_all(&home, &[vectors_recipe(&source)?])?.join("vectors"))
}

/// Returns promtool, which tests alerts and queries, building it if it is missing or out of date.
pub fn promtool() -> anyhow::Result<PathBuf> {
    let (source, home) = places()?;
    Ok(build_all(&home, &[promtool_recipe(&source)?])?.join("promtool"))
}

/// Telemetry backends of others.
#[derive(Clone, Debug)]
pub struct Backends {
    /// Jaeger, collector and queries in one process.
    pub jaeger: PathBuf,
    /// VictoriaMetrics.
    pub victoria_metrics: PathBuf,
}

/// Returns the telemetry backends, building what is missing or out of date, for some minutes the first time.
pub fn backends() -> anyhow::Result<Backends> {
    let (source, home) = places()?;
    let bin = build_all(&home, &[victoria_metrics(&source)?, jaeger(&source)?])?;
    Ok(Backends { jaeger: bin.join("jaeger"), victoria_metrics: bin.join("victoria-metrics") })
}

/// Returns the folder of the lab's sources, and the one of what is built from them.
fn places() -> anyhow::Result<(PathBuf, PathBuf)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the harness lies in a folder")?;
    let home = std::env::var_os("SKIFF_LAB_DIR").map_or_else(|| source.join(".lab"), PathBuf::from);
    Ok((source.to_owned(), home))
}

/// Builds what is missing or out of date, and returns the folder of the programs.
fn build_all(home: &Path, recipes: &[Recipe]) -> anyhow::Result<PathBuf> {
    let bin = home.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("failed to create {}", bin.display()))?;
    let bin = bin.canonicalize().with_context(|| format!("failed to resolve {}", bin.display()))?;
    if !recipes.iter().all(|recipe| recipe.is_built(home, &bin)) {
        let _lock = lock(home)?;
        for recipe in recipes {
            // Another process may have built it while this one waited for the lock.
            if !recipe.is_built(home, &bin) {
                recipe.build(home, &bin)?;
            }
        }
    }
    Ok(bin)
}

fn ensure_in(source: &Path, home: &Path) -> anyhow::Result<Lab> {
    let bin = build_all(home, &[controlplane(source)?, kustomize(source)?, helm(source)?])?;
    link_kubectl(&bin)?;
    Ok(Lab {
        controlplane: bin.join("controlplane"),
        helm: bin.join("helm"),
        kustomize: bin.join("kustomize"),
        kubectl: bin.join("kubectl"),
    })
}

/// How one program is built.
struct Recipe {
    /// Its file name, and the name of its stamp.
    name: &'static str,
    /// What a person reads while it is built.
    announcement: &'static str,
    /// The folder of the Go module.
    module: PathBuf,
    /// The package to build, as the module names it.
    package: &'static str,
    /// Build tags.
    tags: &'static str,
    /// The linker's arguments.
    linker: String,
    /// The digest of everything that the binary depends on.
    stamp: String,
}

fn controlplane(source: &Path) -> anyhow::Result<Recipe> {
    let module = source.join("controlplane");
    let version = required_version(&module, "k8s.io/kubernetes")?;
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut linker = "-s -w".to_owned();
    // The version is only known to Kubernetes' own build scripts; without it `/version` says v0.0.0 and charts with a
    // `kubeVersion` constraint fail. The proxy does not tell the commit, hence the word.
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        let stamps = [
            format!("gitVersion={version}"),
            format!("gitMajor={major}"),
            format!("gitMinor={minor}"),
            "gitCommit=unknown".to_owned(),
            "gitTreeState=clean".to_owned(),
        ];
        for stamp in stamps {
            linker.push_str(&format!(" -X {package}.{stamp}"));
        }
    }
    Recipe::new(Recipe {
        name: "controlplane",
        announcement: "building the control plane from source: about 7 minutes the first time, seconds later",
        module,
        package: ".",
        tags: "",
        linker,
        stamp: String::new(),
    })
}

fn kustomize(source: &Path) -> anyhow::Result<Recipe> {
    Recipe::new(Recipe {
        name: "kustomize",
        announcement: "building kustomize from source: about half a minute the first time",
        module: source.join("tools"),
        package: "sigs.k8s.io/kustomize/kustomize/v5",
        tags: "",
        linker: "-s -w".to_owned(),
        stamp: String::new(),
    })
}

fn helm(source: &Path) -> anyhow::Result<Recipe> {
    let module = source.join("tools");
    let version = required_version(&module, "helm.sh/helm/v4")?;
    Recipe::new(Recipe {
        name: "helm",
        announcement: "building helm from source: about 2 minutes the first time",
        module,
        package: "helm.sh/helm/v4/cmd/helm",
        tags: "",
        linker: format!("-s -w -X helm.sh/helm/v4/internal/version.version={version}"),
        stamp: String::new(),
    })
}

fn vectors_recipe(source: &Path) -> anyhow::Result<Recipe> {
    Recipe::new(Recipe {
        name: "vectors",
        announcement: "building the reader of YAML vectors from source: a few seconds",
        module: source.join("vectors"),
        package: ".",
        tags: "",
        linker: "-s -w".to_owned(),
        stamp: String::new(),
    })
}

fn promtool_recipe(source: &Path) -> anyhow::Result<Recipe> {
    Recipe::new(Recipe {
        name: "promtool",
        announcement: "building promtool from source: about 2 minutes the first time",
        module: source.join("promtool"),
        package: "github.com/prometheus/prometheus/cmd/promtool",
        // Service discovery is most of Prometheus, with the clients of every cloud; rules need none of it.
        tags: "remove_all_sd",
        linker: "-s -w".to_owned(),
        stamp: String::new(),
    })
}

fn jaeger(source: &Path) -> anyhow::Result<Recipe> {
    Recipe::new(Recipe {
        name: "jaeger",
        announcement: "building Jaeger from source: about 3 minutes the first time",
        module: source.join("backends/jaeger"),
        package: "github.com/jaegertracing/jaeger/cmd/all-in-one",
        tags: "",
        linker: "-s -w".to_owned(),
        stamp: String::new(),
    })
}

fn victoria_metrics(source: &Path) -> anyhow::Result<Recipe> {
    Recipe::new(Recipe {
        name: "victoria-metrics",
        announcement: "building VictoriaMetrics from source: about half a minute the first time",
        module: source.join("backends/victoria-metrics"),
        package: "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics",
        tags: "",
        linker: "-s -w".to_owned(),
        stamp: String::new(),
    })
}

impl Recipe {
    fn new(mut recipe: Self) -> anyhow::Result<Self> {
        let mut digest = Sha256::new();
        for file in ["go.mod", "go.sum", "main.go"] {
            let path = recipe.module.join(file);
            match fs::read(&path) {
                Ok(content) => digest.update(content),
                Err(_) if file == "main.go" => {} // the tools' own programs lie in their modules
                Err(error) => {
                    return Err(error).with_context(|| format!("failed to read {}", path.display()));
                }
            }
        }
        digest.update(go_version(&recipe.module)?);
        digest.update(recipe.package);
        digest.update(recipe.tags);
        digest.update(&recipe.linker);
        recipe.stamp = hex::encode(digest.finalize());
        Ok(recipe)
    }

    fn is_built(&self, home: &Path, bin: &Path) -> bool {
        let stamped = fs::read_to_string(self.stamp_file(home)).is_ok_and(|stamp| stamp == self.stamp);
        stamped && bin.join(self.name).exists()
    }

    fn build(&self, home: &Path, bin: &Path) -> anyhow::Result<()> {
        say(self.announcement);
        let began = Instant::now();
        // The running control plane keeps its file: a new one is built aside and takes the name when it is whole.
        let fresh = bin.join(format!(".{}.new", self.name));
        let mut go = Command::new("nice");
        go.args([
            "go",
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-mod=readonly",
            "-tags",
            self.tags,
            "-ldflags",
            &self.linker,
            "-o",
        ])
        .arg(&fresh)
        .arg(self.package)
        .current_dir(&self.module)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS");
        die_with_parent(&mut go);
        let child = go.spawn().with_context(|| format!("failed to start go for {}", self.name))?;
        let status = self.accompany(child, began)?;
        if !status.success() {
            bail!("failed to build {}: go ended with {status}; its own words are above", self.name);
        }
        fs::rename(&fresh, bin.join(self.name))
            .with_context(|| format!("failed to install {}", self.name))?;
        let stamp = self.stamp_file(home);
        fs::write(&stamp, &self.stamp).with_context(|| format!("failed to write {}", stamp.display()))?;
        say(&format!("built {} in {}", self.name, in_words(began.elapsed())));
        Ok(())
    }

    /// Waits for the compiler and says every half minute that it is at work.
    fn accompany(&self, mut child: Child, began: Instant) -> anyhow::Result<ExitStatus> {
        let mut next = Duration::from_secs(30);
        loop {
            if let Some(status) =
                child.try_wait().with_context(|| format!("failed to wait for {}", self.name))?
            {
                return Ok(status);
            }
            if began.elapsed() >= next {
                say(&format!("still building {}, for {} now", self.name, in_words(began.elapsed())));
                next += Duration::from_secs(30);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn stamp_file(&self, home: &Path) -> PathBuf {
        home.join(format!("{}.stamp", self.name))
    }
}

/// Returns what `go version` says in this module, where a `toolchain` line may choose another Go.
fn go_version(module: &Path) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("go")
        .arg("version")
        .current_dir(module)
        .output()
        .context("failed to run go, which builds the lab's control plane: install Go 1.26 or newer")?;
    if !output.status.success() {
        bail!("failed to ask go for its version: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// Returns the version of `required` that the module's go.mod pins.
fn required_version(module: &Path, required: &str) -> anyhow::Result<String> {
    let path = module.join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(required)?.strip_prefix(' '))
        .find_map(|rest| rest.split_whitespace().next().filter(|version| version.starts_with('v')))
        .map(str::to_owned)
        .with_context(|| format!("{} requires no {required}", path.display()))
}

fn link_kubectl(bin: &Path) -> anyhow::Result<()> {
    let link = bin.join("kubectl");
    match std::os::unix::fs::symlink("controlplane", &link) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("failed to link {}", link.display()))
        }
        _ => Ok(()),
    }
}

/// Takes the lock of the lab's folder; it is given back when the file is dropped or the process ends.
fn lock(home: &Path) -> anyhow::Result<File> {
    let path = home.join("build.lock");
    let file = File::create(&path).with_context(|| format!("failed to open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => say("another process builds the lab's programs: waiting for it"),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("failed to lock {}", path.display()));
        }
    }
    file.lock().with_context(|| format!("failed to lock {}", path.display()))?;
    Ok(file)
}

/// Tells the person in front of the terminal what takes so long, past any capture of test output.
fn say(words: &str) {
    // A closed stderr is no reason to fail a build.
    let _ = writeln!(std::io::stderr(), "lab: {words}");
}

fn in_words(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane")
    }

    /// Returns the staging modules that a go.mod replaces, with what each is replaced by.
    fn replaces(go_mod: &str) -> Vec<(String, String)> {
        let lines = go_mod.lines().map(|line| line.trim().trim_start_matches("replace "));
        let mut pairs: Vec<(String, String)> = lines
            .filter(|line| line.starts_with("k8s.io/"))
            .filter_map(|line| line.split_once(" => "))
            .map(|(name, by)| (name.trim().to_owned(), by.trim().to_owned()))
            .collect();
        pairs.sort();
        pairs
    }

    #[test]
    fn every_staging_module_of_kubernetes_is_replaced_by_its_published_twin() {
        let list = ["list", "-m", "-f", "{{.GoMod}}", "k8s.io/kubernetes"];
        let output = Command::new("go").args(list).current_dir(module()).output().unwrap();
        let upstream = fs::read_to_string(String::from_utf8(output.stdout).unwrap().trim()).unwrap();
        let twin = required_version(&module(), "k8s.io/kubernetes").unwrap().replacen("v1.", "v0.", 1);
        let wanted: Vec<_> = replaces(&upstream)
            .into_iter()
            .map(|(name, _)| (name.clone(), format!("{name} {twin}")))
            .collect();

        let ours = replaces(&fs::read_to_string(module().join("go.mod")).unwrap());

        assert!(!wanted.is_empty());
        assert_eq!(ours, wanted);
    }

    #[test]
    fn module_that_is_not_required_is_named() {
        let error = required_version(&module(), "k8s.io/kuber").unwrap_err();

        assert!(error.to_string().ends_with("go.mod requires no k8s.io/kuber"), "{error}");
    }

    #[test]
    fn time_is_told_in_words() {
        assert_eq!(in_words(Duration::from_secs(59)), "59 s");
        assert_eq!(in_words(Duration::from_secs(412)), "6 min 52 s");
    }
}
