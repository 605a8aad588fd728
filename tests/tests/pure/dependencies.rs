//! docs/dependencies.md has a line for every direct dependency, and no line for what is none.

use std::collections::BTreeSet;

use crate::read;

const MANIFESTS: [&str; 6] = [
    "shared/Cargo.toml",
    "agent/Cargo.toml",
    "tests/Cargo.toml",
    "e2e/Cargo.toml",
    "e2e/harness/Cargo.toml",
    "e2e/check/Cargo.toml",
];

const MODULES: [&str; 3] = ["e2e/controlplane/go.mod", "e2e/tools/go.mod", "e2e/vectors/versions/go.mod"];

#[test]
fn every_crate_has_its_line() {
    let mut crates = BTreeSet::new();
    for manifest in MANIFESTS {
        crates.extend(dependencies(&read(manifest)));
    }
    let ours = workspace_members();
    let crates: BTreeSet<String> = crates.difference(&ours).cloned().collect();
    let lines = first_cells(&section("## Crates"));
    let missing: Vec<&String> = crates.difference(&lines).collect();
    assert!(missing.is_empty(), "say in docs/dependencies.md what these are for: {missing:?}");
    let stale: Vec<&String> = lines.difference(&crates).collect();
    assert!(stale.is_empty(), "docs/dependencies.md speaks of crates that nothing depends on: {stale:?}");
}

#[test]
fn every_manifest_of_the_workspace_is_looked_at() {
    let root = read("Cargo.toml");
    let members = root.lines().find_map(|line| line.strip_prefix("members = ")).expect("a list of members");
    let looked_at = MANIFESTS.map(|manifest| format!("{:?}", manifest.trim_end_matches("/Cargo.toml")));
    let listed: BTreeSet<&str> = members.trim_matches(['[', ']']).split(", ").collect();
    assert_eq!(listed, looked_at.iter().map(String::as_str).collect());
}

#[test]
fn every_go_module_that_is_asked_for_has_its_line() {
    let modules = section("## Go modules of the lab");
    for file in MODULES {
        for module in required(&read(file)) {
            assert!(modules.contains(&format!("`{module}`")), "docs/dependencies.md does not name {module}");
        }
    }
}

/// Returns the names in the dependency sections of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut within = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            within = section.trim_end_matches(']').ends_with("dependencies");
        } else if within && let Some((name, _)) = line.split_once(['.', ' ', '=']) {
            names.insert(name.to_owned());
        }
    }
    names.remove("");
    names.remove("#");
    names
}

/// Returns the workspace's own crates: those that the root manifest names by path.
fn workspace_members() -> BTreeSet<String> {
    let root = read("Cargo.toml");
    let paths = root.lines().filter(|line| line.contains("= { path = "));
    paths.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

/// Returns the modules that a go.mod requires itself, or builds as tools.
fn required(module: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block = "";
    for line in module.lines().map(str::trim) {
        if let Some(opened) = line.strip_suffix(" (") {
            block = opened;
        } else if line == ")" {
            block = "";
        } else if block == "require" && !line.ends_with("// indirect") {
            found.extend(line.split(' ').next().map(str::to_owned));
        } else if block == "tool" {
            found.push(line.split("/cmd/").next().unwrap_or(line).to_owned());
        }
    }
    found
}

/// Returns the names in backquotes in the first cells of a section's table rows.
fn first_cells(section: &str) -> BTreeSet<String> {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

fn section(title: &str) -> String {
    let text = read("docs/dependencies.md");
    let (_, after) = text.split_once(&format!("\n{title}\n")).expect("docs/dependencies.md has the section");
    after.split("\n## ").next().unwrap_or_default().to_owned()
}
