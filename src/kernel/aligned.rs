use std::ops::{Deref, DerefMut};

use arrow::buffer::MutableBuffer;

/// Numbers that start with a cache line, as those of arrow's buffers do. Rows of whole lines then touch no more lines than
/// they fill, and no vector that is loaded lies in two of them; sparse products depend on it.
#[derive(Debug, PartialEq)]
pub struct Aligned(MutableBuffer);

impl Aligned {
    /// `length` zeros.
    pub fn zeros(length: usize) -> Self {
        Self(MutableBuffer::from_len_zeroed(length * size_of::<f32>()))
    }
}

impl Default for Aligned {
    fn default() -> Self {
        Self::zeros(0)
    }
}

impl From<&[f32]> for Aligned {
    fn from(values: &[f32]) -> Self {
        let mut aligned = Self::zeros(values.len());
        aligned.copy_from_slice(values);
        aligned
    }
}

impl Clone for Aligned {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.typed_data()
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.0.typed_data_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_start_with_a_cache_line() {
        for length in [1, 5, 1000] {
            let mut aligned = Aligned::zeros(length);
            aligned[length - 1] = 2.5;
            let copy = aligned.clone();
            for values in [&aligned, &copy] {
                assert_eq!((values.len(), values.as_ptr().addr() % 64), (length, 0));
                assert_eq!(values.iter().sum::<f32>(), 2.5);
            }
        }
        assert!(Aligned::zeros(0).is_empty());
    }
}
