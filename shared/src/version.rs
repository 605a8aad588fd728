//! Versions, and ranges that choose among them: which of a repository's tags a source stands for.
//!
//! The grammar of ranges and the order of versions are those of Masterminds/semver, which Helm, Flux and Argo CD use:
//! what a range chooses there it chooses here. The tests compare with that library's own answers. Where it misreads
//! what is written (a hyphen range that is glued to `||`), the range is refused instead.

mod range;
mod read;

use std::cmp::Ordering;

pub use range::Range;
pub use read::{RangeError, RangeProblem};

/// Longer names are no versions.
const LONGEST: usize = 256;

/// An exact version, as in `1.4.0-rc.1+build.7`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    /// Empty for a release.
    prerelease: String,
    build: String,
}

impl Version {
    /// Reads a tag's name: all three numbers, with a leading `v` or without. Anything else is no version.
    pub fn of_tag(name: &str) -> Option<Self> {
        let text = name.strip_prefix('v').unwrap_or(name);
        if text.len() > LONGEST {
            return None;
        }
        let (text, build) = split_suffix(text, '+');
        let (numbers, prerelease) = split_suffix(text, '-');
        let mut numbers = numbers.split('.').map(exact_number);
        let (major, minor, patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let complete = numbers.next().is_none();
        let sound = prerelease.is_none_or(is_prerelease) && build.is_none_or(are_identifiers);
        let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
        (complete && sound).then(|| Self {
            major,
            minor,
            patch,
            prerelease: owned(prerelease),
            build: owned(build),
        })
    }

    /// Says which of two versions is newer. What was built when does not matter.
    pub fn precedence(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| {
            match (self.prerelease.is_empty(), other.prerelease.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => compare_identifiers(&self.prerelease, &other.prerelease),
            }
        })
    }

    fn is_prerelease(&self) -> bool {
        !self.prerelease.is_empty()
    }

    /// Says which of two spellings of versions is preferred, also between those that are equally new.
    fn preference(&self, other: &Self) -> Ordering {
        self.precedence(other).then_with(|| compare_identifiers(&self.build, &other.build))
    }
}

/// Returns the newest version in the range among the names of tags. Between equally new ones the later build is taken,
/// then the later name, so that the answer does not depend on the order of the names.
pub fn newest<'a>(range: &Range, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let versions = names.into_iter().filter_map(|name| Some((Version::of_tag(name)?, name)));
    let admitted = versions.filter(|(version, _)| range.admits(version));
    let newest = admitted.max_by(|(left, left_name), (right, right_name)| {
        left.preference(right).then_with(|| left_name.cmp(right_name))
    });
    newest.map(|(_, name)| name)
}

fn split_suffix(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, suffix)) => (before, Some(suffix)),
        None => (text, None),
    }
}

/// Reads a number without leading zeros.
fn exact_number(text: &str) -> Option<u64> {
    let exact = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if exact { text.parse().ok() } else { None }
}

fn are_identifiers(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.split('.').all(|part| !part.is_empty() && part.bytes().all(allowed))
}

/// Says whether a text may stand after a version's hyphen: identifiers whose numbers have no leading zeros.
fn is_prerelease(text: &str) -> bool {
    let padded = |part: &str| {
        part.len() > 1 && part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    are_identifiers(text) && !text.split('.').any(padded)
}

/// Compares identifiers one by one: numbers as such and before words, fewer before more.
fn compare_identifiers(left: &str, right: &str) -> Ordering {
    let mut pairs = (left.split('.'), right.split('.'));
    loop {
        let (left, right) = match (pairs.0.next(), pairs.1.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) => (left.unwrap_or_default(), right.unwrap_or_default()),
        };
        // One that is missing, or beyond what is counted with, is no number.
        let ordering = match (left.parse::<u64>(), right.parse::<u64>()) {
            _ if left.is_empty() || right.is_empty() => left.cmp(right),
            (Ok(left), Ok(right)) => left.cmp(&right),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => left.cmp(right),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
}

#[cfg(test)]
mod tests;
