//! The W3C `traceparent` of a commit's trailer.
//!
//! Written by whoever made the commit, so it is checked as the specification says before it may name
//! a trace: <https://www.w3.org/TR/trace-context/#traceparent-header>.

use std::str::FromStr;

use super::{SpanId, TraceId};

/// A valid `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traceparent {
    pub trace: TraceId,
    pub span: SpanId,
    pub flags: u8,
}

impl Traceparent {
    /// Whether whoever wrote it recorded the trace.
    pub fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

/// Why a `Traceparent:` trailer is not used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TraceparentError {
    #[error(
        "traceparent {0:?} is not of the form version-traceid-parentid-flags (2, 32, 16 and 2 lower-case hex digits)"
    )]
    Form(String),
    #[error("traceparent {0:?} has the forbidden version ff")]
    Version(String),
    #[error("traceparent {0:?} has an all-zero trace id or parent id")]
    Zero(String),
}

impl FromStr for Traceparent {
    type Err = TraceparentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let form = || TraceparentError::Form(text.chars().take(80).collect());
        let mut fields = text.splitn(5, '-');
        let mut next = || fields.next().ok_or_else(form);
        let (version, trace, span, flags) = (next()?, next()?, next()?, next()?);
        let more = fields.next();
        let [version] = bytes(version).ok_or_else(form)?;
        let (trace, span) = (bytes(trace).ok_or_else(form)?, bytes(span).ok_or_else(form)?);
        let [flags] = bytes(flags).ok_or_else(form)?;
        if version == 0xff {
            return Err(TraceparentError::Version(text.to_owned()));
        }
        // Later versions may append fields; version 00 may not.
        if version == 0 && more.is_some() {
            return Err(form());
        }
        match (TraceId::new(trace), SpanId::new(span)) {
            (Some(trace), Some(span)) => Ok(Self { trace, span, flags }),
            _ => Err(TraceparentError::Zero(text.to_owned())),
        }
    }
}

/// Reads exactly `N` bytes of lower-case hex.
fn bytes<const N: usize>(hex_digits: &str) -> Option<[u8; N]> {
    if hex_digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(hex_digits, &mut bytes).ok()?;
    Some(bytes)
}
