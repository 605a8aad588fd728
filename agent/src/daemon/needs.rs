//! What a chart in Git depends on and does not bring: fetched from the repositories that it names, at the versions of
//! its lock file, if the agent's file allows it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use skiff_shared::chart::{Declared, Dependency, Undecided, dependencies};
use skiff_shared::desired::{Problem, Unrendered};
use skiff_shared::environment::{AppSource, RepoPath};
use skiff_shared::limits::Limits;

use super::environment::Outcome;
use super::job::Failed;
use super::own;
use crate::charts::{Chart, Charts};
use crate::config::EnvironmentConfig;
use crate::render::Reason;
use crate::telemetry::chain;

/// The files that name dependencies: those of today, and those of charts for Helm 2.
const FILES: [(&str, &str); 2] = [("Chart.yaml", "Chart.lock"), ("requirements.yaml", "requirements.lock")];

/// A chart of a revision, on disk for its render.
pub struct ChartFolder<'a> {
    /// The folder of the revision's files.
    pub directory: &'a Path,
    /// The chart's folder in it.
    pub path: &'a RepoPath,
}

impl ChartFolder<'_> {
    /// Puts the archives that are missing into the chart's `charts/`, and returns their charts: they are kept on disk
    /// as long as these values are. Blocks.
    pub fn complete(
        &self,
        charts: &Charts,
        config: &EnvironmentConfig,
        limits: &Limits,
    ) -> Result<Vec<Arc<Chart>>, Failed> {
        let folder = self.directory.join(self.path.as_str());
        let present = names(&folder.join("charts"));
        let (mut fetched, mut faults) = (Vec::new(), Vec::new());
        for (file, lock) in FILES {
            let Ok(chart) = fs::read_to_string(folder.join(file)) else { continue };
            let lock = fs::read_to_string(folder.join(lock)).ok();
            let (wanted, undecided) =
                dependencies(Declared { chart: &chart, lock: lock.as_deref() }, &present);
            let place = |line: u32| {
                let file = self.path.join(file).map_or_else(|_| file.to_owned(), |path| path.to_string());
                format!("{file}:{line}")
            };
            faults.extend(undecided.into_iter().map(|Undecided { line, problem }| {
                let (reason, message) = (Reason::HelmFailed.word(), problem.to_string());
                (place(line), Fault { reason, message, in_passing: false })
            }));
            for Dependency { chart, line } in wanted {
                match fetch(charts, &chart, config, limits) {
                    Ok(chart) => fetched.push(chart),
                    Err(fault) => faults.push((place(line), fault)),
                }
            }
        }
        if faults.is_empty()
            && let Err(error) = self.bring(charts, &fetched)
        {
            let message = format!("failed to write a dependency to disk: {error}");
            let fault = Fault { reason: Reason::Internal.word(), message, in_passing: true };
            faults.push((self.path.to_string(), fault));
        }
        match faults.first() {
            None => Ok(fetched),
            Some((_, Fault { reason, .. })) => Err(Failed {
                outcome: Outcome::failed(faults.iter().any(|(_, fault)| fault.in_passing)),
                why: Unrendered {
                    reason,
                    problems: faults
                        .into_iter()
                        .map(|(place, Fault { message, .. })| Problem { place, message })
                        .collect(),
                },
            }),
        }
    }

    fn bring(&self, charts: &Charts, fetched: &[Arc<Chart>]) -> std::io::Result<()> {
        let folder = self.directory.join(self.path.as_str()).join("charts");
        for chart in fetched {
            fs::create_dir_all(&folder)?;
            fs::copy(charts.archive(chart), folder.join(chart.file_name()))?;
        }
        Ok(())
    }
}

/// Why one dependency is missing.
struct Fault {
    reason: &'static str,
    message: String,
    in_passing: bool,
}

fn fetch(
    charts: &Charts,
    chart: &skiff_shared::environment::ChartSource,
    config: &EnvironmentConfig,
    limits: &Limits,
) -> Result<Arc<Chart>, Fault> {
    let named = |message: String| format!("dependency {:?}: {message}", chart.name);
    limits.source(&AppSource::Chart(chart.clone())).map_err(|refusal| Fault {
        reason: Reason::OutsideLimits.word(),
        message: named(refusal.to_string()),
        in_passing: false,
    })?;
    let wanted = own::wanted(chart.clone(), config).map_err(|error| Fault {
        reason: Reason::OutsideLimits.word(),
        message: named(error.to_string()),
        in_passing: false,
    })?;
    charts.locked(&wanted).map_err(|error| Fault {
        reason: error.reason(),
        message: named(chain(&error)),
        in_passing: true,
    })
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
