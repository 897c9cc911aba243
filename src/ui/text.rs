//! Numbers, durations and tables as people read them. Pure functions.

use super::{Style, Tone};

/// `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 0.0005 => "0 s".to_owned(),
        _ if seconds < 0.0995 => format!("{:.0} ms", seconds * 1000.0),
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `512 B`, `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `1 stage`, `3 stages`.
pub fn count(number: usize, singular: &str) -> String {
    format!("{number} {singular}{}", if number == 1 { "" } else { "s" })
}

/// A measured value in four significant digits.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if !(1e-4..1e6).contains(&size) {
        format!("{value:.3e}")
    } else if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        let digits = (3 - size.log10().floor() as i32).max(0) as usize;
        format!("{value:.digits$}")
    }
}

/// `text` in at most `width` characters: the middle gives way, as both ends of an instance's id tell it apart.
pub fn shorten(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head: String = text.chars().take(kept.div_ceil(2)).collect();
    let tail: String = text.chars().skip(length - kept / 2).collect();
    if width == 0 { String::new() } else { format!("{head}…{tail}") }
}

/// Columns padded to their widest cell, two blanks apart; columns of numbers are set to the right.
pub fn table(style: Style, header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let numeric: Vec<bool> = (0..header.len())
        .map(|column| {
            let mut cells = rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty()).peekable();
            cells.peek().is_some() && cells.all(|cell| cell.parse::<f64>().is_ok())
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells.zip(&widths).zip(&numeric).map(|((cell, &width), &right)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = style.paint(Tone::Strong, &line(&mut header.iter().copied()));
    for row in rows {
        text.push('\n');
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_change_their_unit_with_their_size() {
        let cases = [(0.0, "0 s"), (0.012, "12 ms"), (0.5, "0.5 s"), (59.4, "59 s"), (59.6, "1 min 0 s")];
        for (seconds, text) in cases.into_iter().chain([(200.0, "3 min 20 s"), (7500.0, "2 h 5 min")]) {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn sizes_and_numbers_keep_their_significant_digits() {
        assert_eq!([bytes(512), bytes(1536), bytes(1 << 20)], ["512 B", "1.5 KiB", "1.0 MiB"]);
        assert_eq!(
            [number(0.6721), number(12.0), number(1234.56), number(0.00001)],
            ["0.6721", "12", "1235", "1.000e-5"]
        );
    }

    #[test]
    fn shortening_keeps_both_ends() {
        assert_eq!(shorten("model[method=dns,seed=3]", 11), "model…ed=3]");
        assert_eq!(shorten("raw", 11), "raw");
        assert_eq!(shorten("rawest", 0), "");
    }

    #[test]
    fn tables_line_up() {
        let rows = [vec!["raw".to_owned(), "5".to_owned()], vec!["model".to_owned(), "12".to_owned()]];
        assert_eq!(table(Style { color: false }, &["stage", "rows"], &rows), "stage  rows\nraw       5\nmodel    12");
    }
}
