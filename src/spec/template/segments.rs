//! Splits a text into literal parts and `{{ expressions }}`.

use std::ops::Range;

/// A part of a text.
#[derive(Debug, PartialEq)]
pub(super) enum Segment {
    Literal(Range<usize>),
    /// What stands between the braces.
    Expression(Range<usize>),
}

/// Splits a text at its templates; the error is where one begins that never ends.
pub(super) fn segments(text: &str) -> Result<Vec<Segment>, usize> {
    let mut segments = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("{{").map(|found| at + found) {
        let close = closing(&text[open + 2..]).ok_or(open)? + open + 2;
        segments.push(Segment::Literal(at..open));
        segments.push(Segment::Expression(open + 2..close));
        at = close + 2;
    }
    segments.push(Segment::Literal(at..text.len()));
    Ok(segments)
}

/// Where the `}}` stands that ends an expression: not inside of a string or of a map of the expression.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0usize);
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (quote, byte) {
            (Some(_), b'\\') => drop(bytes.next()),
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'{') => depth += 1,
            (None, b'}') if depth > 0 => depth -= 1,
            (None, b'}') if text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expressions(text: &str) -> Vec<&str> {
        let inner = |segment| match segment {
            Segment::Expression(range) => Some(&text[range]),
            Segment::Literal(_) => None,
        };
        segments(text).expect("all templates end").into_iter().filter_map(inner).collect()
    }

    #[test]
    fn braces_in_strings_and_maps_do_not_end_a_template() {
        assert_eq!(expressions("a{{ x }}b{{y}}"), [" x ", "y"]);
        assert_eq!(expressions("{{ '}}' ~ \"\\\"}}\" }}"), [" '}}' ~ \"\\\"}}\" "]);
        assert_eq!(expressions("{{ {'a': {'b': 1}} }}"), [" {'a': {'b': 1}} "]);
        assert!(expressions("no } braces }} {").is_empty());
        assert_eq!(segments("ok {{ x }} {{ y }"), Err(11));
    }
}
