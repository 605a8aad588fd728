//! Plain manifests of fetched commits: only files that changed are read, and nothing is different for it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::git::Shelf;
use skiff::git::{Cache, CommitId, Credentials, Limits, Rewrites, Snapshot, Source, Update};
use skiff::render::{
    FileCache, FilesRead, OnDuplicate, Reason, RenderError, Rendered, render, render_commit,
};
use skiff::store::Store;
use skiff_harness::git_server::{GitServer, Repository};
use skiff_shared::desired::render_digest;
use skiff_shared::environment::{Facts, Renderer};
use skiff_shared::limits::Allowed;
use skiff_shared::object::{Digest, GroupKind, ServedKind};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{World, world};

const DEFINITION: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: zones.example.com}\nspec: {group: example.com, names: {kind: Zone}, scope: ";
const ZONE: &str = "apiVersion: example.com/v1\nkind: Zone\nmetadata: {name: ";

/// A repository on a server, what an agent has fetched of it, and what it remembers of the app's files.
struct Fetched {
    _server: GitServer,
    shop: Repository,
    cache: Arc<Cache>,
    /// What was fetched last.
    commit: Option<CommitId>,
    cancel: CancellationToken,
    world: World,
    files: FileCache,
}

impl Drop for Fetched {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// The multi-threaded runtime that the Git cache asks for is the test's own.
fn fetched(files: &[(&str, &str)]) -> Fetched {
    let server = GitServer::start().unwrap();
    let mut shop = Repository::create(&server, "shop").unwrap();
    for (path, content) in files {
        shop.write(path, content);
    }
    shop.commit("First").unwrap();
    let mut world = world(&[]);
    world.path = "app".to_owned();
    let cancel = CancellationToken::new();
    let root = world.directory.path().join("git");
    let cache = Cache::open(&root, Handle::current(), cancel.clone(), Arc::new(Shelf::default())).unwrap();
    let cache = Arc::new(cache);
    Fetched { _server: server, shop, cache, commit: None, cancel, world, files: FileCache::default() }
}

impl Fetched {
    fn edited(&mut self) {
        self.shop.commit("Edited").unwrap();
    }

    fn source(&self) -> Source {
        Source {
            url: self.shop.url().parse().unwrap(),
            reference: "main".parse().unwrap(),
            credentials: Credentials::default(),
            proxy: None,
            verify: None,
            rewrites: Rewrites::default(),
            approvals: None,
            limits: Limits { deadline: Duration::from_secs(20), ..Limits::default() },
        }
    }

    /// Fetches what `main` stands at.
    async fn fetch(&mut self) {
        let (cache, source) = (self.cache.clone(), self.source());
        let updated = tokio::task::spawn_blocking(move || cache.update(&source, None).unwrap());
        if let Update::Moved(revision) = updated.await.unwrap() {
            self.commit = Some(revision.commit);
        }
    }

    /// Opens what was fetched last.
    fn snapshot(&self) -> Snapshot {
        self.cache.snapshot(&self.source(), self.commit.unwrap()).unwrap()
    }

    /// Renders what `main` stands at, with what is remembered of the files.
    async fn try_render(&mut self) -> Result<Rendered, RenderError> {
        self.fetch().await;
        let snapshot = self.snapshot();
        let (root, path) = (self.world.root(), self.world.path());
        render_commit(&self.world.request(&root, &path), snapshot, &mut self.files, &self.world.store).await
    }

    async fn read(&mut self) -> FilesRead {
        self.try_render().await.unwrap().files
    }

    /// Renders the same commit with nothing remembered and an empty store.
    async fn rendered_from_nothing(&self) -> Result<Rendered, RenderError> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (root, path) = (self.world.root(), self.world.path());
        let snapshot = self.snapshot();
        let mut files = FileCache::default();
        render_commit(&self.world.request(&root, &path), snapshot, &mut files, &store).await
    }

    /// Renders the same commit from a folder on disk.
    async fn rendered_from_disk(&self) -> Result<Rendered, RenderError> {
        let folder = tempfile::tempdir().unwrap();
        self.snapshot().export("app", &folder.path().join("app")).unwrap();
        let store = Store::open(folder.path().join("bodies")).unwrap();
        let path = self.world.path();
        render(&self.world.request(folder.path(), &path), &store).await
    }
}

fn config(name: &str, value: u64) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: \"{value}\"}}\n")
}

/// Returns everything that a render says, as text: rows with all their fields, warnings, problems.
fn told(rendered: &Result<Rendered, RenderError>) -> String {
    match rendered {
        Ok(Rendered { rows, warnings, .. }) => format!("{} {rows:#?} {warnings:#?}", render_digest(rows)),
        Err(error) => format!("{} {:#?}", error.reason(), error.problems),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_the_file_that_changed_is_read() {
    let files: Vec<(String, String)> =
        (0..30).map(|at| (format!("app/{at:02}.yaml"), config(&format!("c{at}"), 1))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let mut fetched = fetched(&files);
    assert_eq!(fetched.read().await, FilesRead { read: 30, reused: 0 });
    fetched.shop.write("elsewhere.yaml", "not: the app's");
    fetched.edited();
    assert_eq!(fetched.read().await, FilesRead { read: 0, reused: 30 });
    fetched.shop.write("app/07.yaml", config("c7", 2));
    fetched.edited();
    assert_eq!(fetched.read().await, FilesRead { read: 1, reused: 29 });

    fetched.shop.remove("app/08.yaml").write("app/later/08.yaml", config("c8", 1));
    fetched.edited();
    let moved = fetched.try_render().await.unwrap();
    assert_eq!(moved.files, FilesRead { read: 1, reused: 29 }, "places are part of what a file becomes");
    assert!(moved.rows.iter().any(|row| &*row.origin == "app/later/08.yaml:1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn file_whose_bodies_are_gone_is_read_again() {
    let mut fetched = fetched(&[("app/a.yaml", &config("a", 1)), ("app/b.yaml", &config("b", 1))]);
    let rows = fetched.try_render().await.unwrap().rows;
    let kept: HashSet<Digest> = HashSet::from([rows[0].body]);
    fetched.world.store.retain(|| kept).unwrap();
    let again = fetched.try_render().await.unwrap();
    assert_eq!(again.files, FilesRead { read: 1, reused: 1 });
    assert_eq!(again.rows, rows);
    assert!(fetched.world.store.contains(rows[1].body));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn setting_and_scopes_decide_whether_a_file_is_as_it_was() {
    let mut fetched = fetched(&[
        ("app/1.yaml", &format!("{ZONE}z}}\n")),
        ("app/2.yaml", &format!("{DEFINITION}Cluster}}\n")),
        ("app/3.yaml", &config("a", 1)),
    ]);
    assert_eq!(fetched.try_render().await.unwrap().rows.len(), 3);
    assert_eq!(fetched.read().await, FilesRead { read: 0, reused: 3 });

    fetched.shop.write("app/2.yaml", format!("{DEFINITION}Namespaced}}\n"));
    fetched.edited();
    let namespaced = fetched.try_render().await.unwrap();
    assert_eq!(namespaced.files, FilesRead { read: 2, reused: 1 }, "its kind is another one now");
    assert!(namespaced.rows.iter().any(|row| row.id.to_string() == "Zone/shop/z"));

    let served = ServedKind { plural: "zones".into(), namespaced: true, versions: vec!["v1".into()] };
    fetched.world.apis.kinds.insert(GroupKind::new("example.com", "Zone"), served);
    assert_eq!(fetched.read().await, FilesRead { read: 1, reused: 2 }, "the cluster has the last word");

    fetched.world.namespace = Some("other".to_owned());
    assert_eq!(fetched.read().await, FilesRead { read: 3, reused: 0 });
    fetched.world.facts = Some(Facts { cluster: "eu-1".to_owned(), ..Facts::default() });
    assert_eq!(fetched.read().await, FilesRead { read: 3, reused: 0 });
    assert_eq!(fetched.read().await, FilesRead { read: 0, reused: 3 });
    fetched.world.limits.namespaces = Allowed::only(vec!["none".to_owned()]).unwrap();
    let error = fetched.try_render().await.expect_err("no namespace is allowed");
    assert_eq!(error.reason(), Reason::OutsideLimits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_commit_holds_is_judged_as_on_disk() {
    let mut fetched = fetched(&[
        ("app/b.yaml", &config("b", 1)),
        ("app/b/deep.yaml", &config("deep", 1)),
        ("app/b-c/x.yaml", &config("x", 1)),
        ("app/.hidden/y.yaml", "nonsense: ["),
        ("app/chart/Chart.yaml", "name: chart"),
        ("app/sub/kustomization.yaml", "resources: []"),
        ("app/skiff.yaml", "kind: Environment"),
        ("app/image.png", "version https://git-lfs.github.com/spec/v1\n"),
    ]);
    fetched.shop.symlink("app/linked.json", "b/deep.yaml").symlink("app/folder", "b");
    fetched.edited();
    let rendered = fetched.try_render().await.unwrap();
    let rows = rendered.rows.iter().map(|row| format!("{} {}", row.id, row.origin));
    let lines: Vec<String> = rows.chain(rendered.warnings).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    ConfigMap/shop/b app/b.yaml:1
    ConfigMap/shop/deep app/b/deep.yaml:1
    ConfigMap/shop/x app/b-c/x.yaml:1
    app/chart: the chart is left out: plain manifests are not rendered by Helm; make it an app of its own
    app/folder: symbolic links to folders are not followed: name the folder as an app's path
    app/sub/kustomization.yaml: the kustomization is not built: the app is rendered as plain manifests
    ConfigMap/shop/deep is declared twice: app/b/deep.yaml:1 and app/linked.json:1; the two are the same: remove one
    ");

    fetched.shop.symlink("app/out.yaml", "../elsewhere.yaml").symlink("app/void.yaml", "gone.yaml");
    fetched.shop.submodule("app/module", &"1".repeat(40));
    fetched.shop.write("app/large.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n");
    fetched.edited();
    let error = fetched.try_render().await.expect_err("it cannot be rendered");
    let problems: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(format!("{}\n{}", error.reason(), problems.join("\n")), @r#"
    PathRefused
    app/module: app/module is a submodule; submodules are not supported, commit its files instead
    app/out.yaml: symlink app/out.yaml points to "../elsewhere.yaml", outside of app; only what is inside can be read
    app/void.yaml: this is no file that can be read: commit the file, or remove the link
    app/large.yaml: app/large.yaml is a pointer to Git LFS; LFS is not supported, commit the file itself
    "#);

    fetched.world.path = "app/b.yaml".to_owned();
    let error = fetched.try_render().await.expect_err("it is a file");
    insta::assert_snapshot!(
        error.to_string(),
        @"failed to render: app/b.yaml: the app's path is a file: name the folder that it lies in"
    );
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn pick(dice: &mut Dice, sides: u64) -> usize {
    usize::try_from(dice.roll(sides)).unwrap()
}

/// Writes a file that may hold anything that a folder of manifests is known to hold.
fn scribble(dice: &mut Dice) -> String {
    let mut documents = Vec::new();
    for _ in 0..=dice.roll(4) {
        let (name, value) = (format!("c{}", dice.roll(12)), dice.roll(3));
        documents.push(match dice.roll(12) {
            0 => format!("{DEFINITION}{}}}\n", ["Cluster", "Namespaced"][usize::try_from(value % 2).unwrap()]),
            1 | 2 => format!("{ZONE}{name}}}\nspec: {value}\n"),
            3 => format!("apiVersion: example.org/v1\nkind: Thing\nmetadata: {{name: {name}}}\n"),
            4 => format!(
                "apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}\n- {{apiVersion: v1, kind: Secret, metadata: {{name: {name}}}}}\n"
            ),
            5 => format!("{}\n# a comment\n", config(&name, value)),
            6 => format!(
                "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, annotations: {{helm.sh/hook: post-install}}}}\n"
            ),
            7 => format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, namespace: stray}}\n"),
            8 if dice.roll(12) == 0 => "replicas: 3\n".to_owned(),
            9 if dice.roll(12) == 0 => "key: [\n".to_owned(),
            10 => "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n".to_owned(),
            _ => config(&name, value),
        });
    }
    documents.join("---\n")
}

/// Edits the folder, and now and then what is around it.
fn edit(fetched: &mut Fetched, there: &mut BTreeMap<String, String>, dice: &mut Dice) {
    for _ in 0..=dice.roll(3) {
        let folder = ["app", "app/a", "app/a/b", "app/.hidden", "app/chart"][pick(dice, 5)];
        let path = format!("{folder}/{}.yaml", dice.roll(5));
        match dice.roll(6) {
            0..=2 if there.remove(&path).is_some() => {
                fetched.shop.remove(&path);
            }
            3 if dice.roll(3) == 0 => {
                let name = format!("{folder}/{}", ["Chart.yaml", "kustomization.yaml"][pick(dice, 2)]);
                match there.remove(&name) {
                    Some(_) => fetched.shop.remove(&name),
                    None => {
                        there.insert(name.clone(), String::new());
                        fetched.shop.write(&name, "name: x\n")
                    }
                };
            }
            _ => {
                let text = scribble(dice);
                fetched.shop.write(&path, &text);
                there.insert(path, text);
            }
        }
    }
    let world = &mut fetched.world;
    // What makes most folders wrong lasts for one render.
    (world.on_duplicate, world.tools.bounds.objects) = (OnDuplicate::LastWins, 50_000);
    world.apis.incomplete.clear();
    world.namespace.get_or_insert_with(|| "shop".to_owned());
    match dice.roll(12) {
        0 => world.namespace = None,
        1 => world.namespace = Some(["shop", "other"][pick(dice, 2)].to_owned()),
        2 => world.create_namespace = !world.create_namespace,
        3 => world.on_duplicate = OnDuplicate::Refuse,
        4 => world.apis.incomplete.push("example.org".into()),
        5 => world.tools.bounds.objects = 12,
        6 | 7 => {
            let kind = GroupKind::new("example.com", "Zone");
            if world.apis.kinds.remove(&kind).is_none() {
                let namespaced = dice.roll(2) == 0;
                let served = ServedKind { plural: "zones".into(), namespaced, versions: vec!["v1".into()] };
                world.apis.kinds.insert(kind, served);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whatever_is_edited_the_render_is_the_one_rendered_from_nothing() {
    let mut dice = Dice(0x5eed_0001);
    let mut fetched = fetched(&[("app/0.yaml", &config("c0", 0))]);
    fetched.world.on_duplicate = OnDuplicate::LastWins;
    fetched.world.renderer = Renderer::Plain;
    let mut there = BTreeMap::from([("app/0.yaml".to_owned(), String::new())]);
    let (mut good, mut reused) = (0, 0);
    for round in 0..60 {
        edit(&mut fetched, &mut there, &mut dice);
        // The folder must stay; its other files may all go.
        fetched.shop.write("app/README.md", format!("round {round}"));
        fetched.edited();
        if dice.roll(10) == 0 {
            // As if bodies had been collected that only this render would need.
            let known: Vec<Digest> = fetched
                .rendered_from_nothing()
                .await
                .map(|full| full.rows)
                .unwrap_or_default()
                .iter()
                .map(|row| row.body)
                .collect();
            let live = known.into_iter().filter(|_| dice.roll(2) == 0).collect();
            fetched.world.store.retain(|| live).unwrap();
        }
        let rendered = fetched.try_render().await;
        assert_eq!(told(&rendered), told(&fetched.rendered_from_nothing().await), "round {round}");
        assert_eq!(told(&rendered), told(&fetched.rendered_from_disk().await), "round {round}");
        if let Ok(rendered) = rendered {
            good += 1;
            reused += rendered.files.reused;
            assert!(fetched.world.store.contains_all(rendered.rows.iter().map(|row| row.body)));
        }
    }
    assert!(
        good > 10 && reused > 100,
        "the test has tested something: {good} good renders, {reused} files reused"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn folders_without_end_are_refused() {
    let deep = format!("app/{}a.yaml", "deep/".repeat(5_000));
    let mut fetched = fetched(&[("app/good.yaml", &config("good", 0))]);
    fetched.shop.git(&["config", "core.maxTreeDepth", "10000"]).unwrap();
    fetched.shop.write(&deep, config("deep", 0));
    fetched.edited();
    let error = fetched.try_render().await.unwrap_err();
    assert_eq!(error.reason(), Reason::TooLarge);
    insta::assert_snapshot!(error, @"failed to render: app: app/deep/deep/deep/… is nested more than 256 folders deep; move its files up");
}
