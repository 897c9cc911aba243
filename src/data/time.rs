//! Moments as text and numbers: seconds, milliseconds, ISO 8601. Times are kept as whole seconds since 1970, UTC.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decimal::decimal;

/// How a column of times is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Numbers of seconds since 1970; fractions are cut off.
    #[default]
    Seconds,
    /// Numbers of milliseconds since 1970.
    Milliseconds,
    /// Dates (midnight), or dates and times of ISO 8601; UTC unless they say otherwise.
    Iso,
}

/// Seconds beyond this (the year 5138) are milliseconds by mistake; so many milliseconds lie in 1973.
pub const LAST_SECOND: i64 = 100_000_000_000;

/// Seconds since 1970 of an ISO 8601 date, or date and time.
pub fn parse_iso(text: &str) -> Option<i64> {
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(date.and_time(NaiveTime::MIN).and_utc().timestamp());
    }
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Some(moment.timestamp());
    }
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let local = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
    Some(local.and_utc().timestamp())
}

impl TimeUnit {
    /// Seconds since 1970 of what stands in a field, or why not.
    pub fn parse(self, field: &str) -> Result<i64, String> {
        if self == Self::Iso {
            let help = "a date or time of ISO 8601, such as `2018-01-31` or `2018-01-31T12:00:00Z`";
            return parse_iso(field).ok_or_else(|| format!("the time `{}` is not {help}", super::format::cut(field)));
        }
        let digits = decimal(field.as_bytes()).map(|number| number as i64);
        let number = digits.or_else(|| field.parse::<i64>().ok()).or_else(|| {
            let number = field.parse::<f64>().ok()?;
            (i64::MIN as f64..i64::MAX as f64).contains(&number).then(|| number.floor() as i64)
        });
        let number = number.ok_or_else(|| {
            let iso = if parse_iso(field).is_some() { "; `time_unit: iso` reads dates" } else { "" };
            format!("the time `{}` is not a number of seconds or milliseconds{iso}", super::format::cut(field))
        })?;
        Ok(if self == Self::Milliseconds { number.div_euclid(1000) } else { number })
    }
}

/// Looks for numbers that cannot be of the unit in which they were read.
#[derive(Clone, Copy, Debug)]
pub struct UnitCheck {
    unit: TimeUnit,
    /// A time (in seconds, as read) with fewer digits, and one with more.
    small: Option<i64>,
    large: Option<i64>,
}

impl UnitCheck {
    pub fn new(unit: TimeUnit) -> Self {
        Self { unit, small: None, large: None }
    }

    /// Takes note of times in seconds.
    pub fn see(&mut self, times: &[i64]) {
        let last = match self.unit {
            TimeUnit::Seconds => LAST_SECOND,
            TimeUnit::Milliseconds => LAST_SECOND / 1000,
            TimeUnit::Iso => return,
        };
        // Zero is often a missing time, and tells nothing.
        let small = || times.iter().copied().find(|&time| (1..=last).contains(&time));
        self.small = self.small.or_else(small);
        self.large = self.large.or_else(|| times.iter().copied().find(|&time| time > last));
    }

    /// What is wrong with the times that were seen, and what to do.
    pub fn mistake(&self) -> Option<String> {
        let written = |time: i64| if self.unit == TimeUnit::Milliseconds { time.saturating_mul(1000) } else { time };
        match (self.small, self.large) {
            (Some(small), Some(large)) => Some(format!(
                "its times mix seconds and milliseconds: {} and {}; bring them to one unit first",
                written(small),
                written(large)
            )),
            (None, Some(large)) if self.unit == TimeUnit::Seconds => {
                Some(format!("its times look like milliseconds ({large}); say `time_unit: milliseconds`"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_with_and_without_zone() {
        for (text, seconds) in [
            ("1970-01-02", 86_400),
            ("1970-01-02T00:00:01", 86_401),
            ("1970-01-02 00:00:01.5", 86_401),
            ("1970-01-02 00:01", 86_460),
            ("1970-01-02T01:00:00+01:00", 86_400),
            ("1970-01-02T00:00:00.250Z", 86_400),
        ] {
            assert_eq!(TimeUnit::Iso.parse(text), Ok(seconds), "{text}");
        }
        assert!(TimeUnit::Iso.parse("1970-13-01").unwrap_err().contains("is not a date or time of ISO 8601"));
        assert!(TimeUnit::Seconds.parse("1970-01-02").unwrap_err().contains("time_unit: iso"));
    }

    #[test]
    fn numbers_are_floored_to_seconds() {
        assert_eq!(TimeUnit::Seconds.parse("1.9"), Ok(1));
        assert_eq!(TimeUnit::Milliseconds.parse("-1"), Ok(-1));
        for nonsense in ["nan", "1e30", "99999999999999999999", ""] {
            assert!(TimeUnit::Seconds.parse(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn mixed_and_mistaken_units_are_told() {
        let mistake = |unit, times: &[i64]| {
            let mut check = UnitCheck::new(unit);
            times.chunks(1).for_each(|times| check.see(times));
            check.mistake()
        };
        let now = 1_500_000_000;
        assert_eq!(mistake(TimeUnit::Seconds, &[0, now, -5]), None);
        assert!(mistake(TimeUnit::Seconds, &[now, now * 1000]).unwrap().contains("1500000000 and 1500000000000"));
        assert!(mistake(TimeUnit::Seconds, &[now * 1000]).unwrap().contains("time_unit: milliseconds"));
        assert!(mistake(TimeUnit::Milliseconds, &[now, now / 1000]).unwrap().contains("mix seconds and"));
        assert_eq!(mistake(TimeUnit::Milliseconds, &[1, 2]), None);
    }
}
