//! Plain manifests: the YAML and JSON files below a folder, read in process.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use skiff_shared::environment::FILE_NAME;
use skiff_shared::yaml::{self, DuplicateKeys, KeepLines, Options};

use super::cache::FileCache;
use super::collect::{Collector, Listed};
use super::files::{Files, Found, Kind, check_folder, joined};
use super::{Reason, RenderError};

/// How manifests are read: duplicate keys are refused, and no line but the document's is asked for.
const READING: Options = Options {
    duplicate_keys: DuplicateKeys::Refuse,
    lines: KeepLines::No,
    limits: yaml::Limits { nodes: 1_000_000, repeated: 50_000, depth: 127 },
};

const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Takes the files below a folder, reading only those of which the cache does not tell what they become.
pub(super) async fn render(
    collector: &mut Collector<'_>,
    files: &mut Files,
    folder: &str,
    cache: &mut FileCache,
) -> Result<(), RenderError> {
    collector.way_out =
        ": move the file out of the app's path, or start its name with a dot to have it left alone";
    let mut listed = Vec::new();
    find(collector, files, folder, files.entries(folder)?, &mut listed)?;
    if listed.is_empty() {
        collector.warn(format!("{}: no manifests: there is no YAML or JSON file", collector.request.path));
    }
    for file in listed {
        match cache.take(&file.path, file.content).filter(|part| collector.can_reuse(part)) {
            Some(part) => collector.reuse(part),
            None => {
                let at = collector.open(&file);
                read(collector, files, &file).await?;
                collector.close(at);
            }
        }
    }
    // What kind a definition brings is known only now: a file may have become something else without a change of its own.
    for (at, file) in collector.outdated() {
        collector.reopen(at);
        read(collector, files, &file).await?;
        collector.close(at);
    }
    Ok(())
}

/// Collects the files below a folder, in the order of their names.
fn find(
    collector: &mut Collector<'_>,
    files: &Files,
    folder: &str,
    entries: Vec<Found>,
    listed: &mut Vec<Listed>,
) -> Result<(), RenderError> {
    for Found { name, kind, content } in entries.into_iter().filter(|found| !found.name.starts_with('.')) {
        let path = joined(folder, &name);
        match kind {
            Kind::Folder => {
                if let Err(error) = check_folder(&path, collector.request.path.as_str()) {
                    collector.refuse(error);
                    continue;
                }
                let entries = files.entries(&path)?;
                if entries.iter().any(|found| found.name == "Chart.yaml" && matches!(found.kind, Kind::File))
                {
                    collector.warn(format!(
                        "{path}: the chart is left out: plain manifests are not rendered by Helm; make it an app of its own"
                    ));
                } else {
                    find(collector, files, &path, entries, listed)?;
                }
            }
            Kind::LinkedFolder => collector.warn(format!(
                "{path}: symbolic links to folders are not followed: name the folder as an app's path"
            )),
            Kind::Refused(error) => collector.refuse(error),
            Kind::Unreadable if is_manifest(&name) => collector.problem(
                Reason::InvalidYaml,
                path,
                "this is no file that can be read: commit the file, or remove the link",
            ),
            Kind::File if KUSTOMIZATIONS.contains(&name.as_str()) => collector.warn(format!(
                "{path}: the kustomization is not built: the app is rendered as plain manifests"
            )),
            Kind::File if is_manifest(&name) && name != FILE_NAME => listed.push(Listed { path, content }),
            Kind::File | Kind::Unreadable => {}
        }
    }
    Ok(())
}

fn is_manifest(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    matches!(extension, "yaml" | "yml" | "json")
}

async fn read(collector: &mut Collector<'_>, files: &mut Files, file: &Listed) -> Result<(), RenderError> {
    let path = file.path.as_str();
    let limit = collector.request.tools.bounds.file_bytes;
    let bytes = match files.read(path, file.content, limit) {
        Ok(bytes) => bytes,
        Err(error) if error.reason().is_transient() => return Err(error),
        Err(error) => {
            collector.refuse(error);
            return Ok(());
        }
    };
    let Some(bytes) = bytes else {
        let message = format!("the file is larger than {limit} bytes: split it");
        collector.problem(Reason::TooLarge, path, message);
        return Ok(());
    };
    let text = match yaml::decode(&bytes) {
        Ok(text) => text,
        Err(error) => {
            collector.problem(Reason::InvalidYaml, error.place(path), error.kind.to_string());
            return Ok(());
        }
    };
    for document in yaml::documents(&text, READING) {
        match document {
            Ok(document) => {
                let origin = format!("{path}:{}", document.line);
                collector.document(document.value, &origin)?;
            }
            Err(error) => {
                collector.problem(Reason::InvalidYaml, error.place(path), error.kind.to_string());
            }
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
