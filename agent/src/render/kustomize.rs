//! Kustomizations, built by the real `kustomize build`.

mod diagnose;

use std::ffi::OsString;

use skiff_shared::yaml::{self, DuplicateKeys, KeepLines, Options};

use super::collect::Collector;
use super::split::Chunk;
use super::tool::{Call, Ended, Workshop};
use super::{Reason, RenderError, tree};

const READING: Options = Options {
    duplicate_keys: DuplicateKeys::Refuse,
    lines: KeepLines::No,
    limits: yaml::Limits { nodes: 1_000_000, repeated: 50_000, depth: 127 },
};

pub(super) async fn render(collector: &mut Collector<'_>) -> Result<(), RenderError> {
    let request = collector.request;
    tree::check_links(request)?;
    let workshop = Workshop::open(request)?;
    let folder = format!("./{}", request.path.as_str());
    let arguments: Vec<OsString> = vec!["build".into(), folder.into()];
    let call = Call { name: "kustomize", program: &request.tools.kustomize, arguments };
    let mut sink = |chunk| document(collector, &chunk);
    match workshop.run(call, &mut sink).await? {
        Ended::Well(said) => {
            for line in said.lines().filter(|line| !line.trim().is_empty()) {
                let line = line.trim().trim_start_matches("# Warning: ");
                collector.warn(format!("{}: kustomize: {line}", request.path));
            }
        }
        Ended::Badly(said) => diagnose::diagnose(collector, workshop.root(), &said),
    }
    Ok(())
}

/// Takes a document. Kustomize does not say where it comes from, so its place is the app's folder.
fn document(collector: &mut Collector<'_>, chunk: &Chunk) -> Result<(), RenderError> {
    let origin = collector.request.path.to_string();
    let text = match yaml::decode(&chunk.text) {
        Ok(text) => text,
        Err(error) => {
            collector.problem(Reason::InvalidYaml, origin, error.kind.to_string());
            return Ok(());
        }
    };
    for document in yaml::documents(&text, READING) {
        match document {
            Ok(document) => collector.document(document.value, &origin)?,
            Err(error) => {
                let message = format!("{} of a document it builds: {}", error.position(), error.kind);
                collector.problem(Reason::InvalidYaml, origin.as_str(), message);
            }
        }
    }
    Ok(())
}
