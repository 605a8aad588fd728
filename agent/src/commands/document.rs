//! A file of one YAML document, as people write them for the verbs.

use std::path::Path;

use skiff_shared::desired::Problem;
use skiff_shared::yaml::{self, Document, YamlError};

/// Reads a file, and the one document that it has to be; problems name the file, and the line where there is one.
pub fn read(path: &Path) -> Result<(Vec<u8>, Document), Vec<Problem>> {
    let file = path.display().to_string();
    let one = |place: String, message: String| vec![Problem { place, message }];
    let bytes = std::fs::read(path)
        .map_err(|error| one(file.clone(), format!("the file cannot be read: {error}")))?;
    let broken = |error: YamlError| one(error.place(&file), error.kind.to_string());
    let text = yaml::decode(&bytes).map_err(broken)?;
    let document = yaml::load(&text).map_err(broken)?;
    Ok((bytes, document))
}
