//! What a plain scalar means: the core schema of YAML 1.2 (10.3), so `no`, `on` and `12:30` are text. Spellings that
//! YAML 1.1 and 1.2 read as different numbers are refused, as are numbers that are not finite or do not fit.

use std::borrow::Cow;

use serde_json::Number;

use super::Tree;
use crate::spec::suggest::clipped;

/// The value of an unquoted scalar, or a message and what to do.
pub(super) fn resolve(text: Cow<'_, str>) -> Result<Tree, (String, String)> {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Tree::Null),
        "true" | "True" | "TRUE" => return Ok(Tree::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Tree::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(&text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Err((format!("`{text}` is not a finite number"), "parameters must be finite numbers".into()));
    }
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Ok(Tree::Text(text.into_owned()));
    }
    let based = [("0x", 16), ("0o", 8)].into_iter().find_map(|(prefix, base)| Some((text.strip_prefix(prefix)?, base)));
    if let Some((digits, base)) = based
        && !digits.is_empty()
        && digits.chars().all(|digit| digit.is_digit(base))
    {
        let value = u64::from_str_radix(digits, base);
        return value.map(|value| Tree::Number(value.into())).map_err(|_| too_large(&text, INTEGERS));
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return integer(&text, unsigned);
    }
    if !is_float(unsigned) {
        return Ok(Tree::Text(text.into_owned()));
    }
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) => Ok(Tree::Number(number)),
        None => Err(too_large(&text, "the largest number is about 1.8e308; quote it to mean the text")),
    }
}

fn integer(text: &str, unsigned: &str) -> Result<Tree, (String, String)> {
    if unsigned.len() > 1 && unsigned.starts_with('0') {
        let sign = if text.starts_with('-') { "-" } else { "" };
        let digits = match unsigned.trim_start_matches('0') {
            "" => "0",
            digits => digits,
        };
        return Err((
            format!("`{}` is octal in YAML 1.1 and decimal in YAML 1.2", clipped(text)),
            format!("write `{}`, or quote it to mean the text", clipped(&format!("{sign}{digits}"))),
        ));
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let number = text.parse::<u64>().map(Number::from).or_else(|_| text.parse::<i64>().map(Number::from));
    number.map(Tree::Number).map_err(|_| too_large(text, INTEGERS))
}

/// `[0-9]*(.[0-9]*)?([eE][-+]?[0-9]+)?` with at least one digit before the exponent.
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    digits(whole) && digits(fraction) && whole.len() + fraction.len() > 0 && exponent_fits
}

const INTEGERS: &str = "integers have 64 bits; quote it to mean the text";

fn too_large(text: &str, help: &str) -> (String, String) {
    (format!("the number `{}` is too large", clipped(text)), help.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match resolve(text.into()) {
            Ok(Tree::Text(text)) => format!("text {text}"),
            Ok(Tree::Number(number)) => format!("number {number}"),
            Ok(Tree::Bool(value)) => format!("bool {value}"),
            Ok(other) => format!("{other:?}"),
            Err((message, _)) => format!("refused: {message}"),
        }
    }

    #[test]
    fn follows_the_core_schema_of_yaml_1_2() {
        for word in
            ["no", "yes", "on", "off", "y", "12:30", "2026-11-21", "1_000", "1.2.3", "0b11", "e5", ".", "-", "1e"]
        {
            assert_eq!(read(word), format!("text {word}"));
        }
        for (text, number) in
            [("1", "1"), ("-7", "-7"), ("+7", "7"), ("0x1F", "31"), ("0o17", "15"), ("1e-3", "0.001"), (".5", "0.5")]
        {
            assert_eq!(read(text), format!("number {number}"));
        }
        assert_eq!(read("5."), "number 5.0");
        assert_eq!(read("18446744073709551615"), "number 18446744073709551615");
        assert_eq!(read("True"), "bool true");
        assert_eq!(read("~"), "Null");
    }

    #[test]
    fn what_is_refused_comes_with_what_to_write() {
        let help = |text: &'static str| resolve(text.into()).expect_err(text).1;
        assert!(help("00").starts_with("write `0`"), "{}", help("00"));
        assert!(help("-007").starts_with("write `-7`"), "{}", help("-007"));
        assert!(help("1e999").contains("1.8e308"), "{}", help("1e999"));
        assert!(help("18446744073709551616").contains("64 bits"));
        let long = "9".repeat(1_000_000);
        let (message, help) = resolve(long.into()).expect_err("too large");
        assert!(message.len() + help.len() < 400, "{message}");
    }

    #[test]
    fn refuses_what_is_ambiguous_or_not_finite() {
        for text in ["0123", ".inf", "-.INF", ".nan", "1e999", "18446744073709551616"] {
            assert!(read(text).starts_with("refused"), "{text}: {}", read(text));
        }
    }
}
