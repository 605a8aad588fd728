//! What the documents name is there: files, functions, links, keys and reason words.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use skiff_shared::yaml;

use crate::{read, root};

/// Where the program's reason words are written, each as a text of its own.
const WORDS: [(&str, &str); 9] = [
    ("shared/src/plan/held.rs", "impl HeldReason"),
    ("shared/src/sync/event.rs", "impl Refusal"),
    ("shared/src/gate/approval.rs", "fn worthless"),
    ("shared/src/sync/tags.rs", "fn compare_tags"),
    ("shared/src/sync/status/conditions.rs", "fn conditions"),
    ("agent/src/git/error.rs", "impl FetchError"),
    ("agent/src/charts/error.rs", "impl ChartProblem"),
    ("agent/src/git/signature.rs", "impl SignatureProblem"),
    ("agent/src/render.rs", "impl Reason"),
];

/// Where the words for errors of the input are written: functions that return nothing else.
const INPUT_ERRORS: [(&str, &str); 6] = [
    ("shared/src/environment/skiff.rs", "pub fn word("),
    (
        "agent/src/git/error.rs",
        "impl FetchError {\n    /// Returns the word for conditions, events and `error.type`.\n    pub fn reason(",
    ),
    (
        "agent/src/git/error.rs",
        "impl ReadError {\n    /// Returns the word for conditions, events and `error.type`.\n    pub fn reason(",
    ),
    (
        "agent/src/charts/error.rs",
        "impl ChartProblem {\n    /// Returns the word for conditions, events and `error.type`.\n    pub fn reason(",
    ),
    ("agent/src/git/signature.rs", "pub fn reason("),
    ("agent/src/render.rs", "pub fn word("),
];

#[test]
fn every_file_and_function_that_a_document_names_exists() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = outside_of_blocks(&read(&document));
        let spans: Vec<&str> = text.split('`').collect();
        for at in (1..spans.len()).step_by(2).filter(|at| is_our_file(spans[*at])) {
            let file = spans[at];
            let Ok(code) = std::fs::read_to_string(root().join(file)) else {
                wrong.push(format!("{document}: there is no file {file}"));
                continue;
            };
            let follows = spans.get(at + 1).is_some_and(|gap| gap.trim() == ",");
            let function = spans.get(at + 2).filter(|function| follows && !is_our_file(function));
            let Some(function) = function else { continue };
            let name = function.rsplit("::").next().unwrap_or(function);
            if !code.contains(&format!("fn {name}(")) && !code.contains(&format!("fn {name}<")) {
                wrong.push(format!("{document}: {file} has no function {function}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut dead = Vec::new();
    for document in documents() {
        let folder = Path::new(&document).parent().unwrap_or(Path::new("")).to_owned();
        for link in read(&document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { PathBuf::from(&document) } else { folder.join(file) };
            let is_dead = !root().join(&target).exists()
                || (!anchor.is_empty() && !anchors(&read(&target.to_string_lossy())).contains(anchor));
            if !link.contains("://") && is_dead {
                dead.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn every_key_of_the_configuration_is_explained() {
    let reference = read("docs/configuration.md");
    // What excludes another key stands in a comment.
    let example = read("agent/src/config/example.yaml").replace("# tokenFile:", "tokenFile:");
    let mut keys = Vec::new();
    collect_keys(&yaml::load(&example).expect("the example is YAML").value, "", &mut keys);
    assert!(keys.len() > 30, "{keys:?}");
    // What reaches the repositories of apps is written once, for the environment's own.
    let as_own = |key: &str| key.trim_end_matches("[]").replace(".repositories[].", ".source.");
    let is_explained = |key: &str| reference.contains(&format!("`{key}`"));
    keys.retain(|key| !is_explained(key.trim_end_matches("[]")) && !is_explained(&as_own(key)));
    assert!(keys.is_empty(), "docs/configuration.md does not explain {keys:?}");
}

#[test]
fn every_reason_word_is_explained() {
    let reference = read("docs/sync.md");
    let mut missing = BTreeSet::new();
    for (file, from) in WORDS {
        let code = read(file);
        let (_, code) = code.split_once(from).unwrap_or_else(|| panic!("{file} has no {from:?}"));
        let code = code.split("\nimpl ").next().unwrap_or_default();
        let words = code.split('"').skip(1).step_by(2).filter(|word| is_reason(word));
        missing.extend(words.filter(|word| !reference.contains(&format!("`{word}`"))).map(str::to_owned));
    }
    assert!(missing.is_empty(), "docs/sync.md does not explain {missing:?}");
}

#[test]
fn every_error_of_the_input_is_in_the_table_and_nothing_else_is() {
    let mut words = BTreeSet::new();
    for (file, from) in INPUT_ERRORS {
        let code = read(file);
        let (_, code) = code.split_once(from).unwrap_or_else(|| panic!("{file} has no {from:?}"));
        let code = code.split("\n    }\n").next().unwrap_or_default();
        words.extend(code.split('"').skip(1).step_by(2).filter(|word| is_reason(word)).map(str::to_owned));
    }
    let document = read("docs/errors.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let listed: BTreeSet<String> =
        rows.map(|(word, _)| word.to_owned()).filter(|word| is_reason(word)).collect();
    let missing: Vec<&String> = words.difference(&listed).collect();
    assert!(missing.is_empty(), "docs/errors.md has no row for {missing:?}");
    let stale: Vec<&String> = listed.difference(&words).collect();
    assert!(stale.is_empty(), "docs/errors.md has rows for what the program never says: {stale:?}");
}

#[test]
fn every_news_is_in_the_table_and_nothing_else_is() {
    let code = read("shared/src/news.rs");
    let (_, code) = code.split_once("pub fn word(").expect("news have words");
    let code = code.split("\n    }\n").next().unwrap_or_default();
    let words: BTreeSet<&str> = code.split('"').skip(1).step_by(2).collect();
    let document = read("docs/notifications.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let listed: BTreeSet<&str> = rows.map(|(word, _)| word).filter(|word| is_reason(word)).collect();
    assert_eq!(listed, words);
}

/// Collects the keys that hold values; the maps of the cluster's facts have keys of the user's own.
fn collect_keys(value: &Value, path: &str, keys: &mut Vec<String>) {
    match value {
        Value::Object(map) if !matches!(path, "cluster.labels" | "cluster.vars") => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                collect_keys(value, &format!("{path}{dot}{key}"), keys);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_keys(item, &format!("{path}[]"), keys)),
        _ => keys.push(path.to_owned()),
    }
}

/// Says whether a text in backquotes is the path of a file of this repository.
fn is_our_file(span: &str) -> bool {
    const FOLDERS: [&str; 6] = ["shared/", "agent/", "tests/", "e2e/", "charts/", "docs/"];
    const ENDINGS: [&str; 5] = [".rs", ".yaml", ".md", ".toml", ".mod"];
    FOLDERS.iter().any(|folder| span.starts_with(folder))
        && ENDINGS.iter().any(|ending| span.ends_with(ending))
}

/// Leaves out what stands in fenced blocks.
fn outside_of_blocks(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Returns the anchors of a document's headings, as they are made of them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let titles = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let letter = |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    titles.map(|title| title.chars().filter(|it| letter(*it)).collect::<String>().replace(' ', "-")).collect()
}

fn is_reason(word: &str) -> bool {
    word.len() > 2
        && word.starts_with(|letter: char| letter.is_ascii_uppercase())
        && word.chars().all(|letter| letter.is_ascii_alphabetic())
        && word.contains(|letter: char| letter.is_ascii_lowercase())
}

fn documents() -> Vec<String> {
    let mut found = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    for entry in std::fs::read_dir(root().join("docs")).expect("there are documents") {
        let name = entry.expect("the folder can be read").file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            found.push(format!("docs/{name}"));
        }
    }
    found.sort();
    found
}
