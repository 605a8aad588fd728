//! How a folder becomes objects.

use serde_json::{Map, Value};

use super::{AppName, RepoPath};

/// How an app's folder is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renderer {
    /// By what the folder holds: see [`detect_renderer`].
    Auto,
    /// Every YAML and JSON file below the folder.
    Plain,
    /// As a kustomization.
    Kustomize(KustomizeOptions),
    /// As a Helm chart.
    Helm(HelmOptions),
}

/// How to build a kustomization. Nothing can be chosen yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KustomizeOptions {}

/// How to render a chart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HelmOptions {
    /// The release's name; `None` for the app's name.
    pub release_name: Option<String>,
    /// Value files, from the root of the repository that the app's files are in, of a chart of a chart repository from
    /// the root of the environment's; later ones win.
    pub value_files: Vec<RepoPath>,
    /// Value files over those, from the root of the environment's repository; only where the app has another.
    pub environment_value_files: Vec<RepoPath>,
    /// Values over those of the files.
    pub values: Map<String, Value>,
    /// Single values over the values, as `helm --set`.
    pub parameters: Vec<Parameter>,
    /// Whether the chart's `crds/` are left out.
    pub skip_crds: bool,
}

/// One value as `helm --set` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The path of the value, `image.tag`.
    pub name: String,
    /// The value.
    pub value: String,
    /// Whether it is text whatever it looks like, as `helm --set-string`.
    pub force_string: bool,
}

/// The tool that renders a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RendererKind {
    Plain,
    Kustomize,
    Helm,
}

impl Renderer {
    /// Settles `Auto` by the names of the folder's entries.
    pub fn settle<'a>(self, entries: impl IntoIterator<Item = &'a str>) -> Self {
        match self {
            Self::Auto => match detect_renderer(entries) {
                RendererKind::Plain => Self::Plain,
                RendererKind::Kustomize => Self::Kustomize(KustomizeOptions::default()),
                RendererKind::Helm => Self::Helm(HelmOptions::default()),
            },
            chosen => chosen,
        }
    }
}

impl HelmOptions {
    /// Returns the release's name for an app.
    pub fn release_name<'a>(&'a self, app: &'a AppName) -> &'a str {
        self.release_name.as_deref().unwrap_or(app.as_str())
    }
}

/// Returns the tool for a folder with these entries: a chart first, then a kustomization, else plain manifests.
pub fn detect_renderer<'a>(entries: impl IntoIterator<Item = &'a str>) -> RendererKind {
    let mut found = RendererKind::Plain;
    for entry in entries {
        match entry {
            "Chart.yaml" => return RendererKind::Helm,
            "kustomization.yaml" | "kustomization.yml" | "Kustomization" => found = RendererKind::Kustomize,
            _ => {}
        }
    }
    found
}
