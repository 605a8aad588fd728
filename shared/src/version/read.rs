//! Reads the text of a range.

use super::range::{Alternative, Comparison, Given, Operator};
use super::{Version, are_identifiers, is_prerelease};

const LONGEST: usize = 512;
const MOST_ALTERNATIVES: usize = 32;

/// Longer ones before those that they begin with.
const OPERATORS: [(&str, Operator); 11] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::AtLeast),
    ("=>", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("=<", Operator::AtMost),
    ("~>", Operator::Tilde),
    ("=", Operator::Equal),
    (">", Operator::Above),
    ("<", Operator::Below),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
];

/// Why a text is no range of versions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no range of versions: {problem}; write it as in \">=1.2 <2\", \"~1.4\" or \"1.x || 2.1 - 2.4\""
)]
pub struct RangeError {
    text: String,
    problem: RangeProblem,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeProblem {
    #[error("it has more than {LONGEST} bytes")]
    TooLong,
    #[error("it has more than {MOST_ALTERNATIVES} alternatives")]
    TooManyAlternatives,
    #[error("nothing stands between two ||")]
    Empty,
    #[error("nothing can be made of {0:?}")]
    Unreadable(String),
    #[error("a hyphen range needs a space after ||")]
    Glued,
    #[error("a hyphen range needs a comma before it")]
    Unparted,
}

pub(super) fn read(text: &str) -> Result<Vec<Alternative>, RangeError> {
    let refuse = |problem| RangeError { text: text.chars().take(LONGEST).collect(), problem };
    if text.len() > LONGEST {
        return Err(refuse(RangeProblem::TooLong));
    }
    let parts: Vec<&str> = text.split("||").collect();
    if parts.len() > MOST_ALTERNATIVES {
        return Err(refuse(RangeProblem::TooManyAlternatives));
    }
    let read = |(index, part): (usize, &&str)| {
        let mut reader = Reader { rest: part, glued: index > 0 && !part.starts_with(is_space) };
        reader.alternative().map_err(refuse)
    };
    parts.iter().enumerate().map(read).collect()
}

struct Reader<'a> {
    rest: &'a str,
    /// Nothing but `||` stands before what is read next.
    glued: bool,
}

/// What stands before a comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Space,
    Comma,
    /// A hyphen range ends where its second version does; it needs no space after it.
    Hyphenated,
}

impl<'a> Reader<'a> {
    fn alternative(&mut self) -> Result<Alternative, RangeProblem> {
        let mut alternative = Alternative::default();
        self.skip_spaces();
        if self.rest.is_empty() {
            return Err(RangeProblem::Empty);
        }
        let mut before = Before::Nothing;
        loop {
            let hyphenated = self.item(before, &mut alternative.comparisons)?;
            before = self.separator(hyphenated);
            match before {
                _ if self.rest.is_empty() && before != Before::Comma => return Ok(alternative),
                Before::Nothing => return Err(self.unreadable()),
                Before::Space | Before::Comma | Before::Hyphenated => {}
            }
        }
    }

    /// Reads `1.2 - 1.4` or one comparison; says whether it was the former.
    fn item(&mut self, before: Before, found: &mut Vec<Comparison>) -> Result<bool, RangeProblem> {
        let mut ahead = Self { rest: self.rest, glued: false };
        if let Some((first, last)) = ahead.hyphen_range() {
            match before {
                Before::Nothing if self.glued => return Err(RangeProblem::Glued),
                Before::Space => return Err(RangeProblem::Unparted),
                Before::Nothing | Before::Comma | Before::Hyphenated => {}
            }
            self.rest = ahead.rest;
            found.push(self.comparison(Operator::AtLeast, &first)?);
            found.push(self.comparison(Operator::AtMost, &last)?);
            return Ok(true);
        }
        let operator = self.operator();
        self.skip_spaces();
        let version = self.version().ok_or_else(|| self.unreadable())?;
        found.push(self.comparison(operator, &version)?);
        Ok(false)
    }

    fn separator(&mut self, hyphenated: bool) -> Before {
        let spaces = self.skip_spaces();
        if let Some(rest) = self.rest.strip_prefix(',') {
            self.rest = rest;
            self.skip_spaces();
            Before::Comma
        } else if hyphenated {
            Before::Hyphenated
        } else if spaces > 0 {
            Before::Space
        } else {
            Before::Nothing
        }
    }

    fn hyphen_range(&mut self) -> Option<(Written<'a>, Written<'a>)> {
        let first = self.version()?;
        let spaces = self.skip_spaces();
        self.rest = self.rest.strip_prefix('-')?;
        let between = spaces > 0 && self.skip_spaces() > 0;
        let last = self.version()?;
        between.then_some((first, last))
    }

    fn operator(&mut self) -> Operator {
        for (sign, operator) in OPERATORS {
            if let Some(rest) = self.rest.strip_prefix(sign) {
                self.rest = rest;
                return operator;
            }
        }
        Operator::Equal
    }

    /// Takes what looks like a version, or the beginning of one.
    fn version(&mut self) -> Option<Written<'a>> {
        let begin = self.rest;
        let mut ahead = Self { rest: begin.strip_prefix('v').unwrap_or(begin), glued: false };
        let mut numbers = [ahead.take(is_number_part)?, "", ""];
        for number in &mut numbers[1..] {
            *number = ahead.suffix('.', Self::number_part).unwrap_or_default();
        }
        let prerelease = ahead.suffix('-', Self::identifiers).unwrap_or_default();
        let build = ahead.suffix('+', Self::identifiers).unwrap_or_default();
        self.rest = ahead.rest;
        let text = &begin[..begin.len() - ahead.rest.len()];
        Some(Written { text, numbers, prerelease, build })
    }

    /// Takes `mark` with what follows it, or nothing.
    fn suffix(&mut self, mark: char, follows: impl Fn(&mut Self) -> Option<&'a str>) -> Option<&'a str> {
        let mut ahead = Self { rest: self.rest.strip_prefix(mark)?, glued: false };
        let taken = follows(&mut ahead)?;
        self.rest = ahead.rest;
        Some(taken)
    }

    fn number_part(&mut self) -> Option<&'a str> {
        self.take(is_number_part)
    }

    fn identifiers(&mut self) -> Option<&'a str> {
        let begin = self.rest;
        let is_identifier = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        self.take(is_identifier)?;
        while self.suffix('.', |reader| reader.take(is_identifier)).is_some() {}
        Some(&begin[..begin.len() - self.rest.len()])
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> Option<&'a str> {
        let end = self.rest.find(|letter| !belongs(letter)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!taken.is_empty()).then_some(taken)
    }

    /// Returns how many there were.
    fn skip_spaces(&mut self) -> usize {
        self.take(is_space).map_or(0, str::len)
    }

    fn comparison(&self, operator: Operator, written: &Written<'_>) -> Result<Comparison, RangeProblem> {
        let (bound, given) =
            written.read().ok_or_else(|| RangeProblem::Unreadable(written.text.to_owned()))?;
        Ok(Comparison { operator, bound, given })
    }

    fn unreadable(&self) -> RangeProblem {
        RangeProblem::Unreadable(self.rest.to_owned())
    }
}

/// A version in a range as it stands there.
struct Written<'a> {
    text: &'a str,
    /// Empty if they are left out.
    numbers: [&'a str; 3],
    prerelease: &'a str,
    build: &'a str,
}

impl Written<'_> {
    fn read(&self) -> Option<(Version, Given)> {
        let open = |part: &str| matches!(part, "" | "x" | "X" | "*");
        let given = match self.numbers.iter().position(|part| open(part)) {
            Some(0) => Given::Nothing,
            Some(1) => Given::Major,
            Some(2) => Given::Minor,
            _ => Given::Full,
        };
        let mut numbers = [0; 3];
        let written = match given {
            Given::Nothing => 0,
            Given::Major => 1,
            Given::Minor => 2,
            Given::Full => 3,
        };
        // What stands behind an open number is not looked at.
        for (number, part) in numbers.iter_mut().zip(self.numbers).take(written) {
            *number = part.parse().ok()?;
        }
        let sound = |text: &str, check: fn(&str) -> bool| text.is_empty() || check(text);
        let [major, minor, patch] = numbers;
        let (prerelease, build) = (self.prerelease.to_owned(), self.build.to_owned());
        (sound(&prerelease, is_prerelease) && sound(&build, are_identifiers))
            .then_some((Version { major, minor, patch, prerelease, build }, given))
    }
}

fn is_number_part(letter: char) -> bool {
    letter.is_ascii_digit() || matches!(letter, 'x' | 'X' | '*')
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\x0c' | '\r')
}
