//! Schedules in cron's five fields: minute, hour, day of the month, month, day of the week.
//!
//! The grammar is that of Argo CD's windows (robfig/cron): lists, ranges, steps, names of months and days, `@daily` and its
//! like. Where day of the month and day of the week are both restricted, either is enough. Time zones are not its business.

use std::str::FromStr;

use jiff::civil::{Date, Time};

/// When something begins, to the minute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cron {
    text: String,
    /// One bit for each value that a field allows.
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// The days of the month, or of the week, are not restricted.
    any_day: bool,
    any_weekday: bool,
}

/// A schedule that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CronError {
    #[error(
        "{text:?} has {found} fields: a schedule has five, minute, hour, day of the month, month and day of the week"
    )]
    Fields { text: String, found: usize },
    #[error(
        "{part:?} is no {field}: expected {least} to {most}, a range such as 1-5, a step such as */15, or a list of them"
    )]
    Field { part: String, field: &'static str, least: u32, most: u32 },
    #[error("{text:?} never comes: no month has such a day")]
    Never { text: String },
}

/// The values of one field.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// Names of values, from `least` on.
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", least: 0, most: 59, names: &[] };
const HOUR: Field = Field { name: "hour", least: 0, most: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", least: 1, most: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    least: 1,
    most: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field = Field {
    name: "day of the week",
    least: 0,
    // Sunday is 0 and 7.
    most: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// Days that each month has at most.
const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let written = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = written.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(CronError::Fields { text: text.to_owned(), found: fields.len() });
        };
        let mut weekdays = WEEKDAY.read(weekday)?;
        if weekdays & (1 << 7) != 0 {
            weekdays |= 1;
        }
        let cron = Self {
            text: text.trim().to_owned(),
            minutes: MINUTE.read(minute)?,
            hours: HOUR.read(hour)?,
            days: DAY.read(day)?,
            months: MONTH.read(month)?,
            weekdays,
            any_day: is_any(day),
            any_weekday: is_any(weekday),
        };
        if cron.comes() { Ok(cron) } else { Err(CronError::Never { text: cron.text }) }
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Cron {
    /// Whether it begins at some time of this day.
    pub fn has_day(&self, date: Date) -> bool {
        let month = has(self.months, u32::from(date.month().unsigned_abs()));
        let day = has(self.days, u32::from(date.day().unsigned_abs()));
        let weekday = date.weekday().to_sunday_zero_offset();
        let weekday = has(self.weekdays, u32::from(weekday.unsigned_abs()));
        let matches = if self.any_day || self.any_weekday { day && weekday } else { day || weekday };
        month && matches
    }

    /// Returns the times of a day at which it begins, in order.
    pub fn times(&self) -> impl DoubleEndedIterator<Item = Time> + '_ {
        let hours = (0..24_i8).filter(|hour| has(self.hours, u32::from(hour.unsigned_abs())));
        hours.flat_map(|hour| {
            let minutes = (0..60_i8).filter(|minute| has(self.minutes, u32::from(minute.unsigned_abs())));
            minutes.map(move |minute| Time::constant(hour, minute, 0, 0))
        })
    }

    /// Whether there is a day at all: the 31st of February is none.
    fn comes(&self) -> bool {
        let lengths = LENGTHS.iter().zip(1..).filter(|(_, month)| has(self.months, *month));
        let longest = lengths.map(|(length, _)| *length).max().unwrap_or_default();
        let by_day = (1..=longest).any(|day| has(self.days, day));
        by_day || !(self.any_day || self.any_weekday)
    }
}

fn has(bits: u64, value: u32) -> bool {
    bits & (1 << value) != 0
}

/// Whether a field leaves everything open.
fn is_any(text: &str) -> bool {
    matches!(text, "*" | "?")
}

impl Field {
    /// Reads a list of values, ranges and steps.
    fn read(&self, text: &str) -> Result<u64, CronError> {
        text.split(',').try_fold(0, |bits, part| Ok(bits | self.part(part)?))
    }

    fn part(&self, part: &str) -> Result<u64, CronError> {
        let wrong = || CronError::Field {
            part: part.to_owned(),
            field: self.name,
            least: self.least,
            most: self.most,
        };
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| *step > 0))),
            None => (part, None),
        };
        let step = match step {
            Some(step) => Some(step.ok_or_else(wrong)?),
            None => None,
        };
        let (first, last) = match range.split_once('-') {
            _ if is_any(range) => (self.least, self.most),
            Some((first, last)) => {
                (self.value(first).ok_or_else(wrong)?, self.value(last).ok_or_else(wrong)?)
            }
            None => {
                let value = self.value(range).ok_or_else(wrong)?;
                // `5/15` goes on to the end of the field.
                (value, if step.is_some() { self.most } else { value })
            }
        };
        if first > last {
            return Err(wrong());
        }
        let step = usize::try_from(step.unwrap_or(1)).map_err(|_| wrong())?;
        Ok((first..=last).step_by(step).fold(0, |bits, value| bits | 1 << value))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|at| Some(u32::try_from(at).ok()? + self.least));
        let value = named.or_else(|| text.parse().ok())?;
        (self.least..=self.most).contains(&value).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn times(text: &str) -> Vec<String> {
        cron(text).times().map(|time| time.strftime("%H:%M").to_string()).collect()
    }

    #[test]
    fn values_ranges_steps_and_lists() {
        assert_eq!(times("30 22 * * *"), ["22:30"]);
        assert_eq!(times("0 8-10 * * *"), ["08:00", "09:00", "10:00"]);
        assert_eq!(times("*/20 0 * * *"), ["00:00", "00:20", "00:40"]);
        assert_eq!(times("50/5 0,2 * * *"), ["00:50", "00:55", "02:50", "02:55"]);
        assert_eq!(times("@daily"), ["00:00"]);
        assert_eq!(cron("0 0 * * mon-FRI"), Cron { text: "0 0 * * mon-FRI".into(), ..cron("0 0 * * 1-5") });
    }

    #[test]
    fn either_kind_of_day_is_enough_where_both_are_restricted() {
        let (friday, thirteenth, plain) = (date(2026, 11, 27), date(2026, 10, 13), date(2026, 10, 14));
        let either = cron("0 0 13 * fri");
        assert!(either.has_day(friday) && either.has_day(thirteenth) && !either.has_day(plain));
        let weekday = cron("0 0 * * fri");
        assert!(weekday.has_day(friday) && !weekday.has_day(thirteenth));
        let sunday = cron("0 0 * * 7");
        assert!(sunday.has_day(date(2026, 11, 29)) && sunday.weekdays & 1 == 1);
        assert!(cron("0 0 29 feb *").has_day(date(2028, 2, 29)));
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        let error = |text: &str| text.parse::<Cron>().unwrap_err().to_string();
        insta::assert_snapshot!(error("0 22 * *"), @r#""0 22 * *" has 4 fields: a schedule has five, minute, hour, day of the month, month and day of the week"#);
        insta::assert_snapshot!(error("0 24 * * *"), @r#""24" is no hour: expected 0 to 23, a range such as 1-5, a step such as */15, or a list of them"#);
        insta::assert_snapshot!(error("0 0 31 feb *"), @r#""0 0 31 feb *" never comes: no month has such a day"#);
        for text in [
            "",
            "a * * * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "1,, * * * *",
            "* * * * 8",
            "* * 0 * *",
            "-1 * * * *",
        ] {
            assert!(text.parse::<Cron>().is_err(), "{text}");
        }
        assert!("0 0 31 feb mon".parse::<Cron>().is_ok(), "a Monday in February is enough");
    }
}
