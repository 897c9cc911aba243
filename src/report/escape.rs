//! Escaping of text for the formats, so that no label, however odd, breaks a row or is read as markup.

use super::number::MINUS;

/// For LaTeX text and tables, without packages and in any font encoding. Brackets and stars are braced: after `\\` they
/// would be taken for its arguments. Characters that fonts join to others, such as `--` to a dash, are kept apart.
pub fn latex(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut before = None;
    for c in text.chars() {
        let joined = match c {
            '-' | '\'' | ',' => before == Some(c),
            '`' => matches!(before, Some('`' | '!' | '?')),
            _ => false,
        };
        if joined {
            out.push_str("{}");
        }
        before = Some(c);
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '\\' => out.push_str("\\textbackslash{}"),
            '[' | ']' | '*' => out.extend(['{', c, '}']),
            '<' => out.push_str("\\ensuremath{<}"),
            '>' => out.push_str("\\ensuremath{>}"),
            '|' => out.push_str("\\textbar{}"),
            '"' => out.push_str("\\symbol{34}"),
            MINUS => out.push_str("$-$"),
            '±' => out.push_str("\\ensuremath{\\pm}"),
            '°' => out.push_str("\\ensuremath{^\\circ}"),
            '—' => out.push_str("---"),
            c if breaks_lines(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// For Markdown, in the middle of a line and in cells of pipe tables.
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '|' | '~' | '!' | '$' => out.extend(['\\', c]),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if breaks_lines(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// One field of a CSV file (RFC 4180).
pub fn csv(text: &str) -> String {
    let quoted = text.contains([',', '"', '\n', '\r']) || text.starts_with(' ') || text.ends_with(' ');
    if quoted { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// For text and attributes of XML, such as SVG.
pub fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{FFFE}' | '\u{FFFF}' => {}
            c if breaks_lines(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// For a terminal: no control characters.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if breaks_lines(c) { ' ' } else { c }).collect()
}

fn breaks_lines(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn special_characters() {
        assert_eq!(
            latex(r"a&b%c$d#e_f{g}h~i^j\k"),
            r"a\&b\%c\$d\#e\_f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k"
        );
        assert_eq!(latex("[*]"), "{[}{*}{]}");
        assert_eq!(latex("\"a\" −0.90%"), "\\symbol{34}a\\symbol{34} $-$0.90\\%");
        assert_eq!(latex("SL-BPR a--b ''c'' `` ?` -'-"), "SL-BPR a-{}-b '{}'c'{}' `{}` ?{}` -'-");
        assert_eq!(markdown("a|b*c_d\\e\nf<g"), "a\\|b\\*c\\_d\\\\e f&lt;g");
        assert_eq!(csv("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(csv("plain"), "plain");
        assert_eq!(plain("a\tb\u{1b}[31m"), "a b [31m");
    }

    /// Characters of a string that a reader of the format would take for syntax: those without a backslash before.
    fn bare(text: &str, syntax: &[char]) -> Vec<char> {
        let mut found = Vec::new();
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            if c == '\\' {
                characters.next();
            } else if syntax.contains(&c) {
                found.push(c);
            }
        }
        found
    }

    proptest! {
        #[test]
        fn no_label_breaks_a_latex_row(label in "\\PC*|[\\\\&%$#_{}~^\\[\\]*\n|\"<>a−`'-]*") {
            let escaped = latex(&label);
            prop_assert!(bare(&escaped, &['&', '%', '#', '_', '~', '\n', '\r']).is_empty(), "{escaped}");
            // `^` is left only where `°` is spelled, and `$` around minus signs.
            prop_assert_eq!(bare(&escaped, &['^']).len(), label.matches('°').count());
            prop_assert_eq!(bare(&escaped, &['$']).len(), 2 * label.matches(MINUS).count());
            let (open, close) = (bare(&escaped, &['{']).len(), bare(&escaped, &['}']).len());
            prop_assert_eq!(open, close);
            prop_assert!(!escaped.contains("\\\\"), "{}", escaped);
            prop_assert!(!escaped.starts_with(['[', '*']));
        }

        #[test]
        fn no_label_breaks_a_markdown_row(label in "\\PC*|[\\\\|`*_\n<>&a]*") {
            let escaped = markdown(&label);
            let found = bare(&escaped, &['|', '`', '*', '_', '<', '>', '\n', '\r', '[', ']']);
            prop_assert!(found.is_empty(), "{}", escaped);
        }

        #[test]
        fn no_label_breaks_a_csv_row(label in any::<String>()) {
            let escaped = csv(&label);
            let read = match escaped.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(inner) => inner.replace("\"\"", "\""),
                None => {
                    prop_assert!(!escaped.contains([',', '"', '\n', '\r']));
                    escaped
                }
            };
            prop_assert_eq!(read, label);
        }

        #[test]
        fn no_label_controls_the_terminal(label in any::<String>()) {
            prop_assert!(!plain(&label).chars().any(char::is_control));
        }
    }
}
