//! Decimal digits to numbers, eight digits at a time: most of what raw files hold are ids and times.

/// The number that up to 16 digits spell, and nothing but digits.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    match digits {
        [] => None,
        [..] if digits.len() <= 8 => eight(digits),
        [..] => {
            let (high, low) = digits.split_last_chunk::<8>()?;
            (high.len() <= 8).then(|| eight(high))?.zip(eight(low)).map(|(high, low)| high * 100_000_000 + low)
        }
    }
}

/// The number that one to eight digits spell.
fn eight(digits: &[u8]) -> Option<u64> {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const ZEROS: u64 = EACH * b'0' as u64;
    // All digits at once, in a word filled up with zeros; its lowest byte is the first digit.
    let missing = 8 * (8 - digits.len());
    let word = match (digits.first_chunk::<4>(), digits.last_chunk::<4>()) {
        (Some(&first), Some(&last)) => {
            let (first, last) = (u64::from(u32::from_le_bytes(first)), u64::from(u32::from_le_bytes(last)));
            last << 32 | (first << missing) & u64::from(u32::MAX)
        }
        _ => digits.iter().fold(0, |word, &digit| word >> 8 | u64::from(digit) << 56),
    };
    let values = (word | ZEROS & ((1 << missing) - 1)) ^ ZEROS;
    // Adding 0x76 sets the highest bit of what is above 9.
    if (values | values.wrapping_add(EACH * 0x76)) & (EACH << 7) != 0 {
        return None;
    }
    // Neighbours are joined: digits, pairs, fours.
    let pairs = (values.wrapping_mul(1 + (10 << 8)) >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(1 + (100 << 16)) >> 16) & 0x0000_FFFF_0000_FFFF;
    Some((fours.wrapping_mul(1 + (10_000 << 32)) >> 32) & u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_that_a_parser_finds() {
        let plainly = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with('+') && text.len() <= 16);
        let numbers = (0..100_000).chain((0..10_000_000_000_000_000).step_by(791_900_000_003));
        for text in numbers.flat_map(|number: u64| [format!("{number}"), format!("{number:09}")]) {
            assert_eq!(decimal(text.as_bytes()), plainly(&text), "{text}");
        }
        for length in 1..=17 {
            for place in 0..length {
                for odd in (0..=127).map(char::from).chain(['é', '\u{9f}', '\u{7ff}']) {
                    let text: String = (0..length).map(|at| if at == place { odd } else { '5' }).collect();
                    assert_eq!(decimal(text.as_bytes()), plainly(&text), "{text}");
                }
            }
        }
        assert_eq!(decimal(b""), None);
    }
}
