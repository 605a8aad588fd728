//! A range of versions, and whether a version is in it.

use std::fmt;
use std::str::FromStr;

use super::Version;
use super::read::{RangeError, read};

/// What versions are wanted, as in `>=1.2 <2 || 3.x`. Prints as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    text: String,
    alternatives: Vec<Alternative>,
}

/// Comparisons that have to hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Alternative {
    pub comparisons: Vec<Comparison>,
}

/// One operator with the version that it compares to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Comparison {
    pub operator: Operator,
    pub bound: Version,
    pub given: Given,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Above,
    Below,
    AtLeast,
    AtMost,
    Tilde,
    Caret,
}

/// How much of the version was written; the rest is zero in the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Given {
    /// `x`
    Nothing,
    /// `1`, `1.x`
    Major,
    /// `1.2`, `1.2.x`
    Minor,
    /// `1.2.3`
    Full,
}

impl Range {
    /// Returns the range that every version is in, also a prerelease.
    pub fn any() -> Self {
        ">=0.0.0-0".parse().expect("it is written by the rules")
    }

    /// Says whether the version is in the range. A prerelease is only where the same alternative names one.
    pub fn admits(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|alternative| alternative.admits(version))
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        Ok(Self { text: text.to_owned(), alternatives: read(text)? })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Alternative {
    fn admits(&self, version: &Version) -> bool {
        let names_one = self.comparisons.iter().any(|comparison| comparison.bound.is_prerelease());
        (names_one || !version.is_prerelease())
            && self.comparisons.iter().all(|comparison| comparison.holds(version))
    }
}

impl Comparison {
    fn holds(&self, version: &Version) -> bool {
        match self.operator {
            Operator::Equal if self.given == Given::Full => version.precedence(&self.bound).is_eq(),
            Operator::Equal | Operator::Tilde => self.holds_tilde(version),
            Operator::NotEqual => !self.is_meant(version),
            Operator::Above => self.is_above(version),
            Operator::Below => version.precedence(&self.bound).is_lt(),
            Operator::AtLeast => version.precedence(&self.bound).is_ge(),
            Operator::AtMost => self.is_at_most(version),
            Operator::Caret => self.holds_caret(version),
        }
    }

    fn is_meant(&self, version: &Version) -> bool {
        let bound = &self.bound;
        match self.given {
            Given::Nothing | Given::Full => version.precedence(bound).is_eq(),
            Given::Major => version.major == bound.major,
            Given::Minor => self.has_same_minor(version) && version.prerelease == bound.prerelease,
        }
    }

    /// `>1.2` is above all of 1.2.
    fn is_above(&self, version: &Version) -> bool {
        let bound = &self.bound;
        match self.given {
            Given::Nothing | Given::Full => version.precedence(bound).is_gt(),
            Given::Major => version.major > bound.major,
            Given::Minor => (version.major, version.minor) > (bound.major, bound.minor),
        }
    }

    /// `<=1.2` has all of 1.2.
    fn is_at_most(&self, version: &Version) -> bool {
        let bound = &self.bound;
        match self.given {
            Given::Full => version.precedence(bound).is_le(),
            Given::Major => version.major <= bound.major,
            Given::Nothing | Given::Minor => (version.major, version.minor) <= (bound.major, bound.minor),
        }
    }

    /// At least the bound, and the last number that was written may not grow, of three the middle one.
    fn holds_tilde(&self, version: &Version) -> bool {
        let bound = &self.bound;
        let zero = (bound.major, bound.minor, bound.patch) == (0, 0, 0);
        version.precedence(bound).is_ge()
            && match self.given {
                Given::Nothing | Given::Full if zero => true,
                Given::Major => version.major == bound.major,
                Given::Nothing | Given::Minor | Given::Full => self.has_same_minor(version),
            }
    }

    /// At least the bound, and the first number of it that is not zero may not grow.
    fn holds_caret(&self, version: &Version) -> bool {
        let bound = &self.bound;
        version.precedence(bound).is_ge()
            && version.major == bound.major
            && (bound.major > 0
                || self.given == Given::Major
                || version.minor == bound.minor
                    && (bound.minor > 0 || self.given == Given::Minor || version.patch == bound.patch))
    }

    fn has_same_minor(&self, version: &Version) -> bool {
        (version.major, version.minor) == (self.bound.major, self.bound.minor)
    }
}
