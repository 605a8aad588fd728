//! Plain manifests: the YAML and JSON files below a folder, read in process.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use skiff_shared::environment::FILE_NAME;
use skiff_shared::yaml::{self, DuplicateKeys, KeepLines, Options};

use super::collect::Collector;
use super::tree::{self, Entry};
use super::{Reason, RenderError};

/// How manifests are read: duplicate keys are refused, and no line but the document's is asked for.
const READING: Options = Options {
    duplicate_keys: DuplicateKeys::Refuse,
    lines: KeepLines::No,
    limits: yaml::Limits { nodes: 1_000_000, repeated: 50_000, depth: 127 },
};

const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

pub(super) async fn render(collector: &mut Collector<'_>, folder: &Path) -> Result<(), RenderError> {
    let root = tree::root(collector.request.directory)?;
    collector.way_out =
        ": move the file out of the app's path, or start its name with a dot to have it left alone";
    let mut files = Vec::new();
    find(collector, &root, folder, &mut files)?;
    if files.is_empty() {
        collector.warn(format!("{}: no manifests: there is no YAML or JSON file", collector.request.path));
    }
    for file in files {
        read(collector, &root, &file).await?;
    }
    Ok(())
}

/// Collects the files below a folder, in the order of their names.
fn find(
    collector: &mut Collector<'_>,
    root: &Path,
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Result<(), RenderError> {
    for name in tree::entries(folder)?.iter().filter(|name| !name.starts_with('.')) {
        let path = folder.join(name);
        let shown = tree::shown(root, &path);
        let found = tree::entry(root, &path)
            .map_err(|error| RenderError::internal(&format!("look at {shown}"), &error))?;
        match found {
            Entry::Folder if path.join("Chart.yaml").is_file() => collector.warn(format!(
                "{shown}: the chart is left out: plain manifests are not rendered by Helm; make it an app of its own"
            )),
            Entry::Folder => find(collector, root, &path, files)?,
            Entry::LinkedFolder => collector.warn(format!(
                "{shown}: symbolic links to folders are not followed: name the folder as an app's path"
            )),
            Entry::Outside => collector.refuse(tree::outside(root, &path)),
            Entry::Dangling | Entry::Special if is_manifest(name) => collector.problem(
                Reason::InvalidYaml,
                shown,
                "this is no file that can be read: commit the file, or remove the link",
            ),
            Entry::File | Entry::LinkedFile if KUSTOMIZATIONS.contains(&name.as_str()) => {
                collector.warn(format!(
                    "{shown}: the kustomization is not built: the app is rendered as plain manifests"
                ));
            }
            Entry::File | Entry::LinkedFile if is_manifest(name) && name != FILE_NAME => files.push(path),
            _ => {}
        }
    }
    Ok(())
}

fn is_manifest(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    matches!(extension, "yaml" | "yml" | "json")
}

async fn read(collector: &mut Collector<'_>, root: &Path, path: &Path) -> Result<(), RenderError> {
    let file = tree::shown(root, path);
    let limit = collector.request.tools.bounds.file_bytes;
    let bytes =
        contents(path, limit).map_err(|error| RenderError::internal(&format!("read {file}"), &error))?;
    let Some(bytes) = bytes else {
        let message = format!("the file is larger than {limit} bytes: split it");
        collector.problem(Reason::TooLarge, file, message);
        return Ok(());
    };
    let text = match yaml::decode(&bytes) {
        Ok(text) => text,
        Err(error) => {
            collector.problem(Reason::InvalidYaml, format!("{file}:{}", error.line), error.kind.to_string());
            return Ok(());
        }
    };
    for document in yaml::documents(&text, READING) {
        match document {
            Ok(document) => {
                let origin = format!("{file}:{}", document.line);
                collector.document(document.value, &origin)?;
            }
            Err(error) => collector.problem(
                Reason::InvalidYaml,
                format!("{file}:{}", error.line),
                error.kind.to_string(),
            ),
        }
        // A large folder must not keep a thread of the runtime to itself.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Reads a file, or returns `None` if it is larger than the limit.
pub(super) fn contents(path: &Path, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
    let length = fs::metadata(path)?.len();
    if length > limit {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    let read = File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((u64::try_from(read).unwrap_or(u64::MAX) <= limit).then_some(bytes))
}
