//! What a scalar means: go-yaml v2's resolve table, tried value by value against `sigs.k8s.io/yaml`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use super::YamlErrorKind;

/// The tag of a scalar, as far as it decides how the scalar is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// A plain scalar without a tag: the text decides.
    Plain,
    /// A quoted or block scalar, or a tag that Kubernetes does not know: text as it is.
    Text,
    Bool,
    Int,
    Float,
    Null,
    Timestamp,
    Binary,
}

impl Tag {
    fn name(self) -> &'static str {
        match self {
            Self::Plain | Self::Text => "!!str",
            Self::Bool => "!!bool",
            Self::Int => "!!int",
            Self::Float => "!!float",
            Self::Null => "!!null",
            Self::Timestamp => "!!timestamp",
            Self::Binary => "!!binary",
        }
    }
}

/// A scalar's meaning. Go's integers are of three types; two are enough, as no value is in both.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    /// Turns the scalar into the JSON that Kubernetes makes of it: whole floats become integers.
    pub(super) fn into_value(self) -> Result<Value, YamlErrorKind> {
        Ok(match self {
            Scalar::Null => Value::Null,
            Scalar::Bool(truth) => Value::Bool(truth),
            Scalar::Int(number) => Value::from(number),
            Scalar::Uint(number) => Value::from(number),
            Scalar::Float(number) => float_value(number)?,
            Scalar::Text(text) => Value::String(text.into_owned()),
        })
    }

    /// Turns the scalar into a key, as `sigs.k8s.io/yaml` does.
    pub(super) fn into_key(self) -> Result<String, YamlErrorKind> {
        Ok(match self {
            Scalar::Null => return Err(YamlErrorKind::KeyKind { found: "null" }),
            Scalar::Uint(_) => {
                return Err(YamlErrorKind::KeyKind { found: "an integer of more than 63 bits" });
            }
            Scalar::Bool(truth) => truth.to_string(),
            Scalar::Int(number) => number.to_string(),
            Scalar::Float(number) => float_key(number),
            Scalar::Text(text) => text.into_owned(),
        })
    }
}

fn float_value(number: f64) -> Result<Value, YamlErrorKind> {
    if !number.is_finite() {
        return Err(YamlErrorKind::NotFinite);
    }
    if number == number.trunc() {
        // The shortest digits, padded with zeros, are what Go prints; above 2^53 they are not the exact value.
        let digits = number.to_string();
        if let Ok(whole) = digits.parse::<i64>() {
            return Ok(Value::from(whole));
        }
        if let Ok(whole) = digits.parse::<u64>() {
            return Ok(Value::from(whole));
        }
    }
    Number::from_f64(number).map(Value::Number).ok_or(YamlErrorKind::NotFinite)
}

/// Writes a float key as Go's `FormatFloat(key, 'g', -1, 32)` does.
#[expect(clippy::cast_possible_truncation, reason = "sigs.k8s.io/yaml prints keys with 32 bits")]
fn float_key(number: f64) -> String {
    let number = number as f32;
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Returns what a scalar means under its tag.
///
/// Fails when the tag names a type that the text is not of.
pub(super) fn resolve<'a>(tag: Tag, text: Cow<'a, str>) -> Result<Scalar<'a>, YamlErrorKind> {
    let wrong = || YamlErrorKind::Tag { tag: tag.name() };
    match tag {
        Tag::Text => Ok(Scalar::Text(text)),
        Tag::Plain => Ok(plain(text)),
        Tag::Binary => binary(&text).map(|text| Scalar::Text(Cow::Owned(text))).ok_or_else(wrong),
        Tag::Timestamp if looks_like_date(&text) => Ok(Scalar::Text(text)),
        Tag::Timestamp => Err(wrong()),
        Tag::Bool | Tag::Int | Tag::Float | Tag::Null => match (tag, plain(text)) {
            (Tag::Bool, scalar @ Scalar::Bool(_))
            | (Tag::Int, scalar @ (Scalar::Int(_) | Scalar::Uint(_)))
            | (Tag::Float, scalar @ Scalar::Float(_))
            | (Tag::Null, scalar @ Scalar::Null) => Ok(scalar),
            #[expect(clippy::cast_precision_loss, reason = "Go converts it, too")]
            (Tag::Float, Scalar::Int(number)) => Ok(Scalar::Float(number as f64)),
            _ => Err(wrong()),
        },
    }
}

fn plain(text: Cow<'_, str>) -> Scalar<'_> {
    let found = match text.as_bytes().first() {
        None => Some(Scalar::Null),
        Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~') => word(&text),
        Some(b'.') => special_float(&text).or_else(|| dotted_float(&text)),
        Some(b'+' | b'-' | b'0'..=b'9') => special_float(&text).or_else(|| number(&text)),
        Some(_) => None,
    };
    found.unwrap_or(Scalar::Text(text))
}

fn word(text: &str) -> Option<Scalar<'static>> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        _ => return None,
    })
}

fn special_float(text: &str) -> Option<Scalar<'static>> {
    Some(Scalar::Float(match text {
        ".nan" | ".NaN" | ".NAN" => f64::NAN,
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => f64::INFINITY,
        "-.inf" | "-.Inf" | "-.INF" => f64::NEG_INFINITY,
        _ => return None,
    }))
}

/// Reads what begins with a dot. Go's own float reader sees it, which takes `_` only between digits.
fn dotted_float(text: &str) -> Option<Scalar<'static>> {
    let bytes = text.as_bytes();
    let between_digits = |index: usize| {
        let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        digit(index.checked_sub(1)) && digit(index.checked_add(1))
    };
    let misplaced = text.match_indices('_').any(|(index, _)| !between_digits(index));
    if misplaced { None } else { float(&without_underscores(text)) }
}

fn number(text: &str) -> Option<Scalar<'static>> {
    let digits = without_underscores(text);
    integer(&digits).or_else(|| float(&digits)).or_else(|| signed_binary(&digits))
}

fn without_underscores(text: &str) -> Cow<'_, str> {
    if text.contains('_') { Cow::Owned(text.replace('_', "")) } else { Cow::Borrowed(text) }
}

/// Reads an integer as Go's `ParseInt` and `ParseUint` do with base 0: `0x`, `0o`, `0b`, and a leading 0 for octal.
fn integer(text: &str) -> Option<Scalar<'static>> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (Some(-1), text.get(1..)?),
        b'+' => (Some(1), text.get(1..)?),
        _ => (None, text),
    };
    let magnitude = magnitude(digits)?;
    match (i64::try_from(magnitude), sign) {
        (Ok(number), Some(-1)) => Some(Scalar::Int(-number)),
        (Ok(number), _) => Some(Scalar::Int(number)),
        (Err(_), Some(-1)) if magnitude == i64::MIN.unsigned_abs() => Some(Scalar::Int(i64::MIN)),
        (Err(_), None) => Some(Scalar::Uint(magnitude)),
        (Err(_), Some(_)) => None,
    }
}

fn magnitude(digits: &str) -> Option<u64> {
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (16, digits.get(2..)?),
        [b'0', b'o' | b'O', _, ..] => (8, digits.get(2..)?),
        [b'0', b'b' | b'B', _, ..] => (2, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    // from_str_radix takes a sign, which has no place after a prefix.
    if digits.starts_with(['+', '-']) { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// Reads `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`. One too large to hold is text.
fn float(text: &str) -> Option<Scalar<'static>> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_digits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && all_digits(exponent)
    });
    if !(digits && exponent_digits) {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Scalar::Float)
}

/// Reads a sign after the prefix (`0b-1`), which only go-yaml's own reading of binary numbers allows.
fn signed_binary(text: &str) -> Option<Scalar<'static>> {
    i64::from_str_radix(text.strip_prefix("0b")?, 2).ok().map(Scalar::Int)
}

fn binary(text: &str) -> Option<String> {
    let packed: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let bytes = STANDARD.decode(packed).ok()?;
    let mut decoded = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        decoded.push_str(chunk.valid());
        // Go replaces each byte that is no text; `from_utf8_lossy` would replace runs of them.
        decoded.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Some(decoded)
}

/// Says whether text under `!!timestamp` can be one. It stays text, so the rest is not looked at.
fn looks_like_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let mut digits = |length: std::ops::RangeInclusive<usize>| {
        parts.next().is_some_and(|part| {
            length.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    digits(4..=4)
        && digits(1..=2)
        && parts.next().is_some_and(|day| day.starts_with(|c: char| c.is_ascii_digit()))
}
