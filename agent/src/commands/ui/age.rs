//! How long ago something was, as kubectl says it.

use jiff::Timestamp;

/// Returns the time since `then` in at most two units, coarser the longer it is: `45s`, `5m12s`, `3h4m`, `12d`.
pub fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    let Some(then) = then else { return "-".to_owned() };
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |big: i64, unit: char, small: i64, lesser: char| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{lesser}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        _ => two(days / 365, 'y', days % 365, 'd'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_the_units_that_matter() {
        let now = Timestamp::from_second(1_000_000_000).expect("a time");
        let ago = |seconds: i64| age(Timestamp::from_second(1_000_000_000 - seconds).ok(), now);
        let ages = [0, 119, 120, 312, 3_599, 11_040, 86_400, 180_000, 1_000_000, 70_000_000].map(ago);
        assert_eq!(ages, ["0s", "119s", "2m", "5m12s", "59m", "3h4m", "24h", "2d2h", "11d", "2y80d"]);
        assert_eq!(ago(-5), "0s", "clocks differ");
        assert_eq!(age(None, now), "-");
    }
}
