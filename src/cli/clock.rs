//! Times of day and run ids. The only user of the clock besides durations; nothing of it reaches keys or artifacts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An instant as year, month, day, hour, minute and second of UTC.
fn civil(time: SystemTime) -> [u64; 6] {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    // Days to a date of the Gregorian calendar, in eras of 400 years that start on 1 March.
    // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    let days = seconds / 86_400 + 719_468;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = days / 146_097 * 400 + year_of_era + u64::from(month <= 2);
    [year, month, day, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60]
}

/// `2026-11-21T20:07:33Z`.
pub fn timestamp(time: SystemTime) -> String {
    let [year, month, day, hour, minute, second] = civil(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `20261121-200733-4k`: sorts by time; the last two letters keep runs of the same second apart.
pub fn run_id(time: SystemTime) -> String {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let [year, month, day, hour, minute, second] = civil(time);
    let nanos = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).subsec_nanos();
    // The millisecond in 1024 steps, so that the order holds within a second too.
    let step = (u64::from(nanos) * 1024 / 1_000_000_000) as usize;
    let [high, low] = [step >> 5, step & 31].map(|digit| char::from(LETTERS[digit]));
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}-{high}{low}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `date -u -d @N`.
    #[test]
    fn seconds_become_dates() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_795_291_653), "2026-11-21T20:07:33Z");
    }

    #[test]
    fn run_ids_sort_by_time() {
        let at = |millis| run_id(UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(at(1_795_291_653_500), "20261121-200733-g0");
        assert!(at(1_795_291_653_500) < at(1_795_291_653_900));
        assert!(at(1_795_291_653_900) < at(1_795_291_654_000));
    }
}
