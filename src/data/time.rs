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
    /// Numbers of microseconds since 1970.
    Microseconds,
    /// Numbers of nanoseconds since 1970.
    Nanoseconds,
    /// Dates (midnight), or dates and times of ISO 8601; UTC unless they say otherwise.
    Iso,
}

/// The units of numbers, as written in pipelines; each is a thousandth of the one before.
const UNITS: [&str; 4] = ["seconds", "milliseconds", "microseconds", "nanoseconds"];

/// Numbers beyond this are no seconds (it is the year 5138); a thousand times as many are no milliseconds, and so on.
pub const LAST_SECOND: i64 = 100_000_000_000;

/// Times from here on (1970-01-02), and before [`END`] (2100-01-01), are plausible.
const FIRST: i64 = 86_400;
const END: i64 = 4_102_444_800;

/// Numbers from 0 to this (in seconds, 1973) throughout are an order, such as positions or days, and no clock.
const ORDER: i64 = 100_000_000;

/// Integers from here on, 2^53, may have lost digits where they are floating-point numbers.
const WHOLE: f64 = 9_007_199_254_740_992.0;

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

/// The day of a time; its seconds where the calendar ends.
pub fn day(time: i64) -> String {
    DateTime::from_timestamp(time, 0).map_or_else(|| time.to_string(), |moment| moment.format("%Y-%m-%d").to_string())
}

impl TimeUnit {
    /// How many make a second.
    fn per_second(self) -> i64 {
        match self {
            Self::Seconds | Self::Iso => 1,
            Self::Milliseconds => 1_000,
            Self::Microseconds => 1_000_000,
            Self::Nanoseconds => 1_000_000_000,
        }
    }

    /// Whole seconds of a number.
    pub fn seconds(self, number: i64) -> i64 {
        number.div_euclid(self.per_second())
    }

    /// Seconds since 1970 of what stands in a field, or why not.
    pub fn parse(self, field: &str) -> Result<i64, String> {
        let shown = || super::format::cut(field);
        if self == Self::Iso {
            let help = "a date or time of ISO 8601, such as `2018-01-31` or `2018-01-31T12:00:00Z`";
            return parse_iso(field).ok_or_else(|| format!("the time `{}` is not {help}", shown()));
        }
        if let Some(number) = decimal(field.as_bytes()) {
            return Ok(self.seconds(number as i64));
        }
        if let Ok(number) = field.parse() {
            return Ok(self.seconds(number));
        }
        match field.parse::<f64>() {
            Ok(number) if number.abs() < WHOLE => Ok(self.seconds(number.floor() as i64)),
            Ok(number) if number.is_finite() => {
                let whole = "times are integers of 64 bits, or numbers below 2^53";
                Err(format!("the time `{}` is too large to be kept whole: {whole}", shown()))
            }
            _ => {
                let iso = if parse_iso(field).is_some() { "; `time_unit: iso` reads dates" } else { "" };
                Err(format!("the time `{}` is not a number of seconds or milliseconds{iso}", shown()))
            }
        }
    }
}

/// Times that can hardly be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Implausible {
    pub count: u64,
    /// The first of them, in seconds.
    pub example: i64,
}

/// Looks for times that cannot be of the unit in which they were read, or lie outside any plausible range.
#[derive(Clone, Copy, Debug)]
pub struct TimeCheck {
    unit: TimeUnit,
    /// In seconds, as read.
    first: i64,
    last: i64,
    /// Zero is often a missing time, and tells nothing about the unit.
    first_after_zero: i64,
    outside: Implausible,
}

impl TimeCheck {
    pub fn new(unit: TimeUnit) -> Self {
        let outside = Implausible::default();
        Self { unit, first: i64::MAX, last: i64::MIN, first_after_zero: i64::MAX, outside }
    }

    /// Takes note of times in seconds.
    pub fn see(&mut self, times: &[i64]) {
        let plausible = |time: i64| (FIRST..END).contains(&time);
        let mut outside = 0;
        for &time in times {
            self.first = self.first.min(time);
            self.last = self.last.max(time);
            self.first_after_zero = self.first_after_zero.min(if time > 0 { time } else { i64::MAX });
            outside += u64::from(!plausible(time));
        }
        if outside > 0 && self.outside.count == 0 {
            self.outside.example = times.iter().copied().find(|&time| !plausible(time)).unwrap_or_default();
        }
        self.outside.count += outside;
    }

    /// The times that lie outside the plausible range.
    ///
    /// # Errors
    /// What is wrong with the unit of the times that were seen, and what to do.
    pub fn implausible(&self) -> Result<Implausible, String> {
        if self.unit == TimeUnit::Iso {
            return Ok(self.outside);
        }
        self.check_unit()?;
        let order = self.first >= 0 && self.last <= ORDER;
        Ok(if order { Implausible::default() } else { self.outside })
    }

    fn check_unit(&self) -> Result<(), String> {
        // Nothing above zero tells nothing.
        if self.last <= 0 {
            return Ok(());
        }
        let written = |time: i64| time.saturating_mul(self.unit.per_second());
        let (small, large) = (written(self.first_after_zero), written(self.last));
        // The largest unit that a number can be of, as an index.
        let unit_of = |number: i64| (0..3).position(|power| number <= LAST_SECOND * 1000i64.pow(power)).unwrap_or(3);
        let (own, least, most) = (unit_of(written(LAST_SECOND)), unit_of(small), unit_of(large));
        if least != most {
            return Err(format!(
                "its times mix {} and {}: {small} and {large}; bring them to one unit first",
                UNITS[least], UNITS[most]
            ));
        }
        if most > own || (most < own && small >= ORDER) {
            return Err(format!("its times look like {0} ({large}); say `time_unit: {0}`", UNITS[most]));
        }
        Ok(())
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
        for nonsense in ["nan", "inf", "1e", ""] {
            assert!(TimeUnit::Seconds.parse(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn mixed_and_mistaken_units_are_told() {
        let now = 1_500_000_000;
        let mistake = |unit, written: &[i64]| {
            let mut check = TimeCheck::new(unit);
            written.iter().for_each(|&number| check.see(&[TimeUnit::seconds(unit, number)]));
            check.implausible().err()
        };
        use TimeUnit::{Microseconds, Milliseconds, Nanoseconds, Seconds};
        assert_eq!(mistake(Seconds, &[0, now, -5]), None);
        assert_eq!(mistake(Seconds, &[]), None);
        assert_eq!(mistake(Milliseconds, &[1000, 2000]), None);
        let told = mistake(Seconds, &[now, now * 1000]).unwrap();
        assert!(told.contains("mix seconds and milliseconds: 1500000000 and 1500000000000"), "{told}");
        assert!(mistake(Milliseconds, &[now, now * 1000]).unwrap().contains("mix seconds and milliseconds"));
        // Every unit is recognised in every other, also in one that makes plausible years of it.
        let units = [Seconds, Milliseconds, Microseconds, Nanoseconds];
        for (read, name) in units.into_iter().zip(UNITS) {
            for (power, written) in (0..).zip(UNITS) {
                let told = mistake(read, &[now * 1000i64.pow(power), (now + 9) * 1000i64.pow(power)]);
                match name == written {
                    true => assert_eq!(told, None, "{name}"),
                    false => assert!(told.unwrap().contains(&format!("`time_unit: {written}`")), "{written} as {name}"),
                }
            }
        }
    }

    #[test]
    fn times_before_1970_and_after_2099_are_counted() {
        let count = |unit, times: &[i64]| {
            let mut check = TimeCheck::new(unit);
            times.chunks(2).for_each(|times| check.see(times));
            check.implausible().unwrap()
        };
        let now = 1_500_000_000;
        let found = count(TimeUnit::Seconds, &[now, 0, -1, 86_399, 86_400, 4_102_444_799, 4_102_444_800]);
        assert_eq!(found, Implausible { count: 4, example: 0 });
        // Positions within a history are no times, and dates are never positions.
        assert_eq!(count(TimeUnit::Seconds, &[0, 1, 2, 3]).count, 0);
        assert_eq!(count(TimeUnit::Seconds, &[-1, 1, 2, 3]).count, 4);
        assert_eq!(count(TimeUnit::Iso, &[0, now]).count, 1);
        assert_eq!(day(1_588_615_855_070), "+52311-03-27");
    }

    #[test]
    fn integers_beyond_53_bits_are_kept_whole_or_refused() {
        assert_eq!(TimeUnit::Nanoseconds.parse("1588615855070123457"), Ok(1_588_615_855));
        assert_eq!(TimeUnit::Seconds.parse("9007199254740993"), Ok(9_007_199_254_740_993));
        for inexact in ["9007199254740993.0", "1588615855070123457.5", "1e18", "-1e18", "99999999999999999999"] {
            let told = TimeUnit::Seconds.parse(inexact).unwrap_err();
            assert!(told.contains("too large to be kept whole"), "{told}");
        }
    }
}
