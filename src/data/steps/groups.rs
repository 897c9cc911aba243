//! Row numbers grouped by user or item, by counting: two passes, four bytes per row.

use super::{Lack, bound};

/// The rows of each id, ascending.
pub(super) struct Groups {
    /// Where the rows of each id end; they start where those of the id before end.
    end: Vec<u32>,
    rows: Vec<u32>,
}

impl Groups {
    /// # Errors
    /// More rows than four bytes can number.
    pub fn new(ids: &[u32]) -> Result<Self, Lack> {
        let count = u32::try_from(ids.len()).map_err(|_| Lack::Room { rows: ids.len() })?;
        let mut end = vec![0_u32; bound(ids)];
        ids.iter().for_each(|&id| end[id as usize] += 1);
        // Where each begins; filling moves it to where it ends.
        let mut begin = 0;
        for end in &mut end {
            begin += std::mem::replace(end, begin);
        }
        let mut rows = vec![0; ids.len()];
        for (&id, row) in ids.iter().zip(0..count) {
            let place = &mut end[id as usize];
            rows[*place as usize] = row;
            *place += 1;
        }
        Ok(Self { end, rows })
    }

    /// Number of ids, those without rows included.
    pub fn len(&self) -> usize {
        self.end.len()
    }

    pub fn of(&self, id: usize) -> &[u32] {
        let begin = if id == 0 { 0 } else { self.end[id - 1] };
        &self.rows[begin as usize..self.end[id] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_grouped_in_their_order() {
        let groups = Groups::new(&[3, 0, 3, 1, 0]).unwrap();
        let of: Vec<&[u32]> = (0..groups.len()).map(|id| groups.of(id)).collect();
        assert_eq!(of, [&[1, 4][..], &[3], &[], &[0, 2]]);
        assert_eq!(Groups::new(&[]).unwrap().len(), 0);
    }
}
