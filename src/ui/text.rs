//! Numbers, durations and tables as people read them. Pure functions.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Serialize;

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

/// Text with its control characters spelled out, as `\x1b` or `\u{202e}`: those of data could move the cursor, change
/// the title of a window or turn the order of letters around. Tabs and line breaks stay, and with `colors` what changes
/// nothing but those.
pub fn visible(text: &str, colors: bool) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut spelled = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        let color = if colors { color(rest) } else { 0 };
        let length = match char {
            _ if color > 0 => color,
            '\r' if rest.starts_with("\r\n") => 2,
            _ => char.len_utf8(),
        };
        let (head, tail) = rest.split_at(length);
        if length == char.len_utf8() && acts(char) {
            spell(&mut spelled, char)
        } else {
            spelled.push_str(head)
        }
        rest = tail;
    }
    Cow::Owned(spelled)
}

/// As [`visible`], with tabs and line breaks spelled out as well.
pub fn one_line(text: &str) -> Cow<'_, str> {
    let breaks = |char: char| acts(char) || matches!(char, '\n' | '\t');
    if !text.contains(breaks) {
        return Cow::Borrowed(text);
    }
    let mut spelled = String::with_capacity(text.len() + 8);
    text.chars().for_each(|char| if breaks(char) { spell(&mut spelled, char) } else { spelled.push(char) });
    Cow::Owned(spelled)
}

/// A value as one line of JSON whose texts are spelled so that no character of them acts on a terminal. JSON has its
/// own escapes for that: whoever parses the line gets the text as it was.
pub fn json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(value)?;
    if !text.contains(acts) {
        return Ok(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        // All of them are in the plane that four digits reach.
        if acts(char) { push(&mut escaped, format_args!("\\u{:04x}", u32::from(char))) } else { escaped.push(char) }
    }
    Ok(escaped)
}

/// Control characters (C0 but tab and line feed, DEL, C1), and those that change the direction of text.
fn acts(char: char) -> bool {
    let direction = matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    direction || (char.is_control() && !matches!(char, '\n' | '\t'))
}

fn spell(text: &mut String, char: char) {
    match char {
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        ..='\u{ff}' => push(text, format_args!("\\x{:02x}", u32::from(char))),
        _ => push(text, format_args!("\\u{{{:x}}}", u32::from(char))),
    }
}

fn push(text: &mut String, part: std::fmt::Arguments) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(part);
}

/// Bytes of the sequence at the start of `text` that only chooses colours (`ESC [ 1 ; 31 m`); 0 if there is none.
fn color(text: &str) -> usize {
    let codes =
        text.strip_prefix("\x1b[").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    codes.and_then(|rest| rest.strip_prefix('m')).map_or(0, |rest| text.len() - rest.len())
}

/// Breaks a line of words so that it fits in `width` columns, where words do. Colours take none.
pub fn in_lines(text: &str, width: usize) -> String {
    let columns = |word: &str| console::measure_text_width(word);
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let room = used + 1 + columns(word) <= width;
        if used > 0 {
            lines.push(if room { ' ' } else { '\n' });
        }
        used = if used > 0 && room { used + 1 + columns(word) } else { columns(word) };
        lines.push_str(word);
    }
    lines
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
    let spell = |cells: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        cells.map(|cell| one_line(cell).into_owned()).collect()
    };
    let header = spell(&mut header.iter().copied());
    let rows: Vec<_> = rows.iter().map(|row| spell(&mut row.iter().map(String::as_str))).collect();
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
    let mut text = style.paint(Tone::Strong, &line(&mut header.iter().map(String::as_str)));
    for row in &rows {
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
    #[test]
    fn no_character_of_data_acts_on_a_terminal() {
        let hostile = "a\x1b[31mred\x1b]0;title\x07\u{9b}2J\x7f\u{202e}\u{2066}\u{61c}\0\r";
        let spelled = r"a\x1b[31mred\x1b]0;title\x07\x9b2J\x7f\u{202e}\u{2066}\u{61c}\x00\r";
        assert_eq!(visible(hostile, false), spelled);
        assert_eq!(one_line(hostile), spelled);
        assert_eq!(one_line("a\tb\nc"), r"a\tb\nc");
        assert_eq!(visible("a\tb\r\nc é 日本\n", false), "a\tb\r\nc é 日本\n");
        let rows = [vec![hostile.to_owned(), "line\nbreak".to_owned()]];
        assert!(!table(Style { color: false }, &["a\x07", "b"], &rows).contains(|char| acts(char) && char != '\n'));
    }

    #[test]
    fn colours_pass_and_nothing_else() {
        assert_eq!(visible("\x1b[1;31merror:\x1b[0m \x1b[2J\x1b[31", true), "\x1b[1;31merror:\x1b[0m \\x1b[2J\\x1b[31");
    }

    #[test]
    fn json_spells_control_characters_and_loses_none() {
        let hostile = "\x1b[2J\u{9b}\u{7f}\u{202e} é";
        let line = json(&hostile).unwrap();
        assert!(!line.contains(acts), "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), hostile);
    }

    #[test]
    fn lines_are_broken_between_words() {
        let text = "\x1b[32mdone\x1b[0m: 301 executed, in 12 s";
        assert_eq!(in_lines(text, 80), text);
        assert_eq!(in_lines(text, 14), "\x1b[32mdone\x1b[0m: 301\nexecuted, in\n12 s");
        assert_eq!(in_lines("a longword b", 3), "a\nlongword\nb");
    }
}
