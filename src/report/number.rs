//! Numbers as tables print them: one spelling of signs and zeros for every kind of table.

/// The minus sign. A hyphen is shorter, and lines break after it.
pub(super) const MINUS: char = '\u{2212}';

/// A number with so many digits after the point.
pub(super) fn decimal(value: f64, digits: usize) -> String {
    signed(value, format!("{:.digits$}", value.abs()))
}

/// As [`decimal`], with separators between thousands.
pub(super) fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", value.abs());
    let whole = text.find('.').unwrap_or(text.len());
    let mut out = String::with_capacity(text.len() + text.len() / 3);
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && index < whole && (whole - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    signed(value, out)
}

/// A relative change as a percentage, with its sign where it has one.
pub(super) fn change(share: f64) -> String {
    let text = decimal(share * 100.0, 2);
    if share > 0.0 && !is_zero(&text) { format!("+{text}%") } else { format!("{text}%") }
}

/// The number that [`decimal`] prints.
pub(super) fn printed(value: f64, digits: usize) -> f64 {
    // Adding 0 takes the sign from a negative zero.
    format!("{value:.digits$}").parse().unwrap_or(value) + 0.0
}

/// The absolute value's digits with the sign of `value`; what is printed as zero has none.
fn signed(value: f64, digits: String) -> String {
    if value < 0.0 && !is_zero(&digits) { format!("{MINUS}{digits}") } else { digits }
}

fn is_zero(digits: &str) -> bool {
    digits.chars().all(|c| matches!(c, '0' | '.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_have_no_sign_and_negative_numbers_a_minus() {
        assert_eq!([decimal(-0.519, 3), decimal(-0.00004, 4), decimal(-0.0, 2)], ["−0.519", "0.0000", "0.00"]);
        assert_eq!(
            [change(-0.009), change(-0.00001), change(0.00001), change(0.0)],
            ["−0.90%", "0.00%", "0.00%", "0.00%"]
        );
        assert_eq!([change(0.031), change(-1.0), change(12.5)], ["+3.10%", "−100.00%", "+1250.00%"]);
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!([grouped(0.0, 0), grouped(999.0, 0), grouped(1_000.0, 0)], ["0", "999", "1,000"]);
        assert_eq!(
            [grouped(1_234_567.891_2, 4), grouped(-1_000.5, 1), grouped(-0.0001, 2)],
            ["1,234,567.8912", "−1,000.5", "0.00"]
        );
    }

    proptest! {
        #[test]
        fn numbers_that_look_the_same_are_the_same(a in -10.0..10.0f64, b in -10.0..10.0f64, digits in 0usize..4) {
            let same_text = decimal(a, digits) == decimal(b, digits);
            prop_assert_eq!(same_text, printed(a, digits).total_cmp(&printed(b, digits)).is_eq());
        }
    }
}
