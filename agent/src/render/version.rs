//! Which programs render: whether they run here, and whether they are those that Skiff is tested with.
//!
//! Another version may render the same chart differently, on one cluster of a fleet and not on the next.

use std::fmt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use super::Tools;
use super::tool::{confined, throw_away};

/// A program that says its version at all says it at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much of what a program says is repeated.
const REPEATED: usize = 200;

/// The programs, with the versions that `e2e/tools/go.mod` pins.
const HELM: Known = Known {
    name: "helm",
    tested: "4.3.1",
    renders: "charts",
    key: "render.helm",
    arguments: &["version", "--template", "{{.Version}}"],
};
const KUSTOMIZE: Known = Known {
    name: "kustomize",
    tested: "5.8.1",
    renders: "kustomizations",
    key: "render.kustomize",
    arguments: &["version"],
};

/// A program that renders, as this build of Skiff knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    name: &'static str,
    tested: &'static str,
    /// What it renders, in the plural.
    renders: &'static str,
    /// The key of the agent's file that names it.
    key: &'static str,
    arguments: &'static [&'static str],
}

/// A program that renders, as it was found. Prints as a sentence with the way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    known: Known,
    path: String,
    found: Found,
}

/// What was found of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// The version that Skiff is tested with.
    AsTested,
    /// Another one, in its own words.
    Other(String),
    /// It does not run, and why.
    Broken(String),
}

impl Program {
    /// Returns `helm` or `kustomize`.
    pub fn name(&self) -> &'static str {
        self.known.name
    }

    pub fn found(&self) -> &Found {
        &self.found
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { known: Known { name, tested, renders, key, .. }, path, found } = self;
        match found {
            Found::AsTested => write!(f, "{name} {tested} at {path}"),
            Found::Other(version) => write!(
                f,
                "{path} is {name} {version}, and Skiff is tested with {tested}: {renders} may come out differently; install {tested}, and the same on every cluster"
            ),
            Found::Broken(why) => write!(
                f,
                "no {renders} can be rendered, as {path} does not run: {why}; install {name} {tested}, or name it as {key}"
            ),
        }
    }
}

/// Asks helm and kustomize for their versions, as confined as when they render.
pub async fn programs(tools: &Tools) -> [Program; 2] {
    let (helm, kustomize) =
        tokio::join!(ask(tools, HELM, &tools.helm), ask(tools, KUSTOMIZE, &tools.kustomize));
    [helm, kustomize]
}

async fn ask(tools: &Tools, known: Known, program: &Path) -> Program {
    let found = match version(tools, known, program).await {
        Ok(version) if version == known.tested => Found::AsTested,
        Ok(version) => Found::Other(version),
        Err(why) => Found::Broken(why),
    };
    Program { known, path: program.display().to_string(), found }
}

/// Returns the version that a program says it is, without the `v` before it.
async fn version(tools: &Tools, known: Known, program: &Path) -> Result<String, String> {
    let scratch = throw_away(&tools.scratch, "version-").map_err(|error| error.to_string())?;
    let mut command = confined(tools, program, &[scratch.path()], scratch.path());
    let ended = tokio::time::timeout(PATIENCE, command.args(known.arguments).output()).await;
    let Ok(ended) = ended else { return Err(format!("it says nothing for {} seconds", PATIENCE.as_secs())) };
    let Output { status, stdout, stderr } = ended.map_err(|error| error.to_string())?;
    let said = first_line(if status.success() { &stdout } else { &stderr });
    match said.as_str() {
        "" => Err(format!("it ended with {status} and said nothing")),
        said if status.success() => Ok(said.strip_prefix('v').unwrap_or(said).to_owned()),
        said => Err(said.strip_prefix("error: ").unwrap_or(said).to_owned()),
    }
}

fn first_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    said.trim().lines().next().unwrap_or_default().chars().take(REPEATED).collect()
}
