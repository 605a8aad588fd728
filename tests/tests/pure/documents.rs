//! What the documents name is there: files, functions, links, keys and reason words.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{read, root};

/// Where the program's reason words are written, each as a text of its own.
const WORDS: [(&str, &str); 5] = [
    ("shared/src/plan.rs", "impl HeldReason"),
    ("shared/src/sync/event.rs", "impl Refusal"),
    ("shared/src/sync/status.rs", "fn conditions"),
    ("agent/src/git/error.rs", "impl FetchError"),
    ("agent/src/render.rs", "impl Reason"),
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
            let Some(function) = spans.get(at + 2).filter(|_| follows) else { continue };
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
    let mut path: Vec<String> = Vec::new();
    let mut missing = Vec::new();
    for line in read("agent/src/config/example.yaml").lines() {
        let text = line.trim_start().trim_start_matches("# ");
        let (depth, text) = match text.strip_prefix("- ") {
            Some(rest) => ((line.len() - line.trim_start().len()) / 2 + 1, rest),
            None => ((line.len() - line.trim_start().len()) / 2, text),
        };
        let Some((key, value)) = text.split_once(':') else { continue };
        if key.contains(' ') {
            continue;
        }
        path.truncate(depth);
        path.push(key.to_owned());
        let is_leaf = !value.split('#').next().unwrap_or_default().trim().is_empty();
        let joined = path.join(".").replace("environments.", "environments[].");
        let is_map = joined.starts_with("cluster.labels") || joined.starts_with("cluster.vars");
        if is_leaf && !is_map && !reference.contains(&format!("`{joined}`")) {
            missing.push(joined);
        }
    }
    assert!(missing.is_empty(), "docs/configuration.md does not explain {missing:?}");
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
        found.push(format!("docs/{name}"));
    }
    found.sort();
    found
}
