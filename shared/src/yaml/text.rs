//! Turns the bytes of a file into text: UTF-8, or UTF-16 with a byte-order mark, which YAML allows and Windows writes.

use std::borrow::Cow;

use super::{YamlError, YamlErrorKind};

/// Decodes the bytes of a YAML or JSON file, without its byte-order mark.
///
/// Fails with the line of the first byte that is no text.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, YamlError> {
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest).map(Cow::Borrowed),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes).map(Cow::Owned),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes).map(Cow::Owned),
        _ => utf8(bytes).map(Cow::Borrowed),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, YamlError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        not_text("UTF-8", &String::from_utf8_lossy(valid))
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, YamlError> {
    let mut text = String::with_capacity(bytes.len());
    let (pairs, rest) = bytes.as_chunks::<2>();
    for decoded in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match decoded {
            Ok(character) => text.push(character),
            Err(_) => return Err(not_text("UTF-16", &text)),
        }
    }
    if rest.is_empty() { Ok(text) } else { Err(not_text("UTF-16", &text)) }
}

fn not_text(encoding: &'static str, before: &str) -> YamlError {
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    YamlError {
        document: None,
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
        kind: YamlErrorKind::Encoding { encoding },
    }
}
