//! The penalty on some rows of a table, and its gradient.

use multiversion::multiversion;

use super::layout::{Layout, PlacedRows};
use crate::kernel::prefetch;

/// Running sums of a sum of squares: fixed, so that its bits do not depend on the width of the processor's vectors.
const LANES: usize = 16;

/// The sum of the squares of some rows, repetitions included.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub fn sum_of_squares(table: &[f32], layout: Layout, rows: &PlacedRows) -> f64 {
    let mut sums = [0.0f64; LANES];
    for (row, ahead) in rows.places().zip(rows.ahead()) {
        layout.row(ahead).for_each(|(_, places)| prefetch(&table[places]));
        for (_, places) in layout.row(row) {
            let (blocks, rest) = table[places].as_chunks::<LANES>();
            for block in blocks {
                for (sum, &value) in sums.iter_mut().zip(block) {
                    *sum = f64::from(value).mul_add(f64::from(value), *sum);
                }
            }
            for (sum, &value) in sums.iter_mut().zip(rest) {
                *sum = f64::from(value).mul_add(f64::from(value), *sum);
            }
        }
    }
    sums.into_iter().sum()
}

/// Adds `slope` times each of some rows of a panel to the same row of `sum`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub fn add_rows(slope: f32, panel: &[f32], columns: usize, rows: &PlacedRows, sum: &mut [f32]) {
    for (row, ahead) in rows.places().zip(rows.ahead()) {
        prefetch(&panel[ahead * columns..][..columns]);
        prefetch(&sum[ahead * columns..][..columns]);
        for (sum, value) in sum[row * columns..][..columns].iter_mut().zip(&panel[row * columns..]) {
            *sum = slope.mul_add(*value, *sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_added_as_often_as_they_are_named() {
        let mut sum = [1.0; 8];
        add_rows(
            0.5,
            &[0.0, 0.0, 2.0, 4.0, 6.0, 8.0, 0.0, 0.0],
            2,
            &PlacedRows { first: 1, ids: &[1, 0, 1] },
            &mut sum,
        );
        assert_eq!(sum, [1.0, 1.0, 2.0, 3.0, 7.0, 9.0, 1.0, 1.0]);
    }
}
