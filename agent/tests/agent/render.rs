//! What a folder renders to: rows and bodies, or every problem with its place.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the exemption of tests does not reach helper functions of integration tests"
)]

#[path = "render/commits.rs"]
mod commits;
#[path = "render/duplicates.rs"]
mod duplicates;
#[path = "render/helm.rs"]
mod helm;
#[path = "render/inputs.rs"]
mod inputs;
#[path = "render/kustomize.rs"]
mod kustomize;
#[path = "render/limits.rs"]
mod limits;
#[path = "render/plain.rs"]
mod plain;
#[path = "render/programs.rs"]
mod programs;
#[path = "render/substitute.rs"]
mod substitute;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use skiff::render::{Bounds, OnDuplicate, RenderError, Rendered, Request, Tools, render};
use skiff::sandbox::{Demand, Level, Limits};
use skiff::store::Store;
use skiff_shared::desired::manifest::NamespaceMetadata;
use skiff_shared::environment::{Facts, Renderer, RepoPath};
use skiff_shared::object::{ApiSet, Interner};

/// A revision's folder and what is around a render of it.
struct World {
    directory: tempfile::TempDir,
    store: Store,
    tools: Tools,
    apis: ApiSet,
    interner: Mutex<Interner>,
    path: String,
    namespace: Option<String>,
    create_namespace: bool,
    namespace_metadata: NamespaceMetadata,
    on_duplicate: OnDuplicate,
    renderer: Renderer,
    facts: Option<Facts>,
    limits: skiff_shared::limits::Limits,
    /// Another folder than the world's own.
    source: Option<PathBuf>,
    /// A folder with the environment's value files.
    values: Option<PathBuf>,
}

/// Makes a world whose repository has these files.
fn world(files: &[(&str, &str)]) -> World {
    let directory = tempfile::tempdir().unwrap();
    for folder in ["source", "scratch"] {
        fs::create_dir(directory.path().join(folder)).unwrap();
    }
    let world = World {
        store: Store::open(directory.path().join("bodies")).unwrap(),
        tools: Tools {
            helm: "/nowhere/helm".into(),
            kustomize: "/nowhere/kustomize".into(),
            sandbox: None,
            scratch: directory.path().join("scratch"),
            timeout: Duration::from_secs(60),
            limits: Limits::default(),
            demand: Demand::BestEffort,
            bounds: Bounds::default(),
        },
        directory,
        apis: ApiSet::default(),
        interner: Mutex::default(),
        path: ".".to_owned(),
        namespace: Some("shop".to_owned()),
        create_namespace: false,
        namespace_metadata: NamespaceMetadata::default(),
        on_duplicate: OnDuplicate::Refuse,
        renderer: Renderer::Auto,
        facts: None,
        limits: skiff_shared::limits::Limits::default(),
        source: None,
        values: None,
    };
    for (name, content) in files {
        world.write(name, content);
    }
    world
}

impl World {
    /// Uses the lab's real helm and kustomize, in the strongest sandbox that this kernel has.
    fn with_tools(mut self) -> Self {
        let lab = skiff_harness::toolchain::ensure().unwrap();
        (self.tools.helm, self.tools.kustomize) = (lab.helm, lab.kustomize);
        self.tools.sandbox = Some(env!("CARGO_BIN_EXE_skiff").into());
        if Level::of_this_kernel().is_full() {
            self.tools.demand = Demand::Required;
        }
        self
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn root(&self) -> PathBuf {
        self.source.clone().unwrap_or_else(|| self.directory.path().join("source"))
    }

    fn path(&self) -> RepoPath {
        RepoPath::parse(&self.path).unwrap()
    }

    fn request<'a>(&'a self, directory: &'a Path, path: &'a RepoPath) -> Request<'a> {
        Request {
            app: "web",
            instance: "lab",
            directory,
            path,
            values: self.values.as_deref(),
            namespace: self.namespace.as_deref(),
            create_namespace: self.create_namespace,
            namespace_metadata: &self.namespace_metadata,
            renderer: &self.renderer,
            facts: self.facts.as_ref(),
            ignore_differences: &[],
            limits: &self.limits,
            apis: &self.apis,
            api_versions: &[],
            kube_version: "v1.37.2",
            tools: &self.tools,
            on_duplicate: self.on_duplicate,
            interner: &self.interner,
        }
    }

    async fn try_render(&self) -> Result<Rendered, RenderError> {
        let (root, path) = (self.root(), self.path());
        let rendered = render(&self.request(&root, &path), &self.store).await;
        let left = fs::read_dir(self.directory.path().join("scratch")).unwrap().count();
        assert_eq!(left, 0, "a render leaves nothing in the scratch folder");
        rendered
    }

    async fn render(&self) -> Rendered {
        self.try_render().await.unwrap()
    }

    /// Renders and returns the rows as text, with the warnings after them.
    async fn rows(&self) -> String {
        let rendered = self.render().await;
        let rows = rendered.rows.iter().map(|row| format!("{} {}", row.id, row.origin));
        let warnings = rendered.warnings.iter().map(|warning| format!("warning: {warning}"));
        rows.chain(warnings).collect::<Vec<_>>().join("\n")
    }

    /// Renders what cannot be rendered and returns the reason with all problems.
    async fn problems(&self) -> String {
        let error = self.try_render().await.expect_err("it cannot be rendered");
        let problems = error.problems.iter().map(ToString::to_string);
        std::iter::once(error.reason().to_string()).chain(problems).collect::<Vec<_>>().join("\n")
    }

    /// Renders and returns the body of an object.
    async fn body(&self, id: &str) -> Value {
        let rendered = self.render().await;
        let row = rendered.rows.iter().find(|row| row.id.to_string() == id).unwrap();
        let body = self.store.get(row.body).unwrap().unwrap();
        assert_eq!(body.len(), usize::try_from(row.bytes).unwrap());
        serde_json::from_slice(&body).unwrap()
    }
}

/// Returns the folder of real inputs, or `None`, saying so, where it is not named.
fn inputs(test: &str) -> Option<PathBuf> {
    let inputs = std::env::var_os("SKIFF_INPUTS").map(PathBuf::from);
    if inputs.is_none() {
        eprintln!("skipped: {test}: SKIFF_INPUTS names no folder");
    }
    inputs
}

/// Takes the addresses of chart repositories out of a text.
pub fn without_repositories(text: &str) -> String {
    const BEFORE: &str = " of https://";
    let mut parts = text.split(BEFORE);
    let mut without = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.find(' ').map_or("", |end| &part[end..]);
        without.push_str(" of a repository");
        without.push_str(rest);
    }
    without
}

/// Returns a fixture of this crate.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}
