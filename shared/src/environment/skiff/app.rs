//! One entry of the app list: is it one of this cluster, which apps is it, and how is each rendered and synced.

use serde_json::Value;

use super::raw::{RawApp, RawHealthCheck, RawIgnore, RawMetadata, RawRequirement, RawSelector, RawSync};
use super::renderer::Written;
use super::source::Located;
use super::{Check, ListReason, Wish, completed_pattern};
use crate::desired::manifest::NamespaceMetadata;
use crate::desired::yields::{Field, Yields};
use crate::environment::selector::{Operator, Requirement, Selector};
use crate::environment::substitute::{self, Typing, Variables};
use crate::environment::{
    AppName, AppSpec, HealthCheckExprs, IgnoreDifferences, Namespace, Pattern, RepoPath,
};
use crate::object::{GroupKind, split_api_version};
use crate::policy::{Mode, Policy};
use crate::yaml;

/// Which app an entry is read for.
enum Subject<'a> {
    /// The one that it names.
    Named,
    /// The one of a folder.
    Folder { name: AppName, pattern: &'a Pattern, folder: &'a str },
}

impl Check<'_> {
    /// Says whether an entry is for this cluster. A selector with a mistake is reported, and taken for a match.
    pub(super) fn is_here(&mut self, item: &Value, at: &str) -> bool {
        for key in ["clusters", "except"] {
            if has_variable(&item[key]) {
                let message = format!("variables are not completed in {key}: write the value itself");
                self.report(ListReason::InvalidAppList, &format!("{at}/{key}"), message);
            }
        }
        let reading = yaml::read::<Option<RawSelector>>(&item["clusters"]);
        let Some(raw) = reading.value.flatten().filter(|_| reading.mismatches.is_empty()) else {
            return true;
        };
        let RawSelector { match_labels, match_expressions } = raw;
        let labels = match_labels.into_iter().map(|(key, value)| RawRequirement {
            key,
            operator: Operator::In,
            values: vec![value],
        });
        let mut requirements = Vec::new();
        let expressions = match_expressions.into_iter().enumerate();
        let expressions = expressions.map(|(index, raw)| (format!("/{index}"), raw));
        for (place, raw) in labels.map(|raw| (String::new(), raw)).chain(expressions) {
            let RawRequirement { key, operator, values } = raw;
            match Requirement::new(key, operator, values) {
                Ok(requirement) => requirements.push(requirement),
                Err(error) => {
                    self.report(
                        ListReason::InvalidAppList,
                        &format!("{at}/clusters/matchExpressions{place}"),
                        error.to_string(),
                    );
                }
            }
        }
        Selector::new(requirements).matches(self.setting.facts)
    }

    /// Looks at the shape of an entry for other clusters, whose variables need not be known here.
    pub(super) fn other_cluster(&mut self, item: &Value, at: &str) {
        self.check_shape(item, at);
        let names: Vec<AppName> = match item["each"].as_str() {
            Some(written) => self.names_of(written),
            None => self.name_of(item).into_iter().collect(),
        };
        self.elsewhere.extend(names);
    }

    /// Returns the name of an entry, as far as this cluster's facts complete it.
    fn name_of(&self, item: &Value) -> Option<AppName> {
        let variables = Variables { facts: self.setting.facts, app: None };
        let completed = substitute::text(item["name"].as_str()?, &variables, Typing::Text).ok()?;
        AppName::parse(completed.as_str()?).ok()
    }

    /// Returns the app that an entry names.
    pub(super) fn one(&mut self, item: &Value, at: &str) -> Option<AppSpec> {
        let name = self.name_of(item);
        let completed = self.completed(item, name.as_ref(), at);
        let raw = self.read(&completed, at)?;
        if item["name"].is_null() {
            self.report(ListReason::InvalidAppList, at, "missing key \"name\"".to_owned());
        }
        self.app(raw, Subject::Named, at)
    }

    /// Returns one app per folder that a pattern matches.
    pub(super) fn each(&mut self, item: &Value, written: &str, at: &str) -> Vec<AppSpec> {
        for key in ["name", "path"] {
            if !item[key].is_null() {
                let message = format!("{key} cannot stand beside each: the folders name the apps");
                self.report(ListReason::InvalidAppList, &format!("{at}/{key}"), message);
            }
        }
        let Some(pattern) = self.pattern(item, written, at) else { return Vec::new() };
        let folders = self.setting.folders.get(&pattern).map(Vec::as_slice).unwrap_or_default();
        let mut folders: Vec<&str> =
            folders.iter().map(String::as_str).filter(|name| pattern.matches(name)).collect();
        folders.sort_unstable();
        if folders.is_empty() {
            self.warn(
                &format!("{at}/each"),
                format!("no folder matches {written:?}: the entry lists no app"),
            );
            self.check_shape(item, at);
        }
        let except = self.except(item, &folders, at);
        let wanted = folders.into_iter().filter(|folder| !except.contains(folder));
        wanted.filter_map(|folder| self.folder(item, &pattern, folder, at)).collect()
    }

    fn pattern(&mut self, item: &Value, written: &str, at: &str) -> Option<Pattern> {
        match completed_pattern(written, self.setting.folder, self.setting.facts) {
            Some(Ok(pattern)) => Some(pattern),
            Some(Err(error)) => {
                self.report(ListReason::InvalidAppList, &format!("{at}/each"), error.to_string());
                self.check_shape(item, at);
                None
            }
            None => {
                // Completing the whole entry says what is wrong with the pattern.
                self.completed(item, None, at);
                None
            }
        }
    }

    fn folder(&mut self, item: &Value, pattern: &Pattern, folder: &str, at: &str) -> Option<AppSpec> {
        let name = match AppName::parse(folder) {
            Ok(name) => name,
            Err(error) => {
                let message = format!(
                    "folder {} cannot name an app: {error}; rename it, or list it under except",
                    pattern.folder(folder)
                );
                self.report(ListReason::InvalidAppList, &format!("{at}/each"), message);
                return None;
            }
        };
        let item = self.completed(item, Some(&name), at);
        let raw = self.read(&item, at)?;
        self.app(raw, Subject::Folder { name, pattern, folder }, at)
    }

    /// Returns the folders that are no apps. One that is not there may be a slip, and is told.
    fn except<'v>(&mut self, item: &'v Value, folders: &[&str], at: &str) -> Vec<&'v str> {
        let items = item["except"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !folders.contains(name)) {
            self.warn(&format!("{at}/except/{index}"), format!("the pattern matches no folder {name:?}"));
        }
        names
    }

    /// Returns the names of the apps of a pattern, as far as it can be read.
    fn names_of(&self, written: &str) -> Vec<AppName> {
        let pattern = completed_pattern(written, self.setting.folder, self.setting.facts);
        let folders = pattern.and_then(Result::ok).and_then(|pattern| self.setting.folders.get(&pattern));
        folders.into_iter().flatten().filter_map(|name| AppName::parse(name).ok()).collect()
    }

    /// Looks at the shape of an entry that is not completed.
    pub(super) fn check_shape(&mut self, item: &Value, at: &str) {
        let mut shape = item.clone();
        substitute::blank(&mut shape);
        self.read(&shape, at);
    }

    fn read(&mut self, item: &Value, at: &str) -> Option<RawApp> {
        let reading = yaml::read::<RawApp>(item);
        for mismatch in reading.mismatches {
            self.report(ListReason::InvalidAppList, &format!("{at}{}", mismatch.pointer), mismatch.message);
        }
        reading.value
    }

    /// Puts the cluster's facts into an entry. Values for a chart keep the type of a variable.
    fn completed(&mut self, item: &Value, app: Option<&AppName>, at: &str) -> Value {
        let variables = Variables { facts: self.setting.facts, app: app.map(AppName::as_str) };
        let mut item = item.clone();
        let mut values = item.pointer_mut("/helm/values").map(Value::take);
        let mut faults = substitute::value(&mut item, &variables, Typing::Text);
        if let Some(values) = &mut values {
            let found = substitute::value(values, &variables, Typing::AsGiven);
            faults.extend(found.into_iter().map(|fault| substitute::Fault {
                pointer: format!("/helm/values{}", fault.pointer),
                ..fault
            }));
        }
        if let (Some(values), Some(place)) = (values, item.pointer_mut("/helm/values")) {
            *place = values;
        }
        for fault in faults {
            // A field that is not completed would be reported a second time, for what it is not.
            if let Some(field) = item.pointer_mut(&fault.pointer) {
                *field = if fault.pointer == "/name" { Value::Null } else { "x".into() };
            }
            self.report(
                ListReason::UnknownVariable,
                &format!("{at}{}", fault.pointer),
                fault.error.to_string(),
            );
        }
        item
    }

    fn app(&mut self, raw: RawApp, subject: Subject<'_>, at: &str) -> Option<AppSpec> {
        let RawApp {
            name,
            path,
            each: _,
            except,
            clusters: _,
            source,
            chart,
            namespace,
            create_namespace,
            managed_namespace_metadata,
            renderer,
            helm,
            kustomize,
            substitute,
            health_check_exprs,
            ignore_differences,
            depends_on,
            sync,
        } = raw;
        let is_named = matches!(subject, Subject::Named);
        if is_named && !except.is_empty() {
            self.report(ListReason::InvalidAppList, &format!("{at}/except"), "except needs each".to_owned());
        }
        self.check_namespace(create_namespace, namespace.as_ref(), at);
        if managed_namespace_metadata.is_some() && !create_namespace {
            self.report(
                ListReason::InvalidAppList,
                &format!("{at}/managedNamespaceMetadata"),
                "managedNamespaceMetadata needs createNamespace".to_owned(),
            );
        }
        let RawMetadata { labels, annotations } = managed_namespace_metadata.unwrap_or_default();
        let namespace_metadata = NamespaceMetadata { labels, annotations };
        let policy = self.policy(&sync, at);
        let ignore_differences = self.ignore_differences(ignore_differences, at);
        let health_checks = self.health_checks(health_check_exprs, at);
        let (name, path) = match subject {
            Subject::Named => self.named(name, path.as_deref(), at),
            Subject::Folder { name, pattern, folder } => (Some(name), Some(pattern.folder(folder))),
        };
        let name = name.map(|name| self.declare(name, is_named, at));
        if let Some(name) = &name {
            self.wishes.extend(depends_on.into_iter().enumerate().map(|(index, on)| Wish {
                app: name.clone(),
                on,
                pointer: format!("{at}/dependsOn/{index}"),
            }));
        }
        let located = self.located(source, chart, path, at)?;
        let renderer = self.renderer(Written { renderer, helm, kustomize }, &located, at)?;
        let Located { source, path, base: _ } = located;
        let place = format!("{}:{}", self.file, self.line(at));
        let depends_on = Vec::new();
        Some(AppSpec {
            name: name?,
            source,
            path,
            namespace,
            create_namespace,
            namespace_metadata,
            renderer,
            substitute,
            health_checks,
            ignore_differences,
            depends_on,
            policy,
            place,
        })
    }

    fn named(
        &mut self,
        name: Option<AppName>,
        path: Option<&str>,
        at: &str,
    ) -> (Option<AppName>, Option<RepoPath>) {
        let folder = self.setting.folder;
        let written = path.or(name.as_ref().map(AppName::as_str));
        let path = written.and_then(|written| self.path(&format!("{at}/path"), folder, written));
        (name, path)
    }

    /// Notes where an app is declared, and reports one that is declared twice.
    fn declare(&mut self, name: AppName, is_named: bool, at: &str) -> AppName {
        let pointer = if is_named { format!("{at}/name") } else { format!("{at}/each") };
        let line = self.line(&pointer);
        match self.first_lines.get(&name) {
            Some(first) => {
                let way_out = if is_named { "" } else { ": list it under except" };
                let message =
                    format!("app {:?} is declared twice (first at line {first}){way_out}", name.as_str());
                self.report(ListReason::AppDeclaredTwice, &pointer, message);
            }
            None => {
                self.first_lines.insert(name.clone(), line);
            }
        }
        name
    }

    fn check_namespace(&mut self, create: bool, namespace: Option<&Namespace>, at: &str) {
        if create && namespace.is_none() && !self.is_written(&format!("{at}/namespace")) {
            self.report(
                ListReason::InvalidAppList,
                &format!("{at}/createNamespace"),
                "createNamespace needs a namespace".to_owned(),
            );
        }
    }

    /// Says whether anything stands at a place of the file.
    pub(super) fn is_written(&self, pointer: &str) -> bool {
        self.document.value.pointer(pointer).is_some_and(|it| !it.is_null())
    }

    pub(super) fn path(&mut self, pointer: &str, from: &RepoPath, path: &str) -> Option<RepoPath> {
        let joined = from.join(path);
        joined.map_err(|error| self.report(ListReason::InvalidAppList, pointer, error.to_string())).ok()
    }

    fn health_checks(&mut self, raw: Vec<RawHealthCheck>, at: &str) -> Vec<HealthCheckExprs> {
        let numbered = raw.into_iter().enumerate();
        let checks = numbered.map(|(index, raw)| {
            let RawHealthCheck { api_version, kind, current, in_progress, failed } = raw;
            let (group, _) = split_api_version(&api_version);
            let line = self.line(&format!("{at}/healthCheckExprs/{index}"));
            let (kind, place) = (GroupKind::new(group, &kind), format!("{}:{line}", self.file));
            HealthCheckExprs { kind, current, in_progress, failed, place }
        });
        checks.collect()
    }

    fn ignore_differences(&mut self, raw: Vec<RawIgnore>, at: &str) -> Vec<IgnoreDifferences> {
        let numbered = raw.into_iter().enumerate();
        numbered.map(|(index, raw)| self.ignored(raw, &format!("{at}/ignoreDifferences/{index}"))).collect()
    }

    fn ignored(&mut self, raw: RawIgnore, at: &str) -> IgnoreDifferences {
        let RawIgnore {
            group,
            kind,
            name,
            namespace,
            json_pointers,
            jq_path_expressions,
            managed_fields_managers,
        } = raw;
        let mut yields = Yields {
            managers: managed_fields_managers.into_iter().map(Into::into).collect(),
            ..Yields::default()
        };
        for (key, texts) in [("jsonPointers", json_pointers), ("jqPathExpressions", jq_path_expressions)] {
            for (index, text) in texts.iter().enumerate() {
                match Field::parse(text) {
                    Ok(field) => _ = yields.fields.insert(field),
                    Err(error) => self.report(
                        ListReason::InvalidAppList,
                        &format!("{at}/{key}/{index}"),
                        error.to_string(),
                    ),
                }
            }
        }
        if yields.is_empty() && self.document.value.pointer(at).is_some_and(says_no_field) {
            let message = "it names no field: write jsonPointers, jqPathExpressions or managedFieldsManagers";
            self.report(ListReason::InvalidAppList, at, message.to_owned());
        }
        IgnoreDifferences { group, kind, name, namespace, yields }
    }

    /// Makes the environment's policy stricter. Git alone must not be able to loosen what the agent's
    /// configuration asks for: an approval that a commit can switch off is none.
    fn policy(&mut self, sync: &RawSync, at: &str) -> Policy {
        let base = self.setting.policy;
        let mut policy = base.clone();
        let wider = [
            ("mode", "auto", sync.mode == Some(Mode::Auto) && base.mode == Mode::Manual),
            ("prune", "true", sync.prune == Some(true) && !base.prune.enabled),
            ("selfHeal", "true", sync.self_heal == Some(true) && !base.self_heal),
        ];
        for (key, word, _) in wider.into_iter().filter(|(_, _, wider)| *wider) {
            self.report(
                ListReason::InvalidAppList,
                &format!("{at}/sync/{key}"),
                format!("{key}: {word} is wider than the environment allows: only the agent's configuration can allow it"),
            );
        }
        policy.prune.propagation = sync.prune_propagation.unwrap_or(policy.prune.propagation);
        policy.fail_on_shared |= sync.fail_on_shared_resource;
        policy.mode = sync.mode.unwrap_or(policy.mode);
        policy.prune.enabled = sync.prune.unwrap_or(policy.prune.enabled);
        policy.self_heal = sync.self_heal.unwrap_or(policy.self_heal);
        policy
    }
}

/// Whether an entry of `ignoreDifferences` is written without any field.
fn says_no_field(entry: &Value) -> bool {
    ["jsonPointers", "jqPathExpressions", "managedFieldsManagers"]
        .into_iter()
        .all(|key| entry[key].as_array().is_none_or(Vec::is_empty))
}

fn has_variable(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(has_variable),
        Value::Object(fields) => fields.values().any(has_variable),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
