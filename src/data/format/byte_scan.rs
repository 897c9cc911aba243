//! Finds either of two bytes in a text. 64 bytes are compared at a time, and the result is a bit mask with a bit per
//! byte, so that the cost does not depend on how long fields are.

/// The offsets of two bytes in a text, ascending.
pub(super) struct ByteScan<'a> {
    rest: &'a [u8],
    /// Where `rest` begins.
    next: usize,
    /// What was found in the 64 bytes before it, and is yet to be passed on.
    found: u64,
    bytes: [u8; 2],
}

impl<'a> ByteScan<'a> {
    pub fn new(text: &'a [u8], bytes: [u8; 2]) -> Self {
        Self { rest: text, next: 0, found: 0, bytes }
    }
}

impl Iterator for ByteScan<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            if let Some((chunk, rest)) = self.rest.split_first_chunk() {
                (self.found, self.rest) = (find(chunk, self.bytes), rest);
            } else if self.rest.is_empty() {
                return None;
            } else {
                let mut chunk = [0; 64];
                chunk[..self.rest.len()].copy_from_slice(self.rest);
                self.found = find(&chunk, self.bytes) & ((1 << self.rest.len()) - 1);
                self.rest = &[];
            }
            self.next += 64;
        }
        let place = self.next - 64 + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(place)
    }
}

/// Bit `i` says whether byte `i` is one of the two.
#[inline]
fn find(chunk: &[u8; 64], bytes: [u8; 2]) -> u64 {
    /// In each byte the bit of its place.
    const PLACES: u64 = 0x8040_2010_0804_0201;
    let equal = chunk.map(|byte| if byte == bytes[0] || byte == bytes[1] { u8::MAX } else { 0 });
    let (words, _) = equal.as_chunks();
    // The product has the sum of all bytes at the top, here their bits side by side.
    let bits = |word: &[u8; 8]| (u64::from_le_bytes(*word) & PLACES).wrapping_mul(u64::from_ne_bytes([1; 8])) >> 56;
    words.iter().rev().fold(0, |found, word| found << 8 | bits(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_places_are_found(text in prop::collection::vec(0u8..6, 0..200), bytes in prop::array::uniform2(0u8..6)) {
            let plainly: Vec<usize> = (0..text.len()).filter(|&place| bytes.contains(&text[place])).collect();
            prop_assert_eq!(ByteScan::new(&text, bytes).collect::<Vec<_>>(), plainly);
        }
    }
}
