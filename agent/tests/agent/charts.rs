//! The chart adapter against a chart repository and a registry on loopback.

#[path = "charts/registry.rs"]
mod registry;
#[path = "charts/repository.rs"]
mod repository;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skiff::charts::{Access, Chart, ChartError, Charts, Update, Wanted, unpack};
use skiff::git::{Credentials, Limits, Means};
use skiff_harness::chart_repository::package;
use skiff_shared::environment::{ChartSource, ChartVersion};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::git::Shelf;

const NOW: Duration = Duration::ZERO;

/// One agent's charts.
struct World {
    charts: Charts,
    folder: TempDir,
    cancel: CancellationToken,
    runtime: Runtime,
}

impl World {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (folder, cancel) = (TempDir::new().unwrap(), CancellationToken::new());
        let charts = Charts::open(&folder.path().join("charts"), means(&runtime, &cancel)).unwrap();
        Self { charts, folder, cancel, runtime }
    }

    /// Opens the charts as a new process would.
    fn restart(&mut self) {
        let folder = self.folder.path().join("charts");
        self.charts = Charts::open(&folder, means(&self.runtime, &self.cancel)).unwrap();
    }

    fn file(&self, name: &str, content: &str) -> Option<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Some(path)
    }

    fn login(&self, username: &str, password: &str) -> Credentials {
        Credentials {
            username: self.file("username", username),
            password: self.file("password", password),
            ..Credentials::default()
        }
    }

    fn update(&self, wanted: &Wanted, known: Option<&Chart>) -> Result<Update, ChartError> {
        self.charts.update(wanted, known, NOW)
    }

    fn moved(&self, wanted: &Wanted, known: Option<&Chart>) -> Arc<Chart> {
        match self.update(wanted, known).unwrap() {
            Update::Moved(chart) => chart,
            Update::Unchanged => unreachable!("it should have moved"),
        }
    }

    /// Returns the content of a file of a chart.
    fn read(&self, chart: &Chart, file: &str) -> String {
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap();
        let chart_folder = folder.path().join(chart.folder().as_str());
        unpack(&self.charts.archive(chart), &chart_folder).unwrap();
        std::fs::read_to_string(chart_folder.join(file)).unwrap()
    }

    /// Returns the names of the files that are kept.
    fn kept(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path().join("charts")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn means(runtime: &Runtime, cancel: &CancellationToken) -> Means {
    Means::new(runtime.handle().clone(), cancel.clone(), Arc::new(Shelf::default()))
}

fn wanted(repository: &str, name: &str, version: &str) -> Wanted {
    let chart = ChartSource {
        repository: repository.to_owned(),
        name: name.to_owned(),
        version: ChartVersion::parse(version).unwrap(),
    };
    let limits = Limits { deadline: Duration::from_secs(20), ..Limits::default() };
    Wanted { chart, access: Access { credentials: Credentials::default(), proxy: None, limits } }
}

fn archive(name: &str, version: &str, values: &str) -> Vec<u8> {
    let chart = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
    package(name, &[("Chart.yaml", &chart), ("values.yaml", values)]).unwrap()
}

/// Returns an error's word, when it is tried again, and what people get to see, without what differs between runs.
fn told(error: &ChartError, server: &str) -> String {
    let mut text = format!("{} {:?}: {error}", error.reason(), error.retry());
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    assert!(!text.contains("secret"), "{text}");
    text.replace(server, "charts.example")
}
