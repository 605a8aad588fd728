//! Reads `skiff.yaml`: every mistake of the file with its line, or the apps that it lists for one cluster.

mod app;
mod raw;
mod renderer;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::substitute::{self, Typing, Variables};
use super::{AppName, AppSpec, Environment, Facts, Pattern, RepoPath, depend};
use crate::desired::Problem;
use crate::policy::Policy;
use crate::yaml::{self, Document, closest};
use raw::RawEnvironment;

/// The name of the file in an environment's folder.
pub const FILE_NAME: &str = "skiff.yaml";

const API_VERSION: &str = "skiff.dev/v1alpha1";
const KIND: &str = "Environment";

/// Returns the JSON schema of the file, as the types that read it have it.
pub fn schema() -> Value {
    let settings = schemars::generate::SchemaSettings::draft07().with(|it| it.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<RawEnvironment>().to_value()
}

/// What kind of thing is wrong with the list; its word is `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListReason {
    /// It is not YAML, or a key or a value is not what it should be.
    InvalidAppList,
    /// A variable that the cluster has not.
    UnknownVariable,
    AppDeclaredTwice,
    /// An app depends on one that is not listed.
    UnknownApp,
    /// Apps depend on each other.
    DependencyCircle,
}

impl ListReason {
    pub fn word(self) -> &'static str {
        match self {
            Self::InvalidAppList => "InvalidAppList",
            Self::UnknownVariable => "UnknownVariable",
            Self::AppDeclaredTwice => "AppDeclaredTwice",
            Self::UnknownApp => "UnknownApp",
            Self::DependencyCircle => "DependencyCircle",
        }
    }
}

/// Everything that is wrong with an environment's file, in the order of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentErrors {
    reason: ListReason,
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

impl EnvironmentErrors {
    /// Returns the kind of the first problem.
    pub fn reason(&self) -> ListReason {
        self.reason
    }
}

/// What a file means depends on, beside its text.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The folder that the file lies in.
    pub folder: &'a RepoPath,
    /// The environment's policy, which apps may make stricter.
    pub policy: &'a Policy,
    /// The cluster that the apps are listed for.
    pub facts: &'a Facts,
    /// The names that match each of [`patterns`], as far as their folders are there.
    pub folders: &'a BTreeMap<Pattern, Vec<String>>,
}

/// Returns the patterns of the file whose folders have to be listed before it can be read by [`parse`].
pub fn patterns(text: &str, folder: &RepoPath, facts: &Facts) -> BTreeSet<Pattern> {
    let Ok(document) = yaml::load(text) else { return BTreeSet::new() };
    let items = document.value["apps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let written = items.iter().filter_map(|item| item["each"].as_str());
    written.filter_map(|written| completed_pattern(written, folder, facts)?.ok()).collect()
}

/// Completes and reads a pattern; `None` where it cannot be completed on this cluster.
fn completed_pattern(
    written: &str,
    folder: &RepoPath,
    facts: &Facts,
) -> Option<Result<Pattern, super::PatternError>> {
    let completed = substitute::text(written, &Variables { facts, app: None }, Typing::Text).ok()?;
    Some(Pattern::parse(folder, completed.as_str()?))
}

/// Reads the text of a `skiff.yaml`. Fails with all mistakes of the file at once.
pub fn parse(text: &str, setting: &Setting<'_>) -> Result<Environment, EnvironmentErrors> {
    let folder = setting.folder;
    let file = folder.join(FILE_NAME).map_or_else(|_| FILE_NAME.to_owned(), |path| path.to_string());
    let document = yaml::load(text).map_err(|error| EnvironmentErrors {
        reason: ListReason::InvalidAppList,
        problems: vec![Problem { place: error.place(&file), message: error.kind.to_string() }],
    })?;
    let reading = yaml::read::<RawEnvironment>(&document.value);
    let mut check = Check::new(file, setting, &document);
    for mismatch in reading.mismatches {
        check.report(ListReason::InvalidAppList, &mismatch.pointer, mismatch.message);
    }
    let apps = reading.value.map(|raw| check.environment(raw)).unwrap_or_default();
    let Check { found, warnings, elsewhere, .. } = check;
    let reason = found.iter().min().map(|first| first.reason);
    let problems = in_order(found);
    let Some(reason) = reason else {
        let (elsewhere, warnings) = (elsewhere.into_iter().collect(), in_order(warnings));
        return Ok(Environment { apps, elsewhere, warnings });
    };
    Err(EnvironmentErrors { reason, problems })
}

/// Sorts by line. The apps of one `each` find the same thing wrong: it is said once.
fn in_order(mut found: Vec<Found>) -> Vec<Problem> {
    found.sort();
    found.dedup();
    found.into_iter().map(|Found { line: _, message, place, reason: _ }| Problem { place, message }).collect()
}

/// Turns what was read into apps and notes what is wrong with it.
struct Check<'a> {
    file: String,
    setting: &'a Setting<'a>,
    document: &'a Document,
    found: Vec<Found>,
    warnings: Vec<Found>,
    /// The line of each app of this cluster.
    first_lines: BTreeMap<AppName, u32>,
    /// Apps that are listed for other clusters only.
    elsewhere: BTreeSet<AppName>,
    /// What each app says it depends on, with the place of each.
    wishes: Vec<Wish>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    line: u32,
    message: String,
    place: String,
    /// Of no meaning for a warning.
    reason: ListReason,
}

/// One entry of an app's `dependsOn`.
struct Wish {
    app: AppName,
    on: AppName,
    pointer: String,
}

impl<'a> Check<'a> {
    fn new(file: String, setting: &'a Setting<'a>, document: &'a Document) -> Self {
        Self {
            file,
            setting,
            document,
            found: Vec::new(),
            warnings: Vec::new(),
            first_lines: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            wishes: Vec::new(),
        }
    }

    fn line(&self, pointer: &str) -> u32 {
        self.document.line_of(pointer).unwrap_or(self.document.line)
    }

    fn found(&self, reason: ListReason, pointer: &str, message: String) -> Found {
        let line = self.line(pointer);
        Found { line, message, place: format!("{}:{line}", self.file), reason }
    }

    fn report(&mut self, reason: ListReason, pointer: &str, message: String) {
        let found = self.found(reason, pointer, message);
        self.found.push(found);
    }

    fn warn(&mut self, pointer: &str, message: String) {
        let warning = self.found(ListReason::InvalidAppList, pointer, message);
        self.warnings.push(warning);
    }

    fn environment(&mut self, raw: RawEnvironment) -> Vec<AppSpec> {
        let RawEnvironment { api_version, kind, apps } = raw;
        self.expect_word("apiVersion", API_VERSION, api_version.as_deref());
        self.expect_word("kind", KIND, kind.as_deref());
        let Some(items) = apps else {
            if self.document.value["apps"].is_null() {
                self.report(
                    ListReason::InvalidAppList,
                    "",
                    "missing key \"apps\": an environment without apps says apps: []".to_owned(),
                );
            }
            return Vec::new();
        };
        let numbered = items.iter().enumerate();
        let mut apps: Vec<AppSpec> =
            numbered.flat_map(|(index, item)| self.entry(item, &format!("/apps/{index}"))).collect();
        self.elsewhere.retain(|name| !self.first_lines.contains_key(name));
        self.dependencies(&mut apps);
        apps
    }

    fn expect_word(&mut self, key: &str, expected: &str, found: Option<&str>) {
        if found != Some(expected) {
            let found = found.map_or("nothing".to_owned(), |found| format!("{found:?}"));
            self.report(
                ListReason::InvalidAppList,
                &format!("/{key}"),
                format!("{key} must be {expected:?}, found {found}"),
            );
        }
    }

    /// Returns the apps of one entry of the list: none, one, or one per folder.
    fn entry(&mut self, item: &Value, at: &str) -> Vec<AppSpec> {
        if !self.is_here(item, at) {
            self.other_cluster(item, at);
            return Vec::new();
        }
        match &item["each"] {
            Value::Null => self.one(item, at).into_iter().collect(),
            Value::String(written) => self.each(item, written, at),
            _ => {
                self.check_shape(item, at);
                Vec::new()
            }
        }
    }

    /// Gives each app what it depends on, after refusing names that nobody has and circles.
    fn dependencies(&mut self, apps: &mut [AppSpec]) {
        let wishes = std::mem::take(&mut self.wishes);
        let mut edges: BTreeMap<&AppName, Vec<&AppName>> = BTreeMap::new();
        for wish in &wishes {
            if self.first_lines.contains_key(&wish.on) {
                edges.entry(&wish.app).or_default().push(&wish.on);
            } else if !self.elsewhere.contains(&wish.on) {
                let message = self.unknown_app(&wish.on);
                self.report(ListReason::UnknownApp, &wish.pointer, message);
            }
        }
        for circle in depend::circles(&edges) {
            let names: Vec<&str> = circle.iter().map(AppName::as_str).collect();
            let wish = wishes.iter().find(|wish| wish.app == circle[0] && wish.on == circle[1]);
            let pointer = wish.map(|wish| wish.pointer.clone()).unwrap_or_default();
            let message = match names.as_slice() {
                [app, _] => format!("app {app:?} depends on itself"),
                names => format!("apps depend on each other in a circle: {}", names.join(" -> ")),
            };
            self.report(ListReason::DependencyCircle, &pointer, message);
        }
        for app in apps {
            let on = edges.get(&app.name).into_iter().flatten().map(|on| (*on).clone());
            app.depends_on = on.collect::<BTreeSet<AppName>>().into_iter().collect();
        }
    }

    fn unknown_app(&self, name: &AppName) -> String {
        let known: Vec<&str> = self.first_lines.keys().chain(&self.elsewhere).map(AppName::as_str).collect();
        let meant = closest(name.as_str(), &known).map(|meant| format!(": did you mean {meant:?}?"));
        format!("there is no app {:?} in this file{}", name.as_str(), meant.unwrap_or_default())
    }
}
