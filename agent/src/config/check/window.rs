//! Checks the windows in which plans may be applied.

use jiff::SignedDuration;
use skiff_shared::gate::cron::Cron;
use skiff_shared::gate::window::{LONGEST, Window, Zone};

use super::Check;
use crate::config::raw::RawWindow;
use crate::config::units::Span;

impl Check<'_> {
    pub(super) fn windows(&mut self, raw: Vec<RawWindow>, at: &str) -> Vec<Window> {
        let windows = raw.into_iter().enumerate();
        windows.filter_map(|(index, raw)| self.window(raw, &format!("{at}/{index}"))).collect()
    }

    fn window(&mut self, raw: RawWindow, at: &str) -> Option<Window> {
        let RawWindow { kind, schedule, duration, time_zone, heal, manual_sync } = raw;
        for (is_missing, key) in
            [(kind.is_none(), "kind"), (schedule.is_none(), "schedule"), (duration.is_none(), "duration")]
        {
            if is_missing {
                self.missing(at, key);
            }
        }
        let schedule = schedule.and_then(|text| {
            let read = text.parse::<Cron>();
            read.map_err(|error| self.report(&format!("{at}/schedule"), error.to_string())).ok()
        });
        let zone = match time_zone {
            Some(name) => {
                let found = Zone::named(&name);
                found.map_err(|error| self.report(&format!("{at}/timeZone"), error.to_string())).ok()
            }
            None => Some(Zone::utc()),
        };
        let duration = duration.and_then(|span| self.length(span, &format!("{at}/duration")));
        Some(Window { kind: kind?, schedule: schedule?, duration: duration?, zone: zone?, heal, manual_sync })
    }

    fn length(&mut self, Span(duration): Span, at: &str) -> Option<SignedDuration> {
        let length = SignedDuration::try_from(duration).ok();
        let length = length.filter(|length| !length.is_zero() && *length <= LONGEST);
        if length.is_none() {
            let days = LONGEST.as_hours() / 24;
            self.report(at, format!("duration must be more than zero and at most {days} days (744h)"));
        }
        length
    }
}
