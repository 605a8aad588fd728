//! What the image is made of, as a CycloneDX list: crates by `cargo tree`, Go modules as the programs themselves name
//! them, and Debian's certificate authorities.
//!
//! No time and no serial number is in it: from the same files comes the same list.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::steps::{cargo, printed};

/// Something that the image holds.
struct Component {
    kind: &'static str,
    name: String,
    version: String,
    /// Package URL.
    purl: String,
    /// SPDX expression, where it is known.
    licence: Option<String>,
    /// Of a file.
    sha256: Option<String>,
    parts: Vec<Component>,
}

/// Writes the list of the files in `context`.
pub(super) fn write(context: &Path, file: &Path) -> Result<(), String> {
    let components =
        [skiff(context)?, program(context, "helm")?, program(context, "kustomize")?, authorities(context)?];
    let image = Component {
        kind: "container",
        name: "skiff".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        purl: String::new(),
        licence: None,
        sha256: None,
        parts: Vec::new(),
    };
    let document = format!(
        "{{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"version\":1,\"metadata\":{{\"component\":{}}},\"components\":{}}}\n",
        image.json(),
        list(&components),
    );
    std::fs::write(file, document).map_err(|error| format!("{}: {error}", file.display()))
}

fn skiff(context: &Path) -> Result<Component, String> {
    let mut tree = cargo();
    tree.args(["tree", "--quiet", "--locked", "--package", "skiff", "--edges", "normal,no-proc-macro"]);
    tree.args(["--target", "x86_64-unknown-linux-musl", "--prefix", "none", "--no-dedupe"]);
    let tree = printed(tree.args(["--format", "{p}|{l}"]))?;
    let lines: BTreeSet<&str> = tree.lines().collect();
    let crates: Vec<Component> = lines.into_iter().filter_map(crate_of).collect();
    let (own, parts) = crates.into_iter().partition::<Vec<_>, _>(|part| part.name == "skiff");
    let mut own = own.into_iter().next().ok_or("cargo tree does not name skiff")?;
    own.kind = "application";
    Ok(Component { parts, sha256: Some(sha256(&context.join("skiff"))?), ..own })
}

/// Reads `name v1.2.3 (folder)|MIT OR Apache-2.0`.
fn crate_of(line: &str) -> Option<Component> {
    let (package, licence) = line.split_once('|')?;
    let (name, rest) = package.split_once(" v")?;
    let version = rest.split(' ').next()?;
    Some(Component {
        kind: "library",
        name: name.to_owned(),
        version: version.to_owned(),
        purl: format!("pkg:cargo/{name}@{}", escaped(version)),
        // Older crates write a slash.
        licence: (!licence.is_empty()).then(|| licence.replace('/', " OR ")),
        sha256: None,
        parts: Vec::new(),
    })
}

/// Asks a Go program for its modules.
fn program(context: &Path, name: &str) -> Result<Component, String> {
    let file = context.join(name);
    let said = printed(Command::new("go").args(["version", "-m"]).arg(&file))?;
    let (main, parts) = modules(&said);
    let main = main.ok_or_else(|| format!("{name} does not say which module it is of"))?;
    Ok(Component { kind: "application", sha256: Some(sha256(&file)?), parts, ..main })
}

/// Reads what `go version -m` prints: the main module, and those that it was linked with.
fn modules(said: &str) -> (Option<Component>, Vec<Component>) {
    let mut main = None;
    let mut parts: Vec<Component> = Vec::new();
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["mod", path, version, ..] => main = Some(module(path, version)),
            ["dep", path, version, ..] => parts.push(module(path, version)),
            // In the place of the module before it.
            ["=>", path, version, ..] => {
                parts.pop();
                parts.push(module(path, version));
            }
            _ => {}
        }
    }
    (main, parts)
}

fn module(path: &str, version: &str) -> Component {
    Component {
        kind: "library",
        name: path.to_owned(),
        version: version.to_owned(),
        purl: format!("pkg:golang/{}@{}", path.to_lowercase(), escaped(version)),
        licence: None,
        sha256: None,
        parts: Vec::new(),
    }
}

fn authorities(context: &Path) -> Result<Component, String> {
    let mut query = Command::new("dpkg-query");
    let version = printed(query.args(["--show", "--showformat=${Version}", "ca-certificates"]))?;
    Ok(Component {
        kind: "file",
        name: "ca-certificates".to_owned(),
        purl: format!("pkg:deb/debian/ca-certificates@{}", escaped(&version)),
        version,
        licence: Some("MPL-2.0".to_owned()),
        sha256: Some(sha256(&context.join("ca-certificates.crt"))?),
        parts: Vec::new(),
    })
}

fn sha256(file: &Path) -> Result<String, String> {
    let said = printed(Command::new("sha256sum").arg(file))?;
    Ok(said.split(' ').next().unwrap_or_default().to_owned())
}

/// Escapes a version in a package URL.
fn escaped(version: &str) -> String {
    version.replace('+', "%2B").replace(':', "%3A")
}

impl Component {
    fn json(&self) -> String {
        let Self { kind, name, version, purl, licence, sha256, parts } = self;
        let mut json =
            format!("{{\"type\":{},\"name\":{},\"version\":{}", text(kind), text(name), text(version));
        let mut add = |key: &str, value: String| {
            write!(json, ",\"{key}\":{value}").expect("writing to a string succeeds");
        };
        if !purl.is_empty() {
            add("purl", text(purl));
        }
        if let Some(sha256) = sha256 {
            add("hashes", format!("[{{\"alg\":\"SHA-256\",\"content\":{}}}]", text(sha256)));
        }
        if let Some(licence) = licence {
            add("licenses", format!("[{{\"expression\":{}}}]", text(licence)));
        }
        if !parts.is_empty() {
            add("components", list(parts));
        }
        json + "}"
    }
}

fn list(components: &[Component]) -> String {
    let written: Vec<String> = components.iter().map(Component::json).collect();
    format!("[{}]", written.join(","))
}

/// Writes a JSON string.
fn text(text: &str) -> String {
    let mut json = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => json.extend(['\\', letter]),
            control if control.is_control() => {
                write!(json, "\\u{:04x}", u32::from(control)).expect("writing to a string succeeds");
            }
            other => json.push(other),
        }
    }
    json + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_read_with_their_licence() {
        let read = |line: &str| crate_of(line).map(|found| found.json());
        assert_eq!(
            read("adler2 v2.0.1|0BSD OR MIT").as_deref(),
            Some(
                r#"{"type":"library","name":"adler2","version":"2.0.1","purl":"pkg:cargo/adler2@2.0.1","licenses":[{"expression":"0BSD OR MIT"}]}"#
            )
        );
        let own = crate_of("skiff-shared v0.1.0 (/somewhere/shared)|MIT/Apache-2.0");
        let own = own.map(|found| (found.version, found.licence));
        assert_eq!(own, Some(("0.1.0".to_owned(), Some("MIT OR Apache-2.0".to_owned()))));
        assert_eq!(read(""), None);
    }

    #[test]
    fn modules_are_read_with_what_replaces_them() {
        let said = "helm: go1.26.8\n\tpath\thelm.sh/helm/v4/cmd/helm\n\tmod\thelm.sh/helm/v4\tv4.3.1\th1:x=\n\
            \tdep\tgithub.com/BurntSushi/toml\tv1.6.0\th1:y=\n\tdep\texample.com/old\tv1.0.0\n\
            \t=>\texample.com/new\tv2.0.0+incompatible\th1:z=\n\tbuild\t-trimpath=true\n";
        let (main, parts) = modules(said);
        assert_eq!(main.map(|main| main.purl).as_deref(), Some("pkg:golang/helm.sh/helm/v4@v4.3.1"));
        let purls: Vec<&str> = parts.iter().map(|part| part.purl.as_str()).collect();
        assert_eq!(
            purls,
            [
                "pkg:golang/github.com/burntsushi/toml@v1.6.0",
                "pkg:golang/example.com/new@v2.0.0%2Bincompatible"
            ]
        );
    }

    #[test]
    fn text_is_quoted() {
        assert_eq!(text("a \"b\" \\ \n"), r#""a \"b\" \\ \u000a""#);
    }
}
