//! Finds what is wrong with a kustomization after `kustomize` has failed.
//!
//! Kustomize stops at the first fault and often does not say where it is. So everything that the kustomization reads
//! is read here once more: what is missing, remote or not YAML is named with file and line. Only if that finds nothing
//! do kustomize's own words have to do.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use skiff_shared::desired::manifest::{self, Manifest};
use skiff_shared::environment::RepoPath;
use skiff_shared::yaml::{self, Document, DuplicateKeys, KeepLines, Options};

use super::READING;
use crate::render::collect::Collector;
use crate::render::plain::contents;
use crate::render::{Reason, RenderError};

const FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Fields that list files with objects, or folders to build.
const OBJECTS: [&str; 4] = ["resources", "bases", "components", "crds"];

/// Fields that list other files.
const OTHERS: [&str; 4] = ["configurations", "generators", "transformers", "validators"];

/// Fields that have kustomize start helm.
const CHARTS: [&str; 2] = ["helmCharts", "helmChartInflationGenerator"];

/// Reports why a kustomization cannot be built.
pub(super) fn diagnose(collector: &mut Collector<'_>, root: &Path, said: &str) {
    let limit = collector.request.tools.bounds.file_bytes;
    let mut search = Search { root, limit, seen: BTreeSet::new(), found: Vec::new() };
    search.folder(collector.request.path, None);
    for (place, message) in &search.found {
        collector.problem(Reason::KustomizeFailed, place.clone(), message.clone());
    }
    if search.found.is_empty() {
        collector.refuse(in_its_own_words(root, collector.request.path, said));
    }
}

/// Takes kustomize's message out of what it repeats at each level: the innermost is what happened.
fn in_its_own_words(root: &Path, path: &RepoPath, said: &str) -> RenderError {
    let said = said.split("\nError: ").last().unwrap_or(said).trim_start_matches("Error: ");
    let innermost = said.rsplit("accumulating resources: ").next().unwrap_or(said);
    let message = innermost
        .strip_prefix("accumulation err='")
        .and_then(|rest| rest.split_once("': must build at directory: "))
        .map_or(innermost, |(message, _)| message);
    let message = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let built =
        said.rsplit_once("recursed accumulation of path '").and_then(|(_, rest)| rest.split_once('\''));
    let folder = built.and_then(|(folder, _)| RepoPath::parse(folder).ok());
    let folder = folder.as_ref().unwrap_or(path);
    let files = FILES.iter().filter_map(|name| folder.join(name).ok());
    let file = files.into_iter().find(|file| root.join(file.as_str()).is_file());
    RenderError::new(Reason::KustomizeFailed, file.as_ref().unwrap_or(folder).to_string(), message)
}

struct Search<'a> {
    root: &'a Path,
    limit: u64,
    seen: BTreeSet<RepoPath>,
    found: Vec<(String, String)>,
}

impl Search<'_> {
    fn report(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.found.push((place.into(), message.into()));
    }

    /// Looks through a folder that is built. `named_at` is where another kustomization names it.
    fn folder(&mut self, folder: &RepoPath, named_at: Option<&str>) {
        if !self.seen.insert(folder.clone()) {
            return;
        }
        let files = FILES.iter().filter_map(|name| folder.join(name).ok());
        let there: Vec<RepoPath> = files.filter(|file| self.root.join(file.as_str()).is_file()).collect();
        let place = named_at.map_or_else(|| folder.to_string(), str::to_owned);
        match there.as_slice() {
            [] => self
                .report(place, format!("{folder} has no kustomization.yaml: commit one, or name its files")),
            [file] => self.kustomization(folder, file),
            _ => self.report(place, format!("{folder} has several kustomization files: keep one")),
        }
    }

    fn kustomization(&mut self, folder: &RepoPath, file: &RepoPath) {
        let reading =
            Options { duplicate_keys: DuplicateKeys::Refuse, lines: KeepLines::Yes, ..Options::default() };
        let Some(text) = self.text(file) else { return };
        for document in yaml::documents(&text, reading) {
            match document {
                Ok(document) => self.entries(folder, file, &document),
                Err(error) => self.report(error.place(file.as_str()), error.kind.to_string()),
            }
        }
    }

    fn entries(&mut self, folder: &RepoPath, file: &RepoPath, document: &Document) {
        for field in CHARTS.iter().filter(|field| document.value.get(**field).is_some()) {
            let line = document.line_of(&format!("/{field}")).unwrap_or(document.line);
            let message = format!(
                "{field} are not rendered, as kustomize may start no program here: make the chart an app of its own, or commit what \"kustomize build --enable-helm\" prints"
            );
            self.report(format!("{file}:{line}"), message);
        }
        for (fields, holds_objects) in [(&OBJECTS, true), (&OTHERS, false)] {
            for field in fields {
                for (pointer, entry) in texts(&document.value, &format!("/{field}"), "") {
                    self.entry(folder, file, document, (&pointer, entry, holds_objects));
                }
            }
        }
        for (pointer, entry) in texts(&document.value, "/patches", "/path") {
            self.entry(folder, file, document, (&pointer, entry, false));
        }
        for field in ["/configMapGenerator", "/secretGenerator"] {
            self.generator(folder, file, document, field);
        }
    }

    /// Looks at one file or folder that a kustomization names.
    fn entry(
        &mut self,
        folder: &RepoPath,
        file: &RepoPath,
        document: &Document,
        (pointer, entry, holds_objects): (&str, &str, bool),
    ) {
        if entry.contains('\n') {
            return;
        }
        let line = document.line_of(pointer).unwrap_or(document.line);
        let place = format!("{file}:{line}");
        if is_remote(entry) {
            self.report(
                place,
                format!("{entry} is not in the repository: commit it, as nothing is downloaded here"),
            );
            return;
        }
        let path = match folder.join(entry) {
            Ok(path) => path,
            Err(error) => return self.report(place, error.to_string()),
        };
        let found = self.root.join(path.as_str());
        if found.is_dir() {
            self.folder(&path, Some(&place));
        } else if !found.exists() {
            self.report(place, format!("{entry} is not there: there is no {path} in this revision"));
        } else if holds_objects {
            self.objects(&path);
        } else {
            self.yaml(&path);
        }
    }

    /// Looks at the files of a generator, `name` or `key=name`.
    fn generator(&mut self, folder: &RepoPath, file: &RepoPath, document: &Document, field: &str) {
        let Some(generators) = document.value.pointer(field).and_then(Value::as_array) else { return };
        for index in 0..generators.len() {
            for list in ["files", "envs"] {
                for (pointer, entry) in texts(&document.value, &format!("{field}/{index}/{list}"), "") {
                    let name = entry.rsplit('=').next().unwrap_or(entry);
                    let there = folder.join(name).is_ok_and(|path| self.root.join(path.as_str()).is_file());
                    if !there {
                        let line = document.line_of(&pointer).unwrap_or(document.line);
                        self.report(
                            format!("{file}:{line}"),
                            format!("{name} is not there: commit the file"),
                        );
                    }
                }
            }
        }
    }

    fn objects(&mut self, file: &RepoPath) {
        let Some(text) = self.text(file) else { return };
        for document in yaml::documents(&text, READING) {
            match document {
                Ok(document) => {
                    for value in manifest::explode(document.value) {
                        for fault in Manifest::read(value).err().unwrap_or_default() {
                            self.report(format!("{file}:{}", document.line), fault.to_string());
                        }
                    }
                }
                Err(error) => self.report(error.place(file.as_str()), error.kind.to_string()),
            }
        }
    }

    fn yaml(&mut self, file: &RepoPath) {
        let Some(text) = self.text(file) else { return };
        for error in yaml::documents(&text, READING).filter_map(Result::err) {
            self.report(error.place(file.as_str()), error.kind.to_string());
        }
    }

    fn text(&mut self, file: &RepoPath) -> Option<String> {
        let bytes = contents(&self.root.join(file.as_str()), self.limit).ok().flatten();
        let Some(bytes) = bytes else {
            self.report(file.to_string(), "the file cannot be read, or is too large");
            return None;
        };
        match yaml::decode(&bytes) {
            Ok(text) => Some(text.into_owned()),
            Err(error) => {
                self.report(error.place(file.as_str()), error.kind.to_string());
                None
            }
        }
    }
}

/// Returns the texts of a list, or those at `below` in each of its items, with their pointers.
fn texts<'v>(value: &'v Value, list: &str, below: &str) -> Vec<(String, &'v str)> {
    let Some(items) = value.pointer(list).and_then(Value::as_array) else { return Vec::new() };
    items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| {
            Some((format!("{list}/{index}{below}"), item.pointer(below).and_then(Value::as_str)?))
        })
        .collect()
}

/// Returns whether kustomize would download an entry.
fn is_remote(entry: &str) -> bool {
    let host = entry.split('/').next().unwrap_or_default();
    entry.contains("://")
        || entry.contains("?ref=")
        || entry.starts_with("git@")
        || entry.starts_with("git::")
        || ["github.com", "gitlab.com", "bitbucket.org"].contains(&host)
}
