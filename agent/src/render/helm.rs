//! Charts, rendered by the real `helm template`.

mod diagnose;
mod explain;

use std::ffi::OsString;
use std::path::Path;

use skiff_shared::environment::{HelmOptions, Renderer};
use skiff_shared::yaml::{self, DuplicateKeys, KeepLines, Options};

use super::collect::Collector;
use super::split::Chunk;
use super::tool::{Call, Ended, Workshop};
use super::{Reason, RenderError, Request, tree};

/// How Helm's output is read: as Helm itself and `kubectl` do, a duplicate key is a warning.
const READING: Options = Options {
    duplicate_keys: DuplicateKeys::LastWins,
    lines: KeepLines::No,
    limits: yaml::Limits { nodes: 1_000_000, repeated: 50_000, depth: 127 },
};

/// API versions in one argument, of which the kernel takes at most 128 KiB each.
const VERSIONS_PER_ARGUMENT: usize = 500;

pub(super) async fn render(collector: &mut Collector<'_>, options: &HelmOptions) -> Result<(), RenderError> {
    let request = collector.request;
    check_discovery(request)?;
    tree::check_links(request)?;
    let workshop = Workshop::open(request)?;
    if !check_files(collector, &workshop, options) {
        return Ok(());
    }
    let chart = Chart::read(request, workshop.root());
    let arguments = arguments(&workshop, request, options)?;
    let call = call(request, &arguments, chart.argument());
    let mut sink = |chunk| document(collector, &chart, chunk);
    match workshop.run(call, &mut sink).await? {
        Ended::Well(said) => {
            for line in said.lines().filter(|line| !line.trim().is_empty()) {
                collector.warn(format!("{}: helm: {}", request.path, line.trim()));
            }
        }
        Ended::Badly(said) => diagnose::diagnose(collector, &workshop, &chart, &arguments, said).await?,
    }
    Ok(())
}

/// A chart as its folder names it.
struct Chart<'a> {
    request: &'a Request<'a>,
    root: &'a Path,
    /// As `Chart.yaml` has it; Helm's messages and sources begin with it.
    name: Option<String>,
}

impl<'a> Chart<'a> {
    fn read(request: &'a Request<'a>, root: &'a Path) -> Self {
        let file = root.join(request.path.as_str()).join("Chart.yaml");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let name = yaml::documents(&text, READING)
            .find_map(Result::ok)
            .and_then(|document| document.value.get("name")?.as_str().map(str::to_owned));
        Self { request, root, name }
    }

    /// Returns the chart as an argument, which Helm must not take for the name of a chart elsewhere.
    fn argument(&self) -> OsString {
        format!("./{}", self.request.path.as_str()).into()
    }

    /// Returns the path in the repository of a template that Helm names, or Helm's name for it.
    fn place(&self, template: &str) -> String {
        let within = self.within(template);
        within.map_or_else(|| template.to_owned(), |within| self.file(within))
    }

    /// Returns the path within the chart's folder of a template that Helm names.
    fn within<'t>(&self, template: &'t str) -> Option<&'t str> {
        let within = template.strip_prefix(self.name.as_deref()?)?.strip_prefix('/')?;
        self.root.join(self.request.path.as_str()).join(within).is_file().then_some(within)
    }

    /// Returns the path in the repository of a file of the chart.
    fn file(&self, within: &str) -> String {
        self.request.path.join(within).map_or_else(|_| within.to_owned(), |path| path.to_string())
    }
}

/// Refuses to render for a cluster whose Capabilities are not known: a chart would leave objects out.
fn check_discovery(request: &Request<'_>) -> Result<(), RenderError> {
    let incomplete = &request.apis.incomplete;
    if incomplete.is_empty() {
        return Ok(());
    }
    let message = format!(
        "no chart is rendered while API groups cannot be discovered ({}): a chart may ask for them",
        incomplete.join(", ")
    );
    Err(RenderError::new(Reason::DiscoveryIncomplete, request.path.to_string(), message))
}

/// Checks that the chart and the value files are there and within the tree.
fn check_files(collector: &mut Collector<'_>, workshop: &Workshop<'_>, options: &HelmOptions) -> bool {
    let root = workshop.root();
    let chart = collector.request.path.join("Chart.yaml").ok();
    let mut complete = true;
    let chart = chart.iter().map(|file| (root, file, "it is what makes a folder a chart"));
    let own = options.value_files.iter();
    let own = own.map(|file| (root, file, "correct the app's valueFiles or commit the file"));
    let others = options.environment_value_files.iter();
    let others = others.map(|file| {
        let what =
            "correct the app's environmentValueFiles or commit the file to the environment's repository";
        (workshop.values().unwrap_or(root), file, what)
    });
    for (root, file, what) in chart.chain(own).chain(others) {
        let found = root.join(file.as_str()).canonicalize().is_ok_and(|found| found.is_file());
        if !found {
            let message = format!("there is no such file in this revision: {what}");
            collector.problem(Reason::PathMissing, file.to_string(), message);
            complete = false;
        }
    }
    complete
}

fn call<'a>(request: &'a Request<'_>, arguments: &[OsString], chart: OsString) -> Call<'a> {
    let release = match request.renderer {
        Renderer::Helm(HelmOptions { release_name: Some(name), .. }) => name,
        _ => request.app,
    };
    let mut all: Vec<OsString> = vec!["template".into()];
    all.extend_from_slice(arguments);
    // What comes from Git must not be read as an option.
    all.extend(["--".into(), release.into(), chart]);
    Call { name: "helm", program: &request.tools.helm, arguments: all }
}

/// Returns the arguments after release and chart.
fn arguments(
    workshop: &Workshop<'_>,
    request: &Request<'_>,
    options: &HelmOptions,
) -> Result<Vec<OsString>, RenderError> {
    let mut arguments = vec![format!("--namespace={}", request.namespace.unwrap_or("default"))];
    if !options.skip_crds {
        arguments.push("--include-crds".to_owned());
    }
    if !request.kube_version.is_empty() {
        arguments.push(format!("--kube-version={}", request.kube_version));
    }
    for versions in api_versions(request).chunks(VERSIONS_PER_ARGUMENT) {
        arguments.push(format!("--api-versions={}", versions.join(",")));
    }
    for file in &options.value_files {
        arguments.push(format!("--values={}", listed(&format!("./{}", file.as_str()))));
    }
    for file in &options.environment_value_files {
        let file = workshop.values().unwrap_or(workshop.root()).join(file.as_str());
        arguments.push(format!("--values={}", listed(&file.display().to_string())));
    }
    if !options.values.is_empty() {
        let file = workshop.scratch().join("values.json");
        let text = serde_json::to_vec(&options.values).expect("values are JSON");
        std::fs::write(&file, text).map_err(|error| RenderError::internal("write inline values", &error))?;
        arguments.push(format!("--values={}", listed(&file.display().to_string())));
    }
    for parameter in &options.parameters {
        let flag = if parameter.force_string { "--set-string" } else { "--set" };
        arguments.push(format!("{flag}={}={}", parameter.name, escaped(&parameter.value)));
    }
    Ok(arguments.into_iter().map(OsString::from).collect())
}

/// Returns what `.Capabilities.APIVersions` has: each version of a group, and each kind in it.
fn api_versions(request: &Request<'_>) -> Vec<String> {
    let mut versions: std::collections::BTreeSet<String> = request.api_versions.iter().cloned().collect();
    for (kind, served) in &request.apis.kinds {
        for version in &served.versions {
            let version = skiff_shared::object::api_version(&kind.group, version);
            versions.insert(format!("{version}/{}", kind.kind));
            versions.insert(version);
        }
    }
    versions.into_iter().collect()
}

/// Quotes an argument that Helm reads as a list of comma-separated values.
fn listed(argument: &str) -> String {
    if argument.contains([',', '"']) {
        format!("\"{}\"", argument.replace('"', "\"\""))
    } else {
        argument.to_owned()
    }
}

/// Escapes the commas of a parameter, which would begin the next one, except those of a list in braces.
fn escaped(value: &str) -> String {
    if value.starts_with('{') && value.ends_with('}') {
        return value.to_owned();
    }
    let mut escaped = String::with_capacity(value.len());
    let mut before = None;
    for character in value.chars() {
        if character == ',' && before != Some('\\') {
            escaped.push('\\');
        }
        escaped.push(character);
        before = Some(character);
    }
    escaped
}

fn document(collector: &mut Collector<'_>, chart: &Chart<'_>, chunk: Chunk) -> Result<(), RenderError> {
    let origin = match &chunk.source {
        Some(source) => chart.place(source),
        None => chart.request.path.to_string(),
    };
    let rendered = |place: String, message: String| format!("{place} of what it renders: {message}");
    let text = match yaml::decode(&chunk.text) {
        Ok(text) => text,
        Err(error) => {
            collector.problem(
                Reason::InvalidYaml,
                origin,
                rendered(error.position(), error.kind.to_string()),
            );
            return Ok(());
        }
    };
    for document in yaml::documents(&text, READING) {
        match document {
            Ok(document) => {
                for duplicate in &document.duplicates {
                    let message =
                        format!("the key {:?} is there twice: the last one is taken", duplicate.key);
                    collector
                        .warn(format!("{origin}: {}", rendered(format!("line {}", duplicate.line), message)));
                }
                collector.document(document.value, &origin)?;
            }
            Err(error) => {
                let message = rendered(error.position(), error.kind.to_string());
                collector.problem(Reason::InvalidYaml, origin.as_str(), message);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_of_a_parameter_are_escaped_once() {
        assert_eq!(escaped("a,b"), "a\\,b");
        assert_eq!(escaped("a\\,b"), "a\\,b");
        assert_eq!(escaped("{a,b}"), "{a,b}");
        assert_eq!(listed("a,\"b"), "\"a,\"\"b\"");
        assert_eq!(listed("./a.yaml"), "./a.yaml");
    }
}
