//! Reads `skiff.yaml`: every mistake of the file with its line, or the apps it lists.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    AppName, AppSpec, Environment, HelmOptions, KustomizeOptions, Namespace, Parameter, Renderer, RepoPath,
};
use crate::desired::Problem;
use crate::policy::{Mode, Policy};
use crate::yaml::{self, Document};

/// The name of the file in an environment's folder.
pub const FILE_NAME: &str = "skiff.yaml";

const API_VERSION: &str = "skiff.dev/v1alpha1";
const KIND: &str = "Environment";

/// Everything that is wrong with an environment's file, in the order of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentErrors {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for EnvironmentErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for EnvironmentErrors {}

/// Reads the text of the `skiff.yaml` in a folder of the repository.
///
/// `policy` is the environment's, which apps may make stricter. Fails with all mistakes of the file at once.
pub fn parse(text: &str, folder: &RepoPath, policy: &Policy) -> Result<Environment, EnvironmentErrors> {
    let file = folder.join(FILE_NAME).map_or_else(|_| FILE_NAME.to_owned(), |path| path.to_string());
    let document = yaml::load(text).map_err(|error| EnvironmentErrors {
        problems: vec![Problem { place: format!("{file}:{}", error.line), message: error.kind.to_string() }],
    })?;
    let reading = yaml::read::<RawEnvironment>(&document.value);
    let mut check = Check { file, folder, policy, document: &document, found: Vec::new() };
    for mismatch in reading.mismatches {
        check.report(&mismatch.pointer, mismatch.message);
    }
    let apps = reading.value.map(|raw| check.environment(raw)).unwrap_or_default();
    check.found.sort();
    let problems: Vec<Problem> = check.found.into_iter().map(|(_, problem)| problem.into()).collect();
    if problems.is_empty() { Ok(Environment { apps }) } else { Err(EnvironmentErrors { problems }) }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEnvironment {
    api_version: Option<String>,
    kind: Option<String>,
    /// Read one by one, so that each keeps its place in the list.
    apps: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawApp {
    name: Option<AppName>,
    path: Option<String>,
    namespace: Option<Namespace>,
    #[serde(default)]
    create_namespace: bool,
    renderer: Option<RawRenderer>,
    helm: Option<RawHelm>,
    kustomize: Option<RawKustomize>,
    #[serde(default)]
    sync: RawSync,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum RawRenderer {
    Auto,
    Plain,
    Kustomize,
    Helm,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHelm {
    release_name: Option<String>,
    #[serde(default)]
    value_files: Vec<String>,
    #[serde(default)]
    values: Map<String, Value>,
    #[serde(default)]
    parameters: Vec<RawParameter>,
    #[serde(default)]
    skip_crds: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawParameter {
    name: String,
    value: String,
    #[serde(default)]
    force_string: bool,
}

#[derive(Deserialize)]
struct RawKustomize {}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSync {
    mode: Option<Mode>,
    prune: Option<bool>,
    self_heal: Option<bool>,
}

/// Turns what was read into apps and notes what is wrong with it.
struct Check<'a> {
    file: String,
    folder: &'a RepoPath,
    policy: &'a Policy,
    document: &'a Document,
    found: Vec<(u32, Found)>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    message: String,
    place: String,
}

impl From<Found> for Problem {
    fn from(Found { message, place }: Found) -> Self {
        Self { place, message }
    }
}

impl Check<'_> {
    fn line(&self, pointer: &str) -> u32 {
        self.document.line_of(pointer).unwrap_or(self.document.line)
    }

    fn report(&mut self, pointer: &str, message: String) {
        let line = self.line(pointer);
        self.found.push((line, Found { message, place: format!("{}:{line}", self.file) }));
    }

    fn environment(&mut self, raw: RawEnvironment) -> Vec<AppSpec> {
        self.expect_word("apiVersion", API_VERSION, raw.api_version.as_deref());
        self.expect_word("kind", KIND, raw.kind.as_deref());
        let Some(items) = raw.apps else {
            if self.document.value["apps"].is_null() {
                self.report("", "missing key \"apps\": an environment without apps says apps: []".to_owned());
            }
            return Vec::new();
        };
        let mut first_lines = HashMap::new();
        items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| self.app(item, &format!("/apps/{index}"), &mut first_lines))
            .collect()
    }

    fn expect_word(&mut self, key: &str, expected: &str, found: Option<&str>) {
        if found != Some(expected) {
            let found = found.map_or("nothing".to_owned(), |found| format!("{found:?}"));
            self.report(&format!("/{key}"), format!("{key} must be {expected:?}, found {found}"));
        }
    }

    fn name(&mut self, name: AppName, at: &str, first_lines: &mut HashMap<AppName, u32>) -> AppName {
        let pointer = format!("{at}/name");
        let line = self.line(&pointer);
        if let Some(first) = first_lines.get(&name) {
            self.report(
                &pointer,
                format!("app {:?} is declared twice (first at line {first})", name.as_str()),
            );
        } else {
            first_lines.insert(name.clone(), line);
        }
        name
    }

    fn app(&mut self, item: &Value, at: &str, first_lines: &mut HashMap<AppName, u32>) -> Option<AppSpec> {
        let reading = yaml::read::<RawApp>(item);
        for mismatch in reading.mismatches {
            self.report(&format!("{at}{}", mismatch.pointer), mismatch.message);
        }
        let raw = reading.value?;
        if item["name"].is_null() {
            self.report(at, "missing key \"name\"".to_owned());
        }
        let RawApp { name, path, namespace, create_namespace, renderer, helm, kustomize, sync } = raw;
        let name = name.map(|name| self.name(name, at, first_lines));
        if create_namespace && namespace.is_none() {
            self.report(&format!("{at}/createNamespace"), "createNamespace needs a namespace".to_owned());
        }
        let policy = self.policy(&sync, at);
        let pointer = format!("{at}/path");
        let written = path.as_deref().or(name.as_ref().map(AppName::as_str))?;
        let path = self.path(&pointer, self.folder, written)?;
        let renderer = self.renderer(renderer, helm, kustomize, &path, at)?;
        let place = format!("{}:{}", self.file, self.line(at));
        Some(AppSpec { name: name?, path, namespace, create_namespace, renderer, policy, place })
    }

    fn path(&mut self, pointer: &str, from: &RepoPath, path: &str) -> Option<RepoPath> {
        let joined = from.join(path);
        joined.map_err(|error| self.report(pointer, error.to_string())).ok()
    }

    fn renderer(
        &mut self,
        chosen: Option<RawRenderer>,
        helm: Option<RawHelm>,
        kustomize: Option<RawKustomize>,
        path: &RepoPath,
        at: &str,
    ) -> Option<Renderer> {
        let implied = match (&helm, &kustomize) {
            (Some(_), Some(_)) => {
                self.report(at, "an app has options for helm or for kustomize, not for both".to_owned());
                return None;
            }
            (Some(_), None) => Some((RawRenderer::Helm, "helm")),
            (None, Some(_)) => Some((RawRenderer::Kustomize, "kustomize")),
            (None, None) => None,
        };
        if let (Some(chosen), Some((implied, key))) = (chosen, implied)
            && chosen != implied
        {
            self.report(&format!("{at}/{key}"), format!("{key} options need renderer: {key}"));
            return None;
        }
        Some(match implied.map(|(implied, _)| implied).or(chosen).unwrap_or(RawRenderer::Auto) {
            RawRenderer::Auto => Renderer::Auto,
            RawRenderer::Plain => Renderer::Plain,
            RawRenderer::Kustomize => Renderer::Kustomize(KustomizeOptions::default()),
            RawRenderer::Helm => match helm {
                Some(helm) => Renderer::Helm(self.helm(helm, path, at)?),
                None => Renderer::Helm(HelmOptions::default()),
            },
        })
    }

    fn helm(&mut self, raw: RawHelm, path: &RepoPath, at: &str) -> Option<HelmOptions> {
        let RawHelm { release_name, value_files, values, parameters, skip_crds } = raw;
        let checked: Vec<_> = value_files
            .iter()
            .enumerate()
            .map(|(index, file)| self.path(&format!("{at}/helm/valueFiles/{index}"), path, file))
            .collect();
        let value_files = checked.into_iter().collect::<Option<_>>()?;
        let parameters = parameters
            .into_iter()
            .map(|RawParameter { name, value, force_string }| Parameter { name, value, force_string })
            .collect();
        Some(HelmOptions { release_name, value_files, values, parameters, skip_crds })
    }

    /// Makes the environment's policy stricter. Git alone must not be able to loosen what the agent's
    /// configuration asks for: an approval that a commit can switch off is none.
    fn policy(&mut self, sync: &RawSync, at: &str) -> Policy {
        let mut policy = self.policy.clone();
        let base = self.policy;
        let wider = [
            ("mode", "auto", sync.mode == Some(Mode::Auto) && base.mode == Mode::Manual),
            ("prune", "true", sync.prune == Some(true) && !base.prune.enabled),
            ("selfHeal", "true", sync.self_heal == Some(true) && !base.self_heal),
        ];
        for (key, word, _) in wider.into_iter().filter(|(_, _, wider)| *wider) {
            self.report(
                &format!("{at}/sync/{key}"),
                format!("{key}: {word} is wider than the environment allows: only the agent's configuration can allow it"),
            );
        }
        policy.mode = sync.mode.unwrap_or(policy.mode);
        policy.prune.enabled = sync.prune.unwrap_or(policy.prune.enabled);
        policy.self_heal = sync.self_heal.unwrap_or(policy.self_heal);
        policy
    }
}
