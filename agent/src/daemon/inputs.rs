//! What an app reads: the folders and files of a revision that its render depends on.
//!
//! The unit of change is the tree id of these, not the commit: a commit that touches none of them
//! causes no render.

use std::collections::{BTreeMap, BTreeSet};

use skiff_shared::desired::ChartRelease;
use skiff_shared::environment::{AppSpec, Pattern, Renderer, RendererKind, RepoPath, detect_renderer};
use skiff_shared::object::{Digest, Hashing};
use skiff_shared::yaml;

use crate::git::{ChildKind, ReadError, Snapshot};

/// Keys of a kustomization whose entries may be folders outside of it.
const FOLDER_KEYS: [&str; 6] =
    ["resources", "bases", "components", "generators", "transformers", "validators"];

const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The part of a revision that one app reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// How it is rendered.
    pub kind: RendererKind,
    /// Paths from the repository's root; none lies within another.
    pub roots: BTreeSet<RepoPath>,
    /// Changes when anything below the roots does.
    pub key: Digest,
}

/// Finds what an app reads at a revision.
pub fn find(snapshot: &Snapshot, spec: &AppSpec) -> Result<Inputs, ReadError> {
    let mut roots = BTreeSet::from([spec.path.clone()]);
    let kind = kind(snapshot, spec)?;
    match kind {
        RendererKind::Plain => {}
        RendererKind::Helm => {
            if let Renderer::Helm(options) = &spec.renderer {
                roots.extend(options.value_files.iter().cloned());
            }
        }
        RendererKind::Kustomize => follow_kustomization(snapshot, &spec.path, &mut roots)?,
    }
    hashed(snapshot, kind, &roots, Hashing::default())
}

/// Finds what an app reads that is a chart of a chart repository: its archive, and value files of the revision.
pub fn of_chart(snapshot: &Snapshot, spec: &AppSpec, chart: &ChartRelease) -> Result<Inputs, ReadError> {
    let roots = match &spec.renderer {
        Renderer::Helm(options) => options.value_files.iter().cloned().collect(),
        _ => BTreeSet::new(),
    };
    let hashing = Hashing::default().part(b"chart").part(chart.digest.as_bytes());
    hashed(snapshot, RendererKind::Helm, &roots, hashing)
}

/// Returns the digest of single files of a revision. One that is not there counts too.
pub fn of_files(snapshot: &Snapshot, files: &[RepoPath]) -> Result<Digest, ReadError> {
    let mut hashing = Hashing::default();
    for file in files {
        let id = snapshot.tree_id(file.as_str())?.map(|id| id.to_string()).unwrap_or_default();
        hashing = hashing.part(file.as_str().as_bytes()).part(id.as_bytes());
    }
    Ok(hashing.finish())
}

fn hashed(
    snapshot: &Snapshot,
    kind: RendererKind,
    roots: &BTreeSet<RepoPath>,
    mut hashing: Hashing,
) -> Result<Inputs, ReadError> {
    let outer: BTreeSet<RepoPath> =
        roots.iter().filter(|root| !roots.iter().any(|other| is_below(root, other))).cloned().collect();
    for root in &outer {
        let id = snapshot.tree_id(root.as_str())?.map(|id| id.to_string()).unwrap_or_default();
        hashing = hashing.part(root.to_string().as_bytes()).part(id.as_bytes());
    }
    Ok(Inputs { kind, roots: outer, key: hashing.finish() })
}

fn kind(snapshot: &Snapshot, spec: &AppSpec) -> Result<RendererKind, ReadError> {
    Ok(match &spec.renderer {
        Renderer::Plain => RendererKind::Plain,
        Renderer::Kustomize(_) => RendererKind::Kustomize,
        Renderer::Helm(_) => RendererKind::Helm,
        Renderer::Auto => detect_renderer(names(snapshot, &spec.path)?.iter().map(String::as_str)),
    })
}

/// Returns the names of the files right in a folder.
pub fn names(snapshot: &Snapshot, folder: &RepoPath) -> Result<Vec<String>, ReadError> {
    let children = snapshot.children(folder.as_str())?;
    let files = children.into_iter().filter(|child| child.kind != ChildKind::Folder);
    Ok(files.map(|child| child.name).collect())
}

/// Returns the names that match each pattern, as far as their folders are there.
pub fn matching(
    snapshot: &Snapshot,
    patterns: BTreeSet<Pattern>,
) -> Result<BTreeMap<Pattern, Vec<String>>, ReadError> {
    let mut found = BTreeMap::new();
    for pattern in patterns {
        let mut names = Vec::new();
        for name in snapshot.folders(pattern.base().as_str())? {
            if pattern.matches(&name) && snapshot.is_folder(pattern.folder(&name).as_str())? {
                names.push(name);
            }
        }
        found.insert(pattern, names);
    }
    Ok(found)
}

/// Adds the folders that a kustomization refers to, and those that they refer to.
fn follow_kustomization(
    snapshot: &Snapshot,
    folder: &RepoPath,
    roots: &mut BTreeSet<RepoPath>,
) -> Result<(), ReadError> {
    let mut unread = vec![folder.clone()];
    while let Some(folder) = unread.pop() {
        let Some(text) = kustomization_of(snapshot, &folder)? else { continue };
        // What cannot be read here is told by kustomize itself, with its own words.
        let Ok(document) = yaml::load(&text) else { continue };
        let entries = FOLDER_KEYS.iter().filter_map(|key| document.value.get(key)?.as_array()).flatten();
        for entry in entries.filter_map(|entry| entry.as_str()) {
            let Ok(target) = folder.join(entry) else { continue };
            let is_folder = snapshot.tree_id(target.as_str())?.is_some();
            if is_folder && roots.insert(target.clone()) {
                unread.push(target);
            }
        }
    }
    Ok(())
}

fn kustomization_of(snapshot: &Snapshot, folder: &RepoPath) -> Result<Option<String>, ReadError> {
    for name in KUSTOMIZATIONS {
        let Ok(path) = folder.join(name) else { continue };
        if snapshot.tree_id(path.as_str())?.is_some() {
            let bytes = snapshot.read(path.as_str())?;
            return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(None)
}

/// Whether `path` lies within `other`, and is not the same.
fn is_below(path: &RepoPath, other: &RepoPath) -> bool {
    let (path, other) = (path.to_string(), other.to_string());
    path != other
        && (other.is_empty()
            || other == "."
            || path.strip_prefix(&other).is_some_and(|rest| rest.starts_with('/')))
}
