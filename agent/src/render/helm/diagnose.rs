//! Finds what else is wrong with a chart after Helm has stopped at the first fault.
//!
//! Helm is asked again about a copy of the chart without the template that it failed on, and without the dependencies
//! that are missing, until it is content. What only follows from what was left out is not reported.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use skiff_shared::yaml;

use super::explain::{Failure, Place, Template, TemplateFault, explain};
use super::{Chart, READING, call};
use crate::render::collect::Collector;
use crate::render::tool::{Ended, Workshop};
use crate::render::{Reason, RenderError};

/// How often Helm is asked at most, and so how many faulty templates are named at most.
const ROUNDS: usize = 20;

/// Larger charts are not copied: their first fault has to do.
const LARGEST_COPY: u64 = 64 << 20;

/// Reports the failure of a chart, and every further one that can be found.
pub(super) async fn diagnose(
    collector: &mut Collector<'_>,
    workshop: &Workshop<'_>,
    chart: &Chart<'_>,
    arguments: &[OsString],
    said: String,
) -> Result<(), RenderError> {
    let mut failure = explain(&said);
    let mut left_out = LeftOut::default();
    report(collector, chart, &failure, left_out);
    let Some(copy) = copy_of(chart, workshop.scratch()) else { return Ok(()) };
    for _ in 0..ROUNDS {
        if !copy.leave_out(chart, &failure, &mut left_out) {
            break;
        }
        let call = call(collector.request, arguments, copy.folder.clone().into());
        // A fault is known already: one that cannot be looked for any more does not replace it.
        let Ok(Ended::Badly(said)) = workshop.run(call, &mut |_| Ok(())).await else { break };
        let next = explain(&said);
        if next == failure {
            break;
        }
        failure = next;
        report(collector, chart, &failure, left_out);
    }
    Ok(())
}

/// What the copy lacks, which explains failures that the chart itself does not have.
#[derive(Clone, Copy, Default)]
struct LeftOut {
    dependencies: bool,
    helpers: bool,
}

impl LeftOut {
    fn may_explain(self, fault: TemplateFault) -> bool {
        match fault {
            TemplateFault::Syntax => false,
            TemplateFault::Missing => self.dependencies || self.helpers,
            TemplateFault::Execution | TemplateFault::Output => self.dependencies,
        }
    }
}

fn report(collector: &mut Collector<'_>, chart: &Chart<'_>, failure: &Failure, left_out: LeftOut) {
    let mut add = |place: String, message: String| collector.problem(Reason::HelmFailed, place, message);
    match failure {
        Failure::Dependencies(names) => {
            for name in names {
                let (place, origin) = declared(chart, name);
                add(
                    place,
                    format!(
                        "dependency {name:?}{origin} is not in charts/: run \"helm dependency build\" and commit charts/, or let the agent fetch it (render.fetchDependencies)"
                    ),
                );
            }
        }
        Failure::Template(Template { fault, .. }) if left_out.may_explain(*fault) => {}
        Failure::Template(Template { place, caller, message, .. }) => {
            let caller = caller.as_ref().map(|caller| format!(" (called from {})", shown(chart, caller)));
            add(shown(chart, place), format!("{message}{}", caller.unwrap_or_default()));
        }
        Failure::Schema(faults) => {
            for fault in faults {
                add(chart.file("values.schema.json"), fault.clone());
            }
        }
        Failure::File { file, line, message } => {
            let known = file.trim_start_matches("./");
            let roots = [Some(chart.root), chart.request.values];
            let is_path = roots.into_iter().flatten().any(|root| root.join(known).is_file());
            let place = if is_path { known.to_owned() } else { chart.file(known) };
            add(line.map_or(place.clone(), |line| format!("{place}:{line}")), message.clone());
        }
        Failure::Other(message) => add(chart.request.path.to_string(), message.clone()),
    }
}

/// Returns a place as it is in the repository.
fn shown(chart: &Chart<'_>, place: &Place) -> String {
    let file = chart.place(&place.file);
    Place { file, line: place.line }.to_string()
}

/// Returns where a chart declares a dependency, and of which version and repository it wants it.
fn declared(chart: &Chart<'_>, name: &str) -> (String, String) {
    for file in ["Chart.yaml", "requirements.yaml"] {
        let place = chart.file(file);
        let Ok(text) = fs::read_to_string(chart.root.join(&place)) else { continue };
        let reading = yaml::Options { lines: yaml::KeepLines::Yes, ..READING };
        let Some(document) = yaml::documents(&text, reading).find_map(Result::ok) else { continue };
        let Some(list) = document.value.get("dependencies").and_then(|list| list.as_array()) else {
            continue;
        };
        let Some(index) = list.iter().position(|entry| entry.get("name").is_some_and(|found| found == name))
        else {
            continue;
        };
        let line = document.line_of(&format!("/dependencies/{index}")).unwrap_or(document.line);
        let text = |key: &str| list[index].get(key).and_then(|value| value.as_str());
        let version = text("version").map(|version| format!(" {version}")).unwrap_or_default();
        let from = text("repository").filter(|from| !from.is_empty());
        let from = from.map(|from| format!(" of {from}")).unwrap_or_default();
        return (format!("{place}:{line}"), format!("{version}{from}"));
    }
    (chart.file("Chart.yaml"), String::new())
}

/// A copy of the chart, to leave things out of.
struct Copy {
    folder: PathBuf,
}

fn copy_of(chart: &Chart<'_>, scratch: &Path) -> Option<Copy> {
    let folder = scratch.join("chart");
    let mut room = LARGEST_COPY;
    copy_folder(&chart.root.join(chart.request.path.as_str()), &folder, &mut room).ok()?;
    Some(Copy { folder })
}

fn copy_folder(from: &Path, to: &Path, room: &mut u64) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let metadata = fs::metadata(&from)?;
        if metadata.is_dir() {
            copy_folder(&from, &to, room)?;
            continue;
        }
        *room = room.checked_sub(metadata.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        // Not `fs::copy`, which copies write protection too.
        fs::write(&to, fs::read(&from)?)?;
    }
    Ok(())
}

impl Copy {
    /// Leaves out what Helm failed on. Returns whether that was possible.
    fn leave_out(&self, chart: &Chart<'_>, failure: &Failure, left_out: &mut LeftOut) -> bool {
        match failure {
            Failure::Dependencies(_) => {
                left_out.dependencies = true;
                self.without_dependencies().is_some()
            }
            Failure::Template(template) => {
                // A helper with a fault is met by everything that includes it: leave the includer out.
                let is_syntax = template.fault == TemplateFault::Syntax;
                let file = if is_syntax { &template.place.file } else { &template.file };
                left_out.helpers |= file.rsplit('/').next().is_some_and(|name| name.starts_with('_'));
                let Some(within) = chart.within(file) else { return false };
                fs::remove_file(self.folder.join(within)).is_ok()
            }
            Failure::Schema(_) | Failure::File { .. } | Failure::Other(_) => false,
        }
    }

    fn without_dependencies(&self) -> Option<()> {
        // Its absence is all that is wanted, and the rule of most charts.
        let _ = fs::remove_file(self.folder.join("requirements.yaml"));
        let file = self.folder.join("Chart.yaml");
        let text = fs::read_to_string(&file).ok()?;
        let mut value = yaml::documents(&text, READING).find_map(Result::ok)?.value;
        value.as_object_mut()?.remove("dependencies");
        fs::write(&file, serde_json::to_vec(&value).ok()?).ok()
    }
}
