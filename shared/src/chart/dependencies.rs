//! What a chart depends on that is not in its `charts/` folder: the versions to fetch, as its lock file has them.
//!
//! As `helm dependency build` does it, but for one thing: without a lock file a range is refused, not resolved. The same
//! commit must not mean another chart tomorrow.

use serde_json::Value;

use crate::environment::{ChartSource, ChartVersion};
use crate::version::Version;
use crate::yaml::{self, Document, DuplicateKeys, Options};

/// The files of a chart that say what it depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Declared<'a> {
    /// `Chart.yaml`, or `requirements.yaml` of charts for Helm 2.
    pub chart: &'a str,
    /// `Chart.lock`, or `requirements.lock`.
    pub lock: Option<&'a str>,
}

/// A dependency that is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    pub chart: ChartSource,
    /// Where it is declared, as a line of the chart's file.
    pub line: u32,
}

/// Why a dependency cannot be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    pub line: u32,
    pub problem: DependencyProblem,
}

/// What is wrong with a dependency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DependencyProblem {
    #[error(
        "dependency {name:?} has the range {version}, and there is no {lock}: run \"helm dependency update\" and commit {lock}"
    )]
    Unlocked { name: String, version: String, lock: &'static str },
    #[error(
        "dependency {name:?} {version} is not what the lock file has: run \"helm dependency update\" and commit the lock file"
    )]
    OutOfDate { name: String, version: String },
}

/// Returns what a chart depends on from repositories; `present` are the names in its `charts/` folder, whose charts are
/// taken as they are. A dependency without a repository's address is left to Helm, which says what is missing.
pub fn dependencies(declared: Declared<'_>, present: &[String]) -> (Vec<Dependency>, Vec<Undecided>) {
    let (mut found, mut undecided) = (Vec::new(), Vec::new());
    let Some(document) = read(declared.chart) else { return (found, undecided) };
    let locked = declared.lock.map(|text| read(text).map(|document| document.value).unwrap_or_default());
    for (index, entry) in entries(&document.value).iter().enumerate() {
        let (Some(name), Some(wanted)) = (text(entry, "name"), text(entry, "version")) else { continue };
        let repository = text(entry, "repository").and_then(|url| ChartSource::check_repository(url).ok());
        let Some(repository) =
            repository.filter(|_| ChartSource::is_name(name) && !is_present(name, present))
        else {
            continue;
        };
        let line = document.line_of(&format!("/dependencies/{index}")).unwrap_or(document.line);
        match version(name, wanted, locked.as_ref()) {
            Ok(version) => {
                let version = ChartVersion::Exact(version.to_owned());
                found.push(Dependency {
                    chart: ChartSource { repository, name: name.to_owned(), version },
                    line,
                });
            }
            Err(problem) => undecided.push(Undecided { line, problem }),
        }
    }
    (found, undecided)
}

/// Returns the one version of a dependency that is meant.
fn version<'a>(name: &str, wanted: &'a str, locked: Option<&'a Value>) -> Result<&'a str, DependencyProblem> {
    let (name, version) = (name.to_owned(), wanted.to_owned());
    let Some(locked) = locked else {
        return match Version::of_tag(wanted) {
            Some(_) => Ok(wanted),
            None => Err(DependencyProblem::Unlocked { name, version, lock: "Chart.lock" }),
        };
    };
    let wanted = ChartVersion::parse(wanted).ok();
    let versions = entries(locked).iter().filter(|entry| text(entry, "name") == Some(&name));
    let mut versions = versions.filter_map(|entry| text(entry, "version"));
    let is_meant = |locked: &&str| {
        let chosen = wanted.as_ref().and_then(|wanted| super::choose(wanted, [*locked]));
        chosen.is_some() && Version::of_tag(locked).is_some()
    };
    versions.find(is_meant).ok_or(DependencyProblem::OutOfDate { name, version })
}

fn read(text: &str) -> Option<Document> {
    let options = Options { duplicate_keys: DuplicateKeys::LastWins, ..Options::default() };
    yaml::documents(text, options).find_map(Result::ok)
}

fn entries(value: &Value) -> &[Value] {
    value["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(entry: &'a Value, key: &str) -> Option<&'a str> {
    entry.get(key)?.as_str()
}

/// Says whether a chart is in `charts/`, as a folder or an archive.
fn is_present(name: &str, present: &[String]) -> bool {
    let is_archive = |file: &str| {
        let version = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".tgz"));
        version.is_some_and(|version| Version::of_tag(version).is_some())
    };
    present.iter().any(|file| file == name || is_archive(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHART: &str = "\
apiVersion: v2
name: shop
version: 1.0.0
dependencies:
- name: redis
  version: ^18.1
  repository: https://charts.example/stable/
- {name: common, version: 2.0.1, repository: 'oci://registry.example/charts'}
- {name: local, version: 1.0.0, repository: 'file://../local'}
- {name: vendored, version: 1.x, repository: https://charts.example/stable}
";

    fn told(lock: Option<&str>, present: &[&str]) -> String {
        let present: Vec<String> = present.iter().map(|name| (*name).to_owned()).collect();
        let (found, undecided) = dependencies(Declared { chart: CHART, lock }, &present);
        let found = found.iter().map(|Dependency { chart, line }| {
            format!("{line}: {} {} of {}", chart.name, chart.version, chart.repository)
        });
        let undecided = undecided.iter().map(|it| format!("{}: {}", it.line, it.problem));
        found.chain(undecided).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn locked_versions_are_fetched_and_what_is_there_is_not() {
        let lock = "\
dependencies:
- {name: redis, version: 18.1.2, repository: https://charts.example/stable}
- {name: common, version: 2.0.1, repository: 'oci://registry.example/charts'}
";
        insta::assert_snapshot!(told(Some(lock), &["vendored-1.4.0.tgz"]), @r"
        5: redis 18.1.2 of https://charts.example/stable
        8: common 2.0.1 of oci://registry.example/charts
        ");
        assert_eq!(told(Some(lock), &["vendored", "redis", "common-2.0.1.tgz"]), "");
    }

    #[test]
    fn ranges_without_a_lock_and_stale_locks_are_refused() {
        insta::assert_snapshot!(told(None, &["vendored"]), @r#"
        8: common 2.0.1 of oci://registry.example/charts
        5: dependency "redis" has the range ^18.1, and there is no Chart.lock: run "helm dependency update" and commit Chart.lock
        "#);
        let stale = "dependencies:\n- {name: redis, version: 17.0.0}\n- {name: common, version: 2.0.1}\n";
        insta::assert_snapshot!(told(Some(stale), &["vendored"]), @r#"
        8: common 2.0.1 of oci://registry.example/charts
        5: dependency "redis" ^18.1 is not what the lock file has: run "helm dependency update" and commit the lock file
        "#);
    }

    #[test]
    fn names_that_only_begin_alike_are_not_there() {
        assert!(!is_present("redis", &["redis-cluster-1.0.0.tgz".to_owned(), "redis-cluster".to_owned()]));
        assert!(is_present("redis", &["redis-18.1.2.tgz".to_owned()]));
    }
}
